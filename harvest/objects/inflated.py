"""An object whose data set is deflated as a whole, as the object that it was before.

No frame of it can be reached by range (PS3.5 section A.5): all of it is read, once. The label maps
among the Imaging Data Commons' segmentations are such objects, and inflate a hundredfold.
"""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian

from ..dicom.elements import TRANSFER_SYNTAX_UID, Selection
from ..dicom.header import PREAMBLE_BYTES
from ..dicom.walk import HeaderLimits, Walk
from ..dicom.window import Window
from ..errors import ErrorKind, ObjectError
from .file import DicomFile

MOST_INFLATED_BYTES: Final = 4 * 2**30


class InflatedFile:
    """A deflated object, inflated in memory; for a `FrameReader` like any other.

    Parameters
    ----------
    file
        The object.
    size
        Bytes of it, inflated, where they are known; it is read when its bytes are wanted, then.

    Raises
    ------
    ObjectError
        It cannot be read, is corrupt, or inflates to over `MOST_INFLATED_BYTES`.
    """

    def __init__(self, file: DicomFile, size: int | None = None) -> None:
        self._file = file
        self.name = file.name
        self.size = len(self._content) if size is None else size
        """Bytes of the object, inflated."""
        self.version = file.version
        """The state of the object that is read."""

    def __reduce__(self) -> tuple[type[InflatedFile], tuple[DicomFile, int]]:
        """Pickle what names the object: another process reads it again."""
        return type(self), (self._file, self.size)

    @cached_property
    def _content(self) -> bytes:
        return _inflate(self._file.pread(0, self._file.size))

    @property
    def requests(self) -> int:
        """HTTP requests so far, retries included."""
        return self._file.requests

    @property
    def bytes_read(self) -> int:
        """Body bytes of the answers so far."""
        return self._file.bytes_read

    def pread(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`.

        Raises
        ------
        ObjectError
            The object ends before.
        """
        if stop > self.size:
            raise ObjectError(ErrorKind.TRUNCATED, "the object ends before the bytes asked for")
        return self._content[start:stop]

    def known(self, position: int) -> int:
        """Return how far bytes from a position on need no request."""
        return max(position, self.size)

    def prefetch(self, start: int, stop: int) -> None:
        """Do nothing: all is known."""


def _inflate(data: bytes) -> bytes:
    """Inflate a data set, and let the file meta information say so."""
    window = Window(len(data))
    window.add(0, data)
    walk = Walk(window, HeaderLimits(), little_endian=True)
    meta, begin = walk.file_meta(PREAMBLE_BYTES, Selection())
    syntax = meta[TRANSFER_SYNTAX_UID]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(memoryview(data)[begin:], MOST_INFLATED_BYTES)
    except zlib.error:
        raise ObjectError(ErrorKind.MALFORMED, "the deflated data set is corrupt") from None
    if inflater.unconsumed_tail:
        raise ObjectError(
            ErrorKind.TOO_LARGE, f"the data set inflates to over {MOST_INFLATED_BYTES} bytes"
        )
    if not inflater.eof:
        raise ObjectError(ErrorKind.TRUNCATED, "the deflated data set ends early")
    plain = ExplicitVRLittleEndian.encode().ljust(syntax.length, b"\0")
    behind = data[syntax.offset + syntax.length : begin]
    return b"".join((data[: syntax.offset], plain, behind, inflated))
