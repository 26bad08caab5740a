"""The output folder: files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.output import WORK, LocalOutput, open_output
from tests import conftest


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "deep" / "out")


def test_a_file_appears_when_it_is_complete(output: LocalOutput) -> None:
    with output.writing("instances/0.parquet") as path:
        path.write_bytes(b"half")
        assert not output.exists("instances/0.parquet")
        assert output.names("instances") == []
        # no glob over the tables sees what is unfinished
        assert not list(output.folder.rglob("*.parquet"))
        assert path.is_relative_to(output.folder / WORK)
    assert output.read("instances/0.parquet") == b"half"
    assert conftest.tree(output.folder) == {"instances/0.parquet": b"half"}


def test_a_failed_write_leaves_what_was_there(output: LocalOutput) -> None:
    output.write("a.json", b"old")

    def fail() -> None:
        with output.writing("a.json") as path:
            path.write_bytes(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert conftest.tree(output.folder) == {"a.json": b"old"}


def test_a_file_is_replaced_whole(output: LocalOutput) -> None:
    output.write("a.json", b"old and long")
    output.write("a.json", b"new")
    assert output.read("a.json") == b"new"


def test_names_are_sorted_and_complete_only(output: LocalOutput) -> None:
    for name in ("parts/2.arrow", "parts/10.arrow", "parts/1.arrow"):
        output.write(name, b"x")
    (output.folder / "parts" / "3.arrow.99.tmp").write_bytes(b"half")
    (output.folder / "parts" / "folder").mkdir()
    assert output.names("parts") == ["parts/1.arrow", "parts/10.arrow", "parts/2.arrow"]
    assert output.names("nowhere") == []


def test_removing_a_folder_removes_the_empty_ones_around_it(output: LocalOutput) -> None:
    output.write(f"{WORK}/plan/a", b"x")
    output.write(f"{WORK}/parts/a", b"x")
    output.remove(f"{WORK}/plan")
    assert output.names(f"{WORK}/parts")
    output.remove(f"{WORK}/parts")
    assert not output.folder.exists()
    output.remove(f"{WORK}/parts")


def test_strangers(output: LocalOutput) -> None:
    assert output.strangers() == []
    output.write(f"{WORK}/plan/x", b"")
    assert output.strangers() == []
    (output.folder / "b.txt").write_text("mine")
    # without a plan, tables are somebody else's
    output.write("instances/0.parquet", b"")
    assert output.strangers() == ["b.txt", "instances"]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert LocalOutput(tmp_path / "out").strangers() == ["out"]


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
def test_locations(tmp_path: Path, form: str) -> None:
    assert open_output(form.format(tmp_path)).folder == tmp_path
