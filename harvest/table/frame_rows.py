"""Rows with their frames, as parts hold them, and the two tables that they become.

A part has one row for each object, with the place of its frames in it; ``instances`` has the same
without, and ``frames`` has a row of its own for each object with pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ..output import Output
from .parquet import FileWriter, Layout, parquet_file
from .schema import FRAMES, FRAMES_COLUMN, FRAMES_FIELD

FRAMES_LAYOUT: Final = Layout(
    # who looks up one object reads one row group
    group_bytes=8 * 2**20,
    looked_up=(),
    # ascending numbers take two or three bytes each by their differences
    encodings={f"{name}.list.element": "DELTA_BINARY_PACKED" for name in ("offsets", "lengths")},
)
_ROWS_AT_ONCE: Final = 2_000
"""Of ``instances``, while frames are put to them: those of so many slides fit into memory."""


def frames_file(
    output: Output, name: str, properties: Mapping[str, str], rows: int
) -> AbstractContextManager[FileWriter]:
    """Write a file of the ``frames`` table; see `harvest.table.parquet_file`."""
    return parquet_file(output, name, FRAMES, properties, rows=rows, layout=FRAMES_LAYOUT)


def instances_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of ``instances``."""
    return rows.drop_columns([FRAMES_COLUMN]) if FRAMES_COLUMN in rows.schema.names else rows


def frames_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of ``frames``: fewer, where objects have no pixels."""
    located = rows.select(["url", "size", FRAMES_COLUMN]).filter(
        rows.column(FRAMES_COLUMN).is_valid()
    )
    found = located.column(FRAMES_COLUMN)
    columns = {name: located.column(name) for name in ("url", "size")}
    columns |= {field.name: found.field(field.name) for field in found.type}
    return pa.RecordBatch.from_arrays([columns[name] for name in FRAMES.names], schema=FRAMES)


def with_frames(
    instances: Iterable[pa.RecordBatch], frames: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Put the rows of both tables together again.

    Parameters
    ----------
    instances
        Rows of ``instances``.
    frames
        Rows of ``frames`` of the same objects, in the same order, which is that of their URLs.
    """
    coming = iter(frames)
    waiting = FRAMES.empty_table()
    for batch in instances:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            rows = batch.slice(start, _ROWS_AT_ONCE)
            last = rows.column("url")[-1].as_py()
            while not waiting.num_rows or waiting["url"][-1].as_py() <= last:
                more = next(coming, None)
                if more is None:
                    break
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([more])])
            here = pc.is_in(waiting["url"], rows.column("url"))
            yield _joined(rows, waiting.filter(here).combine_chunks())
            waiting = waiting.filter(pc.invert(here))


def _joined(rows: pa.RecordBatch, frames: pa.Table) -> pa.RecordBatch:
    fields = list(FRAMES_FIELD.type)
    columns = [frames[field.name].combine_chunks() for field in fields]
    found = pa.StructArray.from_arrays(columns, fields=fields)
    places = pc.index_in(rows.column("url"), frames["url"].combine_chunks())
    # taken and not sliced: what is written is measured by its buffers
    own = rows.take(pa.array(range(rows.num_rows), pa.int64()))
    return own.append_column(FRAMES_FIELD, found.take(places))
