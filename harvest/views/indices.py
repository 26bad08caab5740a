"""IDC's own index tables, from a harvest: written as IDC publishes them, by IDC's own SQL."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ..cohort.idc_index import IndexColumn, IndexDefinition, index_definitions, installed_version
from ..config import OutputConfig
from ..errors import HarvestError, OutputError
from ..output.destination import local_files, written_beside
from ..table.parquet import write_parquet
from . import bigquery
from .dicom_all import ATTRIBUTES
from .dicom_shapes import Origin
from .dicom_values import existence
from .index_sql import IndexQuery, index_queries, together
from .queries import querying
from .uses import Use, sequence_tag

_Query = Callable[[str], pa.Table]
"""Asks the harvest."""

_TYPES: Final = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}
"""Arrow types of BigQuery's, as in the published files."""


@dataclass(frozen=True, slots=True)
class WrittenIndex:
    """An index table that was written."""

    name: str
    path: str
    rows: int
    not_harvested: tuple[str, ...]
    """Attributes that it reads and the output has no column for: they count as absent."""
    not_found: tuple[str, ...]
    """Attributes that it reads and that no row of ``dicom_all`` has a value of."""


def index_names() -> tuple[str, ...]:
    """Name the index tables that can be written: those that read nothing but headers."""
    return tuple(index_queries())


def write_indices(
    output: str | OutputConfig,
    names: Iterable[str],
    dest: str | Path,
    started: Callable[[str], None] = lambda name: None,
) -> list[WrittenIndex]:
    """Write IDC's index tables of a finished harvest as ``DEST/<name>.parquet``.

    They have the columns, types and descriptions that IDC publishes. An index without rows is an
    empty table. A file of the same name is replaced whole.

    Parameters
    ----------
    output
        Of the harvest, as in `harvest.connect`.
    names
        Of the tables, as `index_names` gives them.
    dest
        A folder; it is made where there is none.
    started
        Is told the name of each table before it is built.

    Returns
    -------
    list of WrittenIndex
        In the order of `names`, each once.

    Raises
    ------
    HarvestError
        An unknown name, or the harvest cannot be asked.
    OutputError, StoreUnavailable
        As `harvest.connect`, or the folder cannot be written.
    """
    wanted = [_query(name) for name in dict.fromkeys(names)]
    files = local_files(dest, (index.definition.name for index in wanted))
    with querying(output) as connection:

        def query(sql: str) -> pa.Table:
            return connection.execute(sql).to_arrow_table()

        missing = _Missing(query, wanted)
        written = []
        for index, file in zip(wanted, files, strict=True):
            started(index.definition.name)
            written.append(_write(query, index, file, missing))
    return written


def _query(name: str) -> IndexQuery:
    queries = index_queries()
    if name in queries:
        return queries[name]
    if name in index_definitions():
        raise HarvestError(
            f"{name} needs more than headers: idc-index has it; a harvest gives {_listed(queries)}"
        )
    near = difflib.get_close_matches(name, queries, n=3, cutoff=0.5)
    hint = f"did you mean {_listed(near, ' or ')}?" if near else f"there are {_listed(queries)}"
    raise HarvestError(f"IDC has no index {name!r}: {hint}")


def _listed(names: Iterable[str], by: str = ", ") -> str:
    return by.join(names)


def _write(query: _Query, index: IndexQuery, file: Path, missing: _Missing) -> WrittenIndex:
    definition = index.definition
    table = _as_published(query(bigquery.to_duckdb(index.query)), definition)
    footer = {
        "table_description": definition.description,
        # as idc-index-data says it in its own files
        "idc_index_data_version": installed_version(),
    }
    batches, rows = table.to_batches(), table.num_rows
    try:
        with written_beside(file) as (folder, name):
            write_parquet(folder, name, batches, table.schema, footer, rows=rows)
    except OutputError as error:
        raise OutputError(f"{file.name} is not written: {error}") from None
    return WrittenIndex(
        definition.name,
        str(file),
        rows,
        missing.not_harvested(index),
        missing.not_found(index),
    )


# --- columns as published ----------------------------------------------------------------------


def _as_published(found: pa.Table, definition: IndexDefinition) -> pa.Table:
    """Give a table the columns that IDC describes, in their order.

    Raises
    ------
    HarvestError
        The query has other columns than the description.
    """
    columns = {name.lower(): found[name] for name in found.column_names}
    described = [column.name.lower() for column in definition.columns]
    if sorted(columns) != sorted(described):
        raise HarvestError(
            f"the SQL and the schema of {definition.name} differ in idc-index-data "
            f"{installed_version()}: install another release"
        )
    schema = pa.schema([_field(column) for column in definition.columns])
    arrays = [
        _without_null_lists(columns[name]).cast(field.type)
        for name, field in zip(described, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def _field(column: IndexColumn) -> pa.Field:
    if column.type not in _TYPES:
        raise HarvestError(f"{column.name} has BigQuery's type {column.type}, which is not known")
    single = _TYPES[column.type]
    kind = pa.list_(pa.field("element", single)) if column.repeated else single
    return pa.field(column.name, kind, metadata={"description": column.description})


def _without_null_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Make empty lists of NULL: a table of BigQuery has no NULL for lists."""
    if not pa.types.is_list(column.type) or not column.null_count:
        return column
    return pc.if_else(pc.is_valid(column), column, pa.scalar([], column.type))


# --- what an index lacks -----------------------------------------------------------------------


class _Missing:
    """What the harvest has of the attributes that some indices read.

    Parameters
    ----------
    query
        Asks the harvest.
    indices
        Whose attributes are looked for, in one query.
    """

    def __init__(self, query: _Query, indices: Sequence[IndexQuery]) -> None:
        self._sources: dict[str, str] = {}
        types: dict[str, str] = {}
        rows = query(f"SELECT path, source, type FROM {ATTRIBUTES}").to_pylist()
        for row in rows:
            self._sources[row["path"]] = row["source"]
            types[row["path"]] = row["type"]
        paths = {
            _text(path): path
            for path in _paths(together(index.uses for index in indices))
            if self._sources[_text(path)] != Origin.ABSENT
        }
        if self._sources["SeriesInstanceUID"] == Origin.ABSENT:
            paths = {}  # dicom_all has no rows, which says nothing of the files
        tests = [
            f"coalesce(bool_or({existence(_steps(path, types[text]))}), false)"
            for text, path in paths.items()
        ]
        found = query(f"SELECT {', '.join(tests)} FROM dicom_all") if tests else pa.table({})
        answers = [column[0].as_py() for column in found.columns]
        self._found = dict(zip(paths, answers, strict=True))

    def not_harvested(self, index: IndexQuery) -> tuple[str, ...]:
        """Name what has no column and is in no header that was kept."""
        return tuple(sorted(t for t in self._texts(index) if self._sources[t] == Origin.ABSENT))

    def not_found(self, index: IndexQuery) -> tuple[str, ...]:
        """Name what was looked for and is in no file."""
        return tuple(sorted(t for t in self._texts(index) if not self._found.get(t, True)))

    def _texts(self, index: IndexQuery) -> Iterator[str]:
        yield from map(_text, _paths(index.uses))


def _paths(uses: dict[str, Use]) -> Iterator[tuple[Use, ...]]:
    for use in uses.values():
        if use.is_attribute:
            yield from use.paths()


def _text(path: Sequence[Use]) -> str:
    return ".".join(use.name for use in path)


def _steps(path: Sequence[Use], kind: str) -> list[tuple[str, bool]]:
    """Say of each step whether it is a list."""
    inner = [(use.name, sequence_tag(use.name) is not None) for use in path[:-1]]
    return [*inner, (path[-1].name, kind.endswith("[]"))]
