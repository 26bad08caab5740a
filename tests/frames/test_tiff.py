"""Files that are DICOM and TIFF at once: the directory's tiles are the frames."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from harvest.frames import FrameSource, Why
from harvest.frames import tiff as tags
from tests.support.build import JPEG, LITTLE
from tests.support.tiff import Tiff

from ..support.frames import (
    answer,
    basic_table,
    empty_table,
    frames_in,
    item_starts,
    jpeg,
    locate,
    multiframe,
    padded,
)

ROWS, COLUMNS = 32, 48
FRAMES = [jpeg(700 + 31 * n, n) for n in range(12)]
WHOLE = [padded(frame) for frame in FRAMES]
TRAILING_PADDING = 0xFFFCFFFC


def tiles(
    order: str,
    big: bool,
    offsets: Sequence[int],
    sizes: Sequence[int],
    *,
    shape: tuple[int, int] = (COLUMNS, ROWS),
    strips: bool = False,
) -> Tiff:
    """Describe tiles, or strips, of a slide of three columns."""
    made = Tiff(order, big)
    width = shape[0] if strips else 3 * shape[0]
    made.fields = {
        tags.IMAGE_WIDTH: ("H", [width]),
        tags.IMAGE_LENGTH: ("L", [shape[1] * len(offsets)]),
    }
    if strips:
        made.fields[tags.ROWS_PER_STRIP] = ("H", [shape[1]])
        made.fields[tags.STRIP_OFFSETS] = (made.wide, offsets)
        made.fields[tags.STRIP_BYTE_COUNTS] = ("H", sizes)
    else:
        made.fields[tags.TILE_WIDTH] = ("H", [shape[0]])
        made.fields[tags.TILE_LENGTH] = ("L", [shape[1]])
        made.fields[tags.TILE_OFFSETS] = (made.wide, offsets)
        made.fields[tags.TILE_BYTE_COUNTS] = ("L", sizes)
    return made


Change = Callable[[list[int], list[int]], Any]


def dual(
    order: str = "<",
    big: bool = False,
    frames: Sequence[bytes] = FRAMES,
    *,
    pixels: bytes | None = None,
    before: int = 0,
    filler: int = 0,
    change: Change = lambda offsets, sizes: None,
    **more: Any,
) -> bytes:
    """Build a slide with its directory behind the pixels, `before` others in the chain first."""
    whole = [padded(frame) for frame in frames]
    pixels = empty_table(frames) if pixels is None else pixels
    head = multiframe(JPEG, b"", len(frames), rows=ROWS, columns=COLUMNS)
    first = len(head) + len(pixels) - 8 - sum(8 + len(frame) for frame in whole)
    offsets = [first + start + 8 for start in item_starts(whole)]
    sizes = [len(frame) for frame in frames]
    place = len(head) + len(pixels) + 12
    directories = b""
    for _ in range(before):
        other = tiles(order, big, [200, 300], [20, 20], shape=(8, 8))
        size = len(other.directory(0))
        other.following = place + len(directories) + size
        directories += other.directory(place + len(directories))
    change(offsets, sizes)
    described = tiles(order, big, offsets, sizes, **more)
    described.filler = filler
    directories += described.directory(place + len(directories))
    tail = LITTLE.element(TRAILING_PADDING, "OB", directories + bytes(len(directories) % 2))
    preamble = Tiff(order, big).preamble(place)
    return preamble + (head + pixels + tail)[len(preamble) :]


FORMATS = [("<", False), ("<", True), (">", False), (">", True)]


@pytest.mark.parametrize(("order", "big"), FORMATS)
@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("scan", [True, False])
def test_the_tiles_are_the_frames(
    order: str, big: bool, strips: bool, before: int, scan: bool
) -> None:
    data = dual(order, big, before=before, strips=strips)
    located = locate(data, scan=scan)
    assert located.ranges.source == FrameSource.TIFF
    assert located.ranges.problem is None
    assert frames_in(data, located.ranges) == WHOLE


def test_another_reader_finds_the_same_directory() -> None:
    """The writer of these tests is right: Pillow reads the same numbers."""
    data = dual(big=False)
    with Image.open(BytesIO(data), formats=["TIFF"]) as opened:
        found: Any = opened.tag_v2  # type: ignore[attr-defined]
    ranges = locate(data).ranges
    assert ranges.offsets is not None
    assert [start + 8 for start in ranges.offsets] == list(found[tags.TILE_OFFSETS])
    assert found[tags.TILE_BYTE_COUNTS] == tuple(len(frame) for frame in FRAMES)


@pytest.mark.parametrize(("order", "big"), FORMATS)
def test_a_single_tile_is_in_its_entry(order: str, big: bool) -> None:
    data = dual(order, big, FRAMES[:1])
    located = locate(data, scan=False)
    assert located.ranges.source == FrameSource.TIFF
    assert frames_in(data, located.ranges) == WHOLE[:1]


def test_tiles_are_ordered_by_place_and_frames_by_number() -> None:
    def turn(offsets: list[int], sizes: list[int]) -> None:
        offsets.reverse()
        sizes.reverse()

    data = dual(change=turn)
    located = locate(data)
    assert located.ranges.source == FrameSource.TIFF
    assert frames_in(data, located.ranges) == WHOLE


def test_a_right_offset_table_goes_before_the_directory() -> None:
    data = dual(pixels=basic_table(FRAMES))
    assert locate(data).ranges.source == FrameSource.BASIC


def test_a_directory_goes_before_a_wrong_table_and_a_scan() -> None:
    data = dual(pixels=basic_table(FRAMES, [8 * n for n in range(12)]))
    ranges = locate(data, scan=False).ranges
    assert (ranges.source, ranges.problem) == (
        FrameSource.TIFF,
        "the basic table has a frame without bytes",
    )
    assert frames_in(data, ranges) == WHOLE


@pytest.mark.parametrize(("order", "big"), FORMATS)
def test_what_a_directory_costs(order: str, big: bool) -> None:
    frames = [jpeg(9_000 + n) for n in range(1000)]
    data = dual(order, big, frames, filler=3 * 2**20)
    located = locate(data)
    assert located.ranges.source == FrameSource.TIFF
    sizes = sorted(stop - start for start, stop in located.asked)
    # the first item, one in the middle, the last; the directory with the delimiter; the numbers
    assert sizes == [8, 8, 8, 4096 + 32, 1000 * (12 if big else 8)]
    assert located.bytes_asked < len(data) / 100


def small(offsets: list[int], sizes: list[int]) -> None:
    offsets[:] = [offset + 2 for offset in offsets]


LIES: dict[str, Change] = {
    "shifted": small,
    "one shifted": lambda offsets, sizes: offsets.__setitem__(4, offsets[4] + 2),
    "boundary moved": lambda offsets, sizes: (
        offsets.__setitem__(6, offsets[6] + 2),
        sizes.__setitem__(5, sizes[5] + 2),
        sizes.__setitem__(6, sizes[6] - 2),
    ),
    "twice the same": lambda offsets, sizes: offsets.__setitem__(3, offsets[2]),
    "no bytes": lambda offsets, sizes: sizes.__setitem__(3, 0),
    "sparse": lambda offsets, sizes: (offsets.__setitem__(3, 0), sizes.__setitem__(3, 0)),
    "past the end": lambda offsets, sizes: offsets.__setitem__(11, 2**32 - 2),
    "too long": lambda offsets, sizes: sizes.__setitem__(11, 2**32 - 2),
    "other lengths": lambda offsets, sizes: sizes.__setitem__(0, 2),
    "one too few": lambda offsets, sizes: (offsets.pop(), sizes.pop()),
    "one too many": lambda offsets, sizes: (
        offsets.__setitem__(slice(12, None), [9999]),
        sizes.__setitem__(slice(12, None), [2]),
    ),
    "counts differ": lambda offsets, sizes: sizes.__setitem__(slice(12, None), [2]),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("order", "big"), FORMATS)
def test_a_lying_directory_is_told_and_not_believed(lie: str, order: str, big: bool) -> None:
    data = dual(order, big, change=LIES[lie])
    ranges = locate(data).ranges
    assert ranges.source == FrameSource.SCAN
    assert ranges.problem is not None
    assert frames_in(data, ranges) == WHOLE
    reason = locate(data, scan=False).reason
    assert (reason.why, reason.problem) == (Why.NO_TABLE, ranges.problem)


@pytest.mark.parametrize("shape", [(COLUMNS, ROWS + 1), (ROWS, COLUMNS)])
def test_tiles_of_another_size_are_others(shape: tuple[int, int]) -> None:
    ranges = locate(dual(shape=shape)).ranges
    assert ranges.source == FrameSource.SCAN
    assert ranges.problem == "no TIFF directory has this object's frames"


@pytest.mark.parametrize(
    "preamble",
    [
        b"II\x2a\0\0\0\0\0",
        b"II\x2a\0\xff\xff\xff\xff",
        b"MM\0\x2a\0\0\0\0",
        b"II\x2b\0\x08\0\0\0" + b"\xff" * 8,
        b"II\x2b\0\x04\0\0\0" + b"\0" * 8,
        b"II\x2c\0\x08\0\0\0",
        b"GIF89a..",
    ],
)
def test_other_preambles_and_directories_in_nowhere(preamble: bytes) -> None:
    data = multiframe(JPEG, empty_table(FRAMES), 12)
    located = locate(preamble + data[len(preamble) :])
    assert located.ranges.source == FrameSource.SCAN
    assert frames_in(data, located.ranges) == WHOLE


@pytest.mark.parametrize("big", [False, True])
def test_directories_without_an_end(big: bool) -> None:
    head = multiframe(JPEG, empty_table(FRAMES), 12)
    circle = Tiff("<", big, {tags.IMAGE_WIDTH: ("H", [1])}, following=len(head) + 12)
    tail = LITTLE.element(TRAILING_PADDING, "OB", circle.directory(len(head) + 12))
    data = circle.preamble(len(head) + 12) + (head + tail)[16:]
    assert locate(data).ranges.problem == "the TIFF directories have no end"


@pytest.mark.parametrize("seed", range(150))
def test_no_mutated_directory_gives_a_wrong_frame(seed: int) -> None:
    chance = random.Random(seed)
    order, big = chance.choice(FORMATS)
    made = bytearray(dual(order, big, before=chance.randrange(3)))
    place = made.rindex(b"\xfc\xff\xfc\xff")
    for _ in range(chance.randrange(1, 5)):
        at = chance.choice([chance.randrange(2, 16), chance.randrange(place + 12, len(made))])
        made[at] = chance.choice([0, 1, 2, 8, made[at] ^ 1, made[at] ^ 2, 0x7F, 0xFF])
    data = bytes(made)
    assert answer(data) == WHOLE
    assert answer(data, scan=False) in (WHOLE, "no_table")
