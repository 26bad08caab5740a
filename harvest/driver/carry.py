"""Rows of a snapshot before that still hold: they are carried over, and not read again.

An object of IDC is the same wherever its UUID is, whatever has become of its series; any other
where URL, size and ETag are the same. What the index and the plan know of it is taken from the new
plan. A partition of which all rows hold is finished by that; of one with others only these are
read, and then put between the carried ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..dicom.header_json import bulk_data_of
from ..errors import ErrorKind
from ..output import MANIFEST, LocalOutput, Output
from ..output.documents import read_json, write_json
from ..output.lease import Lease
from ..plan.stored import Plan, load_plan
from ..table.arrow import open_arrow, partition_name, read_arrow, write_arrow
from ..table.parquet import parquet_schema, read_parquet
from ..table.parts import Part, parts_folder, take_part, write_part
from ..table.schema import FORMAT_VERSION, FRAMES_FIELD, HEADER_COLUMN
from ..table.union import TableColumns, conform
from .publish import FinalFile, final_files, published_rows

_LASTING: Final = (
    ErrorKind.NOT_DICOM,
    ErrorKind.TRUNCATED,
    ErrorKind.MALFORMED,
    ErrorKind.UNSUPPORTED,
)
"""What the bytes alone decide: the same object gives the same error.

``too_large`` hangs on ``limits.header_bytes``, too, which may be another one by now.
"""
_REFRESHED: Final = ("url", "size", "etag", "crdc_series_uuid", "crdc_instance_uuid")
"""Columns that the new plan knows better; size and ETag where it has been listed."""
_MADE_BY: Final = ("columns", "header", "frames")
"""Of what a plan was asked: rows of another one are other rows."""
_KEYS: Final = ("url", "size", "etag", "crdc_instance_uuid")
_SLICE_ROWS: Final = 500_000
"""Of a plan, that are compared with a file of an earlier harvest at once."""
_NONE: Final = -1

Numbers = npt.NDArray[np.int64]
"""Of rows."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A partition with carried rows and rows to read."""

    read: Part
    """The rows to read."""
    kept: Part
    """The rows that were carried over."""
    whole: Part
    """What becomes of both."""


def can_carry(plan: Plan, previous: Output) -> bool:
    """Tell whether the rows of an earlier harvest are what this plan would read."""
    manifest = read_json(previous, MANIFEST)
    asked = manifest["asked"]
    made_alike = manifest["format_version"] == FORMAT_VERSION and all(
        asked.get(name) == plan.asked.get(name) for name in _MADE_BY
    )
    # the plan tells in which order the rows are; who needs the tables alone may have removed it
    return made_alike and load_plan(previous) is not None


def carry_over(
    plan: Plan, output: Output, previous: Output, columns: TableColumns, lease: Lease
) -> tuple[Beside, ...]:
    """Write the parts that an earlier harvest gives.

    Parameters
    ----------
    plan, output
        Of the harvest that has begun.
    previous
        Of a finished harvest.
    columns
        Of the tables.
    lease
        Of `output`.

    Returns
    -------
    tuple of Beside
        Of partitions of which some rows are left to read. Those of which all rows are left have
        no part; the others are done.
    """
    folder = f"{parts_folder(plan.identity)}/carried"
    listed = f"{folder}/rows.json"
    if not output.exists(listed):
        rows = _carried(plan, output, previous, columns, lease, folder)
        write_json(output, listed, rows)
    present = {*output.names(parts_folder(plan.identity)), *output.names(f"{folder}/kept")}
    found = [
        _beside(plan, int(number), folder, rows)
        for number, rows in read_json(output, listed).items()
    ]
    # a carried part that was damaged, and removed, is read with the others
    return tuple(
        each for each in found if each.whole.name not in present and each.kept.name in present
    )


def join(beside: Beside, output: Output, columns: TableColumns) -> None:
    """Put the rows that were read between those that were carried over; raises `RunAgain`."""
    tables = [take_part(output, part, columns.fixed) for part in (beside.read, beside.kept)]
    schema = columns.schema([table.schema for table in tables], of_a_part=True)
    batches = [conform(batch, schema) for table in tables for batch in table.to_batches()]
    places = np.concatenate([np.array(part.rows) for part in (beside.read, beside.kept)])
    joined = pa.Table.from_batches(batches, schema).combine_chunks()
    write_part(output, beside.whole, joined.take(pa.array(np.argsort(places))))
    for part in (beside.read, beside.kept):
        output.remove(part.name)


def _beside(plan: Plan, number: int, folder: str, rows: Sequence[int]) -> Beside:
    whole = plan.part(number)
    name = whole.name.rpartition("/")[2]
    others = np.setdiff1d(np.arange(plan.partitions[number].rows), rows).tolist()
    return Beside(
        read=Part(plan.identity, number, f"{folder}/read/{name}", tuple(rows)),
        kept=Part(plan.identity, number, f"{folder}/kept/{name}", tuple(others)),
        whole=whole,
    )


def _carried(
    plan: Plan,
    output: Output,
    previous: Output,
    columns: TableColumns,
    lease: Lease,
    folder: str,
) -> dict[str, list[int]]:
    """Write carried rows; return those that are left to read beside them, by partition."""
    before = load_plan(previous)
    assert before is not None, "a finished harvest has its plan"
    places = _places(plan, output, before, previous)
    left: dict[str, list[int]] = {}
    start = 0
    with _spooled(before, previous, places) as spool:
        for partition in plan.partitions:
            lease.check()
            here = places[start : start + partition.rows]
            start += partition.rows
            held = here != _NONE
            if not held.any():
                continue
            planned = read_arrow(output, partition_name(partition.number))
            rows = _refreshed(spool.take(here[held]), planned.filter(pa.array(held)))
            part = plan.part(partition.number)
            if not held.all():
                left[str(partition.number)] = np.flatnonzero(~held).tolist()
                part = _beside(plan, partition.number, folder, left[str(partition.number)]).kept
            write_part(output, part, _as_part(rows, columns))
    return left


# --- which rows hold ---------------------------------------------------------------------------


def _places(plan: Plan, output: Output, before: Plan, previous: Output) -> Numbers:
    """Find for each planned row the earlier one that still holds.

    Neither harvest is ever in memory: each file of the earlier one is compared with slices of the
    plan.

    Returns
    -------
    numpy.ndarray of int64
        The number of a row of the earlier harvest, or `_NONE`.
    """
    places = np.full(plan.rows, _NONE, np.int64)
    first = 0
    for file in final_files(before):
        earlier = _earlier_keys(file, previous)
        start = 0
        for planned in _plan_slices(plan, output):
            here = places[start : start + planned.num_rows]
            found = _found(planned, earlier)
            new = (here == _NONE) & (found != _NONE)
            here[new] = found[new] + first
            start += planned.num_rows
        first += file.rows
    return places


def _plan_slices(plan: Plan, output: Output) -> Iterator[pa.Table]:
    """Read what the rows of a plan are known by, some hundred thousand at a time."""
    waiting: list[pa.Table] = []
    rows = 0
    for partition in plan.partitions:
        table = read_arrow(output, partition_name(partition.number))
        waiting.append(table.select([*_KEYS, "series_instance_uid"]))
        rows += partition.rows
        if rows >= _SLICE_ROWS:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _earlier_keys(file: FinalFile, output: Output) -> pa.Table:
    """Read what the rows of a file are known by, and whether they may hold."""
    schema = parquet_schema(output, file.instances)
    wanted = (*_KEYS, "status", "error", "SeriesInstanceUID")
    named = [name for name in wanted if name in schema.names]
    return pa.Table.from_batches(
        read_parquet(output, file.instances, named),
        pa.schema([schema.field(name) for name in named]),
    )


def _found(planned: pa.Table, earlier: pa.Table) -> Numbers:
    """Find for each planned row the one of a file that still holds, or `_NONE`."""
    lasting = pc.is_in(earlier["error"], pa.array([kind.value for kind in _LASTING]))
    holds = pc.or_(pc.equal(earlier["status"], "ok"), lasting)
    nothing = pa.scalar(None, pa.string())
    keys = pc.if_else(holds, _identities(earlier), nothing).combine_chunks()
    found = pc.index_in(_identities(planned), value_set=keys, skip_nulls=True)
    same = _agree(planned["size"], earlier["size"].take(found))
    if "SeriesInstanceUID" in earlier.column_names:
        # of no other series than the one that the plan knows
        uids = earlier["SeriesInstanceUID"].take(found)
        same = pc.and_(same, _agree(planned["series_instance_uid"], uids))
    places = pc.if_else(same, found, pa.scalar(None, pa.int32()))
    numbers: Numbers = pc.fill_null(pc.cast(places, pa.int64()), _NONE).to_numpy()
    return numbers


def _identities(rows: pa.Table) -> pa.ChunkedArray:
    """Name each object; null where nothing tells whether it is the same as before."""
    own = pc.binary_join_element_wise(
        rows["url"], pc.cast(rows["size"], pa.string()), rows["etag"], "\t"
    )
    return pc.coalesce(rows["crdc_instance_uuid"], own)


def _agree(planned: pa.ChunkedArray, earlier: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell where two columns do not contradict each other: null is no contradiction."""
    return pc.fill_null(pc.equal(planned, earlier), True)


# --- carried rows, in the order of the new plan ------------------------------------------------


class _Spool:
    """Rows of an earlier harvest in a file of batches, to be taken in any order.

    Parameters
    ----------
    batches
        Mapped into memory, which they need only while they are looked at.
    positions
        By the number of a row in its harvest.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], positions: Numbers) -> None:
        self._batches = batches
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        self._positions = positions

    def take(self, numbers: Numbers) -> pa.Table:
        """Return rows of the harvest, in this order."""
        positions = self._positions[numbers]
        order = np.argsort(positions, kind="stable")
        ordered = positions[order]
        which = np.searchsorted(self._starts, ordered, side="right") - 1
        taken = []
        for batch in np.unique(which):
            # batch by batch: taking from a table copies it whole where columns are nested
            inside = ordered[which == batch] - self._starts[batch]
            taken.append(self._batches[batch].take(pa.array(inside)))
        rows = pa.Table.from_batches(taken).combine_chunks()
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return rows.take(pa.array(back))


@contextmanager
def _spooled(plan: Plan, output: Output, places: Numbers) -> Iterator[_Spool]:
    """Keep the rows of a harvest that are carried over in a temporary file, uncompressed."""
    wanted = np.zeros(plan.rows, bool)
    wanted[places[places != _NONE]] = True
    positions = np.cumsum(wanted) - 1

    def rows() -> Iterator[pa.RecordBatch]:
        start = 0
        for file in final_files(plan):
            for batch in published_rows(file, output):
                stop = start + batch.num_rows
                yield batch.filter(pa.array(wanted[start:stop]))
                start = stop

    schema = parquet_schema(output, next(final_files(plan)).instances)
    if plan.with_frames:
        schema = schema.append(FRAMES_FIELD)
    with TemporaryDirectory(prefix="harvest-carry-") as folder:
        write_arrow(LocalOutput(Path(folder)), "rows.arrow", rows(), schema, None)
        with open_arrow(Path(folder) / "rows.arrow") as batches:
            yield _Spool(batches, positions)


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
