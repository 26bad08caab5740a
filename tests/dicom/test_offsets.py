"""Kinds of offset tables, what is wrong with them, and where the pixels are."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.encaps import parse_basic_offsets

from harvest.dicom import offsets
from harvest.dicom.elements import Selection
from harvest.dicom.header import Header, read_header
from harvest.dicom.offsets import OffsetTable, PixelIssue, Pixels, locate_pixels
from harvest.dicom.window import NeedMore, Window
from harvest.errors import ErrorKind, ObjectError, Problem
from tests.support.build import (
    BIG,
    DEFLATED,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG,
    LITTLE,
    SYNTAXES,
    Syntax,
    header_of,
    identity,
    image,
    part10,
    report,
    take,
    window_of,
)

FRAME = b"\xff\xd8\xff\xd9"
ENDS_EARLY = (PixelIssue("PixelData", Problem.ENDS_EARLY),)


def pixels_of(data: bytes, frames: int = 1) -> Pixels:
    found = locate_pixels(window_of(data), header_of(data), frames)
    assert isinstance(found, Pixels)
    return found


def found_in(data: bytes, frames: int) -> Pixels | ErrorKind:
    try:
        return pixels_of(data, frames)
    except ObjectError as error:
        return error.kind


def encapsulated(*parts: bytes, tail: bytes = b"") -> bytes:
    return image(JPEG, b"".join(parts) + tail)


def value_offset(data: bytes, head: int = 12) -> int:
    """Where the value of the last Pixel Data begins."""
    return data.rindex(b"\xe0\x7f\x10\x00") + head


# kinds


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_native_pixels(syntax: str) -> None:
    data = image(syntax)
    found = pixels_of(data)
    assert found == Pixels(OffsetTable.NATIVE, None, None, len(data) - 8)
    assert data[found.offset :] == bytes(range(8))


@pytest.mark.parametrize("length", [0, 8])
def test_native_pixels_up_to_the_objects_end_take_no_walk(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = image(EXPLICIT_LITTLE, LITTLE.element(0x7FE00010, "OW", bytes(length)))
    expected = Pixels(OffsetTable.NATIVE, None, None, len(data) - length)
    with monkeypatch.context() as patch:
        patch.setattr(offsets, "find_pixel_area", lambda *_: pytest.fail("it was walked over"))
        assert pixels_of(data) == expected
    monkeypatch.setattr(offsets, "_plain_native", lambda *_: None)
    assert pixels_of(data) == expected


def test_no_pixels() -> None:
    assert pixels_of(report()) == Pixels(OffsetTable.NO_PIXEL_DATA)


def test_deflated_pixels_cannot_be_reached() -> None:
    assert pixels_of(image(DEFLATED)) == Pixels(OffsetTable.DEFLATED)
    assert pixels_of(report(DEFLATED)) == Pixels(OffsetTable.NO_PIXEL_DATA)


def test_a_basic_table() -> None:
    data = encapsulated(LITTLE.encapsulated([FRAME, FRAME], [0, 12]))
    found = pixels_of(data, 2)
    assert found == Pixels(OffsetTable.BASIC, 2, None, value_offset(data))
    assert found.offset is not None
    table = parse_basic_offsets(BytesIO(data[found.offset :]))
    assert len(table) == found.frames


def test_an_empty_table() -> None:
    data = encapsulated(LITTLE.encapsulated([FRAME, FRAME]))
    assert pixels_of(data, 2) == Pixels(OffsetTable.EMPTY, 0, None, value_offset(data))


def test_an_extended_table() -> None:
    data = encapsulated(LITTLE.extended([0, 12], [4, 4]), LITTLE.encapsulated([FRAME, FRAME]))
    assert pixels_of(data, 2) == Pixels(OffsetTable.EXTENDED, 2, None, value_offset(data))


def test_both_tables_are_always_a_problem() -> None:
    data = encapsulated(
        LITTLE.extended([0, 12], [4, 4]), LITTLE.encapsulated([FRAME, FRAME], [0, 12])
    )
    assert pixels_of(data, 2) == Pixels(
        OffsetTable.BOTH, 2, "an extended table beside a filled basic one", value_offset(data)
    )


def test_encapsulation_is_told_by_the_length_and_not_by_the_syntax() -> None:
    assert pixels_of(image(JPEG)).offset_table == OffsetTable.NATIVE
    data = image(EXPLICIT_LITTLE, LITTLE.encapsulated([FRAME], [0]))
    assert pixels_of(data).offset_table == OffsetTable.BASIC


def test_an_undefined_length_is_none_even_where_as_many_bytes_follow() -> None:
    begin = LITTLE.element(0x7FE00010, "OW", length=0xFFFFFFFF)
    data = encapsulated(begin + LITTLE.item(b""))
    window = Window(value_offset(data) + 0xFFFFFFFF)
    window.add(0, data)
    found = locate_pixels(window, header_of(data), 1)
    assert found == Pixels(OffsetTable.EMPTY, 0, None, value_offset(data))


def test_encapsulated_in_big_endian() -> None:
    data = image(EXPLICIT_BIG, BIG.encapsulated([FRAME], [0]))
    assert pixels_of(data) == Pixels(OffsetTable.BASIC, 1, None, len(data) - 12 - 8 - 12)


@pytest.mark.parametrize(
    ("tag", "vr", "keyword"),
    [(0x7FE00008, "OF", "FloatPixelData"), (0x7FE00009, "OD", "DoubleFloatPixelData")],
)
@pytest.mark.parametrize("code", SYNTAXES.values(), ids=SYNTAXES.keys())
def test_pixels_of_floating_point(code: Syntax, tag: int, vr: str, keyword: str) -> None:
    uid = next(uid for uid, other in SYNTAXES.items() if other == code)
    data = image(uid, code.element(tag, vr, bytes(8)))
    assert pixels_of(data) == Pixels(OffsetTable.NATIVE, None, None, len(data) - 8)
    (issue,) = pixels_of(data[:-1]).issues
    assert issue == PixelIssue(keyword, Problem.ENDS_EARLY)


# problems


def problem(data: bytes, frames: int) -> str | None:
    return pixels_of(data, frames).problem


@pytest.mark.parametrize("frames", [1, 3])
def test_entries_are_counted_against_the_frames(frames: int) -> None:
    basic = encapsulated(LITTLE.encapsulated([FRAME, FRAME], [0, 12]))
    extended = encapsulated(LITTLE.extended([0, 12], [4, 4]), LITTLE.encapsulated([FRAME, FRAME]))
    for data in (basic, extended):
        assert pixels_of(data, frames).frames == 2
        assert problem(data, frames) == f"2 entries for {frames} frames"


@pytest.mark.parametrize("lengths", [None, [4], []])
def test_the_lengths_of_an_extended_table_must_match(lengths: list[int] | None) -> None:
    data = encapsulated(LITTLE.extended([0, 12], lengths), LITTLE.encapsulated([FRAME, FRAME]))
    assert problem(data, 2) == "the extended table and its lengths differ in size"


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_basic_table_has_whole_entries(length: int) -> None:
    table = LITTLE.item(bytes(length))
    begin = LITTLE.element(0x7FE00010, "OB", length=0xFFFFFFFF)
    data = encapsulated(begin + table + LITTLE.item(FRAME) + LITTLE.sequence_end)
    found = pixels_of(data)
    assert (found.offset_table, found.frames) == (OffsetTable.BASIC, length // 4)
    assert found.problem == f"{length} bytes are no whole number of entries"


def test_an_extended_table_has_whole_entries() -> None:
    tables = LITTLE.element(0x7FE00001, "OV", bytes(12)) + LITTLE.element(
        0x7FE00002, "OV", bytes(12)
    )
    data = encapsulated(tables, LITTLE.encapsulated([FRAME]))
    assert problem(data, 1) == "12 bytes are no whole number of entries"


def test_an_extended_table_beside_native_pixels() -> None:
    data = image(
        EXPLICIT_LITTLE, LITTLE.extended([0], [8]) + LITTLE.element(0x7FE00010, "OW", bytes(8))
    )
    assert problem(data, 1) == "an extended table beside native pixels"


def test_an_empty_extended_table_is_none() -> None:
    data = encapsulated(LITTLE.extended([], []), LITTLE.encapsulated([FRAME]))
    assert pixels_of(data) == Pixels(OffsetTable.EMPTY, 0, None, value_offset(data))


def test_a_basic_table_cannot_reach_past_four_gibibytes() -> None:
    """Only the lengths are read: the object need not exist."""
    data = encapsulated(LITTLE.encapsulated([FRAME, FRAME], [0, 12]))
    most = value_offset(data) + 2**32
    for size, expected in (
        (most, None),
        (most + 1, "32-bit offsets for more than 4 GiB of pixels"),
    ):
        window = Window(size)
        window.add(0, data)
        header = read_header(window, EVERYTHING)
        assert isinstance(header, Header)
        found = locate_pixels(window, header, 2)
        assert isinstance(found, Pixels)
        assert found.problem == expected


def test_a_table_past_the_end_of_the_object() -> None:
    begin = LITTLE.element(0x7FE00010, "OB", length=0xFFFFFFFF)
    data = encapsulated(begin + LITTLE.item(bytes(8), length=800))
    found = pixels_of(data, 200)
    assert found.problem == "the table goes past the object's end"
    assert found.issues == ENDS_EARLY


@pytest.mark.parametrize("missing", [0, 1, 7])
def test_a_table_may_end_with_the_object_but_not_behind_it(missing: int) -> None:
    whole = encapsulated(LITTLE.encapsulated([], [0, 12], end=False))
    found = pixels_of(whole[: len(whole) - missing], 2)
    assert (found.problem is None) is (found.issues == ()) is (not missing)


def test_several_problems_are_all_told() -> None:
    begin = LITTLE.element(0x7FE00010, "OB", length=0xFFFFFFFF)
    data = encapsulated(LITTLE.extended([0, 12]), begin + LITTLE.item(bytes(8), length=800))
    assert problem(data, 3) == (
        "an extended table beside a filled basic one; "
        "the extended table and its lengths differ in size; "
        "2 entries for 3 frames; "
        "the table goes past the object's end"
    )


@pytest.mark.parametrize("first", [LITTLE.sequence_end, FRAME * 2, LITTLE.mark(0xE000, 0xFFFFFFFF)])
def test_the_item_of_the_basic_table_may_be_missing(first: bytes) -> None:
    begin = LITTLE.element(0x7FE00010, "OB", length=0xFFFFFFFF)
    data = encapsulated(begin + first)
    found = pixels_of(data)
    assert found == Pixels(
        OffsetTable.EMPTY, 0, "the Basic Offset Table's item is missing", value_offset(data)
    )


# the end of the object


@pytest.mark.parametrize("missing", range(1, 9))
def test_native_pixels_that_end_early(missing: int) -> None:
    data = image()[:-missing]
    assert pixels_of(data).issues == ENDS_EARLY
    assert pixels_of(data).offset == value_offset(image())


@pytest.mark.parametrize("kept", range(8))
def test_encapsulated_pixels_that_end_before_their_table(kept: int) -> None:
    whole = encapsulated(LITTLE.encapsulated([FRAME], [0]))
    found = pixels_of(whole[: value_offset(whole) + kept])
    assert (found.offset_table, found.frames) == (OffsetTable.EMPTY, 0)
    assert found.problem == "the object ends before the Basic Offset Table"
    assert found.issues == ENDS_EARLY
    assert found.offset == value_offset(whole)


def test_elements_behind_native_pixels_are_told() -> None:
    data = image(EXPLICIT_LITTLE) + LITTLE.element(0xFFFCFFFC, "OB", bytes(4))
    assert pixels_of(data).issues == (PixelIssue("PixelData", Problem.ELEMENTS_BEHIND_IT_NOT_READ),)


def test_a_cut_inside_the_pixel_elements_own_head_is_truncated() -> None:
    data = image()
    header = header_of(data)
    for cut in range(header.end + 1, header.end + 12):
        assert found_in(data[:cut], 1) == ErrorKind.TRUNCATED


def test_a_cut_behind_or_inside_an_extended_table_is_seen() -> None:
    """An area without its pixel element is no object without pixels."""
    tables = LITTLE.extended([0, 12], [4, 4])
    data = encapsulated(tables, LITTLE.encapsulated([FRAME, FRAME]))
    begin = header_of(data).end
    for cut in (begin + 12, begin + 20, begin + 28, begin + len(tables)):
        found = found_in(data[:cut], 2)
        told = found == ErrorKind.TRUNCATED if isinstance(found, ErrorKind) else found.issues
        assert told, f"cut {cut - begin} bytes into the pixel area"


@pytest.mark.parametrize(
    "area",
    [
        LITTLE.element(0x7FE00003, "OV", bytes(8)) + LITTLE.element(0xFFFCFFFC, "OB", bytes(4)),
        LITTLE.sequence(0x7FE00020, [LITTLE.item(b"")], defined=False),
    ],
)
def test_a_pixel_group_without_pixels(area: bytes) -> None:
    data = part10(identity() + area)
    assert pixels_of(data).offset_table == OffsetTable.NO_PIXEL_DATA


# reading piece by piece


@pytest.mark.parametrize("step", [0, 1, 7, 64])
@pytest.mark.parametrize("table", [(), (0, 12)])
def test_only_the_heads_of_the_area_are_asked_for(table: tuple[int, ...], step: int) -> None:
    extended = LITTLE.extended(list(range(5000)), list(range(5000)))
    data = encapsulated(extended, LITTLE.encapsulated([bytes(9000)] * 2, table))
    header = header_of(data, Selection())
    window = Window(len(data))
    window.add(0, data[: header.end])
    for _ in range(200):
        found = locate_pixels(window, header, 5000)
        if isinstance(found, Pixels):
            assert found == pixels_of(data, 5000)
            assert window.held < header.end + 400
            return
        assert isinstance(found, NeedMore)
        take(window, data, found, step)
    raise AssertionError("it does not end")
