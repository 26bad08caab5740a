"""Tables as files: Arrow IPC while the work goes on, Parquet when it is published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ..errors import OutputError, RunAgain
from ..output import MANIFEST, PARTS, PLAN, Output
from .rows import Planned, Row
from .schema import FORMAT_VERSION, attributes_of

SERIES_PLAN: Final = f"{PLAN}/series.arrow"
ROW_GROUP_ROWS: Final = 122_880
"""DuckDB's own row group: one thread scans one."""
ROW_GROUP_BYTES: Final = 256 * 2**20
"""In memory; a row group is not much longer."""
ROWS_PER_FILE: Final = 8 * ROW_GROUP_ROWS
"""Plan rows of one file of ``instances``; 100 MB to 1 GB at 100 to 1,000 bytes a row."""
ROWS_PER_LONG_FILE: Final = ROW_GROUP_ROWS
"""Where whole headers are among the columns, or frames beside them: ten times as much."""

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
_LOOKED_UP: Final = (
    "crdc_instance_uuid",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
"""Columns with a bloom filter; ``url`` and ``crdc_series_uuid`` are sorted."""
_FALSE_POSITIVES: Final = 0.01
_PLAN: Final = b"harvest.plan"
_PARTITION: Final = b"harvest.partition"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one partition that are read together, and the file that holds the result."""

    plan: str
    """Identity of the plan."""
    partition: int
    name: str
    """Of the result."""
    rows: tuple[int, ...] | None = None
    """Numbers of the rows within the partition; None for all."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a finished table, as the manifest lists it."""

    name: str
    rows: int
    bytes: int
    sha256: str


class DamagedPart(Exception):
    """A part is not what its name promises; the text says what it is instead."""


def partition_name(partition: int) -> str:
    """Name the file of a partition's plan rows."""
    return f"{PLAN}/{partition:06d}.arrow"


def parts_folder(plan: str) -> str:
    """Name the folder of the results that belong to a plan, by its identity."""
    return f"{PARTS}/{plan[:16]}"


def part_of(plan: str, partition: int) -> Part:
    """Name the result of a whole partition."""
    return Part(plan, partition, f"{parts_folder(plan)}/{partition:06d}.arrow")


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
    return _parse_arrow(output.read(name))


@contextmanager
def open_arrow(file: Path) -> Iterator[list[pa.RecordBatch]]:
    """Open a local Arrow IPC file; batches that are not compressed are mapped, not read."""
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_file(mapped) as reader:
        yield [reader.get_batch(number) for number in range(reader.num_record_batches)]


def _parse_arrow(content: bytes) -> pa.Table:
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        return reader.read_all()


def read_plan_rows(output: Output, partition: int) -> list[Planned]:
    """Read the plan rows of one partition."""
    table = read_arrow(output, partition_name(partition))
    # plans of before know no kind, which is the last
    columns = [table[name].to_pylist() for name in PLAN_ROW.names if name in table.column_names]
    return [Planned(*row) for row in zip(*columns, strict=True)]


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Build a table from rows.

    Rows that are alike share the values in which they do not differ: these become Arrow values
    once, and are repeated there.
    """
    own = [row.maps[0] for row in rows]
    shared = [row.maps[1] for row in rows]
    distinct = {id(columns): columns for columns in shared}
    places = {known: place for place, known in enumerate(distinct)}
    which = pa.array([places[id(columns)] for columns in shared], pa.int32())
    owned = set().union(*own)

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name not in owned:
            return pa.array([columns.get(name) for columns in distinct.values()], kind).take(which)
        try:
            return pa.array(list(map(itemgetter(name), own)), kind)
        except KeyError:  # some rows share it with others
            pairs = zip(own, shared, strict=True)
            return pa.array([a[name] if name in a else b.get(name) for a, b in pairs], kind)

    return pa.Table.from_arrays([column(field.name, field.type) for field in schema], schema=schema)


def write_part(output: Output, part: Part, table: pa.Table) -> None:
    """Write the result of a part: the same rows give the same bytes."""
    table = table.replace_schema_metadata(None).combine_chunks()
    signed = table.replace_schema_metadata(_signature(part, table))
    # it is read once, and soon: less CPU counts for more than fewer bytes
    write_arrow(output, part.name, signed.to_batches(), signed.schema, "lz4")


def read_part(output: Output, part: Part, schema: pa.Schema | None) -> pa.Table:
    """Read the result of a part, and check that it is.

    Parameters
    ----------
    output
        That holds it.
    part
        Names it.
    schema
        That it must have; None where each part has its own.

    Raises
    ------
    DamagedPart
        It is cut, or of another plan, other columns, or other objects.
    """
    try:
        content = output.read(part.name)
    except FileNotFoundError:
        raise DamagedPart("it is gone") from None
    try:
        signed = _parse_arrow(content)
    except (pa.ArrowException, OSError) as error:
        raise DamagedPart(f"it is no whole Arrow file ({type(error).__name__})") from None
    table = signed.replace_schema_metadata(None)
    found, expected = signed.schema.metadata or {}, _signature(part, table)
    if any(found.get(name) != expected[name] for name in (_PLAN, _PARTITION)):
        raise DamagedPart("it is of another plan")
    if found != expected:
        raise DamagedPart("its checksum is wrong")
    if schema is not None and not table.schema.equals(schema):
        raise DamagedPart("it has other columns")
    planned = read_arrow(output, partition_name(part.partition))["url"]
    wanted = planned if part.rows is None else planned.take(pa.array(part.rows, pa.int64()))
    if not table["url"].equals(wanted):
        raise DamagedPart("it has other objects")
    return table


def take_part(output: Output, part: Part, schema: pa.Schema | None) -> pa.Table:
    """Read the result of a part as `read_part`; a damaged one is removed, to be read again.

    Raises
    ------
    RunAgain
        It was damaged.
    """
    with _damage_removed(output, part):
        return read_part(output, part, schema)


def part_schema(output: Output, part: Part) -> pa.Schema:
    """Read which columns a part has; raises as `take_part`."""
    with _damage_removed(output, part):
        try:
            with output.opened(part.name) as file, pa.ipc.open_file(file) as reader:
                schema = reader.schema.remove_metadata()
            attributes_of(schema)
            return schema
        except FileNotFoundError:
            raise DamagedPart("it is gone") from None
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DamagedPart(f"it is no whole Arrow file ({type(error).__name__})") from None


@contextmanager
def _damage_removed(output: Output, part: Part) -> Iterator[None]:
    try:
        yield
    except DamagedPart as damage:
        output.remove(part.name)
        raise RunAgain(
            f"part {part.name} was damaged ({damage}) and is removed: run the same command "
            "again to read its objects again"
        ) from None


def _signature(part: Part, table: pa.Table) -> dict[bytes, bytes]:
    """Say what a part is, with the SHA-256 of its rows as an Arrow stream."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    return {
        _PLAN: part.plan.encode(),
        _PARTITION: b"%d" % part.partition,
        b"harvest.sha256": digest.encode(),
    }


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


def finished(output: Output, url: str) -> dict[str, Any]:
    """Read the manifest of a finished output.

    Raises
    ------
    OutputError
        It is not finished.
    """
    if not output.exists(MANIFEST):
        raise OutputError(
            f"{url} holds no finished harvest: `harvest status {url}` tells how far "
            "it is, and `harvest run` finishes it"
        )
    return read_json(output, MANIFEST)


def is_same(output: Output, file: PublishedFile) -> bool:
    """Tell whether a final file is what a manifest says."""
    digest = hashlib.sha256()
    with output.opened(file.name) as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest() == file.sha256


def write_json(output: Output, name: str, content: dict[str, Any]) -> None:
    """Write a JSON file for people and programs."""
    output.write(name, json_bytes(content))


def json_bytes(content: dict[str, Any]) -> bytes:
    """Encode JSON for people and programs."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def read_json(output: Output, name: str) -> dict[str, Any]:
    """Read a JSON file."""
    content = json.loads(output.read(name))
    assert isinstance(content, dict)
    return content
