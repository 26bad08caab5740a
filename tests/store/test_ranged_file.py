"""Ranges as a file: sought like one, and asked for only where bytes are wanted."""

from __future__ import annotations

import io
import random

import pytest

from harvest.store.ranged_file import RangedFile

CONTENT = bytes(range(200))


class Opened(RangedFile):
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        super().__init__(self._get, len(CONTENT))

    def _get(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return CONTENT[start:stop]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_file_like_any_other(seed: int) -> None:
    rng = random.Random(seed)
    ours, expected = Opened(), io.BytesIO(CONTENT)
    for _ in range(100):
        whence = rng.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
        base = {io.SEEK_SET: 0, io.SEEK_CUR: ours.tell(), io.SEEK_END: len(CONTENT)}[whence]
        offset = rng.randrange(250) - base
        assert ours.seek(offset, whence) == expected.seek(offset, whence)
        size = rng.choice([-1, None, 0, 1, 7, 300])
        assert ours.read(size) == expected.read(size)
        buffers = bytearray(9), bytearray(9)
        assert ours.readinto(buffers[0]) == expected.readinto(buffers[1])
        assert buffers[0] == buffers[1]
        assert ours.tell() == expected.tell()
    assert all(start < stop <= len(CONTENT) for start, stop in ours.asked)


def test_a_read_is_one_request_and_moving_is_none() -> None:
    file = Opened()
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    file.seek(-20, io.SEEK_END)
    assert file.asked == []
    assert file.readall() == CONTENT[180:]
    assert file.read(10) == b""
    assert file.asked == [(180, 200)]


def test_what_no_file_does() -> None:
    file = Opened()
    with pytest.raises(ValueError, match="position -1 lies before the file"):
        file.seek(-1)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
