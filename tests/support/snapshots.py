"""Finished outputs made from rows, as a harvest would have left them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harvest.audit.diff import Diff, InstanceCounts, OffsetTableCounts, SeriesCounts, diff
from harvest.cohort.resolve import PrefixCohort, resolve_cohort
from harvest.config import CohortConfig, SourceConfig, output_config
from harvest.output import FORMAT_VERSION, MANIFEST, LocalOutput
from harvest.output.documents import write_json
from harvest.table.parquet import write_parquet
from harvest.table.schema import SERIES_COUNTS, instances_schema
from tests.support.profiles import resolve_attributes

Row = dict[str, Any]
Rows = Iterable[Mapping[str, Any]]

NOTHING = (
    SeriesCounts(0, 0, 0, 0),
    InstanceCounts(0, 0, 0, 0, 0, 0),
    OffsetTableCounts(0, 0, 0),
)
"""What a diff counts where nothing differs."""


def index_schema() -> pa.Schema:
    """Return the columns of IDC's index."""
    cohort = resolve_cohort(CohortConfig(prefix="/"), SourceConfig())
    assert isinstance(cohort, PrefixCohort)
    return cohort.known.schema()


@lru_cache
def series_schema() -> pa.Schema:
    """Return the columns of the ``series`` table."""
    counts = [pa.field(name, pa.int64()) for name, _ in SERIES_COUNTS]
    return pa.schema([*index_schema(), *counts])


def instance(number: int, series: int = 0, **values: Any) -> dict[str, Any]:
    """Return a sound row of ``instances``: a CT slice of a series in IDC's bucket."""
    uuid = f"00000000-0000-4000-8000-{number:012x}"
    folder = f"10000000-0000-4000-8000-{series:012x}"
    return {
        "url": f"s3://idc-open-data/{folder}/{uuid}.dcm",
        "size": 1000 + number,
        "etag": f"e{number}",
        "crdc_series_uuid": folder,
        "crdc_instance_uuid": uuid,
        "status": "ok",
        "retryable": False,
        "header_bytes": 900,
        "bytes_read": 900,
        "requests": 1,
        "pixel_data_offset": 912,
        "offset_table": "native",
        "SOPInstanceUID": f"1.2.3.{series}.{number}",
        "SeriesInstanceUID": f"1.2.3.{series}",
        "StudyInstanceUID": "1.2.3",
        "PatientID": "P1",
        "Modality": "CT",
        **values,
    }


def series_rows(instances: Rows, **values: Any) -> list[dict[str, Any]]:
    """Return the rows of ``series`` that go with instances."""
    found: dict[str, dict[str, Any]] = {}
    for row in instances:
        series = found.setdefault(
            row["crdc_series_uuid"],
            {
                "SeriesInstanceUID": row["SeriesInstanceUID"],
                "crdc_series_uuid": row["crdc_series_uuid"],
                "StudyInstanceUID": row["StudyInstanceUID"],
                "PatientID": row["PatientID"],
                "Modality": row["Modality"],
                "collection_id": "made",
                "aws_bucket": "idc-open-data",
                "license_short_name": "CC BY 4.0",
                "source_DOI": "10.1/made",
                "instanceCount": 0,
                "series_size_MB": 0.0,
                **{name: 0 for name, _ in SERIES_COUNTS},
                **values,
            },
        )
        ok = row["status"] == "ok"
        series["instances_ok"] += ok
        series["instances_error"] += not ok
        for name in ("instanceCount", "instances_planned", "instances_listed"):
            series[name] += name not in values
        if "series_size_MB" not in values:
            series["series_size_MB"] += row["size"] / 1e6
    return list(found.values())


def made_output(
    folder: Path,
    instances: Sequence[Mapping[str, Any]],
    series: Sequence[Mapping[str, Any]] | None = None,
    *,
    profile: Sequence[str] = ("core",),
    schema: pa.Schema | None = None,
) -> str:
    """Write a finished output of some rows; return its URL."""
    output = LocalOutput(folder)
    schema = schema or instances_schema(resolve_attributes(profile, []))
    rows = sorted(instances, key=lambda row: str(row["url"]))
    made = [
        write_parquet(output, name, table.to_batches(), table.schema, {}, rows=table.num_rows)
        for name, table in (
            ("instances/00000.parquet", pa.Table.from_pylist(rows, schema)),
            (
                "series/00000.parquet",
                pa.Table.from_pylist(
                    list(series_rows(rows) if series is None else series), series_schema()
                ),
            ),
        )
    ]
    manifest = {
        "format_version": FORMAT_VERSION,
        "plan": "0" * 64,
        "asked": {"cohort": {}, "header": "none", "frames": "none"},
        "rows": len(rows),
        "series": made[1].rows,
        "tables": {"instances": [asdict(made[0])], "series": [asdict(made[1])]},
    }
    write_json(output, MANIFEST, manifest)
    return str(folder)


def read_table(file: Path) -> list[dict[str, Any]]:
    """Read a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def compared(
    tmp_path: Path, old: Sequence[Row], new: Sequence[Row], **more: Any
) -> tuple[Diff, Path]:
    """Compare two sets of rows; return the diff, and where its tables are."""
    sides = [
        output_config(made_output(tmp_path / name, rows, more.get(f"{name}_series")))
        for name, rows in (("old", old), ("new", new))
    ]
    return diff(sides[0], sides[1], tmp_path / "diff"), tmp_path / "diff"
