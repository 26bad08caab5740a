"""Finished tables in DuckDB."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harvest
from harvest.errors import HarvestError, OutputError
from harvest.runner import run
from harvest.views import query_rows, query_text
from tests import conftest


@pytest.fixture(scope="module")
def output(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("it's a view")
    for number in range(3):
        conftest.write_dicom(folder / "in" / f"{number}.dcm", "1.2.3", instance=str(number + 1))
    (folder / "in" / "x.txt").write_text("x")
    out = folder / "out"
    run(conftest.config_of(out, {"prefix": str(folder / "in")}, scheduler=scheduler))
    return out


def test_connect(output: Path) -> None:
    with harvest.connect(str(output)) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(4,)]
        assert connection.execute("SELECT sum(instances_planned) FROM series").fetchall() == [(4,)]
        assert connection.execute("SHOW TABLES").fetchall() == [("instances",), ("series",)]


def test_the_manifest_says_which_files_belong(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output, tmp_path / "out")
    shutil.copy(
        output / "instances" / "00000.parquet", tmp_path / "out" / "instances" / "x.parquet"
    )
    rows = query_rows(str(tmp_path / "out"), "SELECT count(*) AS n FROM instances")
    assert rows == [{"n": 4}]


def test_rows_and_text(output: Path) -> None:
    sql = "SELECT Modality, count(*) AS n FROM instances WHERE status = 'ok' GROUP BY ALL"
    assert query_rows(str(output), sql) == [{"Modality": "CT", "n": 3}]
    text = query_text(str(output), sql, 80)
    assert "Modality" in text
    assert "CT" in text
    assert query_text(str(output), "CREATE TABLE t AS SELECT 1", 80) == ""


@pytest.mark.parametrize("function", [query_rows, lambda o, s: query_text(o, s, 80)])
@pytest.mark.parametrize("sql", ["SELECT nothing FROM instances", "SELEC", "SELECT * FROM frames"])
def test_sql_that_fails(output: Path, sql: str, function: object) -> None:
    assert callable(function)
    with pytest.raises(HarvestError, match="the query fails"):
        function(str(output), sql)


def test_before_there_is_a_manifest(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    for folder in (tmp_path / "out", tmp_path / "none"):
        with pytest.raises(OutputError, match=r"no finished harvest.*harvest status"):
            harvest.connect(str(folder))
