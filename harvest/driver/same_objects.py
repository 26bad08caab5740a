"""Which rows of an earlier harvest still hold, by what their objects are known by.

An object of IDC is the same wherever its UUID is, whatever has become of its series; any other
where URL, size and ETag are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ErrorKind
from ..output import Output
from ..plan.stored import Plan
from ..table.arrow import partition_name, read_arrow
from ..table.parquet import parquet_schema, read_parquet
from .publish import FinalFile, final_files

NONE: Final = -1
"""Number of no row."""
_LASTING: Final = (
    ErrorKind.NOT_DICOM,
    ErrorKind.TRUNCATED,
    ErrorKind.MALFORMED,
    ErrorKind.UNSUPPORTED,
)
"""What the bytes alone decide: the same object gives the same error.

``too_large`` hangs on ``limits.header_bytes``, too, which may be another one by now.
"""
_KEYS: Final = ("url", "size", "etag", "crdc_instance_uuid")
_SLICE_ROWS: Final = 500_000
"""Of a plan, that are compared with a file of an earlier harvest at once."""

Numbers = npt.NDArray[np.int64]
"""Of rows."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A finished harvest that has its plan."""

    plan: Plan
    output: Output


def same_objects(plan: Plan, output: Output, earlier: Earlier) -> Numbers:
    """Find for each planned row the earlier one that still holds.

    Neither harvest is ever in memory: each file of the earlier one is compared with slices of the
    plan.

    Returns
    -------
    numpy.ndarray of int64
        The number of a row of the earlier harvest, or `NONE`.
    """
    places = np.full(plan.rows, NONE, np.int64)
    first = 0
    for file in final_files(earlier.plan):
        keys = _earlier_keys(file, earlier.output)
        start = 0
        for planned in _plan_slices(plan, output):
            here = places[start : start + planned.num_rows]
            found = _found(planned, keys)
            new = (here == NONE) & (found != NONE)
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
    """Find for each planned row the one of a file that still holds, or `NONE`."""
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
    numbers: Numbers = pc.fill_null(pc.cast(places, pa.int64()), NONE).to_numpy()
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
