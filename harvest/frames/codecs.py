"""Transfer syntaxes by how a frame's beginning can be recognized.

An encoded frame may be split into several fragments (PS3.5 section A.4). Where a table does not
say which fragment begins a frame, its first bytes do: most codecs have a marker there.
"""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise
from struct import Struct
from typing import Final

_ROOT: Final = "1.2.840.10008.1.2."
_RLE_HEADER: Final = Struct("<16L")
_JPEG_2000_SIZES: Final = 41
"""Least length of the SIZ marker segment, of one component (ISO/IEC 15444-1 section A.5.1)."""


class Codec(StrEnum):
    """What a transfer syntax does to frames."""

    NATIVE = "native"
    JPEG = "jpeg"
    """Every JPEG of ISO/IEC 10918-1, and JPEG-LS."""
    JPEG_2000 = "jpeg_2000"
    """High-Throughput JPEG 2000, too."""
    JPEG_XL = "jpeg_xl"
    RLE = "rle"
    WHOLE = "whole"
    """Without a marker, and by the standard one fragment a frame."""
    STREAM = "stream"
    """Video."""
    ELSEWHERE = "elsewhere"
    """JPIP."""
    UNKNOWN = "unknown"


_CODECS: Final = (
    (re.compile(r"1|1\.99|2|"), Codec.NATIVE),
    (re.compile(r"1\.98|8\.1"), Codec.WHOLE),
    (re.compile(r"4\.(5\d|6\d|70|80|81)"), Codec.JPEG),
    (re.compile(r"4\.(9[0-3]|20[1-3])"), Codec.JPEG_2000),
    (re.compile(r"4\.11[0-2]"), Codec.JPEG_XL),
    (re.compile(r"4\.10[0-8](\.1)?"), Codec.STREAM),
    (re.compile(r"4\.(94|95|204|205)"), Codec.ELSEWHERE),
    (re.compile(r"5"), Codec.RLE),
)
MARKER_BYTES: Final = {Codec.JPEG: 3, Codec.JPEG_2000: 12, Codec.JPEG_XL: 12, Codec.RLE: 64}
"""How many bytes of a fragment tell whether it begins a frame; no entry where none do."""


def codec_of(transfer_syntax: str | None) -> Codec:
    """Return what a transfer syntax does to frames.

    Parameters
    ----------
    transfer_syntax
        Its UID; None where the object has none.
    """
    uid = f"{transfer_syntax}."
    if uid.startswith(_ROOT):
        for pattern, codec in _CODECS:
            if pattern.fullmatch(uid[len(_ROOT) : -1]):
                return codec
    return Codec.UNKNOWN


def begins_frame(codec: Codec, head: bytes, segments: int | None = None) -> bool:
    """Tell whether a fragment begins an encoded frame.

    Parameters
    ----------
    codec
        One that has an entry in `MARKER_BYTES`.
    head
        So many bytes of the fragment, or all that it has.
    segments
        RLE: how many segments a frame has; None where it is not known.
    """
    match codec:
        case Codec.JPEG:
            return head.startswith(b"\xff\xd8\xff")
        case Codec.JPEG_2000:
            return _is_codestream(head) or head == b"\0\0\0\x0cjP  \r\n\x87\n"
        case Codec.JPEG_XL:
            return head.startswith(b"\xff\x0a") or head == b"\0\0\0\x0cJXL \r\n\x87\n"
        case Codec.RLE:
            return _is_rle_header(head, segments)
        case _:
            return False


def _is_codestream(head: bytes) -> bool:
    sizes = int.from_bytes(head[4:6], "big")
    return head.startswith(b"\xff\x4f\xff\x51") and sizes >= _JPEG_2000_SIZES


def _is_rle_header(head: bytes, segments: int | None) -> bool:
    """Recognize the 64 bytes that PS3.5 section G.5 puts before a frame's segments."""
    if len(head) < _RLE_HEADER.size:
        return False
    count, *offsets = _RLE_HEADER.unpack(head)
    if not 1 <= count <= len(offsets) or (segments is not None and count != segments):
        return False
    used = offsets[:count]
    ordered = all(before < after for before, after in pairwise(used))
    return used[0] == _RLE_HEADER.size and ordered and not any(offsets[count:])
