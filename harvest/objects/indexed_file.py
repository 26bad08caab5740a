"""A file with the offset table that it lacks.

With a frame index, an object without an offset table reads as if it had one: where its pixel data
begin, a table is put in, and what stands behind is served from where it lies. pydicom and highdicom
find frames by it and never walk over the pixel data.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final, NamedTuple

from ..dicom.elements import ITEM_HEAD_BYTES
from ..dicom.offsets import BASIC_OFFSET_REACH
from ..dicom.walk import item_head
from ..errors import ErrorKind, ObjectError
from ..frames import PixelDescription
from ..frames.written import basic_table, extended_table
from ..store.ranged_file import RangedFile
from .file import DicomFile, open_object
from .frame_reader import FrameReader
from .frame_table import Index
from .single_frames import use_index

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
    reader
        Of the object; it knows where its frames lie, encapsulated.

    Raises
    ------
    ObjectError
        The object cannot be read, from `read` too; ``unsupported``: it takes an Extended Offset
        Table, which has no place for frames of several fragments.
    """

    def __init__(self, reader: FrameReader) -> None:
        assert isinstance(reader.file, DicomFile)
        assert reader.ranges.offsets is not None
        assert reader.ranges.lengths is not None
        self.file = reader.file
        self.name = reader.file.name
        self._offsets, self._lengths = reader.ranges.offsets, reader.ranges.lengths
        pixels = reader.description
        self._extended = self._offsets[-1] - pixels.first_fragment >= BASIC_OFFSET_REACH
        if self._extended:
            self._check_fragment(0)
        self._pieces = self._put_together(pixels)
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

    def _put_together(self, pixels: PixelDescription) -> list[_Piece]:
        """Put the object together with its table instead of those that it has, if any."""
        first = pixels.first_fragment
        relative = [offset - first for offset in self._offsets]
        lengths = [length - ITEM_HEAD_BYTES for length in self._lengths]
        extended = extended_table(relative, lengths) if self._extended else b""
        element = self.file.pread(pixels.value_offset - 12, pixels.value_offset)
        put_in = extended + element + basic_table([] if self._extended else relative)
        return [
            _Piece(0, pixels.header_end, None),
            _Piece(0, len(put_in), put_in),
            _Piece(first, self.file.size - first, None),
        ]

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
            if self._extended:
                self._check_fragment(frame)
            if frame not in (self._frame, self._frame + 1):
                self._begun = frame
            self._frame = frame

    def _check_fragment(self, frame: int) -> None:
        """Check that a frame is one fragment; an index does not tell how many it has."""
        start = self._offsets[frame]
        head = self.file.pread(start, start + ITEM_HEAD_BYTES)
        _, _, length = item_head(little_endian=True).unpack(head)
        if ITEM_HEAD_BYTES + length != self._lengths[frame]:
            raise ObjectError(
                ErrorKind.UNSUPPORTED,
                "no offset table reaches beyond 4 GiB of frames that are several fragments: read "
                "them with harvest.read_frames",
            )

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
    WrongArgument
        The URL or a key of `source` is wrong.

    See Also
    --------
    read : The header alone, for people.
    read_frames : Decoded frames, neighbours by one request.
    read_region : A part of a slide.
    """
    file = open_object(url, **source)
    if index is None:
        return file
    reader = FrameReader(file)
    use_index(reader, index)
    if reader.deflated or reader.ranges.offsets is None:
        return file
    return IndexedFile(reader)
