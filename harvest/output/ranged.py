"""An object as a file that can be sought: what is read is requested, and no more."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """A read-only file over ranged reads, one for every `read`.

    Parameters
    ----------
    read
        Returns the bytes from a start to a stop, both within the object.
    size
        Bytes of the object.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read = read
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, without a request; see `io.IOBase.seek`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the object")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the object goes, by one request."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        data = self._read(self._position, stop)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
