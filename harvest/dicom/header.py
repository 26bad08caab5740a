"""The header of one object: bytes in, the wanted elements out, or which bytes it needs next.

Pure: no reading, no clocks. The file meta information (PS3.10 section 7), the transfer syntax, a
deflated data set, and whether the object is whole are decided here; elements are stepped over in
`walk`. A header is whole or it is none: it ends at the first tag of the pixel area, (7FE0,xxxx),
or at the object's true end, and never because the known bytes ran out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom import uid
from pydicom._uid_dict import UID_dictionary

from ..errors import ErrorKind, ObjectError
from .elements import (
    MEDIA_STORAGE_SOP_CLASS_UID,
    ROWS,
    SOP_CLASS_UID,
    TRANSFER_SYNTAX_UID,
    DataSet,
    Selection,
    text_of,
)
from .vrs import VR_TEXT
from .walk import HeaderLimits, TopLevel, Walk
from .window import Missing, NeedMore, Window

PREAMBLE_BYTES: Final = 132
"""Before the first element, prefix included (PS3.10 section 7.1)."""
PREFIX: Final = b"DICM"
INFLATED_AT_ONCE: Final = 4 * 2**10
"""Compressed bytes; a bomb makes a thousand times as much of them."""

_ENDLESS: Final = 2**63

# Syntaxes whose pixels are fetched by a URL in the header (PS3.5 sections A.6, A.7)
_PIXELS_ELSEWHERE = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in ("94", "95", "204", "205")
)
_WITH_PIXELS_BY_NAME = ("Image Storage", "Segmentation Storage", "Parametric Map Storage")
_CLASSES_WITH_PIXELS = frozenset(
    number
    for number, entry in UID_dictionary.items()
    if entry[1] == "SOP Class"
    and not entry[0].startswith("Surface")
    and any(name in entry[0] for name in _WITH_PIXELS_BY_NAME)
) | {str(uid.RTDoseStorage)}


@dataclass(slots=True)
class Header:
    """Everything wanted of one object's header, which was seen to its end."""

    dataset: DataSet
    """The wanted elements, file meta information included."""
    transfer_syntax: str | None
    """As the file meta information says; None where it does not."""
    implicit: bool
    """Whether the data set is in implicit VR, as found."""
    little_endian: bool
    deflated: bool
    end: int
    """Absolute offset of the pixel area's first tag, or the object's end."""
    pixel_area: bool
    """Whether the data set has elements of group 7FE0."""
    odd_bytes_at_end: int = 0
    """Zero bytes behind the last element, too few to be one."""


def read_header(
    window: Window,
    selection: Selection,
    limits: HeaderLimits | None = None,
    tick: Callable[[], None] | None = None,
) -> Header | NeedMore:
    """Walk over a header.

    Parameters
    ----------
    window
        The bytes known so far.
    selection
        Which elements to keep.
    limits
        How much the object may ask.
    tick
        Called now and then during a long walk; what it raises ends the walk.

    Returns
    -------
    Header or NeedMore
        The whole header, or the bytes without which it cannot be whole.

    Raises
    ------
    ObjectError
        ``not_dicom``, ``truncated``, ``malformed`` or ``too_large``.
    """
    try:
        return _read(window, selection, limits or HeaderLimits(), tick)
    except Missing as missing:
        return missing.need


def _read(
    window: Window, selection: Selection, limits: HeaderLimits, tick: Callable[[], None] | None
) -> Header:
    prefix = PREAMBLE_BYTES - len(PREFIX)
    if window.size < PREAMBLE_BYTES or window.read(prefix, len(PREFIX)) != PREFIX:
        raise ObjectError(ErrorKind.NOT_DICOM, "no DICM prefix at offset 128 (PS3.10 section 7.1)")
    meta_walk = Walk(window, limits, little_endian=True, tick=tick)
    meta, position = meta_walk.file_meta(PREAMBLE_BYTES, selection)
    syntax = text_of(meta.get(TRANSFER_SYNTAX_UID)) or None
    little_endian = _is_little_endian(window, position, syntax)
    deflated = syntax == str(uid.DeflatedExplicitVRLittleEndian)
    if deflated:
        top = _inflated_top_level(window, position, selection, limits, tick)
    else:
        walk = Walk(window, limits, little_endian=little_endian, tick=tick)
        top = walk.top_level(position, selection)
    dataset = meta | top.dataset
    if not top.pixel_area:
        _refuse_cut_object(dataset, syntax, top.last_group)
    return Header(
        dataset=dataset,
        transfer_syntax=syntax,
        implicit=top.implicit,
        little_endian=little_endian,
        deflated=deflated,
        end=window.size if deflated else top.end,
        pixel_area=top.pixel_area,
        odd_bytes_at_end=top.odd_bytes_at_end,
    )


def _is_little_endian(window: Window, position: int, syntax: str | None) -> bool:
    """Tell the byte order from the transfer syntax, or from the first element."""
    if syntax is not None:
        return syntax != str(uid.ExplicitVRBigEndian)
    first = window.read(position, 6)
    # group 0008 of a big endian file reads as 0800 here
    return first[4:6] not in VR_TEXT or int.from_bytes(first[:2], "little") < 1024


@dataclass(frozen=True, slots=True)
class _Inflation:
    """What is known of a deflated data set."""

    data: bytes
    ended: bool
    """Whether the data are all there are."""
    corrupt: bool
    """Whether the stream cannot be followed any further."""


def _inflated_top_level(
    window: Window,
    position: int,
    selection: Selection,
    limits: HeaderLimits,
    tick: Callable[[], None] | None,
) -> TopLevel:
    """Walk over a deflated data set; its offsets are those of the inflated one.

    Where it ends is known only when its last byte is. Used any earlier, the end would decide which
    of two errors an object has by how much of it had been read.
    """
    inflation = _inflate(window, position, limits)

    def walk(size: int) -> TopLevel:
        inflated = Window(size)
        inflated.add(0, inflation.data)
        steps = Walk(inflated, limits, little_endian=True, tick=tick)
        return steps.top_level(0, selection)

    try:
        return walk(_ENDLESS)
    except Missing:
        if not inflation.ended:
            raise _need_compressed(window, position, inflation, limits) from None
    return walk(len(inflation.data))


def _inflate(window: Window, position: int, limits: HeaderLimits) -> _Inflation:
    """Inflate what is known of a deflated data set (PS3.5 section A.5), up to the limit."""
    if position == window.size:
        raise ObjectError(ErrorKind.TRUNCATED, "the object ends with its file meta information")
    segment, start = window.segment(position, 1)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = BytesIO()
    corrupt = False
    for at in range(position - start, len(segment), INFLATED_AT_ONCE):
        room = limits.header_bytes - inflated.tell()
        if inflater.eof or corrupt or not room:
            break
        before = inflater.copy()
        piece = segment[at : at + INFLATED_AT_ONCE]
        try:
            inflated.write(inflater.decompress(piece, room))
        except zlib.error:
            corrupt = True
            inflated.write(_sound_start(before, piece)[:room])
    return _Inflation(inflated.getvalue(), inflater.eof, corrupt)


def _sound_start(inflater: zlib._Decompress, piece: bytes) -> bytes:
    """Inflate what lies before the first corrupt byte.

    Were it dropped, a header before corrupt pixels would be found or not found by how much of
    the object had been read.
    """
    inflated = []
    try:
        for byte in piece:
            inflated.append(inflater.decompress(bytes((byte,))))
    except zlib.error:
        return b"".join(inflated)
    raise AssertionError("unreachable")


def _need_compressed(
    window: Window, position: int, inflation: _Inflation, limits: HeaderLimits
) -> Exception:
    """Turn missing inflated bytes into missing compressed ones, or into what forbids them."""
    if len(inflation.data) >= limits.header_bytes:
        return ObjectError(
            ErrorKind.TOO_LARGE, f"the header inflates to over {limits.header_bytes} bytes"
        )
    if inflation.corrupt:
        return ObjectError(ErrorKind.MALFORMED, "the deflated data set is corrupt")
    segment, start = window.segment(position, 0)
    known = start + len(segment)
    if known == window.size:
        return ObjectError(ErrorKind.TRUNCATED, "the deflated data set ends early")
    return Missing(NeedMore(known, known + 1))


def _refuse_cut_object(dataset: DataSet, syntax: str | None, last_group: int) -> None:
    """Refuse an object that has no data set, and an image that ends before its pixels.

    An object cut exactly between two elements parses. Of the classes that always have pixels, one
    that ends inside or before group 0028, or has Rows and no pixels, has lost its end.
    """
    if not last_group:
        raise ObjectError(ErrorKind.TRUNCATED, "the object ends with its file meta information")
    sop_class = text_of(dataset.get(SOP_CLASS_UID)) or text_of(
        dataset.get(MEDIA_STORAGE_SOP_CLASS_UID)
    )
    if sop_class not in _CLASSES_WITH_PIXELS or syntax in _PIXELS_ELSEWHERE:
        return
    if last_group <= 0x0028 or ROWS in dataset:
        raise ObjectError(
            ErrorKind.TRUNCATED, "an object of an image class ends before its pixel data"
        )
