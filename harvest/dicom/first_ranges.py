"""How much of an object to read: first, learnt from the objects before it, and then further on.

Pure, and only a guess: what it costs to be wrong is a request more, or some bytes too many.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from .window import ByteRange, NeedMore, Window

FIRST_RANGE_BYTES: Final = 32 * 2**10
"""Read of an object that nothing is known of."""
MOST_FIRST_BYTES: Final = 2**20
"""Longest first range, however long the headers before were."""
PIXEL_AREA_BYTES: Final = 64
"""Read behind a header, for the first bytes of the pixel area."""
GROWTH: Final = 4
"""Each further range is so much longer than the one before."""
LONG_RANGE_BYTES: Final = 2 * 2**20
"""A longer range no more than doubles what was read until then."""
BRIDGED_BYTES: Final = 256 * 2**10
"""A longer value that nobody asks for is leapt over; reading a shorter one costs less than
another request."""

_SERIES_AT_ONCE: Final = 1024
_KINDS_AT_ONCE: Final = 256
_REMEMBERED: Final = 32
"""First headers of its series that a kind remembers."""
_SHARE: Final = 0.9
"""Of the headers of a kind that the first range is to hold."""
_LEAST_BYTES: Final = 4 * 2**10


class Growth:
    """Which range to read next: longer each time, a short one behind a leap.

    Parameters
    ----------
    window
        What is walked over.
    reach
        Offset behind the last byte that was read.
    most
        Bytes that the window may hold.
    """

    __slots__ = ("_grown", "_most", "_reach", "_window")

    def __init__(self, window: Window, reach: int, most: int) -> None:
        self._window = window
        self._reach = reach
        self._most = most
        self._grown = FIRST_RANGE_BYTES

    def following(self, need: NeedMore) -> ByteRange:
        """Return the range to read for what is missing; it has that at least."""
        room = max(0, self._most - self._window.held)
        leap = not 0 <= need.start - self._reach <= min(BRIDGED_BYTES, room)
        # behind a value that was leapt over little is left, as a rule
        longest = max(LONG_RANGE_BYTES, self._reach)
        self._grown = FIRST_RANGE_BYTES if leap else min(GROWTH * self._grown, longest)
        stop = max(need.stop, need.start + min(self._grown, room))
        start = need.start if leap else self._reach
        self._reach = min(stop, self._window.size)
        return ByteRange(start, self._reach)


class Subject(NamedTuple):
    """An object whose header is to be read, as far as it is known before."""

    series: str
    """Names the series."""
    kind: str | None
    """Names what series of like headers have in common; None where nothing is known."""
    size: int | None
    """Bytes of the object."""


@dataclass(slots=True)
class _Lengths:
    """Of the headers of a series."""

    longest: int
    behind: int | None
    """Bytes behind the header, where they are the same for all objects: native pixels are."""


class FirstRanges:
    """Learns the lengths of headers; safe to use from many threads, since guesses may be stale."""

    def __init__(self) -> None:
        self._series: OrderedDict[str, _Lengths] = OrderedDict()
        self._kinds: OrderedDict[str | None, deque[tuple[int, int]]] = OrderedDict()

    def knows(self, subject: Subject) -> bool:
        """Tell whether there is anything to guess an object's range from."""
        return subject.series in self._series or subject.kind in self._kinds

    def guess(self, subject: Subject) -> int:
        """Return how many bytes to read first.

        Parameters
        ----------
        subject
            Of the object.
        """
        lengths = self._series.get(subject.series)
        # copied at once: another thread may be learning
        known = tuple(self._kinds.get(subject.kind, ()))
        if lengths is not None:
            guess = self._in_series(lengths, subject.size)
        elif known:
            guess = self._of_kind(known, subject.size)
        else:
            guess = FIRST_RANGE_BYTES
        return min(guess, MOST_FIRST_BYTES)

    def learn(self, subject: Subject, size: int, header_bytes: int, *, native: bool) -> None:
        """Learn the length of a header.

        Parameters
        ----------
        subject
            Of the object.
        size
            Of the object as it was read, in bytes.
        header_bytes
            That a first range should have held, pixel area excluded.
        native
            Whether the pixels have one length for all objects that are alike.
        """
        behind = size - header_bytes if native else None
        known = self._series.get(subject.series)
        if known is not None:
            known.longest = max(known.longest, header_bytes)
            if known.behind != behind:
                known.behind = None
            return
        self._series[subject.series] = _Lengths(header_bytes, behind)
        if len(self._series) > _SERIES_AT_ONCE:
            self._series.popitem(last=False)
        if subject.kind is not None:
            first = self._kinds.setdefault(subject.kind, deque(maxlen=_REMEMBERED))
            first.append((header_bytes, behind or 0))
            if len(self._kinds) > _KINDS_AT_ONCE:
                self._kinds.popitem(last=False)

    def _in_series(self, lengths: _Lengths, size: int | None) -> int:
        slack = PIXEL_AREA_BYTES + lengths.longest // 64
        if lengths.behind is not None and size is not None:
            header_bytes = size - lengths.behind
            # objects of another size may be others altogether
            if 0 < header_bytes <= 2 * lengths.longest:
                return header_bytes + PIXEL_AREA_BYTES
        return lengths.longest + slack

    def _of_kind(self, known: Sequence[tuple[int, int]], size: int | None) -> int:
        headers = sorted(header_bytes for header_bytes, _ in known)
        likely = headers[min(len(headers) - 1, int(_SHARE * len(headers)))]
        if size is not None:
            # native pixels of a size that was seen leave one length for the header
            left = {size - behind for _, behind in known if behind}
            fitting = [each for each in left if headers[0] // 2 <= each <= 2 * headers[-1]]
            if fitting:
                likely = max(fitting)
        return max(_LEAST_BYTES, likely + likely // 16 + PIXEL_AREA_BYTES)
