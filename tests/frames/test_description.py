"""What a header tells of an object's frames."""

from __future__ import annotations

import pytest

from harvest.dicom.header import read_header
from harvest.dicom.window import NeedMore, Window
from harvest.frames import PIXEL_SELECTION, PixelDescription, describe_pixels
from tests.support.build import JPEG, LITTLE, take
from tests.support.frames import describe, empty_table, extended_table, jpeg, multiframe
from tests.support.offset_tables import FRAMES


@pytest.mark.parametrize("step", [0, 1, 64])
def test_a_description_needs_only_the_heads_of_the_pixel_area(step: int) -> None:
    data = multiframe(JPEG, extended_table([jpeg(5000)] * 300), 300, samples=3)
    window = Window(len(data))
    header = read_header(window, PIXEL_SELECTION)
    while isinstance(header, NeedMore):
        take(window, data, header)
        header = read_header(window, PIXEL_SELECTION)
    for _ in range(200):
        found = describe_pixels(window, header)
        if isinstance(found, PixelDescription):
            assert found == describe(data)
            assert window.held < header.end + 400
            return
        take(window, data, found, step)
    raise AssertionError("it does not end")


def test_a_concatenation_tells_how_many_frames_come_before() -> None:
    made = multiframe(JPEG, empty_table(FRAMES), 6)
    at = made.index(LITTLE.element(0x00280002, "US", LITTLE.pack("H", 1)))
    part = LITTLE.element(0x00209228, "UL", LITTLE.pack("L", 40))
    assert describe(made).concatenation_offset == 0
    assert describe(made[:at] + part + made[at:]).concatenation_offset == 40
