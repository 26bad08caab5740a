"""Tables as files: Arrow IPC while the work goes on, Parquet when it is published."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from .output import WORK, LocalOutput
from .rows import Planned, Row
from .schema import FORMAT_VERSION, SERIES_COUNTS

PLAN: Final = f"{WORK}/plan"
PARTS: Final = f"{WORK}/parts"
SERIES_PLAN: Final = f"{PLAN}/series.arrow"
ROW_GROUP_ROWS: Final = 122_880
"""DuckDB's own row group: one thread scans one."""
ROWS_PER_FILE: Final = 8 * ROW_GROUP_ROWS
"""Plan rows of one file of ``instances``; 100 MB to 1 GB at 100 to 1,000 bytes a row."""

PLAN_ROW: Final = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("crdc_series_uuid", pa.string()),
        ("crdc_instance_uuid", pa.string()),
        ("series_instance_uid", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """What the rows of a finished ``instances`` table add up to."""

    ok: int
    errors: dict[str, int]
    """Rows by kind of error."""
    requests: int
    bytes_read: int
    header_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a finished table, as the manifest lists it."""

    name: str
    rows: int
    bytes: int
    sha256: str


def partition_name(partition: int) -> str:
    """Name the file of a partition's plan rows."""
    return f"{PLAN}/{partition:06d}.arrow"


def parts_folder(plan: str) -> str:
    """Name the folder of the results that belong to a plan, by its identity."""
    return f"{PARTS}/{plan[:16]}"


def part_name(plan: str, partition: int) -> str:
    """Name the file of a partition's result."""
    return f"{parts_folder(plan)}/{partition:06d}.arrow"


def write_arrow(
    output: LocalOutput, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> int:
    """Write an Arrow IPC file; return its rows."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    rows = 0
    with output.writing(name) as path, pa.ipc.new_file(path, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def read_arrow(output: LocalOutput, name: str) -> pa.Table:
    """Read an Arrow IPC file whole."""
    with pa.OSFile(str(output.path(name))) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


def read_plan_rows(output: LocalOutput, partition: int) -> list[Planned]:
    """Read the plan rows of one partition."""
    return [Planned(**row) for row in read_arrow(output, partition_name(partition)).to_pylist()]


def write_part(output: LocalOutput, name: str, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write the result of one partition."""
    batch = pa.RecordBatch.from_pylist(list(rows), schema=schema)
    write_arrow(output, name, [batch], schema)


def rows_of_part(output: LocalOutput, name: str, schema: pa.Schema) -> int | None:
    """Count the rows of a part; None where it is damaged, or has another schema."""
    try:
        with pa.OSFile(str(output.path(name))) as file, pa.ipc.open_file(file) as reader:
            if not reader.schema.equals(schema):
                return None
            return int(sum(reader.get_batch(n).num_rows for n in range(reader.num_record_batches)))
    except pa.ArrowInvalid:
        return None


def publish_instances(
    output: LocalOutput,
    number: int,
    parts: Sequence[str],
    schema: pa.Schema,
    properties: dict[str, str],
) -> PublishedFile:
    """Write one final file of ``instances`` from its parts.

    Parameters
    ----------
    output
        Holds the parts.
    number
        Of the file.
    parts
        Names of the files whose rows it holds, in this order.
    schema
        Of the table.
    properties
        Go into the footer.
    """
    batches = (batch for part in parts for batch in read_arrow(output, part).to_batches())
    return _write_parquet(output, f"instances/{number:05d}.parquet", batches, schema, properties)


def status_counts(output: LocalOutput, files: Iterable[PublishedFile]) -> StatusCounts:
    """Add up the rows of finished files of ``instances``."""
    errors: Counter[str] = Counter()
    ok = requests = bytes_read = header_bytes = 0
    for file in files:
        columns = ["status", "error", "requests", "bytes_read", "header_bytes"]
        table = pq.read_table(output.path(file.name), columns=columns)
        for entry in pc.value_counts(table["error"].combine_chunks().drop_null()).to_pylist():
            errors[entry["values"]] += entry["counts"]
        ok += pc.sum(pc.equal(table["status"], "ok")).as_py() or 0
        requests += pc.sum(table["requests"]).as_py() or 0
        bytes_read += pc.sum(table["bytes_read"]).as_py() or 0
        header_bytes += pc.sum(table["header_bytes"]).as_py() or 0
    return StatusCounts(ok, dict(errors), requests, bytes_read, header_bytes)


def publish_series(
    output: LocalOutput, instances: Sequence[PublishedFile], properties: dict[str, str]
) -> PublishedFile:
    """Write the ``series`` table: what the plan knew of every series, and its counts."""
    counts = _count_by_series(output, [file.name for file in instances])
    planned = read_arrow(output, SERIES_PLAN)
    known = _join_counts(planned, counts)
    # series that only the objects' own keys or headers name
    others = counts.filter(
        pc.invert(pc.is_in(counts["crdc_series_uuid"], planned["crdc_series_uuid"]))
    )
    table = pa.concat_tables([known, others], promote_options="default").select(known.column_names)
    return _write_parquet(
        output, "series/00000.parquet", table.to_batches(), table.schema, properties
    )


_COUNT_NAMES: Final = [name for name, _ in SERIES_COUNTS]


def _count_by_series(output: LocalOutput, files: Iterable[str]) -> pa.Table:
    """Count rows by series; where nothing names the series but the header, by that."""
    counts = pa.concat_tables([_count_file(output, name) for name in files])
    keys = [name for name in counts.column_names if name not in ("ok", "rows")]
    counts = counts.group_by(keys).aggregate([("ok", "sum"), ("rows", "sum")])
    counts = counts.rename_columns([*keys, "instances_ok", "instances_planned"])
    errors = pc.subtract(counts["instances_planned"], counts["instances_ok"])
    counts = counts.append_column("instances_error", errors)
    return counts.sort_by([(key, "ascending") for key in keys])


def _count_file(output: LocalOutput, name: str) -> pa.Table:
    """Count the rows of one file, so that no more than one is in memory."""
    present = pq.read_schema(output.path(name)).names
    keys = [key for key in ("crdc_series_uuid", "SeriesInstanceUID") if key in present]
    table = pq.read_table(output.path(name), columns=[*keys, "status"])
    if "SeriesInstanceUID" in keys:
        named = pc.is_valid(table["crdc_series_uuid"])
        uid = pc.if_else(named, pa.scalar(None, pa.string()), table["SeriesInstanceUID"])
        table = table.set_column(1, "SeriesInstanceUID", uid)
    ok = pc.equal(table["status"], "ok").cast(pa.int64())
    counts = table.append_column("ok", ok).group_by(keys)
    return counts.aggregate([("ok", "sum"), ("ok", "count")]).rename_columns([*keys, "ok", "rows"])


def _join_counts(planned: pa.Table, counts: pa.Table) -> pa.Table:
    columns = planned.column_names
    order = pa.array(range(planned.num_rows), pa.int64())
    by_uuid = counts.filter(pc.is_valid(counts["crdc_series_uuid"])).drop_columns(
        [name for name in ("SeriesInstanceUID",) if name in counts.column_names]
    )
    joined = (
        planned.append_column("_order", order)
        .join(by_uuid, "crdc_series_uuid", join_type="left outer")
        .sort_by("_order")
    )
    for name in ("instances_planned", "instances_ok", "instances_error"):
        filled = pc.fill_null(joined[name], 0)
        joined = joined.set_column(joined.column_names.index(name), name, filled)
    return joined.select([*(name for name in columns if name not in _COUNT_NAMES), *_COUNT_NAMES])


def _write_parquet(
    output: LocalOutput,
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    properties: dict[str, str],
) -> PublishedFile:
    footer = {**properties, "harvest.format_version": str(FORMAT_VERSION)}
    rows = 0
    with output.writing(name) as path:
        with pq.ParquetWriter(
            path,
            schema.with_metadata(footer),
            compression="zstd",
            write_page_checksum=True,
            write_page_index=True,
        ) as writer:
            for group in _row_groups(batches, schema):
                writer.write_table(group.replace_schema_metadata(footer), ROW_GROUP_ROWS)
                rows += group.num_rows
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    return PublishedFile(name, rows, size, digest)


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Regroup batches into tables of one row group each."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP_ROWS:
            table = pa.Table.from_batches(waiting, schema)
            yield table.slice(0, ROW_GROUP_ROWS)
            waiting = table.slice(ROW_GROUP_ROWS).to_batches()
            rows -= ROW_GROUP_ROWS
    if rows:
        yield pa.Table.from_batches(waiting, schema)


def write_json(output: LocalOutput, name: str, content: dict[str, Any]) -> None:
    """Write a JSON file for people and programs."""
    output.write(name, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_json(output: LocalOutput, name: str) -> dict[str, Any]:
    """Read a JSON file."""
    content = json.loads(output.read(name))
    assert isinstance(content, dict)
    return content
