"""In what two harvests differ: the tables of a diff, by SQL.

What the hashes of pairing call different is compared value by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..dicom.offsets import OffsetTable
from ..sql import identifier, quoted
from ..table.schema import HEADER_COLUMN, SERIES_COUNTS
from .pairing import SIDES, Columns, columns_of, make_pairs, shared_types
from .sandbox import Sandbox

DIFF_TABLES: Final = ("series", "instances", "attributes", "columns", "offset_tables")
"""That a comparison makes, as ``diff_<name>``."""
_INSTANCE_CHANGES: Final = ("added", "removed", "revised", "changed", "moved")
_WITH_TABLE: Final = (OffsetTable.BASIC, OffsetTable.EXTENDED, OffsetTable.BOTH)
_NOT_COMPARED_OF_SERIES: Final = frozenset(
    {"crdc_series_uuid", "series_aws_url", *(name for name, _ in SERIES_COUNTS)}
)
_SERIES_KEY: Final = "coalesce(SeriesInstanceUID, crdc_series_uuid)"


def make_comparison(sandbox: Sandbox) -> None:
    """Make the tables of a diff, ``diff_<name>`` for each of `DIFF_TABLES`.

    Parameters
    ----------
    sandbox
        With the harvests in the schemas `SIDES`.
    """
    columns = columns_of(sandbox)
    make_pairs(sandbox, columns)
    _make_columns(sandbox)
    _make_attributes(sandbox, columns)
    _make_instances(sandbox, columns)
    _make_series(sandbox)
    _make_offset_tables(sandbox)


def _make_columns(sandbox: Sandbox) -> None:
    sandbox.execute(
        'CREATE TEMP TABLE diff_columns ("table" VARCHAR, "column" VARCHAR, change VARCHAR,'
        " old_type VARCHAR, new_type VARCHAR)"
    )
    for table in ("instances", "series"):
        old, new = (sandbox.columns(f"{side}.{table}") for side in SIDES)
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                change = "added" if name not in old else "removed" if name not in new else "retyped"
                values = (table, name, change, old.get(name), new.get(name))
                shown = ", ".join("NULL" if value is None else quoted(value) for value in values)
                sandbox.execute(f"INSERT INTO diff_columns VALUES ({shown})")


def _make_attributes(sandbox: Sandbox, columns: Columns) -> None:
    """Make the table of values that changed, and ``differing`` of the rows that have some."""
    sandbox.execute(
        'CREATE TEMP TABLE diff_attributes ("table" VARCHAR, attribute VARCHAR,'
        " old VARCHAR, new VARCHAR, rows BIGINT)"
    )
    names = ", ".join(map(identifier, ("url", *columns.compared)))
    for side in SIDES:
        sandbox.execute(
            f"CREATE TEMP TABLE {side}_rows AS SELECT {names} FROM {side}.instances"
            f" WHERE url IN (SELECT {side}_url FROM pairs WHERE differs)"
        )
    tests = {name: columns.differs(name) for name in columns.compared}
    paired = (
        "pairs p JOIN old_rows o ON o.url = p.old_url JOIN new_rows n ON n.url = p.new_url"
        " AND p.differs"
    )
    changed = _add_values(sandbox, "instances", paired, tests)
    names = ", ".join(f"CASE WHEN {tests[name]} THEN {quoted(name)} END" for name in changed)
    listed = f"list_filter([{names}], lambda name: name IS NOT NULL)" if names else "[]"
    sandbox.execute(
        f"CREATE TEMP TABLE differing AS SELECT p.old_url, p.new_url, {listed}::VARCHAR[]"
        f" AS attributes FROM {paired}"
    )
    _add_series_values(sandbox)


def _add_values(sandbox: Sandbox, table: str, paired: str, tests: Mapping[str, str]) -> list[str]:
    """Add the pairs of values that pass their tests; return the columns that have any."""
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    (found,) = sandbox.rows(f"SELECT {counts} FROM {paired}") if tests else [()]
    changed = [name for name, count in zip(tests, found, strict=True) if count]
    for name in changed:
        # a header is too long to be shown
        old, new = (
            "NULL" if name == HEADER_COLUMN else f"{row}.{identifier(name)}::VARCHAR"
            for row in ("o", "n")
        )
        sandbox.execute(
            f"INSERT INTO diff_attributes SELECT {quoted(table)}, {quoted(name)},"
            f" {old} AS old, {new} AS new, count(*) FROM {paired}"
            f" WHERE {tests[name]} GROUP BY ALL"
        )
    return changed


def _add_series_values(sandbox: Sandbox) -> None:
    """Add what the index says otherwise of series that are in both."""
    old, new = (sandbox.columns(f"{side}.series") for side in SIDES)
    types = shared_types(sandbox, "series")
    numbered = [
        f"(SELECT *, {_SERIES_KEY} AS series_key, row_number() OVER (PARTITION BY {_SERIES_KEY}"
        f" ORDER BY crdc_series_uuid) AS nth FROM {side}.series)"
        for side in SIDES
    ]
    tests = {}
    for name in (name for name in old if name in new and name not in _NOT_COMPARED_OF_SERIES):
        cast = f"::{types[name]}" if name in types else ""
        tests[name] = f"o.{identifier(name)}{cast} IS DISTINCT FROM n.{identifier(name)}{cast}"
    paired = f"{numbered[0]} o JOIN {numbered[1]} n USING (series_key, nth)"
    _add_values(sandbox, "series", paired, tests)


def _make_instances(sandbox: Sandbox, columns: Columns) -> None:
    """Make the table of instances, and ``changes``: the same, with the key of the series."""
    wanted = ("SOPInstanceUID", "SeriesInstanceUID", "crdc_series_uuid", "offset_table")
    for side in SIDES:
        names = ", ".join(("url", "status", *(n for n in wanted if n in columns.of[side])))
        sandbox.execute(
            f"CREATE TEMP TABLE {side}_named AS SELECT {names} FROM {side}.instances"
            f" WHERE url IN (SELECT {side}_url FROM pairs)"
        )
    uid, series = (_either_side(name, columns) for name in wanted[:2])
    # where the header names no series, the index may; where that has no UID, its UUID is the key
    sandbox.execute(
        f"""
        CREATE TEMP TABLE changes AS
        SELECT coalesce(t.SeriesInstanceUID, t.crdc_series_uuid, s.SeriesInstanceUID,
                        s.crdc_series_uuid, {series}) AS series_key,
               p.change, p.old_url, p.new_url, {uid} AS SOPInstanceUID,
               coalesce({series}, t.SeriesInstanceUID, s.SeriesInstanceUID) AS SeriesInstanceUID,
               coalesce(d.attributes, []) AS attributes
        FROM pairs p
        LEFT JOIN old_named o ON o.url = p.old_url
        LEFT JOIN new_named n ON n.url = p.new_url
        LEFT JOIN differing d ON d.old_url = p.old_url AND d.new_url = p.new_url
        LEFT JOIN old.series s ON s.crdc_series_uuid = o.crdc_series_uuid
        LEFT JOIN new.series t ON t.crdc_series_uuid = n.crdc_series_uuid
        """
    )
    sandbox.execute(
        "CREATE TEMP TABLE diff_instances AS SELECT * EXCLUDE (series_key) FROM changes"
    )


def _either_side(name: str, columns: Columns) -> str:
    """Write an attribute of the rows ``n`` and ``o``, of which either may lack the column."""
    rows = [row for row, side in (("n", "new"), ("o", "old")) if name in columns.of[side]]
    return f"coalesce({', '.join([*(f'{row}.{name}' for row in rows), 'NULL::VARCHAR'])})"


def _make_series(sandbox: Sandbox) -> None:
    old, new = (
        f"(SELECT {_SERIES_KEY} AS series_key,"
        " list(DISTINCT crdc_series_uuid ORDER BY crdc_series_uuid) AS uuids,"
        f" sum(instances_planned)::BIGINT AS instances FROM {side}.series"
        " WHERE series_key IS NOT NULL GROUP BY 1)"
        for side in SIDES
    )
    kinds = ", ".join(
        f"count(*) FILTER (change = '{kind}') AS instances_{kind}" for kind in _INSTANCE_CHANGES
    )
    sandbox.execute(
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
        FROM {old} o FULL JOIN {new} n USING (series_key)
        LEFT JOIN (SELECT series_key, {kinds},
                          count(*) FILTER (change <> 'moved') AS changes
                   FROM changes GROUP BY ALL) i
            ON i.series_key = coalesce(n.series_key, o.series_key)
        WHERE change IS NOT NULL
        """
    )


def _make_offset_tables(sandbox: Sandbox) -> None:
    kinds = ", ".join(map(quoted, _WITH_TABLE))
    sandbox.execute(
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
