"""Offset tables, written for an object that lacks them: in Explicit VR Little Endian."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from ..dicom.elements import ITEM
from ..dicom.offsets import EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS
from ..dicom.walk import item_head


def basic_table(offsets: Sequence[int]) -> bytes:
    """Write a Basic Offset Table: the item that begins encapsulated pixels (PS3.5 section A.4).

    Parameters
    ----------
    offsets
        Of each frame's first item tag, from the first frame's on, in bytes; none for an empty
        table.
    """
    length = 4 * len(offsets)
    head = item_head(little_endian=True).pack(ITEM >> 16, ITEM & 0xFFFF, length)
    return head + pack(f"<{len(offsets)}L", *offsets)


def extended_table(offsets: Sequence[int], lengths: Sequence[int]) -> bytes:
    """Write the elements of an Extended Offset Table (PS3.3 section C.7.6.3.1.8).

    Parameters
    ----------
    offsets
        As in `basic_table`.
    lengths
        Bytes of the only fragment that each frame may have.
    """
    numbers = {EXTENDED_OFFSET_TABLE: offsets, EXTENDED_OFFSET_TABLE_LENGTHS: lengths}
    return b"".join(
        pack(f"<HH2sHL{len(each)}Q", tag >> 16, tag & 0xFFFF, b"OV", 0, 8 * len(each), *each)
        for tag, each in numbers.items()
    )
