"""Arrow IPC files: the plan's rows, and what else is unfinished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from ..output import PLAN, Output
from .rows import Planned

SERIES_PLAN: Final = f"{PLAN}/series.arrow"
PLAN_ROW: Final = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("crdc_series_uuid", pa.string()),
        ("crdc_instance_uuid", pa.string()),
        ("series_instance_uid", pa.string()),
        ("kind", pa.string()),
    ]
)


def partition_name(partition: int) -> str:
    """Name the file of a partition's plan rows."""
    return f"{PLAN}/{partition:06d}.arrow"


def write_arrow(
    output: Output,
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    compression: str | None = "zstd",
) -> int:
    """Write an Arrow IPC file; return its rows."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    rows = 0
    with (
        output.writing(name) as path,
        # closed even where the disk is full, which a writer's own file is not
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def read_arrow(output: Output, name: str) -> pa.Table:
    """Read an Arrow IPC file whole."""
    return parse_arrow(output.read(name))


@contextmanager
def open_arrow(file: Path) -> Iterator[list[pa.RecordBatch]]:
    """Open a local Arrow IPC file; batches that are not compressed are mapped, not read."""
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_file(mapped) as reader:
        yield [reader.get_batch(number) for number in range(reader.num_record_batches)]


def parse_arrow(content: bytes) -> pa.Table:
    """Parse an Arrow IPC file that was read."""
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        return reader.read_all()


def read_plan_rows(output: Output, partition: int) -> list[Planned]:
    """Read the plan rows of one partition."""
    table = read_arrow(output, partition_name(partition))
    # plans of before know no kind, which is the last
    columns = [table[name].to_pylist() for name in PLAN_ROW.names if name in table.column_names]
    return [Planned(*row) for row in zip(*columns, strict=True)]
