"""Files that commands write for their users: whole, or told why not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harvest.errors import OutputError
from harvest.output.destination import write_whole, written_beside, written_whole


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
