"""Which rows of two harvests are one instance, and whether their values differ.

Rows are compared by a hash of 64 bits of all their values, so that of two harvests of a million
rows only keys and hashes are joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..sql import identifier
from ..table.schema import HEADER_COLUMN
from .sandbox import Sandbox

SIDES: Final = ("old", "new")
"""Schemas of the harvests that are compared."""
_ALWAYS: Final = ("status", "error", "retryable", "size")
"""Compared of every row; all others of rows that were read both times."""
_NOT_COMPARED: Final = frozenset(
    {
        *("url", "etag", "crdc_series_uuid", "crdc_instance_uuid"),  # told as a move or revision
        *("bytes_read", "requests", "error_detail"),  # of the reading, not of the object
        *_ALWAYS,
    }
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of ``instances`` of both harvests, and how they are compared."""

    of: Mapping[str, Mapping[str, str]]
    """By side, with DuckDB's types."""
    shared: Mapping[str, str]
    """Types of those that have two."""

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of those whose values are compared."""
        old, new = (self.of[side] for side in SIDES)
        return (*_ALWAYS, *(name for name in new if name in old and name not in _NOT_COMPARED))

    def value(self, name: str, row: str) -> str:
        """Write a value as it is compared: of one type on both sides, and without the URL."""
        column = f"{row}.{identifier(name)}"
        if name == HEADER_COLUMN:
            # bulk data are named by the URL of their object, which may have moved
            uri = f"left(to_json({row}.url || '#bytes=')::VARCHAR, -1)"
            return f"replace({column}, {uri}, '\"#bytes=')"
        return f"{column}::{self.shared[name]}" if name in self.shared else column

    def differs(self, name: str) -> str:
        """Write whether a value of the rows ``o`` and ``n`` is another one."""
        values = f"{self.value(name, 'o')} IS DISTINCT FROM {self.value(name, 'n')}"
        return values if name in _ALWAYS else f"{values} AND o.status = 'ok' AND n.status = 'ok'"


def columns_of(sandbox: Sandbox) -> Columns:
    """Look which columns ``instances`` has on both sides."""
    of = {side: sandbox.columns(f"{side}.instances") for side in SIDES}
    return Columns(of, shared_types(sandbox, "instances"))


def shared_types(sandbox: Sandbox, table: str) -> dict[str, str]:
    """Find a type for the columns that have two: a sequence with the members of both."""
    old, new = (sandbox.columns(f"{side}.{table}") for side in SIDES)
    found = {}
    for name in (name for name in old if name in new and old[name] != new[name]):
        both = " UNION ALL BY NAME ".join(
            f"SELECT {identifier(name)} FROM {side}.{table}" for side in SIDES
        )
        found[name] = sandbox.columns(f"({both})")[name]
    return found


def make_pairs(sandbox: Sandbox, columns: Columns) -> None:
    """Make ``pairs``: of every instance that is not just the same, its URLs.

    Parameters
    ----------
    sandbox
        With the harvests in the schemas `SIDES`; gets the tables ``pairs`` (``old_url``,
        ``new_url``, ``differs``, ``change``), ``old_keys`` and ``new_keys``.
    columns
        Of the harvests.
    """
    for side in SIDES:
        _make_keys(sandbox, columns, side)
    for side, other in (SIDES, reversed(SIDES)):
        _number_copies(sandbox, side, other)
    sandbox.execute(
        """
        CREATE TEMP TABLE pairs AS
        SELECT o.url AS old_url, n.url AS new_url, o.digest IS DISTINCT FROM n.digest AS differs,
               CASE WHEN o.url IS NULL THEN 'added' WHEN n.url IS NULL THEN 'removed'
                    -- unknown is no other; what has a UUID is the same wherever that is
                    WHEN o.url = n.url AND (o.size <> n.size OR (identity = o.url
                                            AND o.etag <> n.etag)) THEN 'revised'
                    WHEN o.digest <> n.digest THEN 'changed' ELSE 'moved' END AS change
        FROM old_keys o FULL JOIN new_keys n USING (identity, nth)
        WHERE change <> 'moved' OR o.url <> n.url
        """
    )
    if all("SOPInstanceUID" in columns.of[side] for side in SIDES):
        _pair_versions(sandbox)


def _make_keys(sandbox: Sandbox, columns: Columns, side: str) -> None:
    """Make ``<side>_keys``: what every instance is known by, and a hash of its values."""
    values = ", ".join(columns.value(name, "i") for name in columns.compared)
    sandbox.execute(
        f"""
        CREATE TEMP TABLE {side}_keys AS
        SELECT url, size, etag, hash({values}) AS digest,
               coalesce(crdc_instance_uuid, url) AS identity, 1 AS nth
        FROM {side}.instances i
        """
    )


def _number_copies(sandbox: Sandbox, side: str, other: str) -> None:
    """Tell copies apart: versions of one series may share an instance.

    Those at a URL of the other side come first on both, in one order: each is paired with
    itself, and what is left over has come or gone.
    """
    # a window over all rows would carry them all with it
    sandbox.execute(
        f"""
        UPDATE {side}_keys k SET nth = c.nth
        FROM (SELECT url, row_number() OVER (
                  PARTITION BY identity
                  ORDER BY url NOT IN (SELECT url FROM {other}_keys), url) AS nth
              FROM {side}_keys SEMI JOIN (SELECT identity FROM {side}_keys GROUP BY identity
                                          HAVING count(*) > 1) USING (identity)) c
        WHERE k.url = c.url AND c.nth > 1
        """
    )


def _pair_versions(sandbox: Sandbox) -> None:
    """Pair what came with what went where both are one SOP instance."""
    gone, come = (
        f"""(
            SELECT url, SOPInstanceUID, crdc_instance_uuid AS uuid, size,
                   row_number() OVER (PARTITION BY SOPInstanceUID ORDER BY url) AS nth
            FROM {side}.instances WHERE SOPInstanceUID IS NOT NULL
              AND url IN (SELECT {side}_url FROM pairs WHERE change = '{change}'))"""
        for side, change in zip(SIDES, ("removed", "added"), strict=True)
    )
    for sql in (
        f"""
        CREATE TEMP TABLE versions AS
        SELECT o.url AS old_url, n.url AS new_url, p.digest <> q.digest AS differs,
               CASE WHEN p.digest = q.digest AND o.uuid IS NULL AND n.uuid IS NULL
                         AND o.size = n.size THEN 'moved' ELSE 'revised' END AS change
        FROM {gone} o JOIN {come} n USING (SOPInstanceUID, nth)
        JOIN old_keys p ON p.url = o.url JOIN new_keys q ON q.url = n.url
        """,
        "DELETE FROM pairs WHERE old_url IN (SELECT old_url FROM versions)",
        "DELETE FROM pairs WHERE new_url IN (SELECT new_url FROM versions)",
        "INSERT INTO pairs SELECT * FROM versions",
    ):
        sandbox.execute(sql)
