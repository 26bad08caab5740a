"""Finished tables in DuckDB."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import duckdb
import pyarrow as pa
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from ..config import OutputConfig, output_config
from ..errors import HarvestError, OutputError
from ..output import MANIFEST, BucketOutput, LocalOutput, Output, open_output
from ..output.documents import finished
from ..output.snapshots import newest_complete
from ..sql import file_literal, quoted
from ..store.protocol import Version
from ..store.ranged_file import RangedFile
from .dicom_all import ATTRIBUTES, Source, dicom_views
from .index_sql import attributes_of_indices

SHOWN_ROWS: Final = 200
"""More are asked for with LIMIT, or as JSON."""
_NAMING_VIEWS: Final = ("dicom_", "show ", "duckdb_", "information_schema")
"""Queries with one of these may want the views in BigQuery's shape."""


def connect(
    output: str | Mapping[str, Any] | OutputConfig,
    endpoint: str | None = None,
    region: str | None = None,
    *,
    allow_http: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection with the tables of a finished output as views.

    Nothing is downloaded: of an output in a bucket, a query reads the footers of the tables and
    the columns and row groups that it needs, by ranged requests with the environment's
    credentials. While the connection is open it sees the files as it first found them; one that
    is replaced meanwhile fails the query.

    Parameters
    ----------
    output
        A folder, s3://bucket/path, gs://bucket/path, or the config's section with these keys;
        of a folder of audits the newest finished snapshot.
    endpoint, region, allow_http
        Of the bucket, as in the config; only where `output` is a text.

    Returns
    -------
    duckdb.DuckDBPyConnection
        In memory, with the views ``instances`` and ``series``, and ``dicom_all`` and
        ``dicom_metadata`` in the shape of IDC's BigQuery tables (see `harvest.dicom_all`).

    Raises
    ------
    ConfigError
        No output can be there.
    OutputError
        Nothing is finished there, or the bucket refuses.
    StoreUnavailable
        The bucket does not answer.
    """
    if isinstance(output, Mapping):
        output = output_config(**output)
    elif isinstance(output, str):
        output = output_config(output, endpoint, region, allow_http=allow_http)
    return _connect(output)[0]


def _connect(
    config: OutputConfig, sql: str | None = None
) -> tuple[duckdb.DuckDBPyConnection, OutputFiles | None]:
    """Do as `connect`; return the file system with it, where DuckDB has not its own.

    Parameters
    ----------
    config
        Of the output.
    sql
        All that will be asked, if that is known: views of thousands of columns take seconds.
    """
    connection = duckdb.connect()
    found, tables = add_tables(connection, config)
    named = sql is None or any(word in sql.casefold() for word in _NAMING_VIEWS)
    if named and found.get("instances") and found.get("series"):
        with faults_of(tables):
            _add_dicom_views(connection, found["instances"][0])
    return connection, tables


def add_tables(
    connection: duckdb.DuckDBPyConnection,
    config: OutputConfig,
    schema: str = "main",
    more: Mapping[str, str] | None = None,
) -> tuple[dict[str, list[str]], OutputFiles | None]:
    """Add the tables of a finished output to a connection, as views.

    Parameters
    ----------
    connection
        Of DuckDB.
    config
        Of the output.
    schema
        Of the views; several outputs have one each.
    more
        Further Parquet files of the output that become views, by the name of the view.

    Returns
    -------
    dict of str to list of str
        The paths of each table's files, quoted: first as DuckDB reads them, then as they are.
    OutputFiles or None
        The file system, where DuckDB has not its own.

    Raises
    ------
    OutputError, StoreUnavailable
        As `connect`.
    """
    config = newest_complete(config)
    opened = open_output(config)
    manifest = finished(opened, config.url)
    found: dict[str, list[str]] = {}
    tables = OutputFiles(opened, schema) if isinstance(opened, BucketOutput) else None
    if tables is not None:
        connection.register_filesystem(tables)
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    # the manifest and not a glob says which files belong to a table
    names = {name: [each["name"] for each in files] for name, files in manifest["tables"].items()}
    names |= {view: [name] for view, name in (more or {}).items()}
    for table, files in names.items():
        paths = [_path(opened, name, tables) for name in files]
        literals = [quoted(path) if tables else file_literal(path) for path in paths]
        found[table] = [*literals, *map(quoted, paths)]
        read = ", ".join(literals)
        try:
            with faults_of(tables):
                connection.execute(
                    f'CREATE VIEW "{schema}"."{table}" AS SELECT * FROM read_parquet([{read}])'
                )
        except duckdb.IOException:
            raise OutputError(
                f"{config.url} lacks files of its table {table}, which its {MANIFEST} lists: "
                "restore them, or harvest into another folder"
            ) from None
    return found, tables


def _add_dicom_views(connection: duckdb.DuckDBPyConnection, instances: str) -> None:
    """Add what has the shape of IDC's BigQuery tables.

    Parameters
    ----------
    connection
        With the views of the tables.
    instances
        The path of a file of ``instances``, quoted.
    """
    # by DuckDB and not by pyarrow: the footer has just been read, and is of the same state
    (encoded,) = connection.execute(
        f"SELECT value FROM parquet_kv_metadata({instances}) WHERE key = 'ARROW:schema'"
    ).fetchall()
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(encoded[0])))
    series = [row[0] for row in connection.execute("DESCRIBE series").fetchall()]
    made = dicom_views(schema, series, attributes_of_indices())
    for statement in made.statements:
        connection.execute(statement)
    columns = ", ".join(
        f"unnest(${number}) AS {name}" for number, name in enumerate(Source._fields, 1)
    )
    connection.execute(
        f"CREATE TABLE {ATTRIBUTES} AS SELECT {columns}",
        [list(values) for values in zip(*made.sources, strict=True)],
    )


def _path(output: Output, name: str, tables: OutputFiles | None) -> str:
    """Return the path of a table's file as DuckDB is to read it."""
    if isinstance(output, LocalOutput):
        return str(output.path(name).absolute())
    assert tables is not None
    return f"{tables.protocol}://{name}"


class OutputFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files of an output in a bucket, as DuckDB reads what is not local.

    This and not DuckDB's own httpfs, which is a download and has its own idea of credentials and
    endpoints; and not a dataset of pyarrow: of a table of 55 MB that sends 9.3 MB where this sends
    0.1 MB for a count of rows, and all of it where this sends 6.8 MB for one row, and types that
    went through Arrow are not always Parquet's.

    Parameters
    ----------
    output
        Of the files.
    name
        Of the output among those of one connection.
    """

    cachable = False

    def __init__(self, output: BucketOutput, name: str) -> None:
        super().__init__()
        self.protocol = f"harvest-{name}"
        self._output = output
        self._states: dict[str, tuple[int, Version]] = {}
        self.fault: HarvestError | None = None
        """What DuckDB made a text of."""

    def _state(self, name: str) -> tuple[int, Version]:
        if name not in self._states:
            with self._noted():
                self._states[name] = self._output.state(name)
        return self._states[name]

    def _read(self, name: str, start: int, stop: int) -> bytes:
        with self._noted():
            return self._output.read_range(name, start, stop, self._state(name)[1])

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except HarvestError as error:
            self.fault = error
            raise

    def glob(self, path: str, **_: Any) -> list[str]:
        """Find a file; no name of ours is a pattern."""
        name = path.removeprefix(f"{self.protocol}://")
        try:
            self._state(name)
        except FileNotFoundError:
            return []
        return [name]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Tell the size of a file."""
        name = path.removeprefix(f"{self.protocol}://")
        return {"name": name, "type": "file", "size": self._state(name)[0]}

    def modified(self, path: str) -> datetime:
        """Return one time for all: what is read is always the state that was found first."""
        return datetime.fromtimestamp(0, UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> RangedFile:
        """Open a file for reading by ranges."""
        name = path.removeprefix(f"{self.protocol}://")
        return RangedFile(partial(self._read, name), self._state(name)[0])


@contextmanager
def faults_of(tables: OutputFiles | None) -> Iterator[None]:
    """Raise a fault of the bucket as what it was before DuckDB made a text of it."""
    try:
        yield
    except duckdb.Error:
        if tables is not None and tables.fault is not None:
            raise tables.fault from None
        raise


def query_rows(output: str | OutputConfig, sql: str) -> list[dict[str, Any]]:
    """Run SQL on a finished output; return its rows by column name.

    Raises
    ------
    OutputError, StoreUnavailable
        As `connect`.
    HarvestError
        The SQL fails.
    """
    with querying(output, sql) as connection:
        result = connection.execute(sql)
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def query_text(output: str | OutputConfig, sql: str, width: int) -> str:
    """Run SQL on a finished output; return its rows as DuckDB draws them.

    Parameters
    ----------
    output
        As in `connect`.
    sql
        One statement.
    width
        Characters of a line; columns that do not fit are left out and counted.

    Raises
    ------
    OutputError, StoreUnavailable, HarvestError
        As `query_rows`.
    """
    with querying(output, sql) as connection:
        relation: duckdb.DuckDBPyRelation | None = connection.sql(sql)
        if relation is None:  # a statement without rows
            return ""
        drawn = io.StringIO()
        with redirect_stdout(drawn):
            relation.show(max_width=width, max_rows=SHOWN_ROWS)
        return drawn.getvalue()


@contextmanager
def querying(
    output: str | OutputConfig, sql: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect for queries, and say what is wrong with one that fails.

    Parameters
    ----------
    output
        As in `connect`.
    sql
        The only query, if there is but one.

    Raises
    ------
    OutputError, StoreUnavailable
        As `connect`.
    HarvestError
        A query fails.
    """
    config = output_config(output) if isinstance(output, str) else output
    connection, tables = _connect(config, sql)
    try:
        with connection, faults_of(tables):
            yield connection
    except duckdb.Error as error:
        raise HarvestError(f"the query fails: {error}") from None
