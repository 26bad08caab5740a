"""The commands that ask a finished harvest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import conftest


def test_index(finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    dest = tmp_path / "indices"
    ended = conftest.harvest("index", finished[0], "pt_index", "ct_index", "--dest", dest, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert [(each["name"], each["rows"]) for each in found] == [("pt_index", 1), ("ct_index", 0)]
    assert "KVP" in found[1]["not_harvested"]
    assert [each["path"] for each in found] == [
        str(dest / f"{name}.parquet") for name in ("pt_index", "ct_index")
    ]
    assert sorted(path.name for path in dest.iterdir()) == ["ct_index.parquet", "pt_index.parquet"]
    as_text = conftest.harvest("index", finished[0], "pt_index", "--dest", dest)
    assert as_text.returncode == 0
    assert "pt_index" in as_text.stdout
    assert "DecayCorrection" in as_text.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the indices, or say --all"),
        (("ct_index", "--all"), "name the indices, or say --all"),
        (("ct_inde",), "did you mean ct_index"),
        (("idc_index",), "needs more than headers"),
    ],
)
def test_index_used_wrongly(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    dest = tmp_path / "indices"
    ended = conftest.harvest("index", finished[0], *arguments, "--dest", dest)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert message in ended.stderr
    assert not dest.exists()


def test_query_as_json(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    sql = (
        "SELECT Modality, count(*) AS n, DATE '2020-01-02' AS d, [1, NULL] AS l, "
        "'\\xAA'::BLOB AS b, 'nan'::DOUBLE AS f FROM instances GROUP BY ALL"
    )
    ended = conftest.harvest("query", finished[0], sql, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (row,) = json.loads(ended.stdout, parse_constant=refuse)
    assert (row["Modality"], row["n"], row["d"], row["l"]) == ("PT", 6, "2020-01-02", [1, None])


def test_a_query_that_fails(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for flag in ((), ("--json",)):
        ended = conftest.harvest("query", finished[0], "SELECT nothing FROM instances", *flag)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("harvest: the query fails")
        assert "Traceback" not in ended.stderr
