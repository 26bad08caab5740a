"""Where an object's pixels are, and what kind of offset table it has.

Pure, like the header walk, and at the cost of the few bytes behind the header: what is told here
follows from the lengths alone (PS3.5 section A.4 for the Basic Offset Table, PS3.3 section
C.7.6.3.1.8 for the Extended Offset Table). The tables' contents are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ..errors import ErrorKind, ObjectError, Problem
from ..meaning import Meaning
from .elements import ITEM, ITEM_HEAD_BYTES, PIXEL_GROUP, UNDEFINED
from .header import Header
from .walk import HeaderLimits, Walk
from .window import Missing, NeedMore, Window

EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
PIXEL_TAGS: Final = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
BASIC_OFFSET_REACH: Final = 2**32
"""A Basic Offset Table counts bytes in 32 bits."""
PAST_END: Final = "the table goes past the object's end"
SIZES_DIFFER: Final = "the extended table and its lengths differ in size"
BOTH_FILLED: Final = "an extended table beside a filled basic one"
_NATIVE = b"\xe0\x7f\x10\x00OW\0\0"
_AREA_LIMITS = HeaderLimits(elements=100)  # PS3.6 knows seven elements of this group


class OffsetTable(Meaning):
    """The values of ``instances.offset_table``."""

    EXTENDED = "extended", "an Extended Offset Table, PS3.3 section C.7.6.3.1.8"
    BASIC = "basic", "a Basic Offset Table that is filled, PS3.5 section A.4"
    BOTH = "both", "one of each"
    EMPTY = "empty", "compressed pixels with neither"
    NATIVE = "native", "pixels that are not compressed"
    DEFLATED = "deflated", "a data set that is compressed as a whole"
    NO_PIXEL_DATA = "no_pixel_data", "no pixels"


@dataclass(frozen=True, slots=True)
class PixelIssue:
    """Something wrong with the pixel area that does not make the header unreadable."""

    path: str
    """Keyword of the pixel element."""
    problem: Problem
    """What is wrong."""


class Pixels(NamedTuple):
    """What the lengths tell about an object's pixel area."""

    offset_table: OffsetTable
    frames: int | None = None
    """Entries of the offset table; None where there are no encapsulated pixels."""
    problem: str | None = None
    """What is wrong with the table."""
    offset: int | None = None
    """Absolute offset of the pixel value's first byte; None if it cannot be reached by range."""
    issues: tuple[PixelIssue, ...] = ()


class Span(NamedTuple):
    """Where a value is."""

    offset: int
    """Absolute offset of its first byte."""
    length: int
    """In bytes."""


class PixelArea(NamedTuple):
    """The elements of group 7FE0, by their lengths."""

    keyword: str
    """Of the pixel element."""
    vr: str | None
    """As the file writes it; None under implicit VR."""
    value: int
    """Absolute offset of the pixel value's first byte."""
    length: int
    """Of the pixel value in bytes, or `UNDEFINED`."""
    extended: Span | None
    """The Extended Offset Table."""
    extended_lengths: Span | None
    """The Extended Offset Table Lengths."""


def locate_pixels(window: Window, header: Header, number_of_frames: int) -> Pixels | NeedMore:
    """Find the pixel value and judge the offset table by its length.

    Parameters
    ----------
    window
        The window that `header` was read from.
    header
        Its whole header.
    number_of_frames
        Of the header, 1 where it does not say.

    Returns
    -------
    Pixels or NeedMore
        What was found, or the bytes still needed.

    Raises
    ------
    ObjectError
        ``truncated``: the object ends inside the pixel area's own headers; ``too_large``: it has
        ever more elements before the pixels.
    """
    if not header.pixel_area:
        return Pixels(OffsetTable.NO_PIXEL_DATA)
    if header.deflated:
        return Pixels(OffsetTable.DEFLATED)
    try:
        if header.little_endian and not header.implicit:
            native = _plain_native(window, header.end)
            if native is not None:
                return native
        area = find_pixel_area(window, header)
        if area is None:
            return Pixels(OffsetTable.NO_PIXEL_DATA)
        if area.length != UNDEFINED:
            return _native(window, area)
        return _encapsulated(window, header, area, number_of_frames)
    except Missing as missing:
        return missing.need


def _plain_native(window: Window, end: int) -> Pixels | None:
    """Locate pixels written as most are: native, to the object's end, in Explicit VR Little Endian.

    Returns None where a closer look is needed.
    """
    length = window.size - end - len(_NATIVE) - 4
    expected = _NATIVE + length.to_bytes(4, "little") if 0 <= length < UNDEFINED else b""
    if not expected or not window.beginning.startswith(expected, end):
        return None
    return Pixels(OffsetTable.NATIVE, None, None, end + len(expected))


def find_pixel_area(window: Window, header: Header) -> PixelArea | None:
    """Walk over the heads of a pixel area's elements.

    Parameters
    ----------
    window
        The window that `header` was read from.
    header
        Its whole header; its data set is not deflated.

    Returns
    -------
    PixelArea or None
        None where group 7FE0 has no pixel element.

    Raises
    ------
    Missing
        Some of the bytes are not known yet.
    ObjectError
        As `locate_pixels` raises it.
    """
    walk = Walk(window, _AREA_LIMITS, little_endian=header.little_endian)
    position = header.end
    tables: dict[int, Span] = {}
    while position < window.size:
        walk.count()
        tag, vr, length, value = walk.element_header(position, header.implicit)
        if tag in PIXEL_TAGS:
            return PixelArea(
                PIXEL_TAGS[tag],
                vr,
                value,
                length,
                tables.get(EXTENDED_OFFSET_TABLE),
                tables.get(EXTENDED_OFFSET_TABLE_LENGTHS),
            )
        if tag >> 16 != PIXEL_GROUP or length == UNDEFINED:
            return None
        tables[tag] = Span(value, length)
        position = value + length
    raise ObjectError(ErrorKind.TRUNCATED, "the object ends inside its pixel area")


def _native(window: Window, area: PixelArea) -> Pixels:
    end = area.value + area.length
    issues: tuple[PixelIssue, ...] = ()
    if end > window.size:
        issues = (PixelIssue(area.keyword, Problem.ENDS_EARLY),)
    elif end < window.size:
        issues = (PixelIssue(area.keyword, Problem.ELEMENTS_BEHIND_IT_NOT_READ),)
    problem = None if area.extended is None else "an extended table beside native pixels"
    return Pixels(OffsetTable.NATIVE, None, problem, area.value, issues)


def _encapsulated(window: Window, header: Header, area: PixelArea, number_of_frames: int) -> Pixels:
    if area.value + ITEM_HEAD_BYTES > window.size:
        return Pixels(
            OffsetTable.EMPTY,
            0,
            "the object ends before the Basic Offset Table",
            area.value,
            (PixelIssue(area.keyword, Problem.ENDS_EARLY),),
        )
    walk = Walk(window, _AREA_LIMITS, little_endian=header.little_endian)
    tag, basic = walk.item_header(area.value)
    if tag != ITEM or basic == UNDEFINED:
        return Pixels(OffsetTable.EMPTY, 0, "the Basic Offset Table's item is missing", area.value)
    kind, length, width = _kind(area, basic)
    problems = _table_problems(window, area, basic, length, width, number_of_frames)
    issues = (PixelIssue(area.keyword, Problem.ENDS_EARLY),) if PAST_END in problems else ()
    return Pixels(kind, length // width, "; ".join(problems) or None, area.value, issues)


def _kind(area: PixelArea, basic: int) -> tuple[OffsetTable, int, int]:
    """Tell the kind of table, its length in bytes and the bytes of one entry."""
    if area.extended and area.extended.length:
        return (OffsetTable.BOTH if basic else OffsetTable.EXTENDED), area.extended.length, 8
    return (OffsetTable.BASIC if basic else OffsetTable.EMPTY), basic, 4


def _table_problems(
    window: Window, area: PixelArea, basic: int, length: int, width: int, number_of_frames: int
) -> list[str]:
    problems = []
    extended, extended_lengths = (
        span.length if span else 0 for span in (area.extended, area.extended_lengths)
    )
    if extended and basic:
        problems.append(BOTH_FILLED)
    if area.extended is not None and extended != extended_lengths:
        problems.append(SIZES_DIFFER)
    miscounted = count_problem(length, width, number_of_frames) if length else None
    if miscounted is not None:
        problems.append(miscounted)
    if area.value + ITEM_HEAD_BYTES + basic > window.size:
        problems.append(PAST_END)
    if width == 4 and length and window.size - area.value > BASIC_OFFSET_REACH:
        problems.append("32-bit offsets for more than 4 GiB of pixels")
    return problems


def count_problem(length: int, width: int, frames: int) -> str | None:
    """Tell what is wrong with the number of a table's entries.

    Parameters
    ----------
    length
        Bytes of the table.
    width
        Bytes of one entry.
    frames
        Number of Frames.

    Returns
    -------
    str or None
        None where there is an entry for each frame.
    """
    if length % width:
        return f"{length} bytes are no whole number of entries"
    if length // width != frames:
        return f"{length // width} entries for {frames} frames"
    return None
