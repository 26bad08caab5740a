"""The IDC index in a DuckDB for SQL of others.

SQL of a config is code from outside: it can read the index tables and nothing else, neither other
files nor the network, and it can write nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa

from ..config import CohortConfig
from ..errors import CohortError, HarvestError
from ..locked import lock, one_select
from ..sql import file_literal, first_lines, quoted
from . import idc_index


def index_connection(cohort: CohortConfig, sql: str, *, offline: bool) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that sees the index tables that SQL names, and can reach nothing else.

    Parameters
    ----------
    cohort
        Section of the config, which may name another index.
    sql
        That may name further tables; it is not run.
    offline
        Refuse to download a table.

    Raises
    ------
    CohortError
        A table is not there, cannot be had or is no index.
    """
    if cohort.index is not None and not Path(cohort.index).is_file():
        raise CohortError(f"cohort.index {cohort.index} is not there")
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    named = [table for table in idc_index.known_tables() if table in words]
    tables = dict.fromkeys((idc_index.MAIN_TABLE, idc_index.PRIOR_TABLE, *named))
    own = {idc_index.MAIN_TABLE: Path(cohort.index)} if cohort.index is not None else {}
    files = own | idc_index.table_files(tables.keys() - own, fetch=not offline)
    connection = duckdb.connect()
    literals = {table: file_literal(path.absolute()) for table, path in files.items()}
    paths = {*literals.values(), *(quoted(path.absolute()) for path in files.values())}
    try:
        for table, literal in literals.items():
            connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet({literal})')
        connection.execute(_all_series(connection))
    except duckdb.Error as error:
        raise CohortError(f"the index cannot be read: {first_lines(error)}") from None
    lock(connection, sorted(paths))
    return connection


_INDEX_COLUMNS = frozenset(
    {
        "SeriesInstanceUID",
        "crdc_series_uuid",
        "aws_bucket",
        "instanceCount",
        "series_size_MB",
        "Modality",
        "TransferSyntaxUID",
    }
)


def _all_series(connection: duckdb.DuckDBPyConnection) -> str:
    """Write the view of current and prior series, with the columns of the current index."""
    columns = {row[0] for row in connection.execute('DESCRIBE "index"').fetchall()}
    lacking = _INDEX_COLUMNS - columns
    if lacking:
        raise CohortError(f"cohort.index lacks IDC's columns {', '.join(sorted(lacking))}")
    prior = connection.execute(f"DESCRIBE {idc_index.PRIOR_TABLE}").fetchall()
    extra = ", ".join(row[0] for row in prior if row[0] not in columns)
    return f"""
        CREATE VIEW all_series AS
        SELECT *, true AS is_current FROM "index"
        UNION ALL BY NAME
        -- a prior version has a row for each range of releases that had it
        SELECT DISTINCT ON (crdc_series_uuid) * EXCLUDE ({extra}), false AS is_current
        FROM {idc_index.PRIOR_TABLE} ANTI JOIN "index" USING (crdc_series_uuid)
        ORDER BY crdc_series_uuid
    """


def selected(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run the cohort's SQL; return all that it returns.

    Raises
    ------
    CohortError
        It is not one SELECT, or fails.
    """
    try:
        return connection.execute(one_select(sql, "cohort.sql")).to_arrow_table()
    except duckdb.Error as error:
        raise CohortError(f"cohort.sql fails: {first_lines(error)}{_hint(error)}") from None
    except HarvestError as error:
        raise CohortError(str(error)) from None


def _hint(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.PermissionException):
        return " (it can read the index tables and nothing else)"
    if isinstance(error, duckdb.CatalogException):
        return f" (the tables are {', '.join(sorted(idc_index.known_tables()))})"
    return ""
