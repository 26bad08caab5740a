"""Finished tables in DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb

from .errors import HarvestError, OutputError
from .output import MANIFEST, open_output
from .table import read_json


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
        paths = ", ".join(_quoted(str(opened.path(file["name"]).absolute())) for file in files)
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{paths}])')
    return connection


def run_query(output: str, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run SQL on a finished output.

    Returns
    -------
    tuple of list of str and list of tuple
        The columns' names, and the rows.

    Raises
    ------
    OutputError
        Nothing is finished there.
    HarvestError
        The SQL fails.
    """
    connection = connect(output)
    try:
        result = connection.execute(sql)
        columns = [column[0] for column in result.description or []]
        return columns, result.fetchall()
    except duckdb.Error as error:
        raise HarvestError(f"the query fails: {error}") from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
