"""The TIFF directory of a file that is DICOM and TIFF at once.

The preamble of a DICOM file may be the header of a TIFF file (PS3.10 section 7.1), whose directory
then lies in a data element, mostly in Data Set Trailing Padding behind the pixels. Its tiles are
this object's frames: their offsets are in it even where the object has no offset table.

A tile's offset is that of the encoded bytes, behind the item's tag and length, and its byte count
is without padding. TIFF orders tiles by place, DICOM frames by number: frames lie in the object in
the order of their numbers, and so the offsets are sorted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from ..dicom.asking import Asking
from ..dicom.elements import ITEM_HEAD_BYTES
from ..dicom.window import ByteRange
from .asking import Source
from .description import PixelDescription
from .entries import absolute, chained
from .ranges import FrameRanges, FrameSource, Wrong
from .scan import MOST_FRAGMENTS

IMAGE_WIDTH: Final = 256
IMAGE_LENGTH: Final = 257
STRIP_OFFSETS: Final = 273
ROWS_PER_STRIP: Final = 278
STRIP_BYTE_COUNTS: Final = 279
TILE_WIDTH: Final = 322
TILE_LENGTH: Final = 323
TILE_OFFSETS: Final = 324
TILE_BYTE_COUNTS: Final = 325

MOST_DIRECTORIES: Final = 64
MOST_ENTRIES: Final = 1024
DIRECTORY_BYTES: Final = 4096
"""Read of a directory at first; most have a few hundred."""
BEFORE_DIRECTORY: Final = 32
"""Read before a directory: where it follows the pixels, their delimiter is there."""
SAMPLES: Final = 1
"""Tiles between the first and the last whose items are looked at: a request each, and a chain that
has no gap from the first item to the delimiter is hardly wrong."""

_CODES: Final = {1: "B", 3: "H", 4: "L", 16: "Q"}
"""Field types of whole numbers: BYTE, SHORT, LONG, LONG8."""


class _Format(NamedTuple):
    """How a TIFF file writes its directories."""

    order: str
    big: bool
    """BigTIFF: 64-bit offsets."""

    @property
    def number(self) -> Struct:
        return Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> Struct:
        return Struct(self.order + ("HHQ8s" if self.big else "HHL4s"))

    @property
    def offset(self) -> Struct:
        return Struct(self.order + ("Q" if self.big else "L"))


@dataclass(frozen=True, slots=True)
class _Field:
    """One entry of a directory."""

    code: str
    """Of `struct`, for one number."""
    count: int
    inline: bytes
    """The numbers, where they fit; otherwise their offset."""
    format: _Format

    @property
    def numbers(self) -> Struct:
        return Struct(f"{self.format.order}{self.count}{self.code}")

    @property
    def place(self) -> ByteRange | None:
        """Where the numbers are; None where they are in the entry."""
        if self.numbers.size <= len(self.inline):
            return None
        (start,) = self.format.offset.unpack(self.inline)
        return ByteRange(start, start + self.numbers.size)


_Directory = dict[int, _Field]


def has_directory(pixels: PixelDescription) -> bool:
    """Tell whether an object's preamble is the header of a TIFF file."""
    return _first_directory(pixels.preamble) is not None


def read_tiff(
    source: Source, pixels: PixelDescription, first: int, frames: int
) -> Asking[FrameRanges]:
    """Locate frames by the TIFF directory whose tiles they are.

    Parameters
    ----------
    source
        The object.
    pixels
        Of it; `has_directory` is true.
    first
        Absolute offset of the first item behind the Basic Offset Table.
    frames
        Number of Frames.

    Raises
    ------
    Wrong
        No directory describes this object's frames, or one that seems to is wrong.
    """
    begin = _first_directory(pixels.preamble)
    if begin is None:
        raise Wrong("the preamble has no TIFF header")
    form, position = begin
    seen: set[int] = set()
    while position:
        if position in seen or len(seen) == MOST_DIRECTORIES:
            raise Wrong("the TIFF directories have no end")
        seen.add(position)
        directory, position = yield from _read_directory(source, form, position)
        for offsets, byte_counts in _tilings(directory, pixels, frames):
            tiles, sizes = yield from _read_numbers(source, offsets, byte_counts)
            order = sorted(range(frames), key=tiles.__getitem__)
            if tiles[order[0]] != first + ITEM_HEAD_BYTES:
                continue  # of other pixels: a smaller level of a pyramid, an icon
            entries = array("Q", (tiles[each] - first - ITEM_HEAD_BYTES for each in order))
            starts = absolute(entries, first, source.size, "tiff")
            lengths = [sizes[each] for each in order]
            return (yield from chained(source, pixels, FrameSource.TIFF, starts, lengths, SAMPLES))
    raise Wrong("no TIFF directory has this object's frames")


def _first_directory(preamble: bytes) -> tuple[_Format, int] | None:
    order = {b"II": "<", b"MM": ">"}.get(preamble[:2])
    if order is None or len(preamble) < 16:
        return None
    version, width, zero = Struct(f"{order}HHH").unpack_from(preamble, 2)
    if version == 42:
        return _Format(order, False), Struct(f"{order}L").unpack_from(preamble, 4)[0]
    if (version, width, zero) == (43, 8, 0):
        return _Format(order, True), Struct(f"{order}Q").unpack_from(preamble, 8)[0]
    return None


def _read_directory(source: Source, form: _Format, position: int) -> Asking[tuple[_Directory, int]]:
    """Read one directory, and where the next is; 0 where there is none."""
    head = form.number.size
    if position + head > source.size:
        raise Wrong("a TIFF directory lies past the object's end")
    start = max(0, position - BEFORE_DIRECTORY)
    near = yield from source.read(start, min(source.size, position + DIRECTORY_BYTES))
    (count,) = form.number.unpack_from(near, position - start)
    if count > MOST_ENTRIES:
        raise Wrong(f"a TIFF directory of over {MOST_ENTRIES} entries")
    entries = position + head
    behind = entries + count * form.entry.size
    stop = behind + form.offset.size
    if stop > source.size:
        raise Wrong("a TIFF directory goes past the object's end")
    data = yield from source.read(entries, stop)
    directory = {}
    for tag, kind, number, inline in form.entry.iter_unpack(data[: behind - entries]):
        if kind in _CODES and number <= MOST_FRAGMENTS:
            directory[tag] = _Field(_CODES[kind], number, inline, form)
    return directory, form.offset.unpack_from(data, behind - entries)[0]


def _tilings(
    directory: _Directory, pixels: PixelDescription, frames: int
) -> Iterator[tuple[_Field, _Field]]:
    """Yield offsets and byte counts if their number and the tiles' size are those of the frames."""
    shapes = (
        (TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS),
        (IMAGE_WIDTH, ROWS_PER_STRIP, STRIP_OFFSETS, STRIP_BYTE_COUNTS),
        # one strip may claim more rows than the image has
        (IMAGE_WIDTH, IMAGE_LENGTH, STRIP_OFFSETS, STRIP_BYTE_COUNTS),
    )
    for width, length, offsets, byte_counts in shapes:
        if not {width, length, offsets, byte_counts} <= directory.keys():
            continue
        counted = directory[offsets].count == directory[byte_counts].count == frames
        shape = (_number(directory[width]), _number(directory[length]))
        if counted and shape == (pixels.columns, pixels.rows):
            yield directory[offsets], directory[byte_counts]
            return


def _number(field: _Field) -> int | None:
    if field.count != 1 or field.place is not None:
        return None
    return int(field.numbers.unpack_from(field.inline)[0])


def _read_numbers(source: Source, *fields: _Field) -> Asking[list[tuple[int, ...]]]:
    """Read the numbers of several fields, those that lie close together at once."""
    places = [place for field in fields if (place := field.place) is not None]
    if any(place.stop > source.size for place in places):
        raise Wrong("a TIFF directory's numbers lie past the object's end")
    found = iter((yield from source.read_all(places)))
    return [
        field.numbers.unpack_from(field.inline if field.place is None else next(found))
        for field in fields
    ]
