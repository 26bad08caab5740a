"""The items of encapsulated pixels, one by one: what is left where no table tells the frames.

A range is asked for where the next item begins, and its length goes by the fragments seen so far:
long ones are hopped over with a few bytes at each item, short ones are read many at once. So no
byte is asked for twice, and of large fragments hardly any.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..dicom.asking import Asking
from ..dicom.elements import ITEM, ITEM_HEAD_BYTES, SEQUENCE_DELIMITER, UNDEFINED
from ..dicom.walk import item_head
from .asking import Source
from .codecs import MARKER_BYTES, Codec, begins_frame
from .description import PixelDescription
from .ranges import FrameRanges, FrameSource, Stop, Why

MOST_FRAGMENTS: Final = 2**22
MOST_EMPTY_FRAGMENTS: Final = 2**16
MOST_AT_ONCE: Final = 4 * 2**20
"""Longest range that is asked for in a scan."""
MOST_CHECKS: Final = 32
"""Requests for the fragments of one frame, while a table is checked."""
_HOP_SHARE: Final = 512
"""A hop reads this part of the fragment that it hops over, so that short ones are seen, too."""
_LEAST_HOP: Final = ITEM_HEAD_BYTES + max(MARKER_BYTES.values())
_MEASURED: Final = 16
"""Fragments whose sizes decide about the next range."""


@dataclass(slots=True)
class Items:
    """Fragments that have any bytes; empty ones belong to the fragment before them."""

    starts: array[int] = field(default_factory=lambda: array("Q"))
    """Absolute offsets of their items' tags."""
    begins: bytearray = field(default_factory=bytearray)
    """1 where a fragment begins an encoded frame, 0 where it does not."""
    empty: int = 0
    """How many fragments have no bytes."""
    end: int = 0
    """Absolute offset of the sequence's delimiter."""


def frame_beginnings(pixels: PixelDescription) -> Callable[[bytes], bool] | None:
    """Return what tells from the first bytes of a fragment whether it begins a frame, if any."""
    codec, segments = pixels.codec, pixels.rle_segments
    if codec not in MARKER_BYTES:
        return None
    return lambda head: begins_frame(codec, head, segments)


def scan_frames(
    source: Source,
    pixels: PixelDescription,
    start: int,
    frames: int,
    *,
    most: int | None = None,
) -> Asking[FrameRanges]:
    """Locate frames by walking over all items.

    Parameters
    ----------
    source
        The object.
    pixels
        Of it.
    start
        Absolute offset of the first item behind the Basic Offset Table.
    frames
        Number of Frames.
    most
        As in `walk_items`.

    Raises
    ------
    Stop
        The items are malformed or too many, or which of them are a frame cannot be told.
    """
    expected = (source.size - start) // frames
    items = yield from walk_items(source, pixels, start, expected, most=most)
    starts = _first_items(items, pixels.codec, frames)
    return frame_ranges(FrameSource.SCAN, starts, items.end)


def frame_ranges(source: FrameSource, starts: array[int], end: int) -> FrameRanges:
    """Build ranges of frames that follow each other without a gap."""
    lengths = array("Q", (b - a for a, b in zip(starts, [*starts[1:], end], strict=True)))
    return FrameRanges(source, len(starts), starts, lengths)


def _first_items(items: Items, codec: Codec, frames: int) -> array[int]:
    """Tell which fragments begin a frame (PS3.5 section A.4)."""
    count = len(items.starts)
    if count < frames:
        raise Stop(Why.UNCLEAR, f"{count} fragments for {frames} frames")
    if frames == 1:
        return items.starts[:1]
    marked = sum(items.begins)
    if count == frames and marked in (0, count):
        return items.starts
    if codec not in MARKER_BYTES:
        raise Stop(
            Why.UNCLEAR,
            f"{count} fragments for {frames} frames, and no marker where a frame begins",
        )
    if marked != frames or not items.begins[0]:
        raise Stop(
            Why.UNCLEAR, f"{marked} of {count} fragments begin a frame, where there are {frames}"
        )
    return array("Q", (at for at, begins in zip(items.starts, items.begins, strict=True) if begins))


@dataclass(slots=True)
class _Stretch:
    """The part of the object that is in memory, and how much to ask for next."""

    source: Source
    expected: int
    hop: int
    """Bytes to ask for where fragments are long."""
    keep: bool
    data: bytes = b""
    base: int = 0
    at_once: int = 0
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_MEASURED))
    """Where the last items were, empty ones included."""

    def reach(self, position: int, stop: int) -> Asking[int]:
        """Read until all up to `stop` is in memory; return where `position` is in it."""
        known = self.base + len(self.data)
        if stop > known:
            rest = self.data[position - self.base :]
            begin = position + len(rest)
            end = min(self.source.size, max(begin + self._length(position), stop))
            self.data = rest + (yield from self.source.read(begin, end, keep=self.keep))
            self.base = position
        return position - self.base

    def _length(self, position: int) -> int:
        count = len(self.recent)
        size = (position - self.recent[0]) // count if count else self.expected
        if size >= self.source.bridge:
            return self.hop
        self.at_once = min(2 * self.at_once or self.source.bridge, MOST_AT_ONCE)
        return self.at_once


def walk_items(
    source: Source,
    pixels: PixelDescription,
    start: int,
    expected: int,
    *,
    most: int | None = None,
) -> Asking[Items]:
    """Walk over items to the sequence's delimiter.

    Parameters
    ----------
    source
        The object.
    pixels
        Of it.
    start
        Absolute offset of the first item.
    expected
        Bytes that a fragment may have.
    most
        Give up after so many bytes, or `MOST_CHECKS` requests; the bytes are kept. None for a scan,
        which keeps none.

    Raises
    ------
    Stop
        There is no delimiter, or something else than items, or too many of them.
    """
    unpack = item_head(little_endian=pixels.little_endian).unpack_from
    begins = frame_beginnings(pixels)
    head = MARKER_BYTES.get(pixels.codec, 0)
    # in a scan short fragments may follow, in a check all that is needed is the item
    hop = max(_LEAST_HOP, source.bridge // _HOP_SHARE) if most is None else ITEM_HEAD_BYTES + head
    stretch = _Stretch(source, expected, hop, keep=most is not None)
    asked, requests = source.asked, source.requests
    items = Items()
    position = start
    while True:
        if position + ITEM_HEAD_BYTES > source.size:
            raise Stop(Why.TRUNCATED, "the object ends before its pixels' delimiter")
        at = position - stretch.base
        # asked here: a call for each item would cost more
        if at + ITEM_HEAD_BYTES > len(stretch.data):
            at = yield from stretch.reach(position, position + ITEM_HEAD_BYTES)
        group, element, length = unpack(stretch.data, at)
        tag = group << 16 | element
        if tag == SEQUENCE_DELIMITER:
            items.end = position
            return items
        stop = position + ITEM_HEAD_BYTES + length
        _check_item(source, tag, length, position)
        if length:
            if begins is not None:
                wanted = ITEM_HEAD_BYTES + min(head, length)
                if at + wanted > len(stretch.data):
                    at = yield from stretch.reach(position, position + wanted)
                items.begins.append(begins(stretch.data[at + ITEM_HEAD_BYTES : at + wanted]))
            items.starts.append(position)
        else:
            items.empty += 1
        _check_effort(items, source.asked - asked, source.requests - requests, most)
        stretch.recent.append(position)
        position = stop


def _check_item(source: Source, tag: int, length: int, position: int) -> None:
    if tag != ITEM or length == UNDEFINED:
        raise Stop(Why.MALFORMED, f"no fragment at offset {position}")
    if position + ITEM_HEAD_BYTES + length > source.size:
        raise Stop(Why.TRUNCATED, "a fragment goes past the object's end")


def _check_effort(items: Items, asked: int, requests: int, most: int | None) -> None:
    if items.empty > MOST_EMPTY_FRAGMENTS or len(items.starts) > MOST_FRAGMENTS:
        raise Stop(Why.TOO_LARGE, f"over {len(items.starts) + items.empty - 1} fragments")
    if most is not None and asked > most:
        raise Stop(Why.TOO_LARGE, f"over {most} bytes of fragments")
    if most is not None and requests > MOST_CHECKS:
        raise Stop(Why.TOO_LARGE, f"over {MOST_CHECKS} large fragments")
