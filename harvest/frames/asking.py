"""An object's bytes as `frames` asks for them: each once, and those together that are close."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from ..dicom.asking import Asking
from ..dicom.window import ByteRange


class Source:
    """An object's bytes; none is asked for twice.

    Parameters
    ----------
    size
        Bytes of the object.
    bridge
        Bytes that are read rather than begin another request behind them.
    """

    def __init__(self, size: int, bridge: int) -> None:
        self.size = size
        self.bridge = bridge
        self.asked = 0
        """Bytes asked for so far."""
        self.requests = 0
        """Ranges asked for so far."""
        self._starts: list[int] = []
        self._pieces: list[bytes] = []

    def read(self, start: int, stop: int, *, keep: bool = True) -> Asking[bytes]:
        """Return bytes.

        Parameters
        ----------
        start, stop
            Absolute offsets; both lie in the object.
        keep
            Whether the bytes may be wanted again.

        Raises
        ------
        ValueError
            Something else than the range was sent.
        """
        parts = []
        position = start
        while position < stop:
            part = self._known(position, stop - position)
            if not part:
                part = yield from self._ask(position, min(stop, self._next_known(position)), keep)
            parts.append(part)
            position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_all(self, ranges: Iterable[ByteRange]) -> Asking[list[bytes]]:
        """Return the bytes of several ranges, read together where they are close."""
        wanted = list(ranges)
        merged: list[ByteRange] = []
        for each in sorted(wanted):
            if len(self._known(each.start, each.stop - each.start)) == each.stop - each.start:
                continue
            if merged and each.start - merged[-1].stop <= self.bridge:
                merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, each.stop))
            else:
                merged.append(each)
        for each in merged:
            yield from self.read(*each)
        found = []
        for each in wanted:
            found.append((yield from self.read(*each)))
        return found

    def _ask(self, start: int, stop: int, keep: bool) -> Asking[bytes]:
        data = yield ByteRange(start, stop)
        if len(data) != stop - start:
            raise ValueError(f"{stop - start} bytes were asked for and {len(data)} sent")
        self.asked += len(data)
        self.requests += 1
        if keep:
            index = bisect_right(self._starts, start)
            self._starts.insert(index, start)
            self._pieces.insert(index, data)
        return data

    def _known(self, position: int, most: int) -> bytes:
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return b""
        at = position - self._starts[index]
        return self._pieces[index][at : at + most]

    def _next_known(self, position: int) -> int:
        index = bisect_right(self._starts, position)
        return self._starts[index] if index < len(self._starts) else self.size
