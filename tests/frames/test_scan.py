"""The scan: which fragments are a frame, what it costs, and that it ends."""

from __future__ import annotations

import random
from dataclasses import replace
from struct import pack
from typing import Any

import pytest
from pydicom.encaps import generate_frames

from harvest.dicom.asking import Answering
from harvest.dicom.first_ranges import BRIDGED_BYTES
from harvest.frames import (
    FrameRanges,
    FrameSource,
    PixelDescription,
    Why,
    locate_frames,
)
from harvest.frames.scan import MOST_AT_ONCE, MOST_CHECKS, MOST_EMPTY_FRAGMENTS
from tests.support.build import (
    BIG,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    JPEG,
    LITTLE,
    PIXEL_DATA,
    UNDEFINED,
)

from ..support.frames import (
    DEFLATED_FRAMES,
    HTJ2K,
    JPEG_2000,
    JPEG_LS,
    JPEG_XL,
    RLE,
    Sparse,
    answer,
    describe,
    drive,
    empty_table,
    frames_in,
    jpeg,
    locate,
    multiframe,
    padded,
    rle,
    split,
)

CODESTREAM = b"\xff\x4f\xff\x51" + pack(">H", 41)
BEGINNINGS = {
    JPEG: b"\xff\xd8\xff\xdb",
    JPEG_LS: b"\xff\xd8\xff\xf7",
    JPEG_2000: CODESTREAM + bytes(40),
    HTJ2K: CODESTREAM + bytes(40),
    JPEG_2000 + "+box": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30),
    JPEG_XL: b"\xff\x0a" + bytes(30),
    JPEG_XL + "+box": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30),
    RLE: rle(64),
}
FRAMES = [jpeg(300 + 50 * n, n) for n in range(5)]


def split_image(syntax: str, frames: list[list[bytes]], **more: Any) -> bytes:
    flat = [piece for pieces in frames for piece in pieces]
    return multiframe(syntax, LITTLE.encapsulated(flat), len(frames), **more)


# which fragments are a frame


@pytest.mark.parametrize("name", BEGINNINGS)
def test_frames_in_several_fragments_are_told_by_their_beginnings(name: str) -> None:
    syntax = name.partition("+")[0]
    whole = [BEGINNINGS[name] + bytes(500 + 20 * n) for n in range(4)]
    data = split_image(syntax, [split(frame, 128) for frame in whole])
    located = locate(data)
    assert located.ranges.source == FrameSource.SCAN
    assert located.ranges.problem is None
    assert frames_in(data, located.ranges) == whole


def test_pydicom_finds_the_same_frames() -> None:
    pixels = LITTLE.encapsulated([p for frame in FRAMES for p in split(padded(frame), 64)])
    data = multiframe(JPEG, pixels, 5)
    assert answer(data) == list(generate_frames(pixels[12:], number_of_frames=5))


@pytest.mark.parametrize("syntax", [JPEG, RLE, DEFLATED_FRAMES, "1.2.3", EXPLICIT_LITTLE])
def test_as_many_fragments_as_frames(syntax: str) -> None:
    whole = [bytes(20 + 2 * n) for n in range(5)]
    assert answer(multiframe(syntax, empty_table(whole), 5)) == whole


@pytest.mark.parametrize("syntax", [JPEG, RLE, DEFLATED_FRAMES, "1.2.3"])
@pytest.mark.parametrize("frames", [None, 1])
def test_all_fragments_are_the_only_frame(syntax: str, frames: int | None) -> None:
    pieces = split(bytes(5000), 100)
    assert answer(multiframe(syntax, LITTLE.encapsulated(pieces), frames)) == [bytes(5000)]


@pytest.mark.parametrize(
    ("syntax", "pieces", "frames"),
    [
        # fragments without a marker, more of them than frames
        (DEFLATED_FRAMES, [bytes(10)] * 6, 5),
        ("1.2.3", [bytes(10)] * 6, 5),
        # fewer fragments than frames
        (JPEG, FRAMES[:4], 5),
        (JPEG, [], 1),
        (RLE, [bytes(10)], 2),
        # as many as frames, but some continue another
        (JPEG, [FRAMES[0][:100], FRAMES[0][100:], FRAMES[2], FRAMES[3], FRAMES[4]], 5),
        # other numbers of beginnings than of frames
        (JPEG, [*FRAMES, FRAMES[0]], 5),
        (JPEG, [*FRAMES[:4], bytes(10), bytes(10)], 5),
        (JPEG, [bytes(10), *FRAMES], 5),
        # split before the end of an RLE header
        (RLE, [*split(rle(200), 32), *split(rle(200), 32)], 2),
        # an RLE header of three segments where a pixel has one byte
        (RLE, [rle(200, 3), bytes(10), rle(200, 3), bytes(10)], 2),
    ],
)
def test_what_cannot_be_told_is_said(syntax: str, pieces: list[bytes], frames: int) -> None:
    pixels = LITTLE.encapsulated([padded(piece) for piece in pieces])
    located = locate(multiframe(syntax, pixels, frames))
    assert located.reason.why == Why.UNCLEAR
    assert str(frames) in located.reason.reason


def test_segments_of_rle_are_those_of_a_pixel() -> None:
    whole = [rle(300, 6), rle(400, 6)]
    data = split_image(RLE, [split(frame, 100) for frame in whole], samples=3, bits=16)
    assert answer(data) == whole


def test_empty_fragments_belong_to_the_frame_before() -> None:
    whole = [padded(frame) for frame in FRAMES]
    pieces = [b"", whole[0], b"", b"", whole[1], *whole[2:], b""]
    assert answer(multiframe(JPEG, LITTLE.encapsulated(pieces), 5)) == whole


def test_a_scan_in_big_endian() -> None:
    pixels = BIG.encapsulated([b"abcd", b"efghij"])
    located = locate(multiframe(EXPLICIT_BIG, pixels, 2, code=BIG))
    assert list(located.ranges.lengths or ()) == [12, 14]


@pytest.mark.parametrize("seed", range(60))
def test_any_fragments_in_ranges_of_any_size(seed: int) -> None:
    chance = random.Random(seed)
    frames = [padded(jpeg(chance.choice([8, 60, 700, 9000]), n)) for n in range(40)]
    pieces = [
        piece for frame in frames for piece in split(frame, chance.choice([4, 50, 1000, 10_000]))
    ]
    data = multiframe(JPEG, LITTLE.encapsulated(pieces), 40)
    located = locate(data, request_bytes=chance.choice([1, 100, 1000, BRIDGED_BYTES]))
    assert frames_in(data, located.ranges) == frames
    assert located.bytes_asked <= len(data)


# cost


def sparse(sizes: list[int], frames: int) -> tuple[Sparse, PixelDescription]:
    """Build an object of zeros and items of these sizes."""
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    head = multiframe(JPEG, begin + LITTLE.item(b""), frames)
    pieces, at = {0: head}, len(head)
    for size in sizes:
        pieces[at] = LITTLE.mark(0xE000, size) + b"\xff\xd8\xff\xe0"
        at += 8 + size
    pieces[at] = LITTLE.sequence_end
    made = Sparse(at + 8, pieces)
    return made, replace(describe(head), size=made.size)


def test_large_fragments_are_hopped_over() -> None:
    data, pixels = sparse([2**20] * 200, 200)
    located = drive(data, pixels)
    assert located.ranges.frames == 200
    # 512 bytes at each item, and the delimiter
    assert len(located.asked) == 201
    assert located.bytes_asked == 200 * 512 + 8
    assert located.bytes_asked < data.size / 100


def test_fragments_just_worth_a_hop_cost_under_a_hundredth() -> None:
    data, pixels = sparse([BRIDGED_BYTES] * 100, 100)
    located = drive(data, pixels)
    assert located.bytes_asked < data.size / 100


def test_small_fragments_are_read_many_at_once() -> None:
    frames = [jpeg(5_000)] * 2_000
    data = multiframe(JPEG, empty_table(frames), 2_000)
    located = locate(data)
    begin = data.index(b"\xfe\xff\x00\xe0") + 8
    assert located.bytes_asked <= len(data) - begin
    assert [stop - start for start, stop in located.asked[:4]] == [
        BRIDGED_BYTES,
        2 * BRIDGED_BYTES,
        4 * BRIDGED_BYTES,
        8 * BRIDGED_BYTES,
    ]
    assert len(located.asked) == 6
    assert max(stop - start for start, stop in located.asked) <= MOST_AT_ONCE


def test_a_caller_to_whom_requests_cost_nothing_hops_over_small_fragments() -> None:
    data = multiframe(JPEG, empty_table([jpeg(50_000)] * 30), 30)
    located = locate(data, request_bytes=4096)
    assert located.bytes_asked < len(data) / 100
    assert len(located.asked) == 31


def test_sizes_are_measured_on_the_way() -> None:
    """Number of Frames promises large fragments; they are small at first, and large later."""
    data, pixels = sparse([40_000] * 300 + [4 * 2**20] * 100, 1)
    located = drive(data, pixels)
    hops = [stop - start for start, stop in located.asked if stop - start == 512]
    assert len(hops) >= 95
    assert located.bytes_asked < 300 * 40_008 + 3 * MOST_AT_ONCE
    assert len(located.asked) < 130


def test_one_fragment_takes_two_requests() -> None:
    data = multiframe(JPEG, empty_table([jpeg(10**6)]), None)
    located = locate(data)
    assert [stop - start for start, stop in located.asked] == [512, 8]


@pytest.mark.parametrize(
    ("count", "scanned"),
    [(20, False), (MOST_CHECKS + 1, False), (MOST_CHECKS + 2, True), (200, True)],
)
def test_a_table_is_checked_with_few_requests(count: int, scanned: bool) -> None:
    """Where the only frame ends takes a look at each of its fragments."""
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    head = multiframe(JPEG, begin + LITTLE.item(bytes(4)), None)
    pieces, at = {0: head}, len(head)
    for _ in range(count):
        pieces[at] = LITTLE.mark(0xE000, 2**20) + b"\xff\xd8\xff\xe0"
        at += 8 + 2**20
    pieces[at] = LITTLE.sequence_end
    data = Sparse(at + 8, pieces)
    pixels = replace(describe(head), size=data.size)
    checked = drive(data, pixels, scan=False)
    assert len(checked.asked) <= MOST_CHECKS + 2
    if scanned:
        assert checked.reason.why == Why.NO_TABLE
        assert checked.reason.problem == "the basic table's last entry: over 32 large fragments"
        assert drive(data, pixels).ranges.source == FrameSource.SCAN
    else:
        assert checked.ranges.source == FrameSource.BASIC
        assert list(checked.ranges.lengths or ()) == [count * (8 + 2**20)]


# hostile


NO_DELIMITER = "the object ends before its pixels' delimiter"
PAST_END = "a fragment goes past the object's end"
NO_FRAGMENT = "no fragment at offset {at}"


def test_ten_million_empty_fragments_end_with_a_reason() -> None:
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    head = multiframe(JPEG, begin + LITTLE.item(b""), 3)
    empty = LITTLE.item(b"") * 10_000_000
    data = head + empty + LITTLE.sequence_end
    located = locate(data)
    assert located.reason.why == Why.TOO_LARGE
    assert located.reason.reason == f"over {MOST_EMPTY_FRAGMENTS} fragments"
    assert len(located.asked) < 10
    assert located.bytes_asked < 2**21


@pytest.mark.parametrize(
    ("tail", "why", "reason"),
    [
        (b"", Why.TRUNCATED, NO_DELIMITER),
        (b"\xfe\xff\x00", Why.TRUNCATED, NO_DELIMITER),
        (LITTLE.item(b"ab"), Why.TRUNCATED, NO_DELIMITER),
        (LITTLE.item(b"ab", length=4), Why.TRUNCATED, PAST_END),
        (LITTLE.item(b"ab", length=1000), Why.TRUNCATED, PAST_END),
        (LITTLE.item(b"ab", length=UNDEFINED), Why.MALFORMED, NO_FRAGMENT),
        (LITTLE.item(b"ab", defined=False), Why.MALFORMED, NO_FRAGMENT),
        (LITTLE.item_end, Why.MALFORMED, NO_FRAGMENT),
        (b"\0" * 16, Why.MALFORMED, NO_FRAGMENT),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_items_that_do_not_end_well(before: int, tail: bytes, why: Why, reason: str) -> None:
    pixels = LITTLE.encapsulated([padded(frame) for frame in FRAMES[:before]], end=False)
    data = multiframe(JPEG, pixels + tail, 2)
    found = locate(data).reason
    assert (found.why, found.reason) == (why, reason.format(at=len(data) - len(tail)))


@pytest.mark.parametrize("seed", range(120))
def test_no_mutated_object_hangs_or_is_read_twice(seed: int) -> None:
    chance = random.Random(seed)
    frames = [padded(jpeg(chance.randrange(20, 400), n)) for n in range(6)]
    pieces = [piece for frame in frames for piece in split(frame, 128)]
    data = bytearray(multiframe(JPEG, LITTLE.encapsulated(pieces), 6))
    begin = data.index(b"\xfe\xff\x00\xe0")
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(begin, len(data))
        data[at] = chance.choice([0, 1, 8, 0x7F, 0xD8, 0xE0, 0xFE, 0xFF])
    located = locate(bytes(data), request_bytes=chance.choice([10, 200, BRIDGED_BYTES]))
    assert located.bytes_asked <= len(data)


@pytest.mark.parametrize(("frames", "first"), [(1, 0), (2, 60), (2, 0)])
def test_no_way_finds_frames_that_an_object_cannot_have(
    monkeypatch: pytest.MonkeyPatch, frames: int, first: int
) -> None:
    """That is a bug, and is told as one."""
    pixels = PixelDescription(
        size=100, transfer_syntax=None, keyword="PixelData", frames=2, value_length=100
    )
    wrong = FrameRanges(FrameSource.NATIVE, frames, first_offset=first, frame_bits=400)
    monkeypatch.setattr("harvest.frames.locate_native", lambda *_: wrong)
    if (frames, first) == (2, 0):
        assert Answering(locate_frames(pixels, scan=True)).found == wrong
        return
    with pytest.raises(AssertionError, match="native"):
        Answering(locate_frames(pixels, scan=True))
