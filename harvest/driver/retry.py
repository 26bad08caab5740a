"""Reading again what may end otherwise: the retryable error rows of a complete output.

Which rows these are is written down before the first of them is read, so that an interrupted
retry goes on where it ended, however many files it has replaced by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ..output import MANIFEST, WORK, Output
from ..output.documents import read_json, write_json
from ..output.lease import Lease
from ..plan.stored import Plan
from ..table.parquet import PublishedFile, is_same, parquet_schema, read_parquet
from ..table.parts import Part, part_schema, take_part
from ..table.union import TableColumns, conform
from .publish import FinalFile, Tables, check_room, final_files, published_rows
from .tally import COUNTED_COLUMNS

RETRIES: Final = f"{WORK}/retries"


@dataclass(frozen=True, slots=True)
class Retry:
    """Rows of a complete output to read again."""

    parts: tuple[Part, ...]
    """By partition; of each its retryable rows."""
    manifest: str
    """Version of the manifest that the new one follows."""


def find_retry(plan: Plan, output: Output) -> Retry:
    """Find the rows to read again, or those that an interrupted retry has found."""
    found = output.versioned(MANIFEST)
    assert found is not None, "a retry needs a complete output"
    content, manifest = found
    folder = f"{RETRIES}/{hashlib.sha256(content).hexdigest()[:16]}"
    listed = f"{folder}/rows.json"
    if not output.exists(listed):
        rows = {
            str(partition): numbers
            for file in final_files(plan)
            for partition, numbers in _retryable_rows(file, plan, output)
        }
        write_json(output, listed, rows)
    parts = tuple(
        Part(plan.identity, int(number), f"{folder}/{int(number):06d}.arrow", tuple(rows))
        for number, rows in read_json(output, listed).items()
    )
    return Retry(parts, manifest)


def _retryable_rows(file: FinalFile, plan: Plan, output: Output) -> Iterator[tuple[int, list[int]]]:
    """Yield the partitions of a file that have retryable rows, with the numbers of these."""
    batches = read_parquet(output, file.instances, ["retryable"])
    retryable = pa.chunked_array([batch.column(0) for batch in batches], pa.bool_())
    for part, start in zip(file.parts, file.starts, strict=True):
        rows = retryable.slice(start, plan.partitions[part.partition].rows)
        numbers = pc.indices_nonzero(pc.fill_null(rows, False)).to_pylist()
        if numbers:
            yield part.partition, numbers


def publish_retry(
    retry: Retry, plan: Plan, output: Output, columns: TableColumns, lease: Lease
) -> None:
    """Replace the rows that were read again, and the manifest; raises as `publish` does."""
    if not retry.parts:
        output.remove(RETRIES)
        return
    check_room(output, "instances", "frames")
    again = {part.partition: part for part in retry.parts}
    committed = {
        file["name"]: PublishedFile(**file)
        for files in read_json(output, MANIFEST)["tables"].values()
        for file in files
    }
    files = tuple(final_files(plan))
    # a retry that was killed may have left some files with other columns, and no word of it
    before = {file.instances: parquet_schema(output, file.instances) for file in files}
    read_again = [part_schema(output, part) for part in retry.parts]
    schema = columns.schema([*before.values(), *read_again])
    tables = Tables(plan, output, schema, lease)
    for file in files:
        numbers, rows = _replacements(file, output, columns, schema, again)
        same = before[file.instances].equals(tables.schema) and (
            columns.fixed is not None or is_same(output, committed[file.instances])
        )
        if same and not rows.num_rows:
            kept = [name for name in COUNTED_COLUMNS if name in schema.names]
            tables.keep(file, committed, read_parquet(output, file.instances, kept))
        else:
            old = (conform(batch, schema) for batch in published_rows(file, output))
            tables.write(file, _replaced(old, numbers, rows))
    tables.commit(retry.manifest)
    output.remove(RETRIES)
    output.tidy()


def _replacements(
    file: FinalFile,
    output: Output,
    columns: TableColumns,
    schema: pa.Schema,
    again: dict[int, Part],
) -> tuple[pa.Array, pa.Table]:
    """Return the numbers of a file's rows that were read again, and these rows."""
    numbers: list[int] = []
    batches: list[pa.RecordBatch] = []
    for part, start in zip(file.parts, file.starts, strict=True):
        if retried := again.get(part.partition):
            numbers += [start + row for row in retried.rows or ()]
            rows = take_part(output, retried, columns.fixed).to_batches()
            batches += [conform(batch, schema) for batch in rows]
    return pa.array(numbers, pa.int64()), pa.Table.from_batches(batches, schema)


def _replaced(
    batches: Iterator[pa.RecordBatch], numbers: pa.Array, rows: pa.Table
) -> Iterator[pa.RecordBatch]:
    """Yield batches with rows `numbers` of all of them replaced."""
    start = 0
    for batch in batches:
        stop = start + batch.num_rows
        inside = pc.and_(pc.greater_equal(numbers, start), pc.less(numbers, stop))
        here, new = pc.subtract(numbers.filter(inside), start).to_pylist(), rows.filter(inside)
        start = stop
        if not here:
            yield batch
            continue
        order = list(range(batch.num_rows))
        for offset, number in enumerate(here):
            order[number] = batch.num_rows + offset
        old = pa.Table.from_batches([batch]).replace_schema_metadata(None)
        yield from pa.concat_tables([old, new]).take(pa.array(order, pa.int64())).to_batches()
