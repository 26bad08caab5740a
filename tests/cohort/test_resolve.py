"""Cohorts: SQL in its sandbox, manifests as people have them, and what is refused."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.cohort import idc_index
from harvest.cohort.resolve import PrefixCohort
from harvest.errors import CohortError
from tests import conftest
from tests.lab import Lab
from tests.support.cohorts import EVERYTHING, resolved, uuids

SECRET = "a secret of this machine"


# --- SQL -------------------------------------------------------------------------------------


def test_sql_by_series_instance_uid(lab: Lab) -> None:
    cohort = resolved(lab, sql=f"{EVERYTHING} WHERE Modality = 'MR'")
    expected = {s.crdc_series_uuid for s in lab.series if s.attributes["Modality"] == "MR"}
    assert uuids(cohort) == expected
    assert cohort.count() == len(expected)


def test_sql_by_crdc_series_uuid(lab: Lab) -> None:
    sql = "SELECT crdc_series_uuid, SeriesInstanceUID FROM index WHERE Modality = 'CT'"
    expected = {s.crdc_series_uuid for s in lab.series if s.attributes["Modality"] == "CT"}
    assert uuids(resolved(lab, sql=sql)) == expected


@pytest.mark.parametrize(
    "sql",
    [
        f"{EVERYTHING};",
        f"-- a comment\n{EVERYTHING} /* another */",
        f"WITH x AS ({EVERYTHING}) SELECT * FROM x",
        f"{EVERYTHING} UNION ALL {EVERYTHING}",
        "FROM index SELECT SeriesInstanceUID",
        f"({EVERYTHING})",
        "SELECT i.SeriesInstanceUID, p.version FROM index i "
        "LEFT JOIN prior_versions_index p USING (crdc_series_uuid)".replace(
            "p.version", "p.Modality"
        ),
        'SELECT * FROM "index"',
    ],
)
def test_sql_may_be_any_one_select(lab: Lab, sql: str) -> None:
    assert resolved(lab, sql=sql).count() == len(lab.series)


def test_series_are_distinct_and_in_url_order(lab: Lab) -> None:
    cohort = resolved(lab, sql=f"{EVERYTHING} UNION ALL {EVERYTHING}")
    found: list[dict[str, Any]] = []
    urls: list[str] = []
    for batch, prefixes in cohort.batches(10):
        found += batch.to_pylist()
        urls += map(str, prefixes)
    assert [url.rpartition("/")[0][-36:] for url in urls] == [r["crdc_series_uuid"] for r in found]
    assert len(urls) == len(set(urls)) == len(lab.series)
    assert urls == sorted(urls)
    assert set(found[0]) == set(pq.read_schema(lab.index).names) == set(cohort.schema().names)


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
@pytest.mark.parametrize("prior", [False, True])
def test_a_large_cohort_is_sorted_span_by_span(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, prior: bool, cloud: str
) -> None:
    """With the same rows in the same order, whether or not prior versions are among them."""
    sql = "SELECT crdc_series_uuid FROM index"
    if prior:
        old = "SELECT DISTINCT crdc_series_uuid FROM prior_versions_index ORDER BY 1 LIMIT 20"
        sql += f" UNION SELECT * FROM ({old})"

    def rows() -> list[tuple[dict[str, Any], str]]:
        cohort = resolved(lab, {"cloud": cloud}, sql=sql)
        return [
            (row, str(url))
            for batch, urls in cohort.batches(10)
            for row, url in zip(batch.to_pylist(), urls, strict=True)
        ]

    whole = rows()
    for most in (1, 3, len(whole) - 1, len(whole)):
        monkeypatch.setattr("harvest.cohort.resolve.SERIES_TO_SORT", most)
        assert rows() == whole


def test_totals(lab: Lab) -> None:
    totals = {each.modality: each for each in resolved(lab, sql=EVERYTHING).totals()}
    mr = [s for s in lab.series if s.attributes["Modality"] == "MR"]
    assert totals["MR"].series == len(mr)
    assert totals["MR"].instances == sum(len(s.instances) for s in mr)
    size = sum(i.size for s in mr for i in s.instances)
    assert abs(totals["MR"].bytes - size) <= len(mr)
    assert sum(each.series for each in totals.values()) == len(lab.series)


def test_prior_versions_by_uuid_only() -> None:
    (row,) = conftest.table(
        f"""SELECT p.crdc_series_uuid AS old, i.crdc_series_uuid AS new, SeriesInstanceUID AS uid
            FROM '{
            idc_index.table_files(["prior_versions_index"], fetch=False)["prior_versions_index"]
        }' p
            JOIN '{idc_index.table_files(["index"], fetch=False)["index"]}' i
            USING (SeriesInstanceUID) ORDER BY 1 LIMIT 1"""
    )
    old = resolved(None, sql=f"SELECT '{row['old']}' AS crdc_series_uuid")
    assert uuids(old) == {row["old"]}
    current = resolved(None, sql=f"SELECT '{row['uid']}' AS SeriesInstanceUID")
    assert uuids(current) == {row["new"]}
    named = resolved(
        None,
        sql=f"SELECT crdc_series_uuid FROM prior_versions_index "
        f"WHERE crdc_series_uuid = '{row['old']}'",
    )
    assert uuids(named) == {row["old"]}


def test_the_packaged_index_is_idcs() -> None:
    cohort = resolved(
        None,
        sql=f"{EVERYTHING} WHERE collection_id = 'lung_phantom' AND analysis_result_id IS NULL",
    )
    assert sum(each.instances for each in cohort.totals()) == 237


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing FROM index", "cohort.sql fails.*nothing"),
        ("SELECT * FROM no_table", "the tables are .*index.*prior_versions_index"),
        ("SELEC x", "cohort.sql is no SQL"),
        ("", "one SELECT|no SQL"),
        ("-- nothing", "one SELECT|no SQL"),
        ("SELECT Modality FROM index", "must return SeriesInstanceUID or crdc_series_uuid"),
        (f"{EVERYTHING} WHERE false", "no series"),
        ("SELECT NULL::VARCHAR AS SeriesInstanceUID", "no series"),
        ("SELECT '1.2.3' AS SeriesInstanceUID", "1 series.*not in IDC.*1.2.3"),
        ("SELECT 5 AS SeriesInstanceUID", "as text"),
        (f"{EVERYTHING}; {EVERYTHING}", "exactly one SELECT"),
    ],
)
def test_sql_that_is_refused(lab: Lab, sql: str, message: str) -> None:
    with pytest.raises(CohortError, match=message) as refused:
        resolved(lab, sql=sql)
    assert "\n" not in str(refused.value)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "s.csv").write_text(f"SeriesInstanceUID\n{SECRET}\n")
    (tmp_path / "s.txt").write_text(SECRET)
    (tmp_path / "s.json").write_text(f'{{"SeriesInstanceUID": "{SECRET}"}}')
    table = pa.table({"SeriesInstanceUID": [SECRET]})
    pq.write_table(table, tmp_path / "s.parquet")
    with duckdb.connect(str(tmp_path / "s.db")) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT '{SECRET}' AS SeriesInstanceUID")
    return {path.suffix[1:]: path for path in tmp_path.iterdir()}


ESCAPES = [
    "SELECT * FROM read_csv('{csv}')",
    "SELECT * FROM read_csv_auto('{csv}')",
    "SELECT * FROM '{csv}'",
    "SELECT * FROM '{parquet}'",
    'SELECT * FROM "{parquet}"',
    "SELECT * FROM read_parquet('{parquet}')",
    "SELECT * FROM parquet_metadata('{parquet}')",
    "SELECT * FROM read_json('{json}')",
    "SELECT content AS SeriesInstanceUID FROM read_text('{txt}')",
    "SELECT content AS SeriesInstanceUID FROM read_blob('{txt}')",
    "SELECT file AS SeriesInstanceUID FROM glob('{folder}/*')",
    "SELECT file AS SeriesInstanceUID FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('{csv}')",
    "SELECT * FROM query('SELECT * FROM read_csv(''{csv}'')')",
    "SELECT * FROM query_table('{csv}')",
    "SELECT getenv('HOME') AS SeriesInstanceUID",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM python_table",
    "SELECT * FROM 'https://{host}/x.parquet'",
    "SELECT * FROM read_parquet('s3://{host}/x.parquet')",
    "SELECT * FROM sqlite_scan('{db}', 't')",
    "SELECT * FROM index WHERE SeriesInstanceUID IN (SELECT content FROM read_text('{txt}'))",
    "WITH x AS (SELECT * FROM read_csv('{csv}')) SELECT * FROM x",
    "COPY (SELECT 1) TO '{folder}/new.csv'",
    "COPY index TO '{index}' (FORMAT parquet)",
    "COPY index FROM '{parquet}'",
    "EXPORT DATABASE '{folder}/export'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{db}' AS other",
    "ATTACH '{folder}/new.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/']",
    "RESET lock_configuration",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW index AS SELECT 1",
    "DROP VIEW index",
    "INSERT INTO index SELECT * FROM index",
    "DELETE FROM index",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE SELECT 1",
    "VACUUM",
    "USE memory",
    "CREATE SECRET s (TYPE s3)",
    f"{EVERYTHING}; COPY (SELECT 1) TO '{{folder}}/new.csv'",
    f"{EVERYTHING} /* ; */; ATTACH '{{db}}' AS o; SELECT * FROM o.t",
    f"{EVERYTHING} -- '\n; COPY (SELECT 1) TO '{{folder}}/new.csv'",
    f"{EVERYTHING} WHERE Modality = ''''; COPY (SELECT 1) TO '{{folder}}/new.csv' --'",
    f"{EVERYTHING} WHERE Modality = $$;$$; SET threads = 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_sql_cannot_leave_the_index(
    lab: Lab, secrets: dict[str, Path], sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_table = pa.table({"SeriesInstanceUID": [SECRET]})
    assert python_table.num_rows == 1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        names = {name: str(path) for name, path in secrets.items()}
        names |= {
            "folder": str(tmp_path),
            "index": str(lab.index),
            "host": f"127.0.0.1:{listener.getsockname()[1]}",
        }
        before = (conftest.tree(tmp_path), hashlib.sha256(lab.index.read_bytes()).hexdigest())
        with pytest.raises(CohortError) as refused:
            resolved(lab, sql=sql.format_map(names))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert SECRET not in str(refused.value)
    assert "not in IDC" not in str(refused.value), "the SQL was run, and its result looked up"
    after = (conftest.tree(tmp_path), hashlib.sha256(lab.index.read_bytes()).hexdigest())
    assert after == before


def test_sql_may_not_write_what_it_may_read(lab: Lab) -> None:
    """The index's own file is the one path that the sandbox allows."""
    for sql in (
        f"SELECT * FROM read_parquet('{lab.index}')",
        f"SELECT * FROM '{lab.index}'",
    ):
        # reading it again is harmless: it is the table index
        assert resolved(lab, sql=sql).count() == len(lab.series)


def test_the_index_may_be_another_file(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="is not there"):
        resolved(None, sql=EVERYTHING, index=str(tmp_path / "none.parquet"))
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(CohortError, match="the index cannot be read"):
        resolved(None, sql=EVERYTHING, index=str(tmp_path / "text.parquet"))
    pq.write_table(pa.table({"SeriesInstanceUID": ["1"]}), tmp_path / "less.parquet")
    with pytest.raises(CohortError, match=r"lacks IDC's columns.*aws_bucket"):
        resolved(None, sql=EVERYTHING, index=str(tmp_path / "less.parquet"))
    odd = tmp_path / "it's an 'index'.parquet"
    odd.write_bytes(lab.index.read_bytes())
    assert resolved(None, sql=EVERYTHING, index=str(odd)).count() == len(lab.series)


def test_the_index_is_one_file_whatever_its_name(lab: Lab, tmp_path: Path) -> None:
    table = pq.read_table(lab.index)
    for number, name in enumerate(("a[1].parquet", "a1.parquet", "b?.parquet", "bx.parquet")):
        pq.write_table(table.slice(number, 1), tmp_path / name)
    for number, name in ((0, "a[1].parquet"), (2, "b?.parquet")):
        cohort = resolved(None, sql=EVERYTHING, index=str(tmp_path / name))
        assert uuids(cohort) == {table["crdc_series_uuid"][number].as_py()}


def test_the_release_may_be_pinned(lab: Lab) -> None:
    installed = idc_index.installed_release()
    assert resolved(lab, sql=EVERYTHING, idc_version=installed).count()
    with pytest.raises(CohortError, match=rf"pins IDC v{installed - 1}.*installed index is v"):
        resolved(lab, sql=EVERYTHING, idc_version=installed - 1)


def test_a_table_that_is_not_cached_is_refused_offline(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harvest.cohort.idc_index._cache_folder", lambda: tmp_path)
    with pytest.raises(CohortError, match=r"seg_index is neither bundled .* nor cached"):
        resolved(lab, sql="SELECT SeriesInstanceUID FROM seg_index", offline=True)
    # a name in a text or a comment needs no table
    uid = next(s for s in lab.series).series_instance_uid
    table = pa.table({"SeriesInstanceUID": [uid]})
    pq.write_table(table, tmp_path / "seg_index.parquet")
    cohort = resolved(lab, sql="SELECT SeriesInstanceUID FROM seg_index", offline=True)
    assert cohort.count() == 1


def test_a_prefix(lab: Lab) -> None:
    cohort = resolved(lab, prefix="s3://bucket/some/prefix/")
    assert isinstance(cohort, PrefixCohort)
    assert str(cohort.prefix) == "s3://bucket/some/prefix/"
    assert cohort.known.count() == 0
