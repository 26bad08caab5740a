"""Files that commands write for their users."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.errors import OutputError
from harvest.output import MANIFEST, PLAN
from harvest.output.destination import local_file, written_whole
from tests import conftest


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_of_this_machine(tmp_path: Path, form: str) -> None:
    file = tmp_path / "new" / "a.parquet"
    assert local_file(form.format(file)) == file
    assert local_file(file) == file


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("s3://bucket/a", "is in a bucket, and this is written to a local file"),
        ("gs://bucket/a", "is in a bucket"),
        ("ftp://host/a", "name a local file"),
        ("{}", "is a folder: name a file in it"),
        ("{}/new/", "is a folder"),
    ],
)
def test_what_is_no_file(tmp_path: Path, destination: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        local_file(destination.format(tmp_path))


@pytest.mark.parametrize("inside", ["a", "frames/a", "some/where/a"])
def test_never_into_a_harvest(tmp_path: Path, inside: str) -> None:
    finished, begun, stranger = (tmp_path / name for name in ("finished", "begun", "stranger"))
    (finished / "instances").mkdir(parents=True)
    (finished / MANIFEST).write_text("{}")
    (begun / PLAN).mkdir(parents=True)
    (stranger / "instances").mkdir(parents=True)
    for harvest in (finished, begun):
        with pytest.raises(OutputError, match=f"part of the harvest in {harvest}"):
            local_file(harvest / inside)
    assert local_file(stranger / inside)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.txt"
    with written_whole(file) as path:
        path.write_text("whole")
        assert not file.exists()
    assert conftest.tree(tmp_path) == {"new/a.txt": b"whole"}


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("before")

    def write() -> None:
        with written_whole(file) as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert conftest.tree(tmp_path) == {"a.txt": b"before"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"cannot be written .*: name another file"),
        written_whole(tmp_path / "file" / "a.txt"),
    ):
        raise AssertionError("nothing is asked to be written")
