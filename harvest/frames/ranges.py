"""What is found out about an object's frames: their byte ranges, or why there are none."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import StrEnum

from ..dicom.window import ByteRange
from ..meaning import Meaning


class FrameSource(Meaning):
    """The values of ``frames.source``."""

    EXTENDED = "extended", "the Extended Offset Table"
    BASIC = "basic", "the Basic Offset Table"
    NATIVE = "native", "arithmetic"
    TIFF = "tiff", "the directory of a file that is TIFF as well"
    SCAN = "scan", "a walk over the items"


@dataclass(frozen=True, slots=True)
class FrameRanges:
    """Where each frame of an object lies."""

    source: FrameSource
    frames: int
    """Number of Frames."""
    offsets: array[int] | None = None
    """Encapsulated: absolute offset of each frame's first item tag, unsigned 64 bit."""
    lengths: array[int] | None = None
    """Encapsulated: bytes from there to the end of the frame's last fragment and its padding."""
    first_offset: int | None = None
    """Native: absolute offset of the pixel value's first byte."""
    frame_bits: int | None = None
    """Native: bits of one frame; frames follow each other without padding."""
    problem: str | None = None
    """What is wrong with a table, or with the length of native pixels."""

    def byte_range(self, number: int) -> ByteRange:
        """Return the bytes that hold a frame.

        Parameters
        ----------
        number
            Of the frame in this object, from 1.

        Raises
        ------
        IndexError
            There is no such frame.
        """
        if not 1 <= number <= self.frames:
            raise IndexError(f"there is no frame {number}: the object has {self.frames}")
        if self.offsets is not None and self.lengths is not None:
            start = self.offsets[number - 1]
            return ByteRange(start, start + self.lengths[number - 1])
        if self.first_offset is None or self.frame_bits is None:
            raise AssertionError("neither encapsulated nor native")
        begin = (number - 1) * self.frame_bits
        stop = begin + self.frame_bits
        return ByteRange(self.first_offset + begin // 8, self.first_offset - (-stop // 8))

    def bit_offset(self, number: int) -> int:
        """Return how many bits of a native frame's first byte belong to the frame before it.

        Bits count from the least significant (PS3.5 section 8.1.1); only frames of single bits can
        begin inside a byte.

        Parameters
        ----------
        number
            Of the frame in this object, from 1.
        """
        return (number - 1) * (self.frame_bits or 0) % 8


class Why(StrEnum):
    """Kinds of reasons for which frames cannot be located."""

    NO_PIXEL_DATA = "no_pixel_data"
    ELSEWHERE = "elsewhere"
    """A JPIP server has the pixels."""
    DEFLATED = "deflated"
    """The data set is deflated as a whole."""
    STREAM = "stream"
    """Video: frames have no boundaries of their own."""
    NO_TABLE = "no_table"
    """No table can be trusted, and a scan was not allowed."""
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    UNCLEAR = "unclear"
    """Which fragments are a frame cannot be told."""
    TOO_LARGE = "too_large"
    """More fragments than anybody reads."""


@dataclass(frozen=True, slots=True)
class Unlocatable:
    """Why it is not known where the frames lie."""

    why: Why
    reason: str
    """For people; no tag values but numbers of frames, bytes and fragments."""
    problem: str | None = None
    """What is wrong with the tables that were passed over."""
    frames: int | None = None
    """Number of Frames; None where it cannot be read."""


class Wrong(Exception):
    """A table that must not be used; the text says what is wrong with it."""


class Stop(Exception):
    """The frames cannot be located."""

    def __init__(self, why: Why, reason: str) -> None:
        super().__init__(reason)
        self.why = why
        self.reason = reason
