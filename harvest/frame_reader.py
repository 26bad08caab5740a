"""Single frames of one object, decoded: each is one small request away.

Where the frames lie is told by a frame index, or found out here, by the object's own table or by a
scan. Neighbouring frames are read together; pydicom's decoders make pixels of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array

from .elements import SOP_INSTANCE_UID, text_of
from .errors import ErrorKind, ObjectError
from .file import DicomFile
from .frames import (
    PIXEL_SELECTION,
    Answering,
    ByteRange,
    FrameRanges,
    PixelDescription,
    Unlocatable,
    describe_pixels,
    join_fragments,
    locate_frames,
)
from .header import Header, read_header
from .walk import HeaderLimits
from .window import NeedMore, Window

GAP_BYTES: Final = 16 * 2**10
"""Frames with no more between them are read by one request."""
MOST_REQUEST_BYTES: Final = 16 * 2**20
THREADS: Final = 8


class FrameReader:
    """The frames of one object.

    Parameters
    ----------
    file
        The object.
    ranges
        Where its frames lie; found out where None.
    scan
        Whether to walk over its items where no table is right.
    """

    def __init__(
        self, file: DicomFile, ranges: FrameRanges | None = None, *, scan: bool = True
    ) -> None:
        self.file = file
        self._scan = scan
        if ranges is not None:
            self.ranges = ranges

    @cached_property
    def dataset(self) -> Dataset:
        """The header, as pydicom reads it."""
        self.file.seek(0)
        return pydicom.dcmread(self.file, stop_before_pixels=True)

    @property
    def description(self) -> PixelDescription:
        """What the header tells of the frames; raises `ObjectError`."""
        return self._described[1]

    @cached_property
    def _described(self) -> tuple[str, PixelDescription]:
        window = Window(self.file.size)
        while True:
            header = read_header(window, PIXEL_SELECTION, HeaderLimits())
            found = header if isinstance(header, NeedMore) else describe_pixels(window, header)
            if not isinstance(found, NeedMore):
                assert isinstance(header, Header)
                return text_of(header.dataset.get(SOP_INSTANCE_UID)), found
            window.add(found.start, self._read(ByteRange(found.start, found.stop)))

    @cached_property
    def ranges(self) -> FrameRanges:
        """Where the frames lie.

        Raises
        ------
        ObjectError
            ``unsupported``: it cannot be told, and why.
        """
        found = self.locate()
        if isinstance(found, Unlocatable):
            raise ObjectError(ErrorKind.UNSUPPORTED, f"its frames have no place: {found.reason}")
        return found

    def locate(self) -> FrameRanges | Unlocatable:
        """Find out where the frames lie, or why that cannot be told; raises `ObjectError`."""
        locating = Answering(locate_frames(self.description, scan=self._scan))
        while locating.wanted is not None:
            locating.answer(self.file.pread(*locating.wanted))
        return locating.found

    @property
    def sop_instance_uid(self) -> str | None:
        """Of the object; None where the header has none."""
        return self._described[0] or None

    def _read(self, wanted: ByteRange) -> bytes:
        self.file.seek(wanted.start)
        return self.file.read(wanted.stop - wanted.start)

    def raw(self, numbers: Sequence[int]) -> list[bytes]:
        """Read frames as they are stored.

        Parameters
        ----------
        numbers
            Of the frames, from 1.

        Returns
        -------
        list of bytes
            Encapsulated: their items; native: the bytes that hold them.

        Raises
        ------
        IndexError
            There is no such frame.
        ObjectError
            The object cannot be read.
        """
        wanted = [self._range(number) for number in numbers]
        together = list(coalesced(wanted))
        with ThreadPoolExecutor(THREADS) as threads:
            read = list(threads.map(lambda each: self.file.pread(*each), together))
        pieces = dict(zip(together, read, strict=True))
        return [_cut(each, pieces) for each in wanted]

    def _range(self, number: int) -> ByteRange:
        start, stop = self.ranges.byte_range(number)
        pixels = self.description
        if self.ranges.first_offset is None or pixels.little_endian or pixels.bits_allocated != 8:
            return ByteRange(start, stop)
        # bytes in words are swapped in pairs, so that a pair must not be torn
        if (start - self.ranges.first_offset) % 2 and pixels.vr != "OB":
            raise ObjectError(ErrorKind.UNSUPPORTED, "a frame begins inside a big-endian word")
        return ByteRange(start, stop + (stop - start) % 2)

    def frames(self, numbers: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        """Read and decode frames.

        Parameters
        ----------
        numbers
            Of the frames, from 1.

        Returns
        -------
        list of numpy.ndarray
            (rows, columns) or (rows, columns, samples), as pydicom's `pixel_array` of each.
        """
        return [
            self._decoded(number, data)
            for number, data in zip(numbers, self.raw(numbers), strict=True)
        ]

    def _decoded(self, number: int, data: bytes) -> np.ndarray[Any, Any]:
        pixels = self.description
        if self.ranges.offsets is None:
            if pixels.bits_allocated == 1:
                return self._bits(number, data)
            return pixel_array(self._single(data, pixels.keyword or "PixelData"))
        frame = join_fragments(data, little_endian=pixels.little_endian)
        return pixel_array(self._single(encapsulate([frame], has_bot=False)))

    def _bits(self, number: int, data: bytes) -> np.ndarray[Any, Any]:
        """Unpack a frame of single bits, which need not begin with a byte (PS3.5 section 8.1.1)."""
        rows, columns = self.description.rows or 0, self.description.columns or 0
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        first = self.ranges.bit_offset(number)
        return bits[first : first + rows * columns].reshape(rows, columns)

    def _single(self, data: bytes, keyword: str = "PixelData") -> Dataset:
        """Make an image of one frame."""
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = self.dataset.file_meta.TransferSyntaxUID
        for name in _NEEDED:
            if name in self.dataset:
                made[name] = self.dataset[name]
        made.NumberOfFrames = 1
        setattr(made, keyword, data + b"\0" * (len(data) % 2))
        made[keyword].VR = self.description.vr or "OW"
        return made


_NEEDED: Final = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def coalesced(wanted: Iterable[ByteRange]) -> Iterable[ByteRange]:
    """Join ranges that lie beside each other, or nearly, into requests."""
    joined: ByteRange | None = None
    for each in sorted(set(wanted)):
        if joined is None:
            joined = each
        elif (
            each.start - joined.stop <= GAP_BYTES
            and max(each.stop, joined.stop) - joined.start <= MOST_REQUEST_BYTES
        ):
            joined = ByteRange(joined.start, max(joined.stop, each.stop))
        else:
            yield joined
            joined = each
    if joined is not None:
        yield joined


def _cut(wanted: ByteRange, pieces: dict[ByteRange, bytes]) -> bytes:
    for piece, data in pieces.items():
        if piece.start <= wanted.start and wanted.stop <= piece.stop:
            return data[wanted.start - piece.start : wanted.stop - piece.start]
    raise AssertionError("every range is part of a request")
