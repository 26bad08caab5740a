"""Basic Offset Tables: read, checked, and believed only then.

A table that is wrong in any respect is not used at all. What a table cannot be checked for at the
price of a few bytes, an entry in its middle that points to another item, is seen when the frame is
read (`join_fragments`).
"""

from __future__ import annotations

from array import array
from typing import Final

from ..dicom.asking import Asking
from ..dicom.elements import ITEM, ITEM_HEAD_BYTES
from ..dicom.offsets import BASIC_OFFSET_REACH, PAST_END
from ..dicom.window import ByteRange
from .asking import Source
from .codecs import MARKER_BYTES
from .description import PixelDescription
from .entries import absolute, check_count, heads, numbers
from .ranges import FrameRanges, FrameSource, Stop, Wrong
from .scan import frame_beginnings, frame_ranges, walk_items

LAST_FRAME_BYTES: Final = 2**20
"""Read at most to find the end of a frame of many fragments."""


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
    check_count(length, 4, frames)
    if first > source.size:
        raise Wrong(PAST_END)
    if first + ITEM_HEAD_BYTES > source.size:
        raise Wrong("the basic table has entries where there are no fragments")
    begin = pixels.value_offset + ITEM_HEAD_BYTES
    head = min(source.size, first + ITEM_HEAD_BYTES + MARKER_BYTES.get(pixels.codec, 0))
    # the first item is next to the table
    data, _ = yield from source.read_all([ByteRange(begin, first), ByteRange(first, head)])
    entries = numbers(data, "L", pixels.little_endian)
    if entries[0]:
        raise Wrong("the basic table's first entry is not 0")
    wraps = _unwrap(entries, source.size - first)
    starts = absolute(entries, first, source.size, "basic")
    end = yield from _confirm_basic(source, pixels, starts, wraps)
    return frame_ranges(FrameSource.BASIC, starts, end)


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
    found = yield from heads(source, pixels, [starts[each] for each in chosen])
    for each, head in zip(chosen, found, strict=True):
        stop = starts[each + 1] if each + 1 < len(starts) else source.size
        if head is None or head[0] != ITEM or starts[each] + ITEM_HEAD_BYTES + head[1] > stop:
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
    start = first + ITEM_HEAD_BYTES
    head = yield from source.read(start, min(source.size, start + MARKER_BYTES[pixels.codec]))
    if begins(head) and not marked:
        raise Wrong("the basic table's last entry leads to no beginning of a frame")
