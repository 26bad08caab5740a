"""Where tiles lie: pure cases; files are compared with highdicom's reading in test_slides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harvest.errors import ErrorKind, ObjectError
from harvest.pixels.tiles import layout_of

FULL: dict[str, Any] = {
    "TotalPixelMatrixRows": 25,
    "TotalPixelMatrixColumns": 30,
    "DimensionOrganizationType": "TILED_FULL",
}


def sparse(*places: tuple[int | None, int | None, float, str | None]) -> dict[str, Any]:
    groups = [
        {
            "PlanePositionSlideSequence": [
                {
                    "RowPositionInTotalImagePixelMatrix": top,
                    "ColumnPositionInTotalImagePixelMatrix": left,
                    "ZOffsetInSlideCoordinateSystem": height,
                }
            ],
            "OpticalPathIdentificationSequence": [{"OpticalPathIdentifier": path}],
        }
        for top, left, height, path in places
    ]
    return {
        **FULL,
        "DimensionOrganizationType": "TILED_SPARSE",
        "PerFrameFunctionalGroupsSequence": groups,
    }


def test_full_tiles_row_by_row() -> None:
    layout = layout_of([FULL], [6], (10, 20))
    assert layout.tiles.tops.tolist() == [0, 0, 10, 10, 20, 20]
    assert layout.tiles.lefts.tolist() == [0, 20] * 3
    touching = layout.touching(layout.plane_of(), 19, 9, 2, 1)
    assert touching.frames.tolist() == [1, 2]
    assert layout.touching(layout.plane_of(), 20, 10, 1, 1).frames.tolist() == [4]


def test_tiles_that_do_not_say_how_they_are_organized() -> None:
    """Frames with places are sparse, others are full if they are as many."""
    silent = {**FULL, "DimensionOrganizationType": None}
    assert layout_of([silent], [6], (10, 20)).tiles.lefts.tolist() == [0, 20] * 3
    placed = {**sparse((11, 21, 0, "1")), "DimensionOrganizationType": None}
    assert layout_of([placed], [1], (10, 20)).tiles.tops.tolist() == [10]


def test_focal_planes_by_their_height() -> None:
    heights = [2.0004, 0.0, 2.0, -1.5]
    layout = layout_of([sparse(*((1, 1, each, "1") for each in heights))], [4], (10, 20))
    assert layout.focal_planes == 3
    assert layout.plane.tolist() == [2, 1, 2, 0]


def test_optical_paths_in_the_order_of_their_sequence() -> None:
    values = sparse((1, 1, 0, "b"), (1, 1, 0, "a"), (1, 1, 0, None))
    values["OpticalPathSequence"] = [{"OpticalPathIdentifier": each} for each in "ab"]
    layout = layout_of([values], [3], (10, 20))
    assert layout.optical_paths == ("a", "b")
    assert layout.plane_of("b").frames.tolist() == [1]


def test_tiles_that_name_no_optical_path_are_of_the_first() -> None:
    """They must be seen where no path is asked for."""
    values = sparse((1, 1, 0, None), (1, 21, 0, None))
    values["OpticalPathSequence"] = [{"OpticalPathIdentifier": "A"}]
    layout = layout_of([values], [2], (10, 20))
    assert layout.optical_paths == ("A",)
    assert layout.plane_of().frames.tolist() == [1, 2]
    del values["OpticalPathSequence"]
    assert layout_of([values], [2], (10, 20)).optical_paths == ("1",)


def test_segments_are_chosen_like_optical_paths() -> None:
    segments = [{"SegmentNumber": number} for number in (3, 5)]
    values = {**FULL, "SegmentationType": "BINARY", "SegmentSequence": segments}
    layout = layout_of([values], [12], (10, 20))
    assert layout.optical_paths == ("3", "5")
    assert layout.plane_of("5").frames.tolist() == [7, 8, 9, 10, 11, 12]
    labels = {**values, "SegmentationType": "LABELMAP"}
    assert layout_of([labels], [6], (10, 20)).optical_paths == ("1",)


@pytest.mark.parametrize(
    ("values", "frames", "kind"),
    [
        ({}, 6, ErrorKind.UNSUPPORTED),
        ({**FULL, "TotalPixelMatrixRows": 0}, 6, ErrorKind.UNSUPPORTED),
        (FULL, 5, ErrorKind.MALFORMED),
        ({**FULL, "TotalPixelMatrixFocalPlanes": 2}, 6, ErrorKind.MALFORMED),
        (sparse((1, None, 0, "1"), (1, 1, 0, "1")), 2, ErrorKind.MALFORMED),
        (sparse((1, 1, 0, "1")), 2, ErrorKind.MALFORMED),
    ],
)
def test_contradictions(values: dict[str, Any], frames: int, kind: ErrorKind) -> None:
    with pytest.raises(ObjectError) as told:
        layout_of([values], [frames], (10, 20))
    assert told.value.kind == kind


def test_many_tiles() -> None:
    """A slide of 100,000 x 100,000 pixels has some."""
    side = {"TotalPixelMatrixRows": 100_000, "TotalPixelMatrixColumns": 100_000}
    layout = layout_of([{**FULL, **side}], [391 * 391], (256, 256))
    touching = layout.touching(layout.plane_of(), 50_000, 50_000, 512, 512)
    assert np.array_equal(touching.frames[:3], 195 * 391 + np.array([196, 197, 198]))
    assert len(touching.frames) == 9
