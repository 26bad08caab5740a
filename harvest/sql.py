"""Text of SQL, and of its errors."""

from __future__ import annotations

import glob


def quoted(text: object) -> str:
    """Write a string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def file_literal(path: object) -> str:
    """Write a local path as a string literal that DuckDB reads this one file by.

    It would take brackets, stars and question marks as a pattern. Where ``allowed_paths`` lock a
    connection they need the path itself as well, by `quoted`: both are checked.
    """
    return quoted(glob.escape(str(path)))


def identifier(name: str) -> str:
    """Write the name of a column."""
    return '"' + name.replace('"', '""') + '"'


def first_lines(error: Exception) -> str:
    """Return what a DuckDB error says, without the statement that it repeats."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2]).strip()
