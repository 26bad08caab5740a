"""What a file system refuses, as a word to the user."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harvest.errors import OutputError
from harvest.output import LocalOutput
from tests import conftest


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk of output .* is full: free space, then run the same command"),
        (errno.EDQUOT, "is full.*finished partitions are not read again"),
        (errno.EROFS, "cannot be written .*: name another folder"),
        (errno.EACCES, "cannot be written .*: let this user write there, or name another folder"),
        (errno.EIO, "cannot be written .*: have the disk checked"),
    ],
)
def test_faults_of_a_disk(tmp_path: Path, number: int, words: str) -> None:
    output = LocalOutput(tmp_path / "out")

    def write() -> None:
        with output.writing("instances/0.parquet") as path:
            path.write_bytes(b"half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=words):
        write()
    assert conftest.tree(tmp_path) == {}
