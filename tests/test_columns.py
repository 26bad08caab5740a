"""Columns that are made later, of the headers that a harvest has kept."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harvest
from harvest.columns import NewColumns, write_columns
from harvest.config import OutputConfig
from harvest.errors import OutputError
from harvest.profile import profiles_folder, resolve_wanted
from tests import conftest
from tests.lab.laboratory import Lab

READY = sorted(path.stem for path in profiles_folder().glob("*.yaml"))


def later(output: Path, file: Path, *tags: str, profiles: tuple[str, ...] = ()) -> NewColumns:
    return write_columns(OutputConfig(url=str(output)), resolve_wanted(profiles, tags), file)


def harvested(folder: Path | str, output: Path, **read: Any) -> Path:
    config = conftest.config_of(
        output, {"prefix": str(folder)}, read=read, limits={"max_error_rate": 1}
    )
    harvest.run(config)
    return output


def check_same(first: pa.Table, second: pa.Table) -> int:
    """Check that a file of columns has what the harvest has; return how many values differ."""
    told = 0
    assert second["url"].to_pylist() == first["url"].to_pylist()
    columns = [name for name in second.schema.names if name not in ("url", "issues")]
    assert second.select(columns).schema == first.select(columns).schema
    ours, theirs = first.to_pylist(), second.to_pylist()
    for row, later_row in zip(ours, theirs, strict=True):
        issues = {issue["path"] for issue in later_row["issues"] or ()}
        for name in columns:
            if same(row[name], later_row[name]):
                continue
            # what the JSON model cannot hold was told of when the header was written
            known = issues | {issue["path"] for issue in row["issues"] or ()}
            assert known, (row["url"], name, row[name], later_row[name])
            told += 1
    return told


def same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return first == second or (math.isnan(first) and math.isnan(second))
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return bool(first == second)


@pytest.fixture(scope="module")
def kept(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harvest of all kinds of objects with every ready profile and the headers."""
    folder = tmp_path_factory.mktemp("kept")
    for number, series in enumerate(lab.series[:40]):
        for instance in series.instances[:3]:
            target = folder / "objects" / f"{number:02}" / f"{instance.crdc_instance_uuid}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(instance.path)
    return harvested(folder / "objects", folder / "out", profile=READY, header="json")


def test_columns_are_those_of_a_harvest(kept: Path, tmp_path: Path) -> None:
    made = later(kept, tmp_path / "new.parquet", profiles=tuple(READY))
    first = pq.read_table(kept / "instances")
    second = pq.read_table(tmp_path / "new.parquet")
    assert made.rows == first.num_rows == second.num_rows
    assert second.schema.names == ["url", "issues", *made.columns]
    check_same(first, second)


def test_one_tag_joins_by_url(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.parquet"
    assert later(kept, file, "StudyID").columns == ("StudyID",)
    rows = conftest.table(
        f"SELECT count(*) AS n FROM '{kept}/instances/*.parquet' JOIN '{file}' USING (url)"
    )
    assert rows == [{"n": pq.read_metadata(file).num_rows}]


def test_all_that_appears(kept: Path, tmp_path: Path) -> None:
    made = later(kept, tmp_path / "all.parquet", profiles=("all",))
    assert {"SOPInstanceUID", "TransferSyntaxUID", "Rows"} < set(made.columns)


def test_an_output_without_headers_says_what_to_do(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "objects").mkdir()
    source = next((kept.parent / "objects").rglob("*.dcm"))
    (tmp_path / "objects" / "a.dcm").write_bytes(source.read_bytes())
    harvested(tmp_path / "objects", tmp_path / "out")
    with pytest.raises(OutputError, match=r"no header column.*read\.header: json"):
        later(tmp_path / "out", tmp_path / "new.parquet", "StudyID")
    with pytest.raises(OutputError, match="no finished harvest"):
        later(tmp_path / "objects", tmp_path / "new.parquet", "StudyID")
    assert not (tmp_path / "new.parquet").exists()


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_columns_of_real_files_are_those_of_a_harvest(tmp_path: Path) -> None:
    folder = os.environ["HARVEST_CORPUS"]
    harvested(folder, tmp_path / "out", profile="all", header="json")
    later(tmp_path / "out", tmp_path / "new.parquet", profiles=("all",))
    first = pq.read_table(tmp_path / "out" / "instances")
    second = pq.read_table(tmp_path / "new.parquet")
    assert check_same(first, second) < 20
