"""Attributes of frames: their own, shared ones, or none."""

from __future__ import annotations

from typing import Any

import pytest

from harvest.errors import ObjectError
from harvest.pixels.functional_groups import each_frame, first_of, of_frames

PATH = "PlanePositionSequence.ImagePositionPatient"


def group(*position: float) -> dict[str, Any]:
    return {"PlanePositionSequence": [{"ImagePositionPatient": list(position)}]}


def test_where_an_attribute_may_be() -> None:
    assert of_frames(PATH) == (
        f"SharedFunctionalGroupsSequence.{PATH}",
        f"PerFrameFunctionalGroupsSequence.{PATH}",
    )


def test_through_the_first_items() -> None:
    values = {"A": [{"B": [{"C": 1}, {"C": 2}]}], "D": None, "E": []}
    assert first_of(values, "A.B.C") == 1
    for path in ("A.B.X", "A.X.C", "D.C", "E.C", "X"):
        assert first_of(values, path) is None


def test_own_groups_and_shared_ones() -> None:
    own = {"PerFrameFunctionalGroupsSequence": [group(1, 2, 3), {}, group(7, 8, 9)]}
    shared = {"SharedFunctionalGroupsSequence": [group(0, 0, 0)]}
    assert each_frame(own, 3, PATH) == [[1, 2, 3], None, [7, 8, 9]]
    assert each_frame(own | shared, 3, PATH) == [[1, 2, 3], [0, 0, 0], [7, 8, 9]]
    assert each_frame(shared, 2, PATH) == [[0, 0, 0]] * 2
    assert each_frame({}, 2, PATH) == [None] * 2
    with pytest.raises(ObjectError, match="of 3 frames, where 4 are"):
        each_frame(own, 4, PATH)
