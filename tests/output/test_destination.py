"""Files that commands write for their users: whole, or told why not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harvest.errors import OutputError
from harvest.output import MANIFEST, PLAN
from harvest.output.destination import local_file, write_whole, written_beside, written_whole
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


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    file = tmp_path / "picture.png"
    with pytest.raises(OutputError) as raised:
        write_whole(file, b"x")
    told = f"the disk of {file} is full: free space, then run the same command again"
    assert str(raised.value) == told
    assert list(tmp_path.iterdir()) == []


def test_a_file_beside_becomes_the_file(tmp_path: Path) -> None:
    with written_beside(tmp_path / "a" / "table.parquet") as (output, name):
        output.write(name, b"x")
        assert [path.name for path in (tmp_path / "a").glob("*")] != ["table.parquet"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["table.parquet"]


def test_what_else_fails_meanwhile_is_none_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), written_whole(tmp_path / "report.html"):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
