"""What both clouds hold of a cohort's series, by their listings."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from ..cohort.resolve import SeriesCohort, resolve_cohort
from ..config import Config, SourceConfig, source_config
from ..errors import ConfigError
from ..output import Output, snapshots
from ..plan.listing import ListedSeries
from ..plan.listing_tasks import list_series
from ..table.parquet import parquet_file

LISTINGS_SCHEMA: Final = pa.schema(
    [
        pa.field("cloud", pa.string(), metadata={"description": "aws or gcs"}),
        pa.field("url", pa.string(), metadata={"description": "of the object"}),
        pa.field("crdc_series_uuid", pa.string()),
        pa.field("crdc_instance_uuid", pa.string()),
        pa.field("size", pa.int64(), metadata={"description": "bytes"}),
        pa.field("etag", pa.string(), metadata={"description": "unquoted"}),
        pa.field("md5", pa.string(), metadata={"description": "if the ETag is one"}),
    ]
)
"""Of the table ``listings``: every object of the cohort's series on either cloud."""
LISTINGS_FILE: Final = f"{snapshots.LISTINGS_FOLDER}/00000.parquet"
CLOUDS: Final = ("aws", "gcs")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


def cloud_sources(config: Config) -> dict[str, SourceConfig]:
    """Return how each cloud is reached.

    Raises
    ------
    ConfigError
        The other cloud's endpoint is not safe.
    """
    other = next(cloud for cloud in CLOUDS if cloud != config.source.cloud)
    given = config.audit.other_cloud.model_dump() if config.audit is not None else {}
    opposite = source_config("audit.other_cloud", cloud=other, **given)
    sources = {config.source.cloud: config.source, other: opposite}
    # the SDK of Google tells an ETag that is no checksum
    return {cloud: sources[cloud].model_copy(update={"transport": "obstore"}) for cloud in CLOUDS}


def series_on_both(config: Config) -> SeriesCohort:
    """Resolve the cohort of a config whose listings are compared.

    Raises
    ------
    ConfigError
        It is not one of IDC's series.
    """
    cohort = resolve_cohort(config.cohort, config.source)
    if not isinstance(cohort, SeriesCohort):
        raise ConfigError(
            "rules on the listings of both clouds need a cohort of IDC's series: name it by SQL, "
            "or by a manifest of series"
        )
    return cohort


def check_listings(config: Config) -> None:
    """Check that a config's cohort can be listed on both clouds; raises `ConfigError`."""
    series_on_both(config)
    cloud_sources(config)


def write_listings(config: Config, output: Output, check: Callable[[], None]) -> None:
    """List the series of a cohort on both clouds.

    Parameters
    ----------
    config
        Whose cohort is listed, whole: a sample is not heeded.
    output
        Gets the table as `LISTINGS_FILE`.
    check
        Called between listings; raises `OutputBusy` where the output is no longer ours.

    Raises
    ------
    HarvestError
        A bucket denies listing, or does not answer.
    """
    whole = config.cohort.model_copy(update={"sample": None})
    with parquet_file(output, LISTINGS_FILE, LISTINGS_SCHEMA, {}, rows=1) as file:
        for cloud, source in cloud_sources(config).items():
            narrowed = config.model_copy(update={"cohort": whole, "source": source})
            cohort = series_on_both(narrowed).on(cloud)
            for _, listed in list_series(cohort, narrowed, map):
                check()
                file.write(_rows(cloud, listed))


def _rows(cloud: str, listed: ListedSeries) -> pa.RecordBatch:
    found = listed.rows
    names = LISTINGS_SCHEMA.names
    columns = {name: found.column(name) for name in names if name in found.schema.names}
    columns["cloud"] = pa.array([cloud] * found.num_rows, pa.string())
    columns["md5"] = pa.array(
        [md5_of(etag) for etag in found.column("etag").to_pylist()], pa.string()
    )
    return pa.RecordBatch.from_arrays([columns[name] for name in names], schema=LISTINGS_SCHEMA)


def md5_of(etag: str | None) -> str | None:
    """Return the MD5 that an ETag is, in hex; None where it is something else.

    S3 and the XML interface of GCS give the MD5 of an object that was uploaded in one part; some
    servers write it in base64.
    """
    if etag is None:
        return None
    if _HEX.fullmatch(etag):
        return etag
    try:
        decoded = base64.b64decode(etag, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded.hex() if len(decoded) == 16 else None
