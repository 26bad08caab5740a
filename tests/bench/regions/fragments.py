"""A file of large fragments without an offset table, most of which is a hole."""

from __future__ import annotations

from pathlib import Path
from struct import pack

from tests.support.build import JPEG
from tests.support.frames import empty_table, jpeg, multiframe

_ITEM = 0xE000FFFE


def write_fragments(path: Path, frames: int, fragments: int, size: int) -> Path:
    """Write a file whose frames have equally many fragments of `size` bytes each."""
    begin = empty_table([jpeg(1)])
    head = multiframe(JPEG, begin, frames)
    first = head.index(pack("<HHL", 0xFFFE, 0xE000, 0)) + 8
    with path.open("wb") as file:
        file.write(head[:first])
        for number in range(fragments):
            file.write(pack("<HHL", 0xFFFE, 0xE000, size))
            file.write(b"\xff\xd8\xff" if number % (fragments // frames) == 0 else b"\0\0\0")
            file.seek(size - 3, 1)
        file.write(pack("<HHL", 0xFFFE, 0xE0DD, 0))
    return path
