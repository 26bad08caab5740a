"""Tables, native arithmetic and what is said where there are no ranges."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harvest.dicom.header import Header, read_header
from harvest.dicom.offsets import Pixels, locate_pixels
from harvest.dicom.window import NeedMore, Window
from harvest.errors import ErrorKind, ObjectError
from harvest.frames import (
    ONE_FRAME_BYTES,
    PIXEL_SELECTION,
    Answering,
    ByteRange,
    FrameRanges,
    FrameSource,
    PixelDescription,
    Why,
    describe_pixels,
    join_fragments,
    locate_frames,
)
from harvest.frames.codecs import Codec, codec_of
from tests.support.build import (
    BIG,
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    JPEG,
    JPIP,
    LITTLE,
    PIXEL_DATA,
    UNDEFINED,
    header_of,
    image,
    report,
    take,
    window_of,
)

from ..support.frames import (
    DEFLATED_FRAMES,
    MPEG4,
    Sparse,
    answer,
    basic_table,
    describe,
    drive,
    empty_table,
    extended_table,
    frames_in,
    item_starts,
    jpeg,
    locate,
    multiframe,
    padded,
    split,
)

FRAMES = [jpeg(50 + 17 * n, n) for n in range(6)]
WHOLE = [padded(frame) for frame in FRAMES]
TABLES = {"extended": extended_table, "basic": basic_table}


def native(
    pixels: bytes, frames: int | None, transfer_syntax: str = EXPLICIT_LITTLE, **more: Any
) -> bytes:
    code = {EXPLICIT_BIG: BIG, IMPLICIT_LITTLE: IMPLICIT}.get(transfer_syntax, LITTLE)
    element = code.element(PIXEL_DATA, "OW", pixels)
    return multiframe(transfer_syntax, element, frames, code=code, **more)


# native


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_native_frames_are_arithmetic(syntax: str, bits: int) -> None:
    pixels = bytes(n % 251 for n in range(5 * 6 * bits // 8))
    data = native(pixels, 5, syntax, rows=2, columns=3, bits=bits)
    located = locate(data, scan=False)
    assert located.asked == []
    assert located.ranges.source == FrameSource.NATIVE
    assert located.ranges.frame_bits == 6 * bits
    assert located.ranges.problem is None
    expected = [bytes(frame) for frame in np.frombuffer(pixels, "u1").reshape(5, -1)]
    assert frames_in(data, located.ranges) == expected


@pytest.mark.parametrize(("rows", "columns", "frames"), [(3, 5, 7), (1, 1, 9), (4, 4, 3)])
def test_frames_of_single_bits_are_not_byte_aligned(rows: int, columns: int, frames: int) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (frames, rows, columns), np.uint8)
    pixels = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data = native(padded(pixels), frames, rows=rows, columns=columns, bits=1)
    ranges = locate(data).ranges
    assert ranges.problem is None
    for number, expected in enumerate(bits, start=1):
        read = np.frombuffer(data[slice(*ranges.byte_range(number))], np.uint8)
        unpacked = np.unpackbits(read, bitorder="little")[ranges.bit_offset(number) :]
        assert (unpacked[: rows * columns] == expected.ravel()).all()
        assert len(unpacked) - rows * columns < 8


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_shared_chrominance_takes_two_samples_a_pixel(photometric: str) -> None:
    pixels = bytes(range(3 * 32))
    data = native(pixels, 3, samples=3, photometric=photometric)
    assert frames_in(data, locate(data).ranges) == [pixels[n : n + 32] for n in (0, 32, 64)]


def test_chrominance_that_is_not_shared_after_all() -> None:
    data = native(bytes(3 * 48), 3, samples=3, photometric="YBR_FULL_422")
    assert locate(data).reason.why == Why.UNCLEAR


@pytest.mark.parametrize(
    ("tag", "vr", "width"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)], ids=["OF", "OD"]
)
def test_pixels_of_floating_point_are_native(tag: int, vr: str, width: int) -> None:
    pixels = bytes(n % 251 for n in range(2 * 16 * width))
    data = multiframe(EXPLICIT_LITTLE, LITTLE.element(tag, vr, pixels), 2, bits=8 * width)
    half = 16 * width
    assert frames_in(data, locate(data).ranges) == [pixels[:half], pixels[half:]]


@pytest.mark.parametrize("frames", [None, 0, 1])
def test_a_single_frame_needs_no_number(frames: int | None) -> None:
    data = native(bytes(16), frames)
    assert locate(data).ranges.frames == 1


@pytest.mark.parametrize(
    ("pixels", "changes", "why"),
    [
        (bytes(30), {}, Why.UNCLEAR),
        (bytes(32), {"rows": 0}, Why.UNCLEAR),
        (bytes(32), {"samples": 0}, Why.UNCLEAR),
        (bytes(32), {"transfer_syntax": JPEG}, Why.UNCLEAR),
        (bytes(34), {"transfer_syntax": "1.2.3.4"}, Why.UNCLEAR),
    ],
)
def test_native_pixels_whose_length_does_not_agree(
    pixels: bytes, changes: dict[str, Any], why: Why
) -> None:
    assert locate(native(pixels, 2, **changes)).reason.why == why


def test_native_pixels_of_an_unknown_syntax_must_fit_exactly() -> None:
    assert locate(native(bytes(32), 2, "1.2.3.4")).ranges.frame_bits == 128


def test_frames_that_begin_inside_a_big_endian_word() -> None:
    """Their bytes are swapped with those of the frame before."""
    odd = native(bytes(30), 2, EXPLICIT_BIG, rows=3, columns=5)
    assert locate(odd).reason.why == Why.UNCLEAR
    assert locate(native(bytes(16), 1, EXPLICIT_BIG, rows=3, columns=5)).ranges.frame_bits == 120
    element = BIG.element(PIXEL_DATA, "OB", bytes(30))
    bytewise = multiframe(EXPLICIT_BIG, element, 2, code=BIG, rows=3, columns=5)
    assert locate(bytewise).ranges.frame_bits == 120


def test_more_native_bytes_than_the_frames_take_are_told() -> None:
    ranges = locate(native(bytes(40), 2)).ranges
    assert ranges.problem == "8 bytes of pixels more than 2 frames take"
    assert ranges.frame_bits == 128


def test_native_pixels_that_end_early() -> None:
    assert locate(native(bytes(32), 2)[:-1]).reason.why == Why.TRUNCATED


def test_frame_numbers_begin_at_one() -> None:
    ranges = locate(native(bytes(32), 2)).ranges
    for number in (0, 3, -1):
        with pytest.raises(IndexError, match="the object has 2"):
            ranges.byte_range(number)


# right tables


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("scan", [True, False])
def test_a_right_table_is_used(kind: str, count: int, scan: bool) -> None:
    data = multiframe(JPEG, TABLES[kind](FRAMES[:count]), count)
    located = locate(data, scan=scan)
    assert located.ranges.source == kind
    assert located.ranges.problem is None
    assert frames_in(data, located.ranges) == WHOLE[:count]
    assert located.ranges.offsets is not None
    assert located.ranges.lengths is not None
    assert data[located.ranges.offsets[0] :][:4] == b"\xfe\xff\x00\xe0"


@pytest.mark.parametrize("kind", TABLES)
def test_tables_in_big_endian(kind: str) -> None:
    entries = item_starts(WHOLE)
    lengths = [len(frame) for frame in FRAMES]
    pixels = (
        BIG.extended(entries, lengths) + BIG.encapsulated(WHOLE)
        if kind == "extended"
        else BIG.encapsulated(WHOLE, entries)
    )
    data = multiframe(EXPLICIT_BIG, pixels, 6, code=BIG)
    ranges = locate(data).ranges
    assert ranges.source == kind
    assert [
        join_fragments(data[slice(*ranges.byte_range(n + 1))], little_endian=False)
        for n in range(6)
    ] == WHOLE


def test_a_basic_table_of_frames_in_several_fragments() -> None:
    fragments = [split(frame, 40) for frame in WHOLE]
    flat = [piece for pieces in fragments for piece in pieces]
    starts = item_starts(flat)
    firsts = [starts[sum(map(len, fragments[:n]))] for n in range(6)]
    data = multiframe(JPEG, LITTLE.encapsulated(flat, firsts), 6)
    located = locate(data)
    assert located.ranges.source == FrameSource.BASIC
    assert frames_in(data, located.ranges) == WHOLE


def test_lengths_of_an_extended_table_may_include_the_padding() -> None:
    data = multiframe(JPEG, extended_table(FRAMES, lengths=[len(frame) for frame in WHOLE]), 6)
    located = locate(data)
    assert (located.ranges.source, located.ranges.problem) == (FrameSource.EXTENDED, None)


def test_both_tables_are_a_problem_even_if_they_are_right() -> None:
    pixels = LITTLE.extended(item_starts(WHOLE), [len(frame) for frame in FRAMES])
    pixels += LITTLE.encapsulated(WHOLE, item_starts(WHOLE))
    located = locate(multiframe(JPEG, pixels, 6))
    assert located.ranges.source == FrameSource.EXTENDED
    assert located.ranges.problem == "an extended table beside a filled basic one"


def test_a_table_right_up_to_a_missing_delimiter() -> None:
    data = multiframe(JPEG, extended_table(FRAMES), 6)
    located = locate(data[:-8])
    assert located.ranges.source == FrameSource.EXTENDED
    assert frames_in(data, located.ranges) == WHOLE


@pytest.mark.parametrize("kind", TABLES)
def test_elements_behind_the_pixels_belong_to_no_frame(kind: str) -> None:
    tail = LITTLE.element(0xFFFCFFFC, "OB", bytes(3000))
    data = multiframe(JPEG, TABLES[kind](FRAMES) + tail, 6)
    assert frames_in(data, locate(data, scan=False).ranges) == WHOLE


def sparse_basic(starts: Sequence[int], end: int, entries: Sequence[int]) -> tuple[Sparse, int]:
    """Build an object of many GiB: its items, and a table of its own choice."""
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    table = LITTLE.item(LITTLE.pack(f"{len(entries)}L", *entries))
    head = multiframe(JPEG, begin + table, len(entries))
    pieces = {0: head, len(head) + end: LITTLE.sequence_end}
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        pieces[len(head) + start] = LITTLE.mark(0xE000, stop - start - 8) + b"\xff\xd8\xff\xe0"
    return Sparse(len(head) + end + 8, pieces), len(head)


def describe_sparse(data: Sparse) -> PixelDescription:
    window = Window(data.size)
    window.add(0, data.pieces[0])
    header = read_header(window, PIXEL_SELECTION)
    assert isinstance(header, Header)
    described = describe_pixels(window, header)
    assert isinstance(described, PixelDescription)
    return described


GIB = 2**30
STARTS = [0, 2 * GIB, 3 * GIB, 5 * GIB, 7 * GIB, 8 * GIB + 100]


def test_a_basic_table_that_wraps_is_unwrapped() -> None:
    data, first = sparse_basic(STARTS, 9 * GIB, [start % 2**32 for start in STARTS])
    located = drive(data, describe_sparse(data), scan=False)
    assert located.ranges.source == FrameSource.BASIC
    assert list(located.ranges.offsets or ()) == [first + start for start in STARTS]
    # the table with the first item, two items behind a wrap, the last frame, the delimiter
    assert len(located.asked) == 4
    assert located.bytes_asked < 2000


@pytest.mark.parametrize(
    "entries",
    [
        [start % 2**32 + 2 for start in STARTS],
        [start % 2**32 for start in (*STARTS[:3], 4 * GIB, *STARTS[4:])],
        [start % 2**32 for start in reversed(STARTS)],
        [0, 5, 4, 3, 2, 1],
        [0, 2 * GIB, 3 * GIB, GIB + 64, 3 * GIB, 100],
        [0, 2 * GIB, 3 * GIB, GIB, 3 * GIB, 102],
    ],
)
def test_a_table_that_seems_to_wrap_and_lies_is_scanned(entries: list[int]) -> None:
    data, first = sparse_basic(STARTS, 9 * GIB, entries)
    located = drive(data, describe_sparse(data))
    assert located.ranges.source == FrameSource.SCAN
    assert located.ranges.problem is not None
    assert list(located.ranges.offsets or ()) == [first + start for start in STARTS]
    assert located.bytes_asked < 10_000


# wrong tables


def test_an_entry_that_leads_to_nowhere_is_seen_when_the_frame_is_read() -> None:
    """Items in the middle of a basic table are not looked at: it would take a request each."""
    entries = item_starts(WHOLE)
    entries[3] += 10
    data = multiframe(JPEG, basic_table(FRAMES, entries), 6)
    ranges = locate(data).ranges
    for number, expected in enumerate(WHOLE, start=1):
        encoded = data[slice(*ranges.byte_range(number))]
        if number in (3, 4):
            with pytest.raises(ObjectError, match="whole items"):
                join_fragments(encoded)
        else:
            assert join_fragments(encoded) == expected


def wrong(kind: str, change: Callable[[list[int]], Any]) -> bytes:
    entries = item_starts(WHOLE)
    change(entries)
    lengths = [len(frame) for frame in (*FRAMES, b"??")][: len(entries)]
    told = [lengths] if kind == "extended" else []
    return multiframe(JPEG, TABLES[kind](FRAMES, entries, *told), 6)


def set_entry(number: int, value: int) -> Callable[[list[int]], None]:
    def change(entries: list[int]) -> None:
        entries[number] = value

    return change


WRONG: dict[str, tuple[Callable[[list[int]], Any], str]] = {
    "one too many": (lambda entries: entries.append(entries[-1] + 8), "7 entries for 6 frames"),
    "one too few": (lambda entries: entries.pop(), "5 entries for 6 frames"),
    "not 0": (set_entry(0, 8), "first entry is not 0"),
    "not ascending": (set_entry(2, 500), "not in ascending order"),
    "twice the same": (lambda entries: entries.__setitem__(2, entries[1]), "without bytes"),
    "empty frame": (lambda entries: entries.__setitem__(2, entries[1] + 8), "without bytes"),
    "odd": (lambda entries: entries.__setitem__(2, entries[2] + 1), "odd offsets"),
    "past the end": (set_entry(5, 10**6), "past the object's end"),
    "last to nowhere": (lambda entries: entries.__setitem__(5, entries[5] + 2), "table"),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_told_and_scanned(kind: str, name: str) -> None:
    change, problem = WRONG[name]
    data = wrong(kind, change)
    ranges = locate(data).ranges
    assert ranges.source == FrameSource.SCAN
    assert problem in (ranges.problem or "")
    assert frames_in(data, ranges) == WHOLE
    reason = locate(data, scan=False).reason
    assert reason.why == Why.NO_TABLE
    assert reason.problem == ranges.problem


@pytest.mark.parametrize(
    ("lengths", "problem"),
    [
        ([1, 2], "differ in size"),
        ([0] * 6, "without bytes"),
        ([2**64 - 1] * 6, "past the object's end"),
        ([len(frame) + 2 for frame in FRAMES], "do not agree"),
    ],
)
def test_wrong_lengths_of_an_extended_table(lengths: list[int], problem: str) -> None:
    data = multiframe(JPEG, extended_table(FRAMES, lengths=lengths), 6)
    ranges = locate(data).ranges
    assert problem in (ranges.problem or "")
    assert frames_in(data, ranges) == WHOLE


def test_an_extended_table_that_forgot_the_padding() -> None:
    """As pydicom wrote them once: each odd frame shifts all that follow by a byte."""
    at, entries = 0, []
    for frame in FRAMES:
        entries.append(at)
        at += 8 + len(frame)
    data = multiframe(JPEG, extended_table(FRAMES, entries), 6)
    ranges = locate(data).ranges
    assert ranges.source == FrameSource.SCAN
    assert frames_in(data, ranges) == WHOLE


def test_an_extended_table_without_lengths() -> None:
    data = multiframe(JPEG, LITTLE.extended(item_starts(WHOLE)) + empty_table(FRAMES), 6)
    assert locate(data).ranges.problem == "the extended table and its lengths differ in size"


def test_a_wrong_extended_table_beside_a_right_basic_one() -> None:
    pixels = LITTLE.extended([0] * 6, [1] * 6) + LITTLE.encapsulated(WHOLE, item_starts(WHOLE))
    data = multiframe(JPEG, pixels, 6)
    ranges = locate(data, scan=False).ranges
    assert ranges.source == FrameSource.BASIC
    assert (ranges.problem or "").startswith("an extended table beside a filled basic one; ")
    assert frames_in(data, ranges) == WHOLE


@pytest.mark.parametrize("kind", TABLES)
def test_fewer_entries_than_fragments_begin_a_frame(kind: str) -> None:
    """Number of Frames and table agree, and both leave the last frames out."""
    entries = item_starts(WHOLE)[:4]
    lengths = [[len(frame) for frame in FRAMES[:4]]] if kind == "extended" else []
    data = multiframe(JPEG, TABLES[kind](FRAMES, entries, *lengths), 4)
    assert answer(data) == "unclear"


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("seed", range(150))
def test_no_mutated_table_gives_a_wrong_frame(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    frames = [jpeg(chance.randrange(20, 90), n) for n in range(chance.randrange(2, 9))]
    whole = [padded(frame) for frame in frames]
    entries = item_starts(whole)
    lengths = [len(frame) for frame in frames]
    for _ in range(chance.randrange(1, 4)):
        numbers = entries if kind == "basic" or chance.random() < 0.6 else lengths
        at = chance.randrange(len(numbers)) if numbers else 0
        match chance.randrange(6):
            case 0 if numbers:
                numbers[at] = chance.choice([0, 1, 2, 8, 2**16, 2**32 - 1])
            case 1 if numbers:
                numbers[at] = (numbers[at] + chance.choice([-16, -8, -2, -1, 1, 2, 8])) % 2**32
            case 2 if numbers:
                other = chance.randrange(len(numbers))
                numbers[at], numbers[other] = numbers[other], numbers[at]
            case 3 if numbers:
                del numbers[at]
            case 4:
                numbers.insert(at, chance.randrange(400))
            case _:
                shift = chance.choice([2, 8, 16])
                numbers[:] = [(number + shift) % 2**32 for number in numbers]
    told = [lengths] if kind == "extended" else []
    data = multiframe(JPEG, TABLES[kind](frames, entries, *told), len(frames))
    assert answer(data) in (whole, "malformed")
    # without a scan too
    assert answer(data, scan=False) in (whole, "malformed", "no_table")


# cost


@pytest.mark.parametrize("scan", [True, False])
def test_what_tables_cost(scan: bool) -> None:
    frames = [jpeg(20_000 + 2 * n) for n in range(500)]
    basic = multiframe(JPEG, basic_table(frames), 500)
    extended = multiframe(JPEG, extended_table(frames), 500)
    first, last = locate(basic, scan=scan).asked
    begin = basic.index(b"\xfe\xff\x00\xe0") + 8
    assert (first.start, first.stop - first.start) == (begin, 4 * 500 + 8 + 3)
    assert (last.start, last.stop) == (len(basic) - 8 - len(frames[-1]) - 8, len(basic))
    tables, last = locate(extended, scan=scan).asked
    # both tables, the pixel element's head, the empty table and the first item's head
    assert tables.stop - tables.start == 4000 + 12 + 4000 + 12 + 8 + 8
    assert (last.start, last.stop) == (len(extended) - 8 - len(frames[-1]) - 8, len(extended))


def test_a_single_frame_is_not_read_to_check_its_table() -> None:
    data = multiframe(JPEG, basic_table([jpeg(200_000)]), 1)
    assert [stop - start for start, stop in locate(data).asked] == [4 + 8 + 3, 8]


def test_a_large_last_frame_is_not_read() -> None:
    frames = [jpeg(200), jpeg(600_000)]
    for table in TABLES.values():
        data = multiframe(JPEG, table(frames), 2)
        assert locate(data).bytes_asked < 1200


def test_the_last_frame_may_have_many_fragments_but_not_too_many() -> None:
    frame = split(jpeg(3 * 2**20), 1024)
    data = multiframe(JPEG, LITTLE.encapsulated(frame, [0]), 1)
    reason = locate(data, scan=False).reason
    assert "over 1048576 bytes of fragments" in (reason.problem or "")
    located = locate(data)
    assert located.ranges.source == FrameSource.SCAN
    assert frames_in(data, located.ranges) == [b"".join(frame)]


def test_answering_tells_what_is_wanted_and_what_was_found() -> None:
    data = multiframe(JPEG, basic_table([jpeg(n) for n in range(5)]), 5)
    answering = Answering(locate_frames(describe(data), scan=False))
    wanted: list[ByteRange] = []
    while answering.wanted is not None:
        with pytest.raises(AssertionError, match="still wanted"):
            _ = answering.found
        wanted.append(answering.wanted)
        answering.answer(data[slice(*answering.wanted)])
    assert wanted == locate(data, scan=False).asked
    assert answering.found == locate(data, scan=False).found
    pixels = LITTLE.element(PIXEL_DATA, "OB", bytes(16))
    native = describe(multiframe(EXPLICIT_LITTLE, pixels, None))
    assert Answering(locate_frames(native, scan=False)).wanted is None


def test_it_is_sent_what_it_asked_for() -> None:
    locator = locate_frames(describe(multiframe(JPEG, basic_table(FRAMES), 6)), scan=True)
    asked = next(locator)
    with pytest.raises(ValueError, match="bytes were asked for and 3 sent"):
        locator.send(b"abc")
    assert asked.stop > asked.start


# nothing to locate


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (report(), Why.NO_PIXEL_DATA),
        (image(DEFLATED), Why.DEFLATED),
        (multiframe(JPIP, b"", 3), Why.ELSEWHERE),
        (multiframe(MPEG4, basic_table([bytes(100)]), 30), Why.STREAM),
        (multiframe(MPEG4 + ".1", empty_table([bytes(100)] * 3), 3), Why.STREAM),
        (multiframe(JPEG, empty_table(FRAMES), "x"), Why.UNCLEAR),
        (multiframe(JPEG, empty_table(FRAMES), -6), Why.UNCLEAR),
        (multiframe(JPEG, LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED), 2), Why.MALFORMED),
    ],
)
@pytest.mark.parametrize("scan", [True, False])
def test_what_cannot_be_located_has_a_reason(data: bytes, why: Why, scan: bool) -> None:
    located = locate(data, scan=scan)
    assert located.reason.why == why
    assert located.asked == []


def test_without_a_table_and_without_a_scan() -> None:
    located = locate(multiframe(JPEG, empty_table(FRAMES), 6), scan=False)
    assert located.reason.why == Why.NO_TABLE
    assert located.reason.problem is None
    assert located.asked == []


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_single_frame_needs_neither_a_table_nor_a_scan(fragments: int) -> None:
    pieces = [jpeg(1), *([bytes(500)] * (fragments - 1))]
    data = multiframe(JPEG, empty_table(pieces), None)
    alone = locate(data, scan=False)
    assert alone.ranges.source == FrameSource.SCAN
    assert frames_in(data, alone.ranges) == frames_in(data, locate(data).ranges)


def test_a_single_frame_of_very_many_fragments_needs_a_scan() -> None:
    data = multiframe(JPEG, empty_table([jpeg(1), *([bytes(70_000)] * 60)]), 1)
    located = locate(data, scan=False)
    assert located.reason.why == Why.NO_TABLE
    assert located.reason.frames == 1
    assert located.bytes_asked < 2 * ONE_FRAME_BYTES
    assert locate(data).ranges.frames == 1


def problem_by_lengths(data: bytes, frames: int) -> str | None:
    found = locate_pixels(window_of(data), header_of(data), frames)
    assert isinstance(found, Pixels)
    return found.problem


def test_a_table_past_the_objects_end() -> None:
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    data = multiframe(JPEG, begin + LITTLE.item(bytes(8), length=24), 6)
    reason = locate(data).reason
    assert reason.why == Why.TRUNCATED
    # as by the lengths alone, so that a row tells it once
    assert reason.problem == problem_by_lengths(data, 6) == "the table goes past the object's end"


def test_a_table_that_is_whole_and_followed_by_nothing() -> None:
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    data = multiframe(JPEG, begin + LITTLE.item(bytes(24)), 6)
    reason = locate(data).reason
    assert reason.why == Why.TRUNCATED
    assert reason.problem == "the basic table has entries where there are no fragments"
    assert problem_by_lengths(data, 6) is None


@pytest.mark.parametrize(
    ("uid", "codec"),
    [
        (None, Codec.UNKNOWN),
        ("1.2.840.10008.1.2", Codec.NATIVE),
        ("1.2.840.10008.1.2.1", Codec.NATIVE),
        ("1.2.840.10008.1.2.1.99", Codec.NATIVE),
        ("1.2.840.10008.1.2.1.98", Codec.WHOLE),
        ("1.2.840.10008.1.20", Codec.UNKNOWN),
        ("1.2.840.10008.1.2.4.57", Codec.JPEG),
        ("1.2.840.10008.1.2.4.81", Codec.JPEG),
        ("1.2.840.10008.1.2.4.93", Codec.JPEG_2000),
        ("1.2.840.10008.1.2.4.203", Codec.JPEG_2000),
        ("1.2.840.10008.1.2.4.205", Codec.ELSEWHERE),
        ("1.2.840.10008.1.2.4.112", Codec.JPEG_XL),
        ("1.2.840.10008.1.2.4.108", Codec.STREAM),
        ("1.2.840.10008.1.2.5", Codec.RLE),
        (DEFLATED_FRAMES, Codec.WHOLE),
        ("1.2.840.113619.5.2", Codec.UNKNOWN),
    ],
)
def test_codecs_of_transfer_syntaxes(uid: str | None, codec: Codec) -> None:
    assert codec_of(uid) == codec


# describing, joining


@pytest.mark.parametrize("step", [0, 1, 64])
def test_a_description_needs_only_the_heads_of_the_pixel_area(step: int) -> None:
    data = multiframe(JPEG, extended_table([jpeg(5000)] * 300), 300, samples=3)
    window = Window(len(data))
    header = read_header(window, PIXEL_SELECTION)
    while isinstance(header, NeedMore):
        take(window, data, header)
        header = read_header(window, PIXEL_SELECTION)
    for _ in range(200):
        found = describe_pixels(window, header)
        if isinstance(found, PixelDescription):
            assert found == describe(data)
            assert window.held < header.end + 400
            return
        take(window, data, found, step)
    raise AssertionError("it does not end")


def test_a_concatenation_tells_how_many_frames_come_before() -> None:
    made = multiframe(JPEG, empty_table(FRAMES), 6)
    at = made.index(LITTLE.element(0x00280002, "US", LITTLE.pack("H", 1)))
    part = LITTLE.element(0x00209228, "UL", LITTLE.pack("L", 40))
    assert describe(made).concatenation_offset == 0
    assert describe(made[:at] + part + made[at:]).concatenation_offset == 40


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xfe\xff\x00\xe0",
        LITTLE.item(b"ab")[:-1],
        LITTLE.item(b"ab") + b"\0",
        LITTLE.item(b"ab") + LITTLE.sequence_end,
        LITTLE.item(b"ab", length=UNDEFINED),
        b"\0" * 16,
    ],
)
def test_only_whole_items_are_a_frame(data: bytes) -> None:
    with pytest.raises(ObjectError, match="whole items") as caught:
        join_fragments(data)
    assert caught.value.kind == ErrorKind.MALFORMED


def test_fragments_are_joined() -> None:
    data = LITTLE.item(b"ab") + LITTLE.item(b"") + LITTLE.item(b"cd")
    assert join_fragments(data) == b"abcd"


def test_ranges_are_plain_arrays() -> None:
    ranges = locate(multiframe(JPEG, basic_table(FRAMES), 6)).ranges
    assert isinstance(ranges, FrameRanges)
    for numbers in (ranges.offsets, ranges.lengths):
        assert numbers is not None
        assert (numbers.typecode, numbers.itemsize) == ("Q", 8)
