"""Entries of a table as numbers, as offsets, and as the items that they must lead to."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from struct import Struct

from ..dicom.asking import Asking
from ..dicom.elements import ITEM, ITEM_HEAD_BYTES, SEQUENCE_DELIMITER
from ..dicom.offsets import count_problem
from ..dicom.walk import item_head
from ..dicom.window import ByteRange
from .asking import Source
from .description import PixelDescription
from .ranges import FrameRanges, FrameSource, Wrong
from .scan import MOST_FRAGMENTS, frame_ranges


def check_count(length: int, width: int, frames: int) -> None:
    """Check the number of a table's entries.

    Parameters
    ----------
    length
        Bytes of the table.
    width
        Bytes of an entry.
    frames
        Number of Frames.

    Raises
    ------
    Wrong
        There are others than frames, or too many.
    """
    miscounted = count_problem(length, width, frames)
    if miscounted is not None:
        raise Wrong(miscounted)
    if frames > MOST_FRAGMENTS:
        raise Wrong(f"over {MOST_FRAGMENTS} entries")


def numbers(data: bytes, code: str, little_endian: bool) -> array[int]:
    """Return the entries of a table.

    Parameters
    ----------
    data
        The table.
    code
        Of `struct`, for one entry.
    little_endian
        Its byte order.
    """
    width = Struct(f"<{code}").size
    # arrays have the platform's widths and order
    found = array(next(each for each in "QLI" if array(each).itemsize == width), data)
    if little_endian != (sys.byteorder == "little"):
        found.byteswap()
    return array("Q", found)


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
    if any(gap <= ITEM_HEAD_BYTES for gap in gaps):
        raise Wrong(f"the {kind} table has a frame without bytes")
    if any(entry % 2 for entry in entries):
        raise Wrong(f"the {kind} table has odd offsets")
    if first + entries[-1] + ITEM_HEAD_BYTES > size:
        raise Wrong(f"the {kind} table goes past the object's end")
    return array("Q", (first + entry for entry in entries))


def heads(
    source: Source, pixels: PixelDescription, positions: list[int]
) -> Asking[list[tuple[int, int] | None]]:
    """Read tag and length of items; None for one that would lie past the object's end."""
    unpack = item_head(little_endian=pixels.little_endian).unpack
    inside = [each for each in positions if each + ITEM_HEAD_BYTES <= source.size]
    data = yield from source.read_all(ByteRange(each, each + ITEM_HEAD_BYTES) for each in inside)
    found: dict[int, tuple[int, int]] = {}
    for each, head in zip(inside, data, strict=True):
        group, element, length = unpack(head)
        found[each] = (group << 16 | element, length)
    return [found.get(each) for each in positions]


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
    ends = array("Q", (a + ITEM_HEAD_BYTES + b + b % 2 for a, b in zip(starts, sizes, strict=True)))
    if ends[-1] > source.size:
        raise Wrong(f"the {kind} table goes past the object's end")
    if starts[1:] != ends[:-1]:
        raise Wrong(f"offsets and lengths of the {kind} table do not agree")
    last = len(starts) - 1
    chosen = sorted({0, last, *(last * each // (samples + 1) for each in range(1, samples + 1))})
    found = yield from heads(source, pixels, [starts[each] for each in chosen] + [ends[-1]])
    for each, head in zip(chosen, found[:-1], strict=True):
        if head != (ITEM, ends[each] - starts[each] - ITEM_HEAD_BYTES):
            raise Wrong(f"the {kind} table's entry for frame {each + 1} leads to no such fragment")
    if found[-1] not in (None, (SEQUENCE_DELIMITER, 0)):
        raise Wrong(f"more fragments than the {kind} table has frames")
    return frame_ranges(kind, starts, ends[-1])
