"""What is said where there are no ranges, and where neither a table nor a scan is needed."""

from __future__ import annotations

import pytest

from harvest.frames import ONE_FRAME_BYTES, FrameSource, Why
from tests.support.build import DEFLATED, JPEG, JPIP, LITTLE, PIXEL_DATA, UNDEFINED, image, report
from tests.support.frames import (
    MPEG4,
    basic_table,
    empty_table,
    frames_in,
    jpeg,
    locate,
    multiframe,
)
from tests.support.offset_tables import FRAMES


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (report(), Why.NO_PIXEL_DATA),
        (image(DEFLATED), Why.DEFLATED),
        (multiframe(JPIP, b"", 3), Why.ELSEWHERE),
        (multiframe(MPEG4, basic_table([bytes(100)]), 30), Why.STREAM),
        (multiframe(MPEG4 + ".1", empty_table([bytes(100)] * 3), 3), Why.STREAM),
        (multiframe(JPEG, empty_table(FRAMES), "x"), Why.UNCLEAR),
        (multiframe(JPEG, empty_table(FRAMES), -6), Why.UNCLEAR),
        (multiframe(JPEG, LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED), 2), Why.MALFORMED),
    ],
)
@pytest.mark.parametrize("scan", [True, False])
def test_what_cannot_be_located_has_a_reason(data: bytes, why: Why, scan: bool) -> None:
    located = locate(data, scan=scan)
    assert located.reason.why == why
    assert located.asked == []


def test_without_a_table_and_without_a_scan() -> None:
    located = locate(multiframe(JPEG, empty_table(FRAMES), 6), scan=False)
    assert located.reason.why == Why.NO_TABLE
    assert located.reason.problem is None
    assert located.asked == []


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_single_frame_needs_neither_a_table_nor_a_scan(fragments: int) -> None:
    pieces = [jpeg(1), *([bytes(500)] * (fragments - 1))]
    data = multiframe(JPEG, empty_table(pieces), None)
    alone = locate(data, scan=False)
    assert alone.ranges.source == FrameSource.SCAN
    assert frames_in(data, alone.ranges) == frames_in(data, locate(data).ranges)


def test_a_single_frame_of_very_many_fragments_needs_a_scan() -> None:
    data = multiframe(JPEG, empty_table([jpeg(1), *([bytes(70_000)] * 60)]), 1)
    located = locate(data, scan=False)
    assert located.reason.why == Why.NO_TABLE
    assert located.reason.frames == 1
    assert located.bytes_asked < 2 * ONE_FRAME_BYTES
    assert locate(data).ranges.frames == 1
