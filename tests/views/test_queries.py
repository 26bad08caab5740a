"""SQL on a finished output, and what is said of one that fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harvest
from harvest.errors import ConfigError, HarvestError, OutputError
from harvest.output import BucketOutput
from harvest.views.output_files import OutputFiles, faults_of
from harvest.views.queries import query_rows, query_text


def written(out: Path, **more: str) -> Path:
    """Write an output of one row, with further columns."""
    (out / "instances").mkdir(parents=True)
    table = pa.table({"url": ["file:///a"], **{name: [value] for name, value in more.items()}})
    pq.write_table(table, out / "instances" / "00000.parquet")
    tables = {"instances": [{"name": "instances/00000.parquet"}]}
    (out / "manifest.json").write_text(json.dumps({"format_version": 1, "tables": tables}))
    return out


@pytest.mark.parametrize("sql", ["SELECT KVP FROM instances", "SELECT i.KVP FROM instances i"])
def test_a_column_that_is_not_there_can_be_had(tmp_path: Path, sql: str) -> None:
    plain, whole = written(tmp_path / "plain"), written(tmp_path / "whole", header="{}")
    with pytest.raises(
        HarvestError, match=r"no KVP: add profile ct or mg to read\.profile"
    ) as told:
        query_rows(str(plain), sql)
    assert "harvest columns" not in str(told.value)
    with pytest.raises(HarvestError, match="or make it: harvest columns OUTPUT --tags KVP --dest"):
        query_text(str(whole), sql, 80)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT ZoomFactor FROM instances", "no ZoomFactor: add it to read.tags"),
        ("SELECT header FROM instances", "no column header: set read.header: json"),
        ("SELECT * FROM frames", "no table frames: set read.frames: table, or scan"),
    ],
)
def test_what_else_can_be_had(tmp_path: Path, sql: str, text: str) -> None:
    with pytest.raises(HarvestError, match=text):
        query_rows(str(written(tmp_path / "out")), sql)


@pytest.mark.parametrize("sql", ["SELECT no_such FROM instances", "SELEC 1"])
def test_other_mistakes_are_shown_in_their_line(tmp_path: Path, sql: str) -> None:
    with pytest.raises(HarvestError, match=r"the query fails: (.*\n)+ *\^") as told:
        query_rows(str(written(tmp_path / "out")), sql)
    assert ";" not in str(told.value)


def test_no_column_is_lost_to_another_of_its_name(tmp_path: Path) -> None:
    out = str(written(tmp_path / "out"))
    with pytest.raises(HarvestError, match="two columns are called a: name them with AS"):
        query_rows(out, "SELECT 1 AS a, 2 AS b, 3 AS a")
    assert "3" in query_text(out, "SELECT 1 AS a, 2 AS b, 3 AS a", 80)


@pytest.mark.parametrize("kind", [str, Path, lambda path: {"url": str(path)}])
def test_an_output_is_named_in_any_way(tmp_path: Path, kind: Any) -> None:
    with harvest.connect(kind(written(tmp_path / "out"))) as connection:
        assert connection.execute("SELECT url FROM instances").fetchall() == [("file:///a",)]


def test_a_section_with_an_unknown_key_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output.endpiont is no key .*did you mean endpoint"):
        harvest.connect({"url": str(tmp_path), "endpiont": "http://127.0.0.1"})


def test_a_fault_of_the_bucket_that_has_passed_is_none_of_later_errors() -> None:
    output: Any = object.__new__(BucketOutput)
    tables = OutputFiles(output, "main")
    tables.fault = OutputError("the bucket refused, once")
    with pytest.raises(duckdb.ParserException), faults_of(tables):
        duckdb.sql("SELEC")


def test_a_query_loads_what_it_needs(tmp_path: Path) -> None:
    """The translator of BigQuery's SQL is for the views in its shape alone."""
    code = (
        "import sys\n"
        "from harvest.views.queries import query_rows\n"
        f"assert query_rows({str(written(tmp_path / 'out'))!r}, 'SELECT url FROM instances')\n"
        "print('sqlglot' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "False\n", ended.stderr
