"""Text of SQL, and of its errors."""

from __future__ import annotations


def quoted(text: object) -> str:
    """Write a string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Write the name of a column."""
    return '"' + name.replace('"', '""') + '"'


def first_lines(error: Exception) -> str:
    """Return what a DuckDB error says, without the statement that it repeats."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2]).strip()
