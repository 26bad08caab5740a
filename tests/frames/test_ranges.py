"""Ranges of frames: numbers from 1, and plain arrays."""

from __future__ import annotations

import pytest

from harvest.frames import FrameRanges
from tests.support.build import JPEG
from tests.support.frames import basic_table, locate, multiframe, native
from tests.support.offset_tables import FRAMES


def test_frame_numbers_begin_at_one() -> None:
    ranges = locate(native(bytes(32), 2)).ranges
    for number in (0, 3, -1):
        with pytest.raises(IndexError, match="the object has 2"):
            ranges.byte_range(number)


def test_ranges_are_plain_arrays() -> None:
    ranges = locate(multiframe(JPEG, basic_table(FRAMES), 6)).ranges
    assert isinstance(ranges, FrameRanges)
    for numbers in (ranges.offsets, ranges.lengths):
        assert numbers is not None
        assert (numbers.typecode, numbers.itemsize) == ("Q", 8)
