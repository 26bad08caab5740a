"""Manifests: files, local or in a bucket, that name series or single objects."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from ..config import SourceConfig
from ..errors import CohortError, ObjectError
from ..sql import file_literal, first_lines
from ..store import open_store
from ..store.faults import store_unavailable
from ..store.patience import WHOLE_FILE, Patience
from ..store.protocol import EmptyObject
from ..urls import ObjectUrl, idc_series_uuid, parse_url

SERIES_KEYS: Final = ("crdc_series_uuid", "SeriesInstanceUID")
"""Columns by which a cohort may name series, the more exact one first."""


def parsed_location(text: str) -> ObjectUrl:
    """Parse a URL or path of a config; raises `CohortError` where it is none."""
    try:
        return parse_url(text)
    except ValueError as error:
        raise CohortError(str(error)) from None


def read_manifest(
    location: str, source: SourceConfig, *, offline: bool = False
) -> list[ObjectUrl] | pa.Table:
    """Read the manifest of a cohort.

    Parameters
    ----------
    location
        Local path, s3:// or gs:// URL.
    source
        How to reach it in a bucket.
    offline
        Refuse one in a bucket.

    Returns
    -------
    list of ObjectUrl or pyarrow.Table
        As `parse_manifest`.

    Raises
    ------
    CohortError
        It is not there, or is none.
    StoreUnavailable
        Its bucket does not answer.
    """
    with _local_copy(location, source, offline=offline) as path:
        return parse_manifest(path, location)


@contextmanager
def _local_copy(location: str, source: SourceConfig, *, offline: bool) -> Iterator[Path]:
    """Yield a manifest as a local file, fetched if it lies in a bucket."""
    url = parsed_location(location)
    if url.scheme == "file":
        if not Path(url.key).is_file():
            raise CohortError(f"cohort.manifest {location} is not there")
        yield Path(url.key)
        return
    if offline:
        raise CohortError(f"cohort.manifest {location} lies in a bucket: a dry run reads none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(url.key).name
        try:
            path.write_bytes(_whole_object(url, source))
        except ObjectError as error:
            what = f"cohort.manifest {location}"
            if error.kind.retryable:
                raise store_unavailable(what, error, "source.endpoint") from None
            raise CohortError(f"{what} cannot be read: {error.detail}") from None
        yield path


def _whole_object(url: ObjectUrl, source: SourceConfig) -> bytes:
    store = open_store(url, source)
    patience = Patience(*WHOLE_FILE)
    try:
        first = patience.call(lambda: store.get(url.key, 0, 2**20, None))
    except EmptyObject:
        return b""
    known = len(first.data)
    if first.size == known:
        return first.data
    rest = patience.call(lambda: store.get(url.key, known, first.size, first.version))
    return first.data + rest.data


def parse_manifest(path: Path, name: str) -> list[ObjectUrl] | pa.Table:
    """Read a manifest: an s5cmd one as IDC's portal exports it, a CSV or a Parquet file.

    Parameters
    ----------
    path
        A local file.
    name
        What to call it in messages.

    Returns
    -------
    list of ObjectUrl or pyarrow.Table
        The URLs of single objects; or a table with one column of `SERIES_KEYS` where the
        manifest names series, and a column ``cloud`` where it does so by URL.

    Raises
    ------
    CohortError
        It is none of these, or is empty, or mixes series and objects.
    """
    content = path.read_bytes()
    is_parquet = content.startswith(b"PAR1")
    locations = [] if is_parquet else [line[1].decode() for line in _S5CMD.finditer(content)]
    if not content.strip():
        raise CohortError(f"cohort.manifest {name} is empty")
    if not locations:
        table = _read_table(path, name, is_parquet=is_parquet)
        for key in SERIES_KEYS:
            if key in table.column_names and "url" not in table.column_names:
                return table.select([key])
        if "url" not in table.column_names:
            raise CohortError(
                f"cohort.manifest {name} has the columns {', '.join(table.column_names)}: "
                "it needs url, SeriesInstanceUID or crdc_series_uuid"
            )
        locations = [value for value in table["url"].to_pylist() if value]
    if not locations:
        raise CohortError(f"cohort.manifest {name} names nothing")
    return _series_or_objects(locations, name)


# lines such as: cp s3://idc-open-data/<crdc_series_uuid>/* .
_S5CMD = re.compile(rb"^\s*cp\s+(?:-\S+\s+)*'?\"?((?:s3|gs)://[^\s'\"]+)", re.MULTILINE)


def _read_table(path: Path, name: str, *, is_parquet: bool) -> pa.Table:
    reader = "read_parquet" if is_parquet else "read_csv"
    options = "" if is_parquet else ", header = true, all_varchar = true"
    try:
        with duckdb.connect() as connection:
            return connection.execute(
                f"SELECT * FROM {reader}({file_literal(path.absolute())}{options})"
            ).to_arrow_table()
    except duckdb.Error as error:
        raise CohortError(
            f"cohort.manifest {name} is no s5cmd manifest, CSV or Parquet: {first_lines(error)}"
        ) from None


def _series_or_objects(locations: Sequence[str], name: str) -> list[ObjectUrl] | pa.Table:
    """Tell prefixes of IDC's series from single objects; a manifest holds one of the two."""
    urls = [parsed_location(location) for location in locations]
    prefixes = [url for url in urls if url.key.endswith(("*", "/"))]
    if not prefixes:
        return urls
    series = [idc_series_uuid(url.key) for url in prefixes]
    if len(prefixes) < len(urls) or None in series:
        odd = next(url for url in urls if url not in prefixes or idc_series_uuid(url.key) is None)
        raise CohortError(
            f"cohort.manifest {name} mixes IDC series with other URLs, such as {odd}: "
            "name series alone or objects alone"
        )
    clouds = [url.cloud for url in prefixes]
    return pa.table({"crdc_series_uuid": pa.array(series, pa.string()), "cloud": clouds})
