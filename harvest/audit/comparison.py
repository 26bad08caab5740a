"""The SQL of a diff: which rows of two harvests are one instance, and in what they differ.

Rows are compared by a hash of 64 bits of all their values, so that of two harvests of a million
rows only keys and hashes are joined; those that differ are then compared value by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..sql import identifier, quoted
from ..table.schema import HEADER_COLUMN, SERIES_COUNTS
from .sandbox import Sandbox

TABLES: Final = ("series", "instances", "attributes", "columns", "offset_tables")
"""That a comparison makes, as ``diff_<name>``."""
INSTANCE_CHANGES: Final = ("added", "removed", "revised", "changed", "moved")
WITH_TABLE: Final = ("basic", "extended", "both")
"""Values of ``offset_table`` of objects that have one."""

_ALWAYS: Final = ("status", "error", "retryable", "size")
"""Compared of every row; all others of rows that were read both times."""
_NOT_COMPARED: Final = frozenset(
    {
        *("url", "etag", "crdc_series_uuid", "crdc_instance_uuid"),  # told as a move or revision
        *("bytes_read", "requests", "error_detail"),  # of the reading, not of the object
        *_ALWAYS,
    }
)
_NOT_COMPARED_OF_SERIES: Final = frozenset(
    {"crdc_series_uuid", "series_aws_url", *(name for name, _ in SERIES_COUNTS)}
)


class Comparison:
    """Makes the tables of a diff, ``diff_<name>`` for each of `TABLES`.

    Parameters
    ----------
    sandbox
        With the schemas ``old`` and ``new``.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._old = sandbox.columns("old.instances")
        self._new = sandbox.columns("new.instances")
        named = [name for name in self._new if name in self._old and name not in _NOT_COMPARED]
        self._compared = [*_ALWAYS, *named]
        self._types = self._shared_types("instances", self._old, self._new)

    def make(self) -> None:
        """Make all tables."""
        self._make_pairs()
        self._make_columns()
        self._make_attributes()
        self._make_instances()
        self._make_series()
        self._make_offset_tables()

    # --- which rows are compared with which ----------------------------------------------------

    def _make_pairs(self) -> None:
        """Make ``pairs``: of every instance that is not just the same, its URLs."""
        for side, columns in (("old", self._old), ("new", self._new)):
            self._make_keys(side, columns)
        for side, other in (("old", "new"), ("new", "old")):
            self._number_copies(side, other)
        self._sandbox.execute(
            """
            CREATE TEMP TABLE pairs AS
            SELECT o.url AS old_url, n.url AS new_url,
                   o.digest IS DISTINCT FROM n.digest AS differs,
                   CASE WHEN o.url IS NULL THEN 'added' WHEN n.url IS NULL THEN 'removed'
                        -- unknown is no other; what has a UUID is the same wherever that is
                        WHEN o.url = n.url AND (o.size <> n.size OR (identity = o.url
                                                AND o.etag <> n.etag)) THEN 'revised'
                        WHEN o.digest <> n.digest THEN 'changed' ELSE 'moved' END AS change
            FROM old_keys o FULL JOIN new_keys n USING (identity, nth)
            WHERE change <> 'moved' OR o.url <> n.url
            """
        )
        if "SOPInstanceUID" in self._old and "SOPInstanceUID" in self._new:
            self._pair_versions()

    def _make_keys(self, side: str, columns: Mapping[str, str]) -> None:
        """Make ``<side>_keys``: what every instance is known by, and a hash of its values."""
        values = ", ".join(self._value(name, columns[name]) for name in self._compared)
        self._sandbox.execute(
            f"""
            CREATE TEMP TABLE {side}_keys AS
            SELECT url, size, etag, hash({values}) AS digest,
                   coalesce(crdc_instance_uuid, url) AS identity, 1 AS nth
            FROM {side}.instances
            """
        )

    def _number_copies(self, side: str, other: str) -> None:
        """Tell copies apart: versions of one series may share an instance.

        Those at a URL of the other side come first on both, in one order: each is paired with
        itself, and what is left over has come or gone.
        """
        self._sandbox.execute(
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

    def _value(self, name: str, kind: str, row: str = "") -> str:
        """Write a value as it is compared: of one type on both sides, and without the URL."""
        prefix = f"{row}." if row else ""
        column = f"{prefix}{identifier(name)}"
        if name == HEADER_COLUMN:
            # bulk data are named by the URL of their object, which may have moved
            uri = f"left(to_json({prefix}url || '#bytes=')::VARCHAR, -1)"
            return f"replace({column}, {uri}, '\"#bytes=')"
        wanted = self._types.get(name, kind)
        return column if wanted == kind else f"{column}::{wanted}"

    def _shared_types(
        self, table: str, old: Mapping[str, str], new: Mapping[str, str]
    ) -> dict[str, str]:
        """Find a type for the columns that have two: a sequence with the members of both."""
        found = {}
        for name in (name for name in old if name in new and old[name] != new[name]):
            both = (
                f"(SELECT {identifier(name)} FROM old.{table} UNION ALL BY NAME"
                f" SELECT {identifier(name)} FROM new.{table})"
            )
            found[name] = self._sandbox.columns(both)[name]
        return found

    def _pair_versions(self) -> None:
        """Pair what came with what went where both are one SOP instance."""
        self._sandbox.execute(
            """
            CREATE TEMP TABLE versions AS
            WITH o AS (
                SELECT url, SOPInstanceUID, crdc_instance_uuid AS uuid, size,
                       row_number() OVER (PARTITION BY SOPInstanceUID ORDER BY url) AS nth
                FROM old.instances WHERE SOPInstanceUID IS NOT NULL
                  AND url IN (SELECT old_url FROM pairs WHERE change = 'removed')),
            n AS (
                SELECT url, SOPInstanceUID, crdc_instance_uuid AS uuid, size,
                       row_number() OVER (PARTITION BY SOPInstanceUID ORDER BY url) AS nth
                FROM new.instances WHERE SOPInstanceUID IS NOT NULL
                  AND url IN (SELECT new_url FROM pairs WHERE change = 'added'))
            SELECT o.url AS old_url, n.url AS new_url, p.digest <> q.digest AS differs,
                   CASE WHEN p.digest = q.digest AND o.uuid IS NULL AND n.uuid IS NULL
                             AND o.size = n.size THEN 'moved' ELSE 'revised' END AS change
            FROM o JOIN n USING (SOPInstanceUID, nth)
            JOIN old_keys p ON p.url = o.url JOIN new_keys q ON q.url = n.url
            """
        )
        self._sandbox.execute("DELETE FROM pairs WHERE old_url IN (SELECT old_url FROM versions)")
        self._sandbox.execute("DELETE FROM pairs WHERE new_url IN (SELECT new_url FROM versions)")
        self._sandbox.execute("INSERT INTO pairs SELECT * FROM versions")

    # --- what differs --------------------------------------------------------------------------

    def _make_columns(self) -> None:
        self._sandbox.execute(
            'CREATE TEMP TABLE diff_columns ("table" VARCHAR, "column" VARCHAR, change VARCHAR,'
            " old_type VARCHAR, new_type VARCHAR)"
        )
        for table in ("instances", "series"):
            old = self._sandbox.columns(f"old.{table}")
            new = self._sandbox.columns(f"new.{table}")
            for name in dict.fromkeys((*old, *new)):
                if old.get(name) != new.get(name):
                    change = (
                        "added" if name not in old else "removed" if name not in new else "retyped"
                    )
                    values = (table, name, change, old.get(name), new.get(name))
                    shown = ", ".join("NULL" if v is None else quoted(v) for v in values)
                    self._sandbox.execute(f"INSERT INTO diff_columns VALUES ({shown})")

    def _make_attributes(self) -> None:
        """Make the table of values that changed, and ``differing`` of the rows that have some."""
        self._sandbox.execute(
            'CREATE TEMP TABLE diff_attributes ("table" VARCHAR, attribute VARCHAR,'
            " old VARCHAR, new VARCHAR, rows BIGINT)"
        )
        for side in ("old", "new"):
            names = ", ".join(map(identifier, ("url", *self._compared)))
            self._sandbox.execute(
                f"CREATE TEMP TABLE {side}_rows AS SELECT {names} FROM {side}.instances"
                f" WHERE url IN (SELECT {side}_url FROM pairs WHERE differs)"
            )
        tests = {
            name: f"{self._value(name, self._old[name], 'o')} IS DISTINCT FROM "
            f"{self._value(name, self._new[name], 'n')}"
            + ("" if name in _ALWAYS else " AND o.status = 'ok' AND n.status = 'ok'")
            for name in self._compared
        }
        paired = (
            "pairs p JOIN old_rows o ON o.url = p.old_url JOIN new_rows n ON n.url = p.new_url"
            " AND p.differs"
        )
        changed = self._add_values("instances", paired, tests)
        names = ", ".join(f"CASE WHEN {tests[name]} THEN {quoted(name)} END" for name in changed)
        listed = f"list_filter([{names}], lambda name: name IS NOT NULL)" if names else "[]"
        self._sandbox.execute(
            f"CREATE TEMP TABLE differing AS SELECT p.old_url, p.new_url, {listed}::VARCHAR[]"
            f" AS attributes FROM {paired}"
        )
        self._add_series_values()

    def _add_values(self, table: str, paired: str, tests: Mapping[str, str]) -> list[str]:
        """Add the pairs of values that pass their tests; return the columns that have any."""
        counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
        (found,) = self._sandbox.rows(f"SELECT {counts} FROM {paired}") if tests else [()]
        changed = [name for name, count in zip(tests, found, strict=True) if count]
        for name in changed:
            old, new = ("NULL", "NULL") if name == HEADER_COLUMN else _texts(name)
            self._sandbox.execute(
                f"INSERT INTO diff_attributes SELECT {quoted(table)}, {quoted(name)},"
                f" {old} AS old, {new} AS new, count(*) FROM {paired}"
                f" WHERE {tests[name]} GROUP BY ALL"
            )
        return changed

    def _add_series_values(self) -> None:
        """Add what the index says otherwise of series that are in both."""
        old, new = self._sandbox.columns("old.series"), self._sandbox.columns("new.series")
        types = self._shared_types("series", old, new)
        key, numbered = _series_key(), []
        for side in ("old", "new"):
            numbered.append(
                f"(SELECT *, {key} AS series_key, row_number() OVER (PARTITION BY {key}"
                f" ORDER BY crdc_series_uuid) AS nth FROM {side}.series)"
            )
        paired = f"{numbered[0]} o JOIN {numbered[1]} n USING (series_key, nth)"
        tests = {}
        for name in (name for name in old if name in new and name not in _NOT_COMPARED_OF_SERIES):
            cast = f"::{types[name]}" if name in types else ""
            tests[name] = f"o.{identifier(name)}{cast} IS DISTINCT FROM n.{identifier(name)}{cast}"
        self._add_values("series", paired, tests)

    def _make_instances(self) -> None:
        uids = [
            f"coalesce(n.{name}, o.{name})"
            if name in self._new and name in self._old
            else f"n.{name}"
            if name in self._new
            else f"o.{name}"
            if name in self._old
            else "NULL::VARCHAR"
            for name in ("SOPInstanceUID", "SeriesInstanceUID")
        ]
        for side, columns in (("old", self._old), ("new", self._new)):
            wanted = ("SOPInstanceUID", "SeriesInstanceUID", "crdc_series_uuid", "offset_table")
            names = ", ".join(name for name in ("url", "status", *wanted) if name in columns)
            self._sandbox.execute(
                f"CREATE TEMP TABLE {side}_named AS SELECT {names} FROM {side}.instances"
                f" WHERE url IN (SELECT {side}_url FROM pairs)"
            )
        # where the header names no series, the index may
        self._sandbox.execute(
            f"""
            CREATE TEMP TABLE changes AS
            SELECT coalesce(t.SeriesInstanceUID, t.crdc_series_uuid, s.SeriesInstanceUID,
                            s.crdc_series_uuid, {uids[1]}) AS series_key,
                   p.change, p.old_url, p.new_url, {uids[0]} AS SOPInstanceUID,
                   coalesce({uids[1]}, t.SeriesInstanceUID, s.SeriesInstanceUID)
                       AS SeriesInstanceUID,
                   coalesce(d.attributes, []) AS attributes
            FROM pairs p
            LEFT JOIN old_named o ON o.url = p.old_url
            LEFT JOIN new_named n ON n.url = p.new_url
            LEFT JOIN differing d ON d.old_url = p.old_url AND d.new_url = p.new_url
            LEFT JOIN old.series s ON s.crdc_series_uuid = o.crdc_series_uuid
            LEFT JOIN new.series t ON t.crdc_series_uuid = n.crdc_series_uuid
            """
        )
        self._sandbox.execute(
            "CREATE TEMP TABLE diff_instances AS SELECT * EXCLUDE (series_key) FROM changes"
        )

    def _make_series(self) -> None:
        key = _series_key()
        sides = [
            f"(SELECT {key} AS series_key,"
            " list(DISTINCT crdc_series_uuid ORDER BY crdc_series_uuid) AS uuids,"
            f" sum(instances_planned)::BIGINT AS instances FROM {side}.series"
            " WHERE series_key IS NOT NULL GROUP BY 1)"
            for side in ("old", "new")
        ]
        kinds = ", ".join(
            f"count(*) FILTER (change = '{kind}') AS instances_{kind}" for kind in INSTANCE_CHANGES
        )
        self._sandbox.execute(
            f"""
            CREATE TEMP TABLE diff_series AS
            SELECT CASE WHEN o.series_key IS NULL THEN 'added'
                        WHEN n.series_key IS NULL THEN 'removed'
                        WHEN o.uuids IS DISTINCT FROM n.uuids THEN 'revised'
                        WHEN i.changes > 0 THEN 'changed' END AS change,
                   coalesce(n.series_key, o.series_key) AS SeriesInstanceUID,
                   o.uuids AS old_crdc_series_uuids, n.uuids AS new_crdc_series_uuids,
                   o.instances AS old_instances, n.instances AS new_instances,
                   i.* EXCLUDE (series_key, changes)
            FROM {sides[0]} o FULL JOIN {sides[1]} n USING (series_key)
            LEFT JOIN (SELECT series_key, {kinds},
                              count(*) FILTER (change <> 'moved') AS changes
                       FROM changes GROUP BY ALL) i
                ON i.series_key = coalesce(n.series_key, o.series_key)
            WHERE change IS NOT NULL
            """
        )

    def _make_offset_tables(self) -> None:
        kinds = ", ".join(map(quoted, WITH_TABLE))
        self._sandbox.execute(
            f"""
            CREATE TEMP TABLE diff_offset_tables AS
            SELECT CASE WHEN o.offset_table IN ({kinds}) AND n.offset_table IN ({kinds})
                        THEN 'replaced'
                        WHEN o.offset_table IN ({kinds}) THEN 'lost' ELSE 'gained' END AS change,
                   p.old_url, p.new_url, d.SOPInstanceUID, d.SeriesInstanceUID,
                   o.offset_table AS old_offset_table, n.offset_table AS new_offset_table
            FROM pairs p JOIN old_named o ON o.url = p.old_url JOIN new_named n ON n.url = p.new_url
            JOIN diff_instances d ON d.old_url = p.old_url AND d.new_url = p.new_url
            WHERE o.status = 'ok' AND n.status = 'ok' AND o.offset_table <> n.offset_table
              AND (o.offset_table IN ({kinds}) OR n.offset_table IN ({kinds}))
            """
        )


def _series_key() -> str:
    return "coalesce(SeriesInstanceUID, crdc_series_uuid)"


def _texts(name: str) -> tuple[str, str]:
    return f"o.{identifier(name)}::VARCHAR", f"n.{identifier(name)}::VARCHAR"
