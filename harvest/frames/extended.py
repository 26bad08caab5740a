"""Extended Offset Tables: read, checked, and believed only then."""

from __future__ import annotations

from ..dicom.asking import Asking
from ..dicom.elements import ITEM_HEAD_BYTES
from ..dicom.offsets import SIZES_DIFFER
from ..dicom.window import ByteRange
from .asking import Source
from .description import PixelDescription
from .entries import absolute, chained, check_count, numbers
from .ranges import FrameRanges, FrameSource, Wrong


def read_extended(
    source: Source, pixels: PixelDescription, first: int, frames: int
) -> Asking[FrameRanges]:
    """Locate frames by the Extended Offset Table (PS3.3 section C.7.6.3.1.8).

    Parameters
    ----------
    source
        The object.
    pixels
        Of it; it has the table.
    first
        Absolute offset of the first item behind the Basic Offset Table.
    frames
        Number of Frames.

    Raises
    ------
    Wrong
        The table is not to be used.
    """
    table, table_lengths = pixels.extended, pixels.extended_lengths
    if table is None or table_lengths is None or table.length != table_lengths.length:
        raise Wrong(SIZES_DIFFER)
    check_count(table.length, 8, frames)
    spans = [ByteRange(span.offset, span.offset + span.length) for span in (table, table_lengths)]
    if first + ITEM_HEAD_BYTES > source.size:
        raise Wrong("the extended table has entries where there are no fragments")
    # the first item lies close behind the tables: in one request with them
    spans.append(ByteRange(first, first + ITEM_HEAD_BYTES))
    offsets, lengths, _ = yield from source.read_all(spans)
    entries = numbers(offsets, "Q", pixels.little_endian)
    if entries[0]:
        raise Wrong("the extended table's first entry is not 0")
    starts = absolute(entries, first, source.size, "extended")
    sizes = numbers(lengths, "Q", pixels.little_endian)
    return (yield from chained(source, pixels, FrameSource.EXTENDED, starts, sizes))
