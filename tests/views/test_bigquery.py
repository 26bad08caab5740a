"""Rules of the translation: each is needed, and gives what BigQuery's documentation says."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import duckdb
import pytest
import sqlglot

from harvest.views import bigquery
from harvest.views.bigquery import UnknownSql, parse, tables, to_duckdb

CASES: Final[dict[str, tuple[str, list[tuple[Any, ...]]]]] = {
    "drop_datasets": ("SELECT n FROM `project-x.data.numbers` ORDER BY n", [(1,), (2,)]),
    "widen_integers": (
        "SELECT CAST(5000000000 AS INT), SAFE_CAST('5000000000' AS INT)",
        [(5 * 10**9,) * 2],
    ),
    "refuse_fractions_as_integers": (
        "SELECT SAFE_CAST(x AS INT64) FROM UNNEST(['20', '20.0', ' -3 ', '2e1', 'x', '0x1F']) AS x",
        [(20,), (None,), (-3,), (None,), (None,), (31,)],
    ),
    "write_times_by_thousands": (
        "SELECT CAST(t AS STRING) FROM times ORDER BY t",
        [("09:05:00",), ("09:05:00.250",), ("09:05:00.250100",)],
    ),
    "number_offsets_from_zero": (
        "SELECT ARRAY_AGG(x ORDER BY place), MIN(place) "
        "FROM UNNEST(['a', 'b', 'c', 'd']) AS x WITH OFFSET place WHERE place BETWEEN 0 AND 2",
        [(["a", "b", "c"], 0)],
    ),
    "cut_aggregated_lists": (
        "SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 2), ARRAY_AGG(x IGNORE NULLS ORDER BY x LIMIT 1) "
        "FROM UNNEST([3, 1, NULL, 2]) AS x",
        [([3, 2], [1])],
    ),
    "round_by_small_integers": (
        "SELECT ROUND(x, CAST(2 - 1 - FLOOR(LOG10(x)) AS INT64)) "
        "FROM UNNEST([CAST(0.0002528 AS FLOAT64), 1000]) AS x",
        [(0.00025,), (1000.0,)],
    ),
    "order_by_expressions": (
        "SELECT ARRAY(SELECT v + 1 FROM UNNEST(list) AS v) AS more FROM lists "
        "ORDER BY more[SAFE_OFFSET(0)]",
        [([2],), ([6, 2],)],
    ),
    "survive_impossible_angles": ("SELECT ACOS(x) FROM UNNEST([1, 1.5]) AS x", [(0.0,), (None,)]),
}
"""By the name of the rule: BigQuery's SQL, and its answer."""


def answer(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE numbers AS SELECT unnest([2, 1]) AS n")
        connection.execute("CREATE TABLE lists AS SELECT unnest([[5, 1], [1]]) AS list")
        times = [dt.time(9, 5), dt.time(9, 5, 0, 250_000), dt.time(9, 5, 0, 250_100)]
        connection.execute("CREATE TABLE times AS SELECT unnest($1) AS t", [times])
        return connection.execute(sql).fetchall()


def test_every_rule_has_a_case() -> None:
    assert {rule.__name__ for rule in bigquery.RULES} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_with_the_rules(name: str) -> None:
    sql, expected = CASES[name]
    assert answer(to_duckdb(parse(sql))) == expected


@pytest.mark.parametrize("name", CASES)
def test_without_the_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sql, expected = CASES[name]
    fewer = tuple(rule for rule in bigquery.RULES if rule.__name__ != name)
    assert len(fewer) == len(bigquery.RULES) - 1
    monkeypatch.setattr(bigquery, "RULES", fewer)
    try:
        found = answer(to_duckdb(parse(sql)))
    except (duckdb.Error, UnknownSql):
        return
    assert found != expected


DECLARED: Final = """
DECLARE tolerance FLOAT64 DEFAULT 0.5; -- of x
DECLARE low, high INT64 DEFAULT 2;
SELECT x, tolerance FROM UNNEST([1, 2, 3]) AS x WHERE x BETWEEN low AND high + tolerance;
-- the end
"""


def test_parameters_are_put_in() -> None:
    assert answer(to_duckdb(parse(DECLARED))) == [(2, 0.5)]
    plain = ";".join(sqlglot.transpile(DECLARED, read="bigquery", write="duckdb"))
    with pytest.raises(duckdb.Error):
        answer(plain)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT FROM WHERE", "cannot be read"),
        ("", "does not end with a query"),
        ("CREATE TABLE t AS SELECT 1", "does not end with a query"),
        ("DECLARE x INT64; SELECT x", "only DECLARE with a DEFAULT"),
        ("CREATE TEMP TABLE t AS SELECT 1; SELECT * FROM t", "only DECLARE with a DEFAULT"),
    ],
)
def test_what_is_no_query(sql: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnknownSql, match=message):
        parse(sql)
    assert caplog.records == []


def test_tables_are_those_of_others() -> None:
    query = parse(
        "WITH own AS (SELECT 1 AS x FROM `p.d.first`), second AS (SELECT 2 AS x) "
        "SELECT * FROM own JOIN second USING (x) JOIN `p.d.second` USING (x)"
    )
    assert tables(query) == {"first", "second"}
