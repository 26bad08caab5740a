"""Where each frame of an object lies: from its tables, by arithmetic, or by a scan of its items.

Pure: `locate_frames` asks for ranges of bytes and is sent them, whoever reads. In the order of
their use: `description`, `asking`, `ranges`, `codecs`; `native`, `extended`, `basic`, `tiff` and
`scan`, one for each `FrameSource`, with `entries` for what tables have in common; `fragments`;
`written`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from ..dicom.asking import Asking
from ..dicom.first_ranges import BRIDGED_BYTES
from ..dicom.offsets import BOTH_FILLED
from .asking import Source
from .basic import read_basic
from .codecs import Codec
from .description import (
    PIXEL_ATTRIBUTES,
    PIXEL_SELECTION,
    PixelDescription,
    describe_pixels,
)
from .extended import read_extended
from .fragments import join_fragments
from .native import locate_native
from .ranges import FrameRanges, FrameSource, Stop, Unlocatable, Why, Wrong
from .scan import scan_frames
from .tiff import has_directory, read_tiff

__all__ = [
    "ONE_FRAME_BYTES",
    "PIXEL_ATTRIBUTES",
    "PIXEL_SELECTION",
    "FrameRanges",
    "FrameSource",
    "PixelDescription",
    "Unlocatable",
    "Why",
    "describe_pixels",
    "join_fragments",
    "locate_frames",
]


CHECK_BYTES: Final = 64 * 2**10
"""Of pixels, at most so many are read in place of another request while a table is checked."""
ONE_FRAME_BYTES: Final = 2**20
"""Read at most to find the end of the only frame where no scan is wanted."""


def locate_frames(
    pixels: PixelDescription, *, scan: bool, request_bytes: int = BRIDGED_BYTES
) -> Asking[FrameRanges | Unlocatable]:
    """Find out where each frame of an object lies.

    A generator: it yields a `ByteRange`, is sent exactly these bytes, and so on; its return value
    is the answer. It asks for no byte twice. Native pixels need none.

    Parameters
    ----------
    pixels
        Of the object.
    scan
        Whether to walk over all items where no table is right. Without, those of a single frame
        that has no table are walked over nevertheless, if they are not too many.
    request_bytes
        How many bytes cost as much as one more request; fragments of more are hopped over.

    Returns
    -------
    FrameRanges or Unlocatable
        The ranges, or why there are none. A table that is wrong in any respect is told in
        ``problem`` and not used.

    Raises
    ------
    ValueError
        Other bytes were sent than were asked for.
    """
    source = Source(pixels.size, min(request_bytes, CHECK_BYTES))
    problems: list[str] = []
    try:
        found = yield from _locate(source, pixels, request_bytes if scan else None, problems)
    except Stop as stop:
        return Unlocatable(stop.why, stop.reason, "; ".join(problems) or None, pixels.frames)
    _check(found, pixels)
    told = [*problems, *([found.problem] if found.problem else [])]
    return replace(found, problem="; ".join(told) or None)


def _check(found: FrameRanges, pixels: PixelDescription) -> None:
    """Hold each way of locating frames to what all of them promise."""
    if found.frames != pixels.frames or found.byte_range(found.frames).stop > pixels.size:
        raise AssertionError(f"{found.source}: other frames than the object can have")


def _locate(
    source: Source, pixels: PixelDescription, scan: int | None, problems: list[str]
) -> Asking[FrameRanges]:
    frames = _number_of_frames(pixels)
    if pixels.value_length is not None:
        return locate_native(pixels, frames)
    first = _first_fragment(pixels)
    if _has_extended(pixels) and pixels.basic_bytes:
        problems.append(BOTH_FILLED)
    for read in _tables(pixels):
        try:
            return (yield from read(source, pixels, first, frames))
        except Wrong as wrong:
            problems.append(str(wrong))
    if first > source.size:
        raise Stop(Why.TRUNCATED, "the object ends before its fragments")
    if scan is not None:
        source.bridge = scan
        return (yield from scan_frames(source, pixels, first, frames))
    if problems:
        raise Stop(Why.NO_TABLE, "no offset table is right")
    return (yield from _only_frame(source, pixels, first, frames))


def _first_fragment(pixels: PixelDescription) -> int:
    """Return the absolute offset of the first item behind the Basic Offset Table."""
    if pixels.codec is Codec.STREAM:
        raise Stop(Why.STREAM, "video has no boundaries between frames")
    if pixels.basic_bytes is None:
        raise Stop(Why.MALFORMED, "the Basic Offset Table's item is missing")
    return pixels.first_fragment


def _only_frame(
    source: Source, pixels: PixelDescription, first: int, frames: int
) -> Asking[FrameRanges]:
    """Locate the frame of an object that has but one: all fragments are it, and few as a rule."""
    no_table = Stop(Why.NO_TABLE, "no offset table")
    if frames > 1:
        raise no_table
    try:
        return (yield from scan_frames(source, pixels, first, frames, most=ONE_FRAME_BYTES))
    except Stop as stop:
        raise no_table if stop.why is Why.TOO_LARGE else stop from None


def _has_extended(pixels: PixelDescription) -> bool:
    return pixels.extended is not None and pixels.extended.length > 0


def _tables(
    pixels: PixelDescription,
) -> Iterator[Callable[[Source, PixelDescription, int, int], Asking[FrameRanges]]]:
    """Yield what reads the tables that an object has, the most telling first."""
    if _has_extended(pixels):
        yield read_extended
    if pixels.basic_bytes:
        yield read_basic
    if has_directory(pixels):
        yield read_tiff


def _number_of_frames(pixels: PixelDescription) -> int:
    """Return Number of Frames of an object whose pixels can be reached."""
    if pixels.codec is Codec.ELSEWHERE:
        raise Stop(Why.ELSEWHERE, "the pixels are on a JPIP server")
    if pixels.keyword is None:
        raise Stop(Why.NO_PIXEL_DATA, "no pixel data")
    if pixels.deflated:
        raise Stop(Why.DEFLATED, "the data set is deflated as a whole")
    if pixels.frames is None:
        raise Stop(Why.UNCLEAR, "Number of Frames cannot be read")
    return pixels.frames
