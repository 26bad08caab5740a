"""The bytes of one object that have been read so far.

Pure: nothing here reads. Who walks over a window and finds bytes missing gets `Missing`, which
says what to read next; who reads adds it and walks again. A window never pretends that an object
ends where its known bytes end.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from ..errors import ErrorKind, ObjectError


class ByteRange(NamedTuple):
    """Bytes of an object."""

    start: int
    """Absolute offset of the first byte."""
    stop: int
    """Absolute offset behind the last byte."""


class NeedMore(ByteRange):
    """The walk cannot go on without these bytes of the object."""

    __slots__ = ()


class Missing(Exception):
    """Raised inside a walk where bytes are not known; `need` says which."""

    def __init__(self, need: NeedMore) -> None:
        super().__init__(need)
        self.need = need


class Window:
    """Segments of an object at their absolute offsets.

    Parameters
    ----------
    size
        Bytes of the whole object.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._starts: list[int] = []
        self._segments: list[bytes] = []

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(len(segment) for segment in self._segments)

    @property
    def beginning(self) -> bytes:
        """What is known without a gap from the object's first byte on."""
        return self._segments[0] if self._starts and not self._starts[0] else b""

    def add(self, start: int, data: bytes) -> None:
        """Add bytes read at the absolute offset `start`; they may continue a known segment.

        Raises
        ------
        ValueError
            They overlap bytes that are already known.
        """
        index = bisect_right(self._starts, start)
        if index and self._starts[index - 1] + len(self._segments[index - 1]) > start:
            raise ValueError(f"the bytes at {start} are already known")
        if index and self._starts[index - 1] + len(self._segments[index - 1]) == start:
            self._segments[index - 1] += data
        else:
            self._starts.insert(index, start)
            self._segments.insert(index, data)

    def known(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` on that are known without a gap, up to `stop`; maybe none.

        Parameters
        ----------
        start, stop
            Absolute offsets.
        """
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return b""
        begun = self._starts[index]
        return self._segments[index][start - begun : stop - begun]

    def segment(self, position: int, length: int) -> tuple[bytes, int]:
        """Find the segment that holds `length` bytes at `position`.

        Returns
        -------
        tuple of bytes and int
            The segment, and the absolute offset of its first byte.

        Raises
        ------
        Missing
            Some of the bytes are not known yet.
        ObjectError
            ``truncated``: the object ends before them.
        """
        stop = position + length
        if stop > self.size:
            raise ObjectError(
                ErrorKind.TRUNCATED,
                f"{length} bytes are announced at offset {position}, "
                f"but the object ends at {self.size}",
            )
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            raise Missing(NeedMore(position, stop))
        start, segment = self._starts[index], self._segments[index]
        known = start + len(segment)
        if stop <= known:
            return segment, start
        raise Missing(NeedMore(max(known, position), stop))

    def read(self, position: int, length: int) -> bytes:
        """Return bytes at an absolute offset; raises as `segment` does."""
        segment, start = self.segment(position, length)
        return segment[position - start : position - start + length]
