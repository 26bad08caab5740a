"""Finished tables in DuckDB."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any, Final

import duckdb

from .errors import HarvestError, OutputError
from .output import MANIFEST, open_output
from .sql import quoted
from .table import read_json

SHOWN_ROWS: Final = 200
"""More are asked for with LIMIT, or as JSON."""


def connect(output: str) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection with the tables of a finished output as views.

    Parameters
    ----------
    output
        A folder.

    Returns
    -------
    duckdb.DuckDBPyConnection
        In memory, with the views ``instances`` and ``series``.

    Raises
    ------
    OutputError
        Nothing is finished there.
    """
    opened = open_output(output)
    if not opened.exists(MANIFEST):
        raise OutputError(
            f"{output} holds no finished harvest: `harvest status {output}` tells how far it is, "
            "and `harvest run` finishes it"
        )
    manifest = read_json(opened, MANIFEST)
    connection = duckdb.connect()
    for table, files in manifest["tables"].items():
        # the manifest and not a glob says which files belong to the table
        paths = ", ".join(quoted(opened.path(file["name"]).absolute()) for file in files)
        try:
            connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{paths}])')
        except duckdb.IOException:
            raise OutputError(
                f"{output} lacks files of its table {table}, which its {MANIFEST} lists: "
                "restore them, or harvest into another folder"
            ) from None
    return connection


def query_rows(output: str, sql: str) -> list[dict[str, Any]]:
    """Run SQL on a finished output; return its rows by column name.

    Raises
    ------
    OutputError
        Nothing is finished there.
    HarvestError
        The SQL fails.
    """
    with connect(output) as connection:
        try:
            result = connection.execute(sql)
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise _failed(error) from None


def query_text(output: str, sql: str, width: int) -> str:
    """Run SQL on a finished output; return its rows as DuckDB draws them.

    Parameters
    ----------
    output
        A folder.
    sql
        One statement.
    width
        Characters of a line; columns that do not fit are left out and counted.

    Raises
    ------
    OutputError, HarvestError
        As `query_rows`.
    """
    with connect(output) as connection:
        try:
            relation: duckdb.DuckDBPyRelation | None = connection.sql(sql)
            if relation is None:  # a statement without rows
                return ""
            drawn = io.StringIO()
            with redirect_stdout(drawn):
                relation.show(max_width=width, max_rows=SHOWN_ROWS)
            return drawn.getvalue()
        except duckdb.Error as error:
            raise _failed(error) from None


def _failed(error: duckdb.Error) -> HarvestError:
    return HarvestError(f"the query fails: {error}")
