"""What locating frames needs to know of an object: a few attributes and the place of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..dicom.elements import ITEM, ITEM_HEAD_BYTES, UNDEFINED, Selection
from ..dicom.header import Header
from ..dicom.offsets import Span, find_pixel_area
from ..dicom.paths import parse_path
from ..dicom.tags import Attribute
from ..dicom.values import Encoding, Unfit, convert
from ..dicom.walk import HeaderLimits, Walk
from ..dicom.window import Missing, NeedMore, Window
from .codecs import Codec, codec_of

_ATTRIBUTES: Final = {
    keyword: parse_path(keyword)[0]
    for keyword in (
        "ConcatenationFrameOffsetNumber",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
    )
}
PIXEL_ATTRIBUTES: Final = tuple(_ATTRIBUTES.values())
"""Attributes that `describe_pixels` reads."""
PIXEL_SELECTION: Final = Selection(PIXEL_ATTRIBUTES)
"""For `read_header`: these and nothing else."""
TIFF_HEADER_BYTES: Final = 16
"""Of a BigTIFF file; that of a classic one has 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDescription:
    """What a header, and the first bytes behind it, tell about an object's frames."""

    size: int
    """Bytes of the object."""
    transfer_syntax: str | None
    deflated: bool = False
    """Whether the data set is deflated as a whole."""
    little_endian: bool = True
    """Byte order of tags, lengths and tables."""
    frames: int | None = 1
    """Number of Frames; 1 where it is absent, None where it cannot be read."""
    concatenation_offset: int = 0
    """Frames of the concatenation before this object's first (PS3.3 section C.7.6.16.2.2.4)."""
    rows: int | None = None
    columns: int | None = None
    samples_per_pixel: int | None = None
    bits_allocated: int | None = None
    photometric_interpretation: str | None = None
    header_end: int = 0
    """Absolute offset of the first tag of the pixel area."""
    keyword: str | None = None
    """Of the pixel element; None where there is none."""
    vr: str | None = None
    """Of the pixel element; None under implicit VR."""
    value_offset: int = 0
    """Absolute offset of the pixel value's first byte."""
    value_length: int | None = None
    """Bytes of the pixel value; None where it is encapsulated."""
    basic_bytes: int | None = None
    """Bytes of the Basic Offset Table; None where its item is missing."""
    extended: Span | None = None
    """Where the Extended Offset Table's value is."""
    extended_lengths: Span | None = None
    """Where the value of the Extended Offset Table Lengths is."""
    preamble: bytes = b""
    """First bytes of the object, where a TIFF file has its header."""

    @property
    def codec(self) -> Codec:
        """What the transfer syntax does to frames."""
        return codec_of(self.transfer_syntax)

    @property
    def first_fragment(self) -> int:
        """Encapsulated: absolute offset of the first item behind the Basic Offset Table."""
        return self.value_offset + ITEM_HEAD_BYTES + (self.basic_bytes or 0)

    @property
    def rle_segments(self) -> int | None:
        """Segments of an RLE frame: one for each byte of a pixel (PS3.5 section G.2)."""
        if not self.samples_per_pixel or not self.bits_allocated:
            return None
        return self.samples_per_pixel * -(-self.bits_allocated // 8)


def describe_pixels(window: Window, header: Header) -> PixelDescription | NeedMore:
    """Collect what `locate_frames` needs.

    Parameters
    ----------
    window
        The window that `header` was read from. It needs the bytes that `locate_pixels` needs, the
        first 16, and no others.
    header
        Read with `PIXEL_SELECTION`, or with any selection that has `PIXEL_ATTRIBUTES`.

    Returns
    -------
    PixelDescription or NeedMore
        All that is needed, or the bytes still missing.

    Raises
    ------
    ObjectError
        As `locate_pixels` raises it.
    """
    facts: dict[str, Any] = {
        "size": window.size,
        "header_end": header.end,
        "transfer_syntax": header.transfer_syntax,
        "deflated": header.deflated,
        "little_endian": header.little_endian,
        "frames": _frames(header),
        "concatenation_offset": _value(header, "ConcatenationFrameOffsetNumber") or 0,
        "rows": _value(header, "Rows"),
        "columns": _value(header, "Columns"),
        "samples_per_pixel": _value(header, "SamplesPerPixel"),
        "bits_allocated": _value(header, "BitsAllocated"),
        "photometric_interpretation": _value(header, "PhotometricInterpretation"),
    }
    if not header.pixel_area:
        return PixelDescription(**facts)
    if header.deflated:
        return PixelDescription(**facts, keyword="PixelData")
    try:
        return PixelDescription(**facts, **_place(window, header))
    except Missing as missing:
        return missing.need


def _place(window: Window, header: Header) -> dict[str, Any]:
    area = find_pixel_area(window, header)
    if area is None:
        return {}
    basic = None
    if area.length == UNDEFINED and area.value + ITEM_HEAD_BYTES <= window.size:
        walk = Walk(window, HeaderLimits(), little_endian=header.little_endian)
        tag, length = walk.item_header(area.value)
        basic = length if tag == ITEM and length != UNDEFINED else None
    return {
        "keyword": area.keyword,
        "vr": area.vr,
        "value_offset": area.value,
        "value_length": None if area.length == UNDEFINED else area.length,
        "basic_bytes": basic,
        "extended": area.extended,
        "extended_lengths": area.extended_lengths,
        "preamble": window.read(0, TIFF_HEADER_BYTES),
    }


def _value(header: Header, keyword: str) -> Any:
    attribute = _ATTRIBUTES[keyword]
    try:
        return _convert(header, attribute)
    except Unfit:
        return None


def _frames(header: Header) -> int | None:
    try:
        frames: int | None = _convert(header, _ATTRIBUTES["NumberOfFrames"])
    except Unfit:
        return None
    # pydicom, too, takes 0 for 1
    return frames or 1 if frames is None or frames >= 0 else None


def _convert(header: Header, attribute: Attribute) -> Any:
    element = header.dataset.get(attribute.key)
    if element is None:
        return None
    return convert(element, attribute, Encoding(header.little_endian, None, False))
