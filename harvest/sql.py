"""Text of SQL, and of its errors."""

from __future__ import annotations

import glob
import re
from typing import Final

_MISSING: Final = (
    re.compile(r'Referenced column "([^"]+)" not found'),
    re.compile(r'does not have a column named "([^"]+)"'),
    re.compile(r'Could not find key "([^"]+)" in struct'),
)


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


def missing_column(error: Exception) -> str | None:
    """Return the column, or the member of a struct, whose absence a DuckDB error tells."""
    found = next(filter(None, (pattern.search(str(error)) for pattern in _MISSING)), None)
    return found and found[1]
