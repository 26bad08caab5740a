"""SQL on a finished output: its rows, or what is wrong with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

import duckdb

from ..config import OutputConfig, output_of
from ..config.profile import how_to_get
from ..errors import HarvestError
from ..sql import first_lines, missing_column
from ..table.schema import HEADER_COLUMN
from .connection import connected
from .output_files import faults_of

SHOWN_ROWS: Final = 200
"""More are asked for with LIMIT, or as JSON."""
_NAMING_VIEWS: Final = ("dicom_", "show ", "duckdb_", "information_schema")
"""Queries with one of these may want the views in BigQuery's shape."""
_NO_FRAMES: Final = "Table with name frames does not exist"


def query_rows(output: str | OutputConfig, sql: str) -> list[dict[str, Any]]:
    """Run SQL on a finished output; return its rows by column name.

    Raises
    ------
    OutputError, StoreUnavailable
        As `connect`.
    HarvestError
        The SQL fails, or two of its columns have one name.
    """
    with querying(output, dicom=_wants_dicom(sql)) as connection:
        result = connection.execute(sql)
        names = [column[0] for column in result.description or []]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise HarvestError(f"two columns are called {twice}: name them with AS")
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
    with querying(output, dicom=_wants_dicom(sql)) as connection:
        relation: duckdb.DuckDBPyRelation | None = connection.sql(sql)
        if relation is None:  # a statement without rows
            return ""
        drawn = io.StringIO()
        with redirect_stdout(drawn):
            relation.show(max_width=width, max_rows=SHOWN_ROWS)
        return drawn.getvalue()


def _wants_dicom(sql: str) -> bool:
    return any(word in sql.casefold() for word in _NAMING_VIEWS)


@contextmanager
def querying(
    output: str | OutputConfig, *, dicom: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect for queries, and say what is wrong with one that fails.

    Parameters
    ----------
    output
        As in `connect`.
    dicom
        Whether with the views in BigQuery's shape.

    Raises
    ------
    OutputError, StoreUnavailable
        As `connect`.
    HarvestError
        A query fails.
    """
    connection, tables = connected(output_of(output), dicom=dicom)
    with connection:
        try:
            with faults_of(tables):
                yield connection
        except duckdb.Error as error:
            # a text of DuckDB may hold values: it is for who asked, and goes into no log
            raise HarvestError(f"the query fails: {_told(error, connection)}") from None


def _told(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> str:
    """Say what is wrong, and how to get what is missing where a harvest can have it."""
    advice = ""
    if _NO_FRAMES in str(error):
        advice = "there is no table frames: set read.frames: table, or scan"
    column = missing_column(error)
    if column is not None:
        advice = how_to_get(column)
        if advice and column != HEADER_COLUMN and _has_headers(connection):
            advice += f", or make it: harvest columns OUTPUT --tags {column} --dest FILE"
    return f"{first_lines(error)}; {advice}" if advice else str(error)


def _has_headers(connection: duckdb.DuckDBPyConnection) -> bool:
    found = connection.cursor().execute(
        "SELECT 1 FROM duckdb_columns() WHERE table_name = 'instances' AND column_name = ?",
        [HEADER_COLUMN],
    )
    return found.fetchone() is not None
