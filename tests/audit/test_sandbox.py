"""SQL of others: it reads the tables that it is given, and reaches nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.audit.sandbox import (
    MAIN,
    QueryFails,
    QueryTooSlow,
    Sandbox,
    SandboxLimits,
    sandboxed,
)
from harvest.config import output_config
from harvest.errors import HarvestError, OutputError
from harvest.locked import one_select
from tests.support.snapshots import instance, made_output

COUNT = "SELECT count(*) FROM instances"
ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b"


@contextmanager
def snapshot(tmp_path: Path, limits: SandboxLimits | None = None) -> Iterator[Sandbox]:
    url = output_config(made_output(tmp_path / "out", [instance(n) for n in range(50)]))
    with sandboxed({MAIN: url}, limits) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "sql",
    [
        "COPY instances TO '{file}'",
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM read_text('{other}')",
        "ATTACH '{folder}/x.db'",
        "SELECT * FROM glob('{folder}/*')",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "LOAD httpfs",
        "INSTALL httpfs",
        "EXPORT DATABASE '{folder}/x'",
        "SELECT * FROM 'http://127.0.0.1:1/x.parquet'",
        "SELECT * FROM other_table",
    ],
)
def test_sql_cannot_get_out(tmp_path: Path, sql: str) -> None:
    """Even where it is more than the one SELECT that rules may be."""
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    other_table = pa.table({"a": [1]})  # DuckDB would find it by its name
    with snapshot(tmp_path) as sandbox:
        file = tmp_path / "out" / "instances" / "00000.parquet"
        before = file.read_bytes()
        with pytest.raises(QueryFails):
            sandbox.rows(sql.format(file=file, folder=tmp_path, other=other))
        assert sandbox.rows(COUNT) == [(50,)]
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.parquet", "out"]
    assert other_table.num_rows == 1


def test_an_output_is_one_folder_whatever_its_name(tmp_path: Path) -> None:
    named = made_output(tmp_path / "out[1]", [instance(n) for n in range(3)])
    beside = made_output(tmp_path / "out1", [instance(n) for n in range(5)])
    file = Path(beside) / "instances" / "00000.parquet"
    with sandboxed({MAIN: output_config(named)}) as sandbox:
        assert sandbox.rows(COUNT) == [(3,)]
        with pytest.raises(QueryFails):
            sandbox.rows(f"SELECT * FROM read_parquet('{file}')")


def test_what_takes_too_long_ends_and_the_next_query_runs(tmp_path: Path) -> None:
    with snapshot(tmp_path, SandboxLimits(seconds=0.3)) as sandbox:
        with pytest.raises(QueryTooSlow, match=r"longer than 0\.3 s"):
            sandbox.rows(ENDLESS)
        with pytest.raises(QueryTooSlow):
            sandbox.read(ENDLESS, lambda reader: reader.read_all())
        assert sandbox.rows(COUNT) == [(50,)]


def test_an_interruption_of_the_user_is_no_failure_of_the_query(tmp_path: Path) -> None:
    with snapshot(tmp_path, SandboxLimits(seconds=60)) as sandbox:

        def interrupted(reader: pa.RecordBatchReader) -> None:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

        with pytest.raises(duckdb.InterruptException):
            sandbox.read(COUNT, interrupted)


def test_what_needs_too_much_memory_fails(tmp_path: Path) -> None:
    limits = SandboxLimits(memory_bytes=50 * 2**20, disk_bytes=2**20)
    with snapshot(tmp_path, limits) as sandbox:
        with pytest.raises(QueryFails, match="Out of Memory"):
            sandbox.rows("SELECT list(x) FROM range(100000000) r(x)")
        assert sandbox.rows(COUNT) == [(50,)]


def test_several_outputs_and_absent_ones(tmp_path: Path) -> None:
    urls = {
        name: output_config(made_output(tmp_path / name, [instance(n) for n in numbers]))
        for name, numbers in (("a", [1, 2]), ("b", [2]))
    }
    with sandboxed({MAIN: urls["b"], "other": urls["a"]}, absent=["gone"]) as sandbox:
        gone = "SELECT url FROM other.instances WHERE url NOT IN (SELECT url FROM instances)"
        assert sandbox.rows(gone) == [(instance(1)["url"],)]
        assert sandbox.rows("SELECT count(*) FROM gone.instances") == [(0,)]
        assert sandbox.columns("gone.series") == sandbox.columns("series")


def test_tables_and_files_that_are_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="holds no finished harvest"),
        sandboxed({MAIN: output_config(str(tmp_path / "nothing"))}),
    ):
        pass
    url = output_config(made_output(tmp_path / "out", [instance(1)]))
    with (
        pytest.raises(OutputError, match="lacks files of its table more"),
        sandboxed({MAIN: url}, more={"more": "more/00000.parquet"}),
    ):
        pass


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("  FROM instances -- all\n;  ", "FROM instances -- all"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH a AS (SELECT 1) SELECT * FROM a"),
    ],
)
def test_one_select(sql: str, kept: str) -> None:
    assert one_select(sql) == kept


@pytest.mark.parametrize(
    "sql", ["", "SELECT 1; SELECT 2", "COPY a TO 'b'", "SELEC 1", "SET threads = 1", "CALL x()"]
)
def test_what_is_no_select(sql: str) -> None:
    with pytest.raises(HarvestError):
        one_select(sql)
