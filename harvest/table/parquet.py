"""Final files: Parquet, laid out for queries, written whole and told by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..output import FORMAT_VERSION, Output

ROW_GROUP_ROWS: Final = 122_880
"""DuckDB's own row group: one thread scans one."""
ROW_GROUP_BYTES: Final = 256 * 2**20
"""In memory; a row group is not much longer."""
ROWS_PER_FILE: Final = 8 * ROW_GROUP_ROWS
"""Plan rows of one file of ``instances``; 100 MB to 1 GB at 100 to 1,000 bytes a row."""
ROWS_PER_LONG_FILE: Final = ROW_GROUP_ROWS
"""Where whole headers are among the columns, or frames beside them: ten times as much."""
_LOOKED_UP: Final = (
    "crdc_instance_uuid",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
"""Columns with a bloom filter; ``url`` and ``crdc_series_uuid`` are sorted."""
_FALSE_POSITIVES: Final = 0.01


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a finished table, as the manifest lists it."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the bytes of a final file are laid out."""

    group_bytes: int = ROW_GROUP_BYTES
    """In memory; a row group is not much longer."""
    looked_up: tuple[str, ...] = _LOOKED_UP
    """Columns with a bloom filter."""
    encodings: Mapping[str, str] | None = None
    """Of columns that have another than Parquet's usual one; no column has a dictionary then."""


USUAL: Final = Layout()


class FileWriter:
    """A final file that is being written; see `parquet_file`.

    Parameters
    ----------
    writer
        Of its rows.
    group_bytes
        In memory; a row group is not much longer.
    """

    published: PublishedFile
    """The file, when it has its name."""

    def __init__(self, writer: pq.ParquetWriter, group_bytes: int) -> None:
        self.rows = 0
        """Written to row groups so far."""
        self._writer = writer
        self._group_bytes = group_bytes
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows; they are regrouped, and a long row group ends with its batch."""
        self._wait([batch])
        while self._waiting_rows >= ROW_GROUP_ROWS:
            table = self._taken()
            self._write(table.slice(0, ROW_GROUP_ROWS))
            self._wait(table.slice(ROW_GROUP_ROWS).to_batches())
        # whole headers are long, and a group is in memory as a whole
        if self._waiting_bytes > self._group_bytes:
            self.end()

    def end(self) -> None:
        """Write the rows that wait."""
        if self._waiting_rows:
            self._write(self._taken())

    def _wait(self, batches: list[pa.RecordBatch]) -> None:
        self._waiting += batches
        self._waiting_rows += sum(batch.num_rows for batch in batches)
        self._waiting_bytes += sum(batch.get_total_buffer_size() for batch in batches)

    def _taken(self) -> pa.Table:
        table = pa.Table.from_batches(self._waiting)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        return table

    def _write(self, group: pa.Table) -> None:
        footer = self._writer.schema.metadata
        self._writer.write_table(group.replace_schema_metadata(footer), ROW_GROUP_ROWS)
        self.rows += group.num_rows


@contextmanager
def parquet_file(
    output: Output,
    name: str,
    schema: pa.Schema,
    properties: Mapping[str, str],
    *,
    rows: int,
    layout: Layout = USUAL,
) -> Iterator[FileWriter]:
    """Write a final file, which gets its name when the block ends.

    Parameters
    ----------
    output
        Where it goes.
    name
        Of the file.
    schema
        Of the table.
    properties
        Go into the footer.
    rows
        Not more than these are expected; sizes the bloom filters.
    layout
        Of its bytes.
    """
    footer = {**properties, "harvest.format_version": str(FORMAT_VERSION)}
    distinct = max(1, min(rows, ROW_GROUP_ROWS))
    bloom = {
        column: {"ndv": distinct, "fpp": _FALSE_POSITIVES}
        for column in layout.looked_up
        if column in schema.names
    }
    sorting = [pq.SortingColumn(schema.get_field_index("url"))] if "url" in schema.names else None
    with output.writing(name) as path:
        with (
            pa.OSFile(str(path), "wb") as file,
            pq.ParquetWriter(
                file,
                schema.with_metadata(footer),
                compression="zstd",
                use_dictionary=layout.encodings is None,
                column_encoding=dict(layout.encodings) if layout.encodings else None,
                write_page_checksum=True,
                write_page_index=True,
                bloom_filter_options=bloom,
                sorting_columns=sorting,
            ) as writer,
        ):
            made = FileWriter(writer, layout.group_bytes)
            yield made
            made.end()
        with path.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        made.published = PublishedFile(name, made.rows, path.stat().st_size, digest)


def write_parquet(
    output: Output,
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    properties: Mapping[str, str],
    *,
    rows: int,
) -> PublishedFile:
    """Write a final file of some rows, in their order; see `parquet_file`."""
    with parquet_file(output, name, schema, properties, rows=rows) as file:
        for batch in batches:
            file.write(batch)
    return file.published


def read_parquet(
    output: Output, name: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a final file, one row group at a time."""
    with output.opened(name) as file, pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            yield from parquet.read_row_group(group, columns).to_batches()


def parquet_schema(output: Output, name: str) -> pa.Schema:
    """Read which columns a final file has."""
    with output.opened(name) as file:
        return pq.read_schema(file).remove_metadata()


def rows_of(output: Output, name: str, url: str) -> list[dict[str, Any]]:
    """Return the rows of a final file with this ``url``, of which it reads one row group.

    Raises
    ------
    FileNotFoundError
        There is none of this name.
    pyarrow.ArrowException
        It is no Parquet file.
    """
    with output.opened(name) as file:
        found = pq.read_table(file, filters=[("url", "==", url)])
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def is_same(output: Output, file: PublishedFile) -> bool:
    """Tell whether a final file is what a manifest says."""
    digest = hashlib.sha256()
    with output.opened(file.name) as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest() == file.sha256
