"""Rows of a snapshot before that still hold: they are carried over, and not read again.

What the index and the plan know of an object is taken from the new plan. A partition of which all
rows hold is finished by that; of one with others only these are read, and then put between the
carried ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..dicom.header_json import bulk_data_of
from ..output import FORMAT_VERSION, MANIFEST, Output
from ..output.documents import read_json, write_json
from ..output.lease import Lease
from ..plan.stored import Plan, load_plan
from ..table.arrow import partition_name, read_arrow
from ..table.parts import Part, parts_folder, take_part, write_part
from ..table.schema import HEADER_COLUMN
from ..table.union import TableColumns, conform
from .same_objects import NONE, Earlier, same_objects
from .spool import spooled

CARRIED: Final = "requests = 0 AND NOT retryable"
"""In SQL, rows that no request was sent for; an object that killed its worker may have none
either."""
_REFRESHED: Final = ("url", "size", "etag", "crdc_series_uuid", "crdc_instance_uuid")
"""Columns that the new plan knows better; size and ETag where it has been listed."""
_MADE_BY: Final = ("columns", "header", "frames")
"""Of what a plan was asked: rows of another one are other rows."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """A partition with carried rows and rows to read."""

    read: Part
    """The rows to read."""
    kept: Part
    """The rows that were carried over."""
    whole: Part
    """What becomes of both."""


def carryable(plan: Plan, previous: Output) -> Earlier | None:
    """Return an earlier harvest whose rows are what this plan would read; otherwise None."""
    manifest = read_json(previous, MANIFEST)
    asked = manifest["asked"]
    made_alike = manifest["format_version"] == FORMAT_VERSION and all(
        asked.get(name) == plan.asked.get(name) for name in _MADE_BY
    )
    # the plan tells in which order the rows are; who needs the tables alone may have removed it
    before = load_plan(previous) if made_alike else None
    return None if before is None else Earlier(before, previous)


def carry_over(
    plan: Plan, output: Output, earlier: Earlier, columns: TableColumns, lease: Lease
) -> tuple[Mixed, ...]:
    """Write the parts that an earlier harvest gives.

    Parameters
    ----------
    plan, output
        Of the harvest that has begun.
    earlier
        As `carryable` gives it.
    columns
        Of the tables.
    lease
        Of `output`.

    Returns
    -------
    tuple of Mixed
        Of partitions of which some rows are left to read. Those of which all rows are left have
        no part; the others are done.
    """
    folder = f"{parts_folder(plan.identity)}/carried"
    listed = f"{folder}/rows.json"
    if not output.exists(listed):
        rows = _carried(plan, output, earlier, columns, lease, folder)
        write_json(output, listed, rows)
    present = {*output.names(parts_folder(plan.identity)), *output.names(f"{folder}/kept")}
    found = [
        _mixed(plan, int(number), folder, rows)
        for number, rows in read_json(output, listed).items()
    ]
    # a carried part that was damaged, and removed, is read with the others
    return tuple(
        each for each in found if each.whole.name not in present and each.kept.name in present
    )


def join_rows(mixed: Mixed, output: Output, columns: TableColumns) -> None:
    """Put the rows that were read between those that were carried over; raises `RunAgain`."""
    tables = [take_part(output, part, columns.fixed) for part in (mixed.read, mixed.kept)]
    schema = columns.schema([table.schema for table in tables], of_a_part=True)
    batches = [conform(batch, schema) for table in tables for batch in table.to_batches()]
    places = np.concatenate([np.array(part.rows) for part in (mixed.read, mixed.kept)])
    joined = pa.Table.from_batches(batches, schema).combine_chunks()
    write_part(output, mixed.whole, joined.take(pa.array(np.argsort(places))))
    for part in (mixed.read, mixed.kept):
        output.remove(part.name)


def _mixed(plan: Plan, number: int, folder: str, rows: Sequence[int]) -> Mixed:
    whole = plan.part(number)
    name = whole.name.rpartition("/")[2]
    others = np.setdiff1d(np.arange(plan.partitions[number].rows), rows).tolist()
    return Mixed(
        read=Part(plan.identity, number, f"{folder}/read/{name}", tuple(rows)),
        kept=Part(plan.identity, number, f"{folder}/kept/{name}", tuple(others)),
        whole=whole,
    )


def _carried(
    plan: Plan,
    output: Output,
    earlier: Earlier,
    columns: TableColumns,
    lease: Lease,
    folder: str,
) -> dict[str, list[int]]:
    """Write carried rows; return those that are left to read beside them, by partition."""
    places = same_objects(plan, output, earlier)
    left: dict[str, list[int]] = {}
    start = 0
    with spooled(earlier, places) as spool:
        for partition in plan.partitions:
            lease.check()
            here = places[start : start + partition.rows]
            start += partition.rows
            held = here != NONE
            if not held.any():
                continue
            planned = read_arrow(output, partition_name(partition.number))
            rows = _refreshed(spool.take(here[held]), planned.filter(pa.array(held)))
            part = plan.part(partition.number)
            if not held.all():
                left[str(partition.number)] = np.flatnonzero(~held).tolist()
                part = _mixed(plan, partition.number, folder, left[str(partition.number)]).kept
            write_part(output, part, _as_part(rows, columns))
    return left


def _refreshed(rows: pa.Table, planned: pa.Table) -> pa.Table:
    """Give carried rows what the new plan knows; nothing was read for them."""
    before = rows["url"]
    for name in _REFRESHED:
        values = planned[name].combine_chunks()
        rows = _with(rows, name, pc.coalesce(values, rows[name].combine_chunks()))
    for name in ("requests", "bytes_read"):
        rows = _with(rows, name, pa.array(np.zeros(rows.num_rows, np.int64)))
    if HEADER_COLUMN in rows.column_names:
        rows = _with(rows, HEADER_COLUMN, _renamed(rows, before))
    return rows


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = rows.column_names.index(name)
    return rows.set_column(place, rows.schema.field(name), values)


def _renamed(rows: pa.Table, before: pa.ChunkedArray) -> pa.Array:
    """Name the bulk data of whole headers by the URL that their object has now."""
    triples = zip(
        *(column.to_pylist() for column in (rows[HEADER_COLUMN], before, rows["url"])), strict=True
    )
    texts = [
        text and (text if old == new else text.replace(bulk_data_of(old), bulk_data_of(new)))
        for text, old, new in triples
    ]
    return pa.array(texts, rows.schema.field(HEADER_COLUMN).type)


def _as_part(rows: pa.Table, columns: TableColumns) -> pa.Table:
    """Give rows the columns of a part: where each has its own, those that they came with.

    An attribute that no object has any more stays as a column of nulls: nobody can tell it from
    one that is always empty.
    """
    schema = columns.fixed or rows.schema
    return pa.Table.from_batches([conform(batch, schema) for batch in rows.to_batches()], schema)
