"""Single frames of one object, decoded: each is one small request away.

Where the frames lie is told by a frame index, or found out here, by the object's own table or by a
scan. Neighbouring frames are read together; pydicom's decoders make pixels of them. The header is
read once, by harvest's own walk: that of a slide or a segmentation may have 10,000 items.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from ..dicom.asking import answered, walked
from ..dicom.converter import Columns, Converter, root_encoding
from ..dicom.elements import SOP_INSTANCE_UID, Selection, text_of
from ..dicom.first_ranges import LONG_RANGE_BYTES, PIXEL_AREA_BYTES, Growth
from ..dicom.header import Header, read_header
from ..dicom.paths import merge_paths, parse_path
from ..dicom.tags import Wanted
from ..dicom.walk import HeaderLimits
from ..dicom.window import ByteRange, NeedMore, Window
from ..errors import ErrorKind, ObjectError
from ..frames import (
    PIXEL_ATTRIBUTES,
    PIXEL_SELECTION,
    FrameRanges,
    PixelDescription,
    Unlocatable,
    describe_pixels,
    locate_frames,
)
from .decoding import DECODING_ATTRIBUTES, FrameDecoder
from .file import MOST_REQUEST_BYTES, DicomFile
from .inflated import InflatedFile

GAP_BYTES: Final = 16 * 2**10
"""Frames with more between them are never read by one request."""
MOST_WASTE: Final = 0.25
"""Bytes that one request reads in vain, by those that are wanted of it."""
THREADS: Final = 8
READER_LIMITS: Final = HeaderLimits(
    header_bytes=256 * 2**20, kept=20_000_000, kept_bytes=256 * 2**20
)
"""A single object, which somebody has asked for, may have more in its header than one of many."""


Argument = TypeVar("Argument")
Result = TypeVar("Result")


class _Found(NamedTuple):
    """What the header tells."""

    sop_instance_uid: str
    """Empty where there is none."""
    description: PixelDescription
    values: Columns
    """Of the attributes that decoders need, and of those that were asked for."""


class FrameReader:
    """The frames of one object.

    Picklable: another process reads the same state of the object by the ranges found here, without
    a request of its own for the header.

    Parameters
    ----------
    file
        The object.
    ranges
        Where its frames lie; found out where None.
    scan
        Whether to walk over its items where no table is right.
    wanted
        Attributes to be read besides, as a profile names them.
    """

    def __init__(
        self,
        file: DicomFile | InflatedFile,
        ranges: FrameRanges | None = None,
        *,
        scan: bool = True,
        wanted: Iterable[str] = (),
    ) -> None:
        self.file = file
        self._scan = scan
        self._wanted = tuple(wanted)
        if ranges is not None:
            self.ranges = ranges

    def __getstate__(self) -> dict[str, Any]:
        found = self._found
        decoding = {name: found.values.get(name) for name in DECODING_ATTRIBUTES}
        return {
            "file": self.file,
            "_scan": self._scan,
            "_wanted": (),
            "_found": found._replace(values=decoding),
            "ranges": self.ranges,
        }

    @property
    def description(self) -> PixelDescription:
        """What the header tells of the frames; raises `ObjectError`."""
        return self._found.description

    @property
    def deflated(self) -> bool:
        """Whether the object's data set is deflated as a whole; raises `ObjectError`."""
        return isinstance(self.file, InflatedFile) or self.description.deflated

    @property
    def values(self) -> Columns:
        """What the header has of the attributes that were asked for; raises `ObjectError`.

        By column name, sequences as lists of such values; what is absent or empty is missing or
        None.
        """
        return self._found.values

    @cached_property
    def decoder(self) -> FrameDecoder:
        """What makes pixels of the frames; raises `ObjectError`."""
        return FrameDecoder(
            self.description, {name: self.values.get(name) for name in DECODING_ATTRIBUTES}
        )

    @cached_property
    def _found(self) -> _Found:
        paths = [parse_path(path) for path in (*DECODING_ATTRIBUTES, *self._wanted)]
        attributes = merge_paths([*((each,) for each in PIXEL_ATTRIBUTES), *paths])
        header, description = self._read_header(Selection(attributes))
        values, _ = Converter(Wanted(attributes)).columns(
            header.dataset, header.dataset, root_encoding(header)
        )
        return _Found(text_of(header.dataset.get(SOP_INSTANCE_UID)), description, values)

    def _read_header(self, selection: Selection) -> tuple[Header, PixelDescription]:
        """Read as far as the pixel area, and of that what tells where pixels begin."""
        file = self.file
        window = Window(file.size)
        known = file.known(0)
        window.add(0, file.pread(0, known))
        growth = Growth(window, known, READER_LIMITS.header_bytes)

        def walk() -> Header | NeedMore:
            # a long header takes several walks; one that keeps nothing is four times as fast
            if window.held > LONG_RANGE_BYTES:
                quick = read_header(window, PIXEL_SELECTION, READER_LIMITS)
                if isinstance(quick, NeedMore):
                    return quick
            return read_header(window, selection, READER_LIMITS)

        def pixel_area(need: NeedMore) -> ByteRange:
            # offset tables lie between, which nobody may need
            stop = max(need.stop, need.start + PIXEL_AREA_BYTES)
            return ByteRange(need.start, min(stop, file.size))

        header = answered(walked(walk, window, growth.following), self._read)
        described = walked(lambda: describe_pixels(window, header), window, pixel_area)
        return header, answered(described, self._read)

    def _read(self, start: int, stop: int) -> bytes:
        """Read what others will read again from the file's memory."""
        self.file.prefetch(start, stop)
        return self.file.pread(start, stop)

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
        return answered(locate_frames(self.description, scan=self._scan), self.file.pread)

    @property
    def sop_instance_uid(self) -> str | None:
        """Of the object; None where the header has none."""
        return self._found.sop_instance_uid or None

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
        pieces = list(_each(lambda span: self.file.pread(*span), together, THREADS))
        starts = [each.start for each in together]
        return [_cut(each, starts, pieces) for each in wanted]

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

        Raises
        ------
        IndexError
            There is no such frame.
        HarvestError
            No decoder for the transfer syntax is installed.
        ObjectError
            The object cannot be read, or a frame cannot be decoded.
        """
        return list(self.decoded(numbers))

    def decoded(self, numbers: Sequence[int]) -> Iterator[np.ndarray[Any, Any]]:
        """Yield frames one by one, decoded by many threads; see `frames`."""
        decoder, ranges = self.decoder, self.ranges

        def pixels(frame: tuple[int, bytes]) -> np.ndarray[Any, Any]:
            number, data = frame
            return decoder.decode(data, ranges.bit_offset(number))

        read = list(zip(numbers, self.raw(numbers), strict=True))
        return _each(pixels, read, min(THREADS, os.cpu_count() or 1))


def _each(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], threads: int
) -> Iterator[Result]:
    """Yield what a function makes of each argument, in their order, by threads where they help."""
    if len(arguments) < 2:
        yield from map(function, arguments)
        return
    with ThreadPoolExecutor(min(threads, len(arguments))) as pool:
        yield from pool.map(function, arguments)


def coalesced(wanted: Iterable[ByteRange]) -> Iterable[ByteRange]:
    """Join ranges that lie beside each other, or nearly, into requests.

    No request is longer than `MOST_REQUEST_BYTES` because of that, nor has a larger share than
    `MOST_WASTE` of what nobody asks for.
    """
    joined: ByteRange | None = None
    useful = 0
    for each in sorted(set(wanted)):
        if joined is None:
            joined, useful = each, each.stop - each.start
            continue
        stop = max(each.stop, joined.stop)
        more = stop - max(each.start, joined.stop)
        wasted = stop - joined.start - useful - more
        if (
            each.start - joined.stop <= GAP_BYTES
            and wasted <= MOST_WASTE * (useful + more)
            and stop - joined.start <= MOST_REQUEST_BYTES
        ):
            joined, useful = ByteRange(joined.start, stop), useful + more
        else:
            yield joined
            joined, useful = each, each.stop - each.start
    if joined is not None:
        yield joined


def _cut(wanted: ByteRange, starts: Sequence[int], pieces: Sequence[bytes]) -> bytes:
    piece = bisect_right(starts, wanted.start) - 1
    start = starts[piece]
    return pieces[piece][wanted.start - start : wanted.stop - start]
