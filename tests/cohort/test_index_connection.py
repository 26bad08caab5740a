"""The index in a DuckDB: which file its main table is, and which tables there are."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvest.cohort.index_connection import index_connection, selected
from harvest.config import CohortConfig
from harvest.errors import CohortError
from tests.lab import Lab

TABLES = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"


def test_the_main_table_may_be_another_file(lab: Lab) -> None:
    config = CohortConfig(sql="SELECT 1", index=str(lab.index))
    with index_connection(config, "", offline=True) as connection:
        (count,) = connection.execute('SELECT count(*) FROM "index"').fetchall()
        assert count == (pq.read_metadata(lab.index).num_rows,)


def test_a_table_is_there_where_its_name_is(lab: Lab) -> None:
    config = CohortConfig(sql="SELECT 1", index=str(lab.index))
    always = ["all_series", "index", "prior_versions_index"]
    for sql, more in (("", []), ("SELECT * FROM Collections_Index", ["collections_index"])):
        with index_connection(config, sql, offline=True) as connection:
            found = [name for (name,) in connection.execute(TABLES).fetchall()]
            assert found == sorted([*always, *more])


def test_all_columns_of_the_sql_are_returned(lab: Lab) -> None:
    config = CohortConfig(sql="SELECT 1", index=str(lab.index))
    with index_connection(config, "", offline=True) as connection:
        assert selected(connection, "SELECT 1 AS a, 2 AS b").column_names == ["a", "b"]


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    config = CohortConfig(sql="SELECT 1", index=str(tmp_path / "none.parquet"))
    with pytest.raises(CohortError, match="is not there"):
        index_connection(config, "", offline=True)
