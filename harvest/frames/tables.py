"""Extended and Basic Offset Tables: read, checked, and believed only then.

A table that is wrong in any respect is not used at all. What a table cannot be checked for at the
price of a few bytes, an entry in its middle that points to another item, is seen when the frame is
read (`join_fragments`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from struct import Struct
from typing import Final

from ..dicom.elements import ITEM, SEQUENCE_DELIMITER
from ..dicom.offsets import BASIC_OFFSET_REACH, PAST_END, SIZES_DIFFER, count_problem
from .asking import Asking, Source
from .codecs import HEAD_BYTES
from .description import PixelDescription
from .ranges import ByteRange, FrameRanges, FrameSource, Stop, Wrong
from .scan import ITEM_HEAD, MOST_FRAGMENTS, frame_beginnings, frame_ranges, walk_items

LAST_FRAME_BYTES: Final = 2**20
"""Read at most to find the end of a frame of many fragments."""


def read_extended(
    source: Source, pixels: PixelDescription, first: int, frames: int
) -> Asking[FrameRanges]:
    """Locate frames by the Extended Offset Table (PS3.3 section C.7.6.3.1.8).

    Parameters
    ----------
    source
        The object.
    pixels
        Of it; it has the table.
    first
        Absolute offset of the first item behind the Basic Offset Table.
    frames
        Number of Frames.

    Raises
    ------
    Wrong
        The table is not to be used.
    """
    table, table_lengths = pixels.extended, pixels.extended_lengths
    if table is None or table_lengths is None or table.length != table_lengths.length:
        raise Wrong(SIZES_DIFFER)
    _check_count(table.length, 8, frames)
    spans = [ByteRange(span.offset, span.offset + span.length) for span in (table, table_lengths)]
    if first + ITEM_HEAD > source.size:
        raise Wrong("the extended table has entries where there are no fragments")
    # the first item lies close behind the tables: in one request with them
    spans.append(ByteRange(first, first + ITEM_HEAD))
    offsets, lengths, _ = yield from source.read_all(spans)
    entries = _numbers(offsets, "Q", pixels.little_endian)
    if entries[0]:
        raise Wrong("the extended table's first entry is not 0")
    starts = absolute(entries, first, source.size, "extended")
    sizes = _numbers(lengths, "Q", pixels.little_endian)
    return (yield from chained(source, pixels, FrameSource.EXTENDED, starts, sizes))


def read_basic(
    source: Source, pixels: PixelDescription, first: int, frames: int
) -> Asking[FrameRanges]:
    """Locate frames by the Basic Offset Table (PS3.5 section A.4).

    Parameters
    ----------
    source
        The object.
    pixels
        Of it.
    first
        Absolute offset of the first item behind the table.
    frames
        Number of Frames.

    Raises
    ------
    Wrong
        The table is not to be used.
    """
    length = pixels.basic_bytes or 0
    _check_count(length, 4, frames)
    if first > source.size:
        raise Wrong(PAST_END)
    if first + ITEM_HEAD > source.size:
        raise Wrong("the basic table has entries where there are no fragments")
    begin = pixels.value_offset + ITEM_HEAD
    head = min(source.size, first + ITEM_HEAD + HEAD_BYTES.get(pixels.codec, 0))
    # the first item is next to the table
    data, _ = yield from source.read_all([ByteRange(begin, first), ByteRange(first, head)])
    entries = _numbers(data, "L", pixels.little_endian)
    if entries[0]:
        raise Wrong("the basic table's first entry is not 0")
    wraps = _unwrap(entries, source.size - first)
    starts = absolute(entries, first, source.size, "basic")
    end = yield from _confirm_basic(source, pixels, starts, wraps)
    return frame_ranges(FrameSource.BASIC, starts, end)


def chained(
    source: Source,
    pixels: PixelDescription,
    kind: FrameSource,
    starts: array[int],
    sizes: Sequence[int],
    samples: int = 0,
) -> Asking[FrameRanges]:
    """Locate frames of one fragment each, whose items must follow each other without a gap.

    Parameters
    ----------
    source
        The object.
    pixels
        Of it.
    kind
        Where the numbers are from.
    starts
        Absolute offsets of the items' tags, ascending.
    sizes
        Bytes of each fragment, padding excluded or included.
    samples
        How many items between the first and the last to look at.

    Raises
    ------
    Wrong
        There is a gap, an overlap, an empty frame, or something else than the item.
    """
    if not all(sizes):
        raise Wrong(f"the {kind} table has a frame without bytes")
    if max(sizes) > source.size:
        raise Wrong(f"the {kind} table goes past the object's end")
    ends = array("Q", (a + ITEM_HEAD + b + b % 2 for a, b in zip(starts, sizes, strict=True)))
    if ends[-1] > source.size:
        raise Wrong(f"the {kind} table goes past the object's end")
    if starts[1:] != ends[:-1]:
        raise Wrong(f"offsets and lengths of the {kind} table do not agree")
    last = len(starts) - 1
    chosen = sorted({0, last, *(last * each // (samples + 1) for each in range(1, samples + 1))})
    found = yield from _heads(source, pixels, [starts[each] for each in chosen] + [ends[-1]])
    for each, head in zip(chosen, found[:-1], strict=True):
        if head != (ITEM, ends[each] - starts[each] - ITEM_HEAD):
            raise Wrong(f"the {kind} table's entry for frame {each + 1} leads to no such fragment")
    if found[-1] not in (None, (SEQUENCE_DELIMITER, 0)):
        raise Wrong(f"more fragments than the {kind} table has frames")
    return frame_ranges(kind, starts, ends[-1])


def absolute(entries: array[int], first: int, size: int, kind: str) -> array[int]:
    """Turn a table's entries into absolute offsets of items.

    Raises
    ------
    Wrong
        They are not ascending, odd, or past the object's end.
    """
    if any(after < before for before, after in pairwise(entries)):
        raise Wrong(f"the {kind} table is not in ascending order")
    gaps = (after - before for before, after in pairwise(entries))
    if any(gap <= ITEM_HEAD for gap in gaps):
        raise Wrong(f"the {kind} table has a frame without bytes")
    if any(entry % 2 for entry in entries):
        raise Wrong(f"the {kind} table has odd offsets")
    if first + entries[-1] + ITEM_HEAD > size:
        raise Wrong(f"the {kind} table goes past the object's end")
    return array("Q", (first + entry for entry in entries))


def _check_count(length: int, width: int, frames: int) -> None:
    problem = count_problem(length, width, frames)
    if problem is not None:
        raise Wrong(problem)
    if frames > MOST_FRAGMENTS:
        raise Wrong(f"over {MOST_FRAGMENTS} entries")


def _numbers(data: bytes, code: str, little_endian: bool) -> array[int]:
    width = Struct(f"<{code}").size
    # arrays have the platform's widths and order
    numbers = array(next(each for each in "QLI" if array(each).itemsize == width), data)
    if little_endian != (sys.byteorder == "little"):
        numbers.byteswap()
    return array("Q", numbers)


def _unwrap(entries: array[int], reach: int) -> list[int]:
    """Add the multiples of 4 GiB that 32 bits could not hold; return the first frames behind one.

    Frames are in order, so that a lower entry behind a higher one has wrapped; whether it has is
    confirmed by the item that must be there.
    """
    if reach <= BASIC_OFFSET_REACH:
        return []
    wraps = []
    before = 0
    for number, entry in enumerate(entries):
        if entry < before:
            wraps.append(number)
            if len(wraps) * BASIC_OFFSET_REACH > reach:
                raise Wrong("the basic table is not in ascending order")
        before = entry
        entries[number] = entry + len(wraps) * BASIC_OFFSET_REACH
    return wraps


def _confirm_basic(
    source: Source, pixels: PixelDescription, starts: array[int], wraps: list[int]
) -> Asking[int]:
    """Look at the first item, at those behind a wrap, and at all of the last frame.

    Returns the offset of the delimiter behind the last frame.
    """
    chosen = [0, *(each for each in wraps if each < len(starts) - 1)]
    found = yield from _heads(source, pixels, [starts[each] for each in chosen])
    for each, head in zip(chosen, found, strict=True):
        stop = starts[each + 1] if each + 1 < len(starts) else source.size
        if head is None or head[0] != ITEM or starts[each] + ITEM_HEAD + head[1] > stop:
            raise Wrong(f"the basic table's entry for frame {each + 1} leads to no such fragment")
    last = starts[-1]
    try:
        items = yield from walk_items(
            source, pixels, last, source.size - last, most=LAST_FRAME_BYTES
        )
    except Stop as stop_:
        raise Wrong(f"the basic table's last entry: {stop_.reason}") from None
    if not items.starts or items.starts[0] != last:
        raise Wrong("the basic table has a frame without bytes")
    if len(starts) > 1 and sum(items.begins) > 1:
        raise Wrong("more fragments begin a frame than the basic table has entries")
    yield from _confirm_beginning(source, pixels, starts[0], bool(sum(items.begins[:1])))
    return items.end


def _confirm_beginning(
    source: Source, pixels: PixelDescription, first: int, marked: bool
) -> Asking[None]:
    """Check that the last frame begins with a marker if the first does."""
    begins = frame_beginnings(pixels)
    if begins is None:
        return
    start = first + ITEM_HEAD
    head = yield from source.read(start, min(source.size, start + HEAD_BYTES[pixels.codec]))
    if begins(head) and not marked:
        raise Wrong("the basic table's last entry leads to no beginning of a frame")


def _heads(
    source: Source, pixels: PixelDescription, positions: list[int]
) -> Asking[list[tuple[int, int] | None]]:
    """Read tag and length of items; None for one that would lie past the object's end."""
    unpack = Struct(f"{pixels.order}HHL").unpack
    inside = [each for each in positions if each + ITEM_HEAD <= source.size]
    data = yield from source.read_all(ByteRange(each, each + ITEM_HEAD) for each in inside)
    found: dict[int, tuple[int, int]] = {}
    for each, head in zip(inside, data, strict=True):
        group, element, length = unpack(head)
        found[each] = (group << 16 | element, length)
    return [found.get(each) for each in positions]
