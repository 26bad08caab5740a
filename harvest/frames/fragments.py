"""From the bytes of a frame's range to the encoded frame: the items taken away.

Also the last check: a range that a wrong table gave does not begin with an item, or does not end
with one.
"""

from __future__ import annotations

from ..dicom.elements import ITEM, ITEM_HEAD_BYTES, UNDEFINED
from ..dicom.walk import item_head
from ..errors import ErrorKind, ObjectError


def join_fragments(data: bytes, *, little_endian: bool = True) -> bytes:
    """Return an encoded frame, padding included.

    Parameters
    ----------
    data
        The bytes of its range: whole items (PS3.5 section A.4).
    little_endian
        Byte order of tags and lengths.

    Raises
    ------
    ObjectError
        ``malformed``: the range is not a number of whole items.
    """
    unpack = item_head(little_endian=little_endian).unpack_from
    parts = []
    position = 0
    while position + ITEM_HEAD_BYTES <= len(data):
        group, element, length = unpack(data, position)
        stop = position + ITEM_HEAD_BYTES + length
        if group << 16 | element != ITEM or length == UNDEFINED or stop > len(data):
            break
        parts.append(data[position + ITEM_HEAD_BYTES : stop])
        position = stop
    if position != len(data) or not parts:
        raise ObjectError(ErrorKind.MALFORMED, "the range of a frame is no number of whole items")
    return b"".join(parts)
