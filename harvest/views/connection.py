"""Finished tables in DuckDB."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..config import OutputConfig, output_config, output_of
from ..errors import OutputError
from ..output import MANIFEST, BucketOutput, LocalOutput, Output, open_output
from ..output.documents import finished
from ..output.snapshots import newest_complete
from ..sql import file_literal, quoted
from .dicom_all import ATTRIBUTES, AttributeSource, dicom_views
from .output_files import OutputFiles, faults_of


def connect(
    output: str | Path | Mapping[str, Any] | OutputConfig,
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
    if isinstance(output, (str, Path)):
        output = output_config(str(output), endpoint, region, allow_http=allow_http)
    return connected(output_of(output))[0]


def connected(
    config: OutputConfig, *, dicom: bool = True
) -> tuple[duckdb.DuckDBPyConnection, OutputFiles | None]:
    """Do as `connect`; return the file system with it, where DuckDB has not its own.

    Parameters
    ----------
    config
        Of the output.
    dicom
        Whether with the views in BigQuery's shape: their thousands of columns take seconds.
    """
    connection = duckdb.connect()
    found, tables = add_tables(connection, config)
    if dicom and found.get("instances") and found.get("series"):
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
    # sqlglot takes its time, and most queries have no use for these views
    from .index_sql import attributes_of_indices

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
        f"unnest(${number}) AS {name}" for number, name in enumerate(AttributeSource._fields, 1)
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
