"""A file with the offset table that it lacks.

With a frame index, an object without an offset table reads as if it had one: where its pixel data
begin, a table is put in, and what stands behind is served from where it lies. pydicom and highdicom
find frames by it and never walk over the pixel data.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from struct import pack
from typing import Any, Final, NamedTuple

from ..dicom.elements import ITEM
from ..dicom.offsets import BASIC_OFFSET_REACH
from ..frames import FrameRanges
from ..store.ranged_file import RangedFile
from .file import DicomFile, open_object
from .frame_reader import FrameReader
from .frame_table import Index, indexed

ITEM_HEAD_BYTES: Final = 8
MOST_FRAMES_AHEAD: Final = 32
MOST_AHEAD_BYTES: Final = 4 * 2**20


class _Piece(NamedTuple):
    """Consecutive bytes: of the object, or put in."""

    start: int
    """Offset in the object; of what is put in, 0."""
    length: int
    data: bytes | None
    """What is put in."""


class IndexedFile(RangedFile):
    """An object whose frames are known, as a binary file with an offset table.

    Parameters
    ----------
    file
        The object.
    ranges
        Where its frames lie, encapsulated.
    """

    def __init__(self, file: DicomFile, ranges: FrameRanges) -> None:
        assert ranges.offsets is not None
        assert ranges.lengths is not None
        self.file = file
        self.name = file.name
        self._offsets, self._lengths = ranges.offsets, ranges.lengths
        self._pieces = _pieces(file, FrameReader(file, ranges))
        self._starts = [0, *accumulate(piece.length for piece in self._pieces)]
        super().__init__(self._bytes, self._starts.pop())
        self._begun = self._frame = -2
        self._ahead = 1

    @property
    def requests(self) -> int:
        """HTTP requests so far, retries included."""
        return self.file.requests

    @property
    def bytes_read(self) -> int:
        """Body bytes of the answers so far."""
        return self.file.bytes_read

    def close(self) -> None:
        """Close the object, too."""
        if not self.closed:
            self.file.close()
        super().close()

    def _bytes(self, start: int, stop: int) -> bytes:
        parts = []
        while start < stop:
            index = bisect_right(self._starts, start) - 1
            piece, at = self._pieces[index], start - self._starts[index]
            length = min(piece.length - at, stop - start)
            parts.append(self._part(piece, at, length))
            start += length
        return b"".join(parts)

    def _part(self, piece: _Piece, at: int, length: int) -> bytes:
        if piece.data is not None:
            return piece.data[at : at + length]
        start = piece.start + at
        self._expect(start, length)
        self.file.seek(start)
        return self.file.read(length)

    def _expect(self, start: int, length: int) -> None:
        """Read a frame that is begun as a whole, and as many behind it as may be wanted, too."""
        frame = bisect_right(self._offsets, start) - 1
        if frame < 0 or start - self._offsets[frame] > ITEM_HEAD_BYTES:
            return
        if not self.file.holds(start, start + length):
            self._prefetch(frame)
        # who looks only whether another fragment follows does not read the next frame
        if start + length > self._offsets[frame] + ITEM_HEAD_BYTES:
            if frame not in (self._frame, self._frame + 1):
                self._begun = frame
            self._frame = frame

    def _prefetch(self, frame: int) -> None:
        if frame in (self._frame, self._frame + 1):
            self._ahead = min(2 * self._ahead, MOST_FRAMES_AHEAD)
        else:  # another row of tiles, say: as long as the last one
            self._ahead = min(self._frame - self._begun + 1, MOST_FRAMES_AHEAD)
        start = self._offsets[frame]
        stop = start + self._lengths[frame]
        for number in range(frame + 1, min(frame + self._ahead, len(self._offsets))):
            end = self._offsets[number] + self._lengths[number]
            if end - start > MOST_AHEAD_BYTES:
                break
            stop = end
        # the next item's head, too: who reads a frame looks there
        self.file.prefetch(start, stop + ITEM_HEAD_BYTES)


def _pieces(file: DicomFile, reader: FrameReader) -> list[_Piece]:
    """Put the object together with its table instead of those that it has, if any."""
    pixels, ranges = reader.description, reader.ranges
    assert ranges.offsets is not None
    assert ranges.lengths is not None
    first = pixels.value_offset + ITEM_HEAD_BYTES + (pixels.basic_bytes or 0)
    relative = [offset - first for offset in ranges.offsets]
    count = len(relative)
    before = pixels.header_end
    element = file.pread(pixels.value_offset - 12, pixels.value_offset)
    if max(relative, default=0) < BASIC_OFFSET_REACH:
        extended = b""
        table = pack(f"<HHL{count}L", ITEM >> 16, ITEM & 0xFFFF, 4 * count, *relative)
    else:
        values = [length - ITEM_HEAD_BYTES for length in ranges.lengths]
        extended = b"".join(
            pack(f"<HH2sHL{count}Q", 0x7FE0, number, b"OV", 0, 8 * count, *numbers)
            for number, numbers in ((1, relative), (2, values))
        )
        table = pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, 0)
    put_in = extended + element + table
    return [
        _Piece(0, before, None),
        _Piece(0, len(put_in), put_in),
        _Piece(first, file.size - first, None),
    ]


def open(  # noqa: A001 - as io.open and gzip.open
    url: str, index: Index | None = None, **source: Any
) -> DicomFile | IndexedFile:
    """Open a DICOM object as a file that pydicom and highdicom read by few requests.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    index
        A frame index: a file that ``harvest frames URL --dest FILE`` writes, or the output of a
        harvest with ``read.frames``; see `harvest.frame_table.Index`. An object without an offset
        table, or with a wrong one, then has one.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    DicomFile or IndexedFile
        Seekable and read-only; it counts ``requests`` and ``bytes_read``.

    Raises
    ------
    ObjectError
        What is wrong with the object.
    HarvestError
        The index cannot be read, or does not know the object.
    ValueError
        The URL or a key of `source` is wrong.
    """
    file = open_object(url, **source)
    if index is None:
        return file
    ranges = indexed(index, file.name, file.size)
    return file if ranges.offsets is None else IndexedFile(file, ranges)
