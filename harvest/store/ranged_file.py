"""What is read by ranges, as a file that can be sought."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """A read-only binary file over ranged reads, one for every `read`.

    Parameters
    ----------
    ranged
        Returns the bytes from a start to a stop, both within the object.
    size
        Bytes of the object.
    """

    def __init__(self, ranged: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._ranged = ranged
        self._position = 0
        self.size = size
        """Bytes of the whole file."""

    def readable(self) -> bool:
        """Tell that it can be read."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought."""
        self._check_open()
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, without a request; see `io.IOBase.seek`."""
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"whence is {whence}, and none of 0, 1, 2")
        base = bases[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes; fewer than asked for only where the file ends.

        Parameters
        ----------
        size
            Bytes; all that are left where it is negative or None.
        """
        self._check_open()
        start = self._position
        stop = self.size if size is None or size < 0 else min(start + size, self.size)
        if stop <= start:
            return b""
        data = self._ranged(start, stop)
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """Read all that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes; return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
