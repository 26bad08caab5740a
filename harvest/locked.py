"""SQL of others in a DuckDB that reads some files, and reaches nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import duckdb

from .errors import HarvestError
from .sql import first_lines

_LOCKED: Final = (
    # python variables are tables to DuckDB unless told otherwise
    "python_enable_replacements = false",
    # where Python is interactive it would be among the results
    "enable_progress_bar = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "enable_external_access = false",
    "lock_configuration = true",
)


def lock(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> None:
    """Let a connection read some files, and reach nothing else any more.

    Parameters
    ----------
    connection
        For SQL of others, of which each text has passed `one_select`.
    paths
        Of the files, as string literals.
    """
    connection.execute(f"SET allowed_paths = [{', '.join(paths)}]")
    for setting in _LOCKED:
        connection.execute(f"SET {setting}")


def one_select(sql: str, name: str = "it") -> str:
    """Check that SQL is exactly one SELECT; return it without a semicolon at its end.

    External access off and a list of allowed paths do not keep COPY from overwriting a file of
    that list: what is no SELECT must not get as far as that.

    Parameters
    ----------
    sql
        Of others.
    name
        Of the SQL, for people.

    Raises
    ------
    HarvestError
        It is something else; the text says what.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise HarvestError(f"{name} is no SQL: {first_lines(error)}") from None
    found = statements[0].type.name.upper() if len(statements) == 1 else None
    if found != duckdb.StatementType.SELECT.name:
        found = found or f"{len(statements)} statements"
        raise HarvestError(f"{name} must be exactly one SELECT, and is {found}")
    return statements[0].query.strip().rstrip(";").strip()
