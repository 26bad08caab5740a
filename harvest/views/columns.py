"""New columns from the headers that a harvest has kept, without the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ..config import OutputConfig
from ..dicom.converter import Converter, issue
from ..dicom.elements import Selection
from ..dicom.json_dataset import json_dataset
from ..dicom.paths import top_tags
from ..dicom.tags import Wanted
from ..driver.progress import Progress
from ..errors import OutputError
from ..output import Output, open_output
from ..output.destination import local_file, written_beside
from ..output.documents import finished
from ..table.parquet import read_parquet, write_parquet
from ..table.schema import HEADER_COLUMN, attributes_of, columns_schema
from ..table.union import conform, known_members, united

_ROWS: Final = 2_000
_HEADER_BYTES: Final = 16 * 2**20
"""Of these rows and bytes of headers at most are columns made at once; of one row in any case."""


@dataclass(frozen=True, slots=True)
class NewColumns:
    """A file of columns that were made later."""

    path: str
    rows: int
    columns: tuple[str, ...]


def write_columns(
    output: OutputConfig,
    wanted: Wanted,
    destination: str | Path,
    progress: Progress | None = None,
) -> NewColumns:
    """Make columns of the header column of a finished output.

    Parameters
    ----------
    output
        Harvested with ``read.header: json``.
    wanted
        What becomes columns, as in a harvest.
    destination
        The Parquet file to write, outside any harvest: ``url``, ``issues`` and the columns, one
        row for each row of ``instances`` and in its order.
    progress
        Is told what happens.

    Returns
    -------
    NewColumns
        What was written.

    Raises
    ------
    OutputError
        The output is not finished, or has no headers; or the file cannot be written there.
    """
    file = local_file(destination)
    opened = open_output(output)
    manifest = finished(opened, output.url)
    if manifest["asked"]["header"] != "json":
        raise OutputError(
            f"{output.url} has no header column: columns can be made later only of a harvest with "
            "read.header: json; add the tags to the config, and harvest into another output"
        )
    progress = progress or Progress()
    with written_beside(file) as target:
        schema, rows = _write(opened, manifest, wanted, target, progress)
    names = tuple(attribute.name for attribute in attributes_of(schema))
    return NewColumns(str(destination), rows, names)


def _write(
    output: Output,
    manifest: dict[str, Any],
    wanted: Wanted,
    target: tuple[Output, str],
    progress: Progress,
) -> tuple[pa.Schema, int]:
    """Write the columns; return their schema, and how many rows there are."""
    files = [file["name"] for file in manifest["tables"]["instances"]]
    maker = _Maker(wanted)
    if wanted.open:
        progress.message("looking which attributes there are")
        for batch in _batches(output, files):
            maker.rows(batch)
    found = maker.converter.attributes()
    schema = columns_schema(known_members(united([found])) if wanted.open else found)
    made = (conform(maker.batch(batch), schema) for batch in _batches(output, files))
    progress.message("making the columns")
    written = write_parquet(
        *target,
        made,
        schema,
        {"harvest.plan": manifest["plan"]},
        rows=manifest["rows"],
    )
    return schema, written.rows


def _batches(output: Output, files: list[str]) -> Iterator[pa.RecordBatch]:
    for name in files:
        for group in read_parquet(output, name, ["url", HEADER_COLUMN]):
            yield from _small_batches(group)


def _small_batches(group: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    lengths = pc.fill_null(pc.binary_length(group[HEADER_COLUMN]), 0).to_pylist()
    start = size = 0
    for row, length in enumerate(lengths):
        if row > start and (row - start == _ROWS or size + length > _HEADER_BYTES):
            yield group.slice(start, row - start)
            start, size = row, 0
        size += length
    if lengths:
        yield group.slice(start)


class _Maker:
    """Makes rows of headers."""

    def __init__(self, wanted: Wanted) -> None:
        self.converter = Converter(wanted)
        self._selection = Selection(
            wanted.attributes, everything=wanted.everything, skipped=top_tags(wanted.skipped)
        )

    def batch(self, headers: pa.RecordBatch) -> pa.RecordBatch:
        """Make the columns of some rows."""
        rows = self.rows(headers)
        return pa.RecordBatch.from_pylist(rows, columns_schema(self.converter.attributes()))

    def rows(self, headers: pa.RecordBatch) -> list[dict[str, Any]]:
        """Make some rows."""
        pairs = zip(headers["url"].to_pylist(), headers[HEADER_COLUMN].to_pylist(), strict=True)
        return [{"url": url, **self._row(text)} for url, text in pairs]

    def _row(self, text: str | None) -> dict[str, Any]:
        if text is None:  # it could not be read
            return {}
        dataset, around, untold = json_dataset(json.loads(text), self._selection)
        encoding = around.inside(dataset)
        columns, misfits = self.converter.columns(dataset, dataset, encoding)
        issues = [*chain.from_iterable(misfits.values()), *(issue(*found) for found in untold)]
        return {**columns, "issues": issues or None}
