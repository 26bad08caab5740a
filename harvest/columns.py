"""New columns from the headers that a harvest has kept, without the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from .config import OutputConfig
from .converter import Converter, inner_encoding
from .elements import Selection
from .errors import OutputError
from .json_dataset import ENCODING, json_dataset
from .output import LocalOutput, Output, open_output
from .progress import Progress, Silent
from .schema import attributes_of, columns_schema
from .table import finished, read_parquet, write_parquet
from .tags import Wanted
from .union import conform, united

_ROWS: Final = 2_000
"""Made at once: a header is a hundred times as long as text as it is in columns."""


@dataclass(frozen=True, slots=True)
class NewColumns:
    """A file of columns that were made later."""

    path: str
    rows: int
    columns: tuple[str, ...]


def write_columns(
    output: OutputConfig, wanted: Wanted, destination: Path, progress: Progress | None = None
) -> NewColumns:
    """Make columns of the header column of a finished output.

    Parameters
    ----------
    output
        Harvested with ``read.header: json``.
    wanted
        What becomes columns, as in a harvest.
    destination
        The Parquet file to write: ``url``, ``issues`` and the columns, one row for each row of
        ``instances`` and in its order.
    progress
        Is told what happens.

    Returns
    -------
    NewColumns
        What was written.

    Raises
    ------
    OutputError
        The output is not finished, or has no headers.
    """
    opened = open_output(output)
    manifest = finished(opened, output.url)
    if manifest["asked"]["header"] != "json":
        raise OutputError(
            f"{output.url} has no header column: columns can be made later only of a harvest with "
            "read.header: json; add the tags to the config, and harvest into another output"
        )
    files = [file["name"] for file in manifest["tables"]["instances"]]
    progress = progress or Silent()
    maker = _Maker(wanted)
    if wanted.open:
        progress.message("looking which attributes there are")
        for batch in _batches(opened, files):
            maker.rows(batch)
    found = maker.converter.attributes()
    schema = columns_schema(united([found]) if wanted.open else found)
    made = (conform(maker.batch(batch), schema) for batch in _batches(opened, files))
    progress.message("making the columns")
    written = write_parquet(
        LocalOutput(destination.parent),
        destination.name,
        made,
        schema,
        {"harvest.plan": manifest["plan"]},
        rows=manifest["rows"],
    )
    names = tuple(attribute.name for attribute in attributes_of(schema))
    return NewColumns(str(destination), written.rows, names)


def _batches(output: Output, files: list[str]) -> Iterator[pa.RecordBatch]:
    for name in files:
        for group in read_parquet(output, name, ["url", "header"]):
            for start in range(0, group.num_rows, _ROWS):
                yield group.slice(start, _ROWS)


class _Maker:
    """Makes rows of headers."""

    def __init__(self, wanted: Wanted) -> None:
        self.converter = Converter(wanted)
        self._selection = Selection(wanted.attributes, everything=wanted.everything)

    def batch(self, headers: pa.RecordBatch) -> pa.RecordBatch:
        """Make the columns of some rows."""
        rows = self.rows(headers)
        return pa.RecordBatch.from_pylist(rows, columns_schema(self.converter.attributes()))

    def rows(self, headers: pa.RecordBatch) -> list[dict[str, Any]]:
        """Make some rows."""
        pairs = zip(headers["url"].to_pylist(), headers["header"].to_pylist(), strict=True)
        return [{"url": url, **self._row(text)} for url, text in pairs]

    def _row(self, text: str | None) -> dict[str, Any]:
        if text is None:  # it could not be read
            return {}
        dataset = json_dataset(json.loads(text), self._selection)
        encoding = inner_encoding(dataset, ENCODING)
        columns, misfits = self.converter.columns(dataset, dataset, encoding)
        return {**columns, "issues": list(chain.from_iterable(misfits.values())) or None}
