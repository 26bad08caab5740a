"""Rows of an earlier harvest on this machine's disk, to be taken in the order of another plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from ..output import LocalOutput
from ..table.arrow import open_arrow, write_arrow
from ..table.parquet import parquet_schema
from ..table.schema import FRAMES_FIELD
from .publish import final_files, published_rows
from .same_objects import NONE, Earlier, Numbers


class Spool:
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
def spooled(earlier: Earlier, places: Numbers) -> Iterator[Spool]:
    """Keep the rows of a harvest that are carried over in a temporary file, uncompressed."""
    plan, output = earlier.plan, earlier.output
    wanted = np.zeros(plan.rows, bool)
    wanted[places[places != NONE]] = True
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
            yield Spool(batches, positions)
