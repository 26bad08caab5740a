"""Tables: right ones are used, wrong ones told, and what both cost."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from harvest.dicom.header import Header, read_header
from harvest.dicom.offsets import PAST_END
from harvest.dicom.window import Window
from harvest.errors import ObjectError
from harvest.frames import (
    PIXEL_SELECTION,
    FrameSource,
    PixelDescription,
    Why,
    describe_pixels,
    join_fragments,
)
from tests.support.build import BIG, EXPLICIT_BIG, JPEG, LITTLE, PIXEL_DATA, UNDEFINED
from tests.support.frames import (
    Sparse,
    answer,
    basic_table,
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
from tests.support.offset_tables import FRAMES, TABLES, WHOLE, WRONG, wrong

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
    assert located.ranges.bit_offset(count) == 0


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


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_told_and_scanned(kind: str, name: str) -> None:
    change, problem = WRONG[name]
    data = wrong(kind, change)
    ranges = locate(data).ranges
    assert ranges.source == FrameSource.SCAN
    assert ranges.problem == problem.format(kind=kind)
    assert frames_in(data, ranges) == WHOLE
    reason = locate(data, scan=False).reason
    assert reason.why == Why.NO_TABLE
    assert reason.problem == ranges.problem


@pytest.mark.parametrize(
    ("lengths", "problem"),
    [
        ([1, 2], "the extended table and its lengths differ in size"),
        ([0] * 6, "the extended table has a frame without bytes"),
        ([2**64 - 1] * 6, "the extended table goes past the object's end"),
        (
            [len(frame) + 2 for frame in FRAMES],
            "offsets and lengths of the extended table do not agree",
        ),
    ],
)
def test_wrong_lengths_of_an_extended_table(lengths: list[int], problem: str) -> None:
    data = multiframe(JPEG, extended_table(FRAMES, lengths=lengths), 6)
    ranges = locate(data).ranges
    assert ranges.problem == problem
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


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("extended", "more fragments than the extended table has frames"),
        ("basic", "more fragments begin a frame than the basic table has entries"),
    ],
)
@pytest.mark.parametrize(("told", "there"), [(2, 3), (4, 6), (5, 6)])
def test_fewer_entries_than_fragments_begin_a_frame(
    kind: str, problem: str, told: int, there: int
) -> None:
    """Number of Frames and table agree, and both leave the last frames out."""
    entries = item_starts(WHOLE)[:told]
    lengths = [[len(frame) for frame in FRAMES[:told]]] if kind == "extended" else []
    data = multiframe(JPEG, TABLES[kind](FRAMES[:there], entries, *lengths), told)
    reason = locate(data).reason
    assert (reason.why, reason.problem) == (Why.UNCLEAR, problem)


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


def test_a_table_past_the_objects_end() -> None:
    begin = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    data = multiframe(JPEG, begin + LITTLE.item(bytes(8), length=24), 6)
    reason = locate(data).reason
    assert reason.why == Why.TRUNCATED
    # as what is told by the lengths alone, so that it is told once
    assert reason.problem == PAST_END
    behind = multiframe(JPEG, begin + LITTLE.item(bytes(24)), 6)
    assert locate(behind).reason.problem == (
        "the basic table has entries where there are no fragments"
    )


def test_a_wrap_to_the_last_frame_but_one_is_confirmed_by_its_item() -> None:
    starts = [0, GIB, 2 * GIB, 3 * GIB, 5 * GIB, 6 * GIB]
    entries = [start % 2**32 for start in starts]
    entries[4] += 2
    data, first = sparse_basic(starts, 7 * GIB, entries)
    ranges = drive(data, describe_sparse(data)).ranges
    assert ranges.problem == "the basic table's entry for frame 5 leads to no such fragment"
    assert list(ranges.offsets or ()) == [first + start for start in starts]


def test_a_table_wraps_no_more_often_than_its_object_has_room() -> None:
    entries = [0, 2 * GIB, GIB, 3 * GIB, 2 * GIB, GIB]
    data, _ = sparse_basic(STARTS, 9 * GIB, entries)
    ranges = drive(data, describe_sparse(data)).ranges
    assert ranges.problem == "the basic table is not in ascending order"


@pytest.mark.parametrize("by", [-2, 2])
@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("extended", "offsets and lengths of the extended table do not agree"),
        ("basic", "the basic table's last entry: no fragment at offset {at}"),
    ],
)
def test_a_last_entry_that_leads_to_no_item(kind: str, problem: str, count: int, by: int) -> None:
    entries = item_starts(WHOLE[:count])
    entries[-1] += by
    data = multiframe(JPEG, TABLES[kind](FRAMES[:count], entries), count)
    ranges = locate(data).ranges
    assert frames_in(data, ranges) == WHOLE[:count]
    if kind == "basic" and (count, by) == (2, -2):
        problem = "the basic table's entry for frame 1 leads to no such fragment"
    at = data.index(LITTLE.mark(0xE000, len(WHOLE[0]))) + entries[-1]
    assert ranges.problem == problem.format(at=at)


@pytest.mark.parametrize(
    "pieces",
    [[b"", WHOLE[1]], [b""]],
    ids=["before its bytes", "alone"],
)
def test_the_last_frame_of_a_basic_table_does_not_begin_with_an_empty_fragment(
    pieces: list[bytes],
) -> None:
    pixels = LITTLE.encapsulated([WHOLE[0], *pieces], [0, 8 + len(WHOLE[0])])
    reason = locate(multiframe(JPEG, pixels, 2), scan=False).reason
    assert reason.problem == "the basic table has a frame without bytes"


@pytest.mark.parametrize("last", [4, 5], ids=["before a beginning", "behind the last one"])
def test_the_last_entry_of_a_basic_table_leads_to_a_beginning(last: int) -> None:
    """Of frames in two fragments each it may lead to a second one: an item, but no frame."""
    flat = [piece for frame in WHOLE for piece in (frame[:20], frame[20:])]
    starts = item_starts(flat)
    entries = [*starts[0:10:2], starts[2 * last + 1]]
    data = multiframe(JPEG, LITTLE.encapsulated(flat, entries), 6)
    ranges = locate(data).ranges
    assert ranges.problem == "the basic table's last entry leads to no beginning of a frame"
    assert frames_in(data, ranges) == WHOLE


def test_where_no_frame_has_a_marker_the_last_needs_none() -> None:
    frames = [bytes(20 + 2 * n) for n in range(3)]
    data = multiframe(JPEG, basic_table(frames), 3)
    ranges = locate(data).ranges
    assert (ranges.source, ranges.problem) == (FrameSource.BASIC, None)
    assert frames_in(data, ranges) == frames


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("kept", [0, 1, 7])
def test_an_object_that_ends_behind_its_table(kind: str, kept: int) -> None:
    data = multiframe(JPEG, TABLES[kind]([jpeg(50)]), 1)
    begin = data.index(LITTLE.mark(0xE000, 50))
    reason = locate(data[: begin + kept]).reason
    problem = f"the {kind} table has entries where there are no fragments"
    assert (reason.why, reason.problem) == (Why.TRUNCATED, problem)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_whose_only_entry_leads_to_the_delimiter(kind: str) -> None:
    pixels = LITTLE.extended([0], [8]) if kind == "extended" else b""
    pixels += LITTLE.encapsulated([], () if kind == "extended" else [0])
    reason = locate(multiframe(JPEG, pixels, 1)).reason
    expected = {
        "extended": "the extended table goes past the object's end",
        "basic": "the basic table's entry for frame 1 leads to no such fragment",
    }
    assert (reason.why, reason.problem) == (Why.UNCLEAR, expected[kind])


def test_an_extended_table_whose_items_are_others() -> None:
    """Offsets and lengths agree with each other, and not with the items."""
    lengths = [len(WHOLE[0]), len(WHOLE[1]) - 2]
    data = multiframe(JPEG, extended_table(WHOLE[:2], lengths=lengths), 2)
    problem = "the extended table's entry for frame 2 leads to no such fragment"
    assert locate(data).ranges.problem == problem
