"""What the tests of frames share: objects in memory that count every byte asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from struct import pack
from typing import Any, Final

from harvest.dicom.window import ByteRange
from harvest.errors import ObjectError
from harvest.frames import (
    PIXEL_SELECTION,
    FrameRanges,
    PixelDescription,
    Unlocatable,
    describe_pixels,
    join_fragments,
    locate_frames,
)
from tests.support.build import (
    BIG,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    LITTLE,
    PIXEL_DATA,
    Syntax,
    even,
    file_meta,
    header_of,
    identity,
    part10,
    series,
    window_of,
)

RLE: Final = "1.2.840.10008.1.2.5"
JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
HTJ2K: Final = "1.2.840.10008.1.2.4.201"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_XL: Final = "1.2.840.10008.1.2.4.110"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
MPEG4: Final = "1.2.840.10008.1.2.4.102"
CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Sparse:
    """An object of any size, of which only some pieces are not zero."""

    size: int
    pieces: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, wanted: slice) -> bytes:
        start, stop, _ = wanted.indices(self.size)
        made = bytearray(stop - start)
        for offset, piece in self.pieces.items():
            begin, end = max(offset, start), min(offset + len(piece), stop)
            if begin < end:
                made[begin - start : end - start] = piece[begin - offset : end - offset]
        return bytes(made)


@dataclass
class Located:
    """What was found, and what it cost."""

    found: FrameRanges | Unlocatable
    asked: list[ByteRange]

    @property
    def ranges(self) -> FrameRanges:
        assert isinstance(self.found, FrameRanges), self.found
        return self.found

    @property
    def reason(self) -> Unlocatable:
        assert isinstance(self.found, Unlocatable), self.found
        return self.found

    @property
    def bytes_asked(self) -> int:
        return sum(stop - start for start, stop in self.asked)


def drive(
    data: bytes | Sparse, pixels: PixelDescription, *, scan: bool = True, **options: int
) -> Located:
    """Answer a locator from memory; no byte may be asked for twice, and none outside."""
    locator = locate_frames(pixels, scan=scan, **options)
    asked: list[ByteRange] = []
    try:
        wanted = next(locator)
        while True:
            assert 0 <= wanted.start < wanted.stop <= len(data)
            asked.append(wanted)
            wanted = locator.send(data[wanted.start : wanted.stop])
    except StopIteration as stop:
        ordered = sorted(asked)
        assert all(a.stop <= b.start for a, b in pairwise(ordered))
        return Located(stop.value, asked)


def describe(data: bytes) -> PixelDescription:
    described = describe_pixels(window_of(data), header_of(data, PIXEL_SELECTION))
    assert isinstance(described, PixelDescription)
    return described


def locate(data: bytes, *, scan: bool = True, **options: int) -> Located:
    return drive(data, describe(data), scan=scan, **options)


def frames_in(data: bytes, ranges: FrameRanges) -> list[bytes]:
    """Return the encoded frames, or native ones, that the ranges hold."""
    pieces = [data[slice(*ranges.byte_range(n + 1))] for n in range(ranges.frames)]
    return pieces if ranges.offsets is None else [join_fragments(piece) for piece in pieces]


def answer(data: bytes, *, scan: bool = True) -> list[bytes] | str:
    """Return all frames, or the reason why there are none."""
    located = locate(data, scan=scan)
    if isinstance(located.found, Unlocatable):
        assert located.found.reason
        return str(located.found.why)
    try:
        return frames_in(data, located.found)
    except ObjectError as error:
        return str(error.kind)


def multiframe(
    transfer_syntax: str,
    pixels: bytes,
    frames: int | str | None,
    *,
    code: Syntax = LITTLE,
    rows: int = 4,
    columns: int = 4,
    bits: int = 8,
    samples: int = 1,
    photometric: str = "MONOCHROME2",
    preamble: bytes = b"",
) -> bytes:
    """Build an image of several frames; `pixels` are its encoded elements of group 7FE0."""
    dataset = identity(code, CT_IMAGE) + series(code)
    dataset += code.element(0x00280002, "US", code.pack("H", samples))
    dataset += code.element(0x00280004, "CS", even(photometric.encode()))
    if frames is not None:
        dataset += code.element(0x00280008, "IS", even(str(frames).encode()))
    for tag, value in ((0x00280010, rows), (0x00280011, columns), (0x00280100, bits)):
        dataset += code.element(tag, "US", code.pack("H", value))
    made = part10(dataset + pixels, meta=file_meta(transfer_syntax, CT_IMAGE))
    return preamble + made[len(preamble) :]


def jpeg(size: int, seed: int = 0) -> bytes:
    """Make bytes that begin and end as a JPEG frame does, of a given even or odd size."""
    body = (bytes(range(seed, 251)) * (size // (251 - seed) + 1))[: size - 6]
    return b"\xff\xd8\xff\xe0" + body + b"\xff\xd9"


def rle(size: int, segments: int = 1) -> bytes:
    """Make bytes with the header of an RLE frame."""
    offsets = [64 + 2 * n for n in range(segments)] + [0] * (15 - segments)
    return pack("<16L", segments, *offsets) + bytes(size - 64)


def padded(frame: bytes) -> bytes:
    return frame + b"\0" * (len(frame) % 2)


def item_starts(fragments: Iterable[bytes]) -> list[int]:
    """Return what a table says of fragments: the offsets of their items."""
    starts, at = [], 0
    for fragment in fragments:
        starts.append(at)
        at += 8 + len(fragment)
    return starts


def split(frame: bytes, size: int) -> list[bytes]:
    return [frame[at : at + size] for at in range(0, len(frame), size)]


def empty_table(frames: Sequence[bytes]) -> bytes:
    return LITTLE.encapsulated([padded(frame) for frame in frames])


def basic_table(frames: Sequence[bytes], entries: Sequence[int] | None = None) -> bytes:
    whole = [padded(frame) for frame in frames]
    return LITTLE.encapsulated(whole, item_starts(whole) if entries is None else entries)


def extended_table(
    frames: Sequence[bytes],
    entries: Sequence[int] | None = None,
    lengths: Sequence[int] | None = None,
) -> bytes:
    whole = [padded(frame) for frame in frames]
    offsets = item_starts(whole) if entries is None else entries
    sizes = [len(frame) for frame in frames] if lengths is None else lengths
    return LITTLE.extended(offsets, sizes) + LITTLE.encapsulated(whole)


def native(
    pixels: bytes, frames: int | None, transfer_syntax: str = EXPLICIT_LITTLE, **more: Any
) -> bytes:
    code = {EXPLICIT_BIG: BIG, IMPLICIT_LITTLE: IMPLICIT}.get(transfer_syntax, LITTLE)
    element = code.element(PIXEL_DATA, "OW", pixels)
    return multiframe(transfer_syntax, element, frames, code=code, **more)
