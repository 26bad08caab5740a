"""volume_geometry_index."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.reference.bigquery import (
    AnyOf,
    Row,
    all_of,
    any_value,
    dot,
    joined,
    known,
    less,
    safe_float,
)
from tests.reference.header import CT, MR, PT, Header, Instance
from tests.reference.series import by_series, of_class

SPACING_TOLERANCE: Final = 0.01
IN_PLANE_TOLERANCE: Final = 0.1
ORIENTATION_TOLERANCE: Final = 0.01

Vector = tuple[float | None, ...]
_NOWHERE: Final[Vector] = (None, None, None)


@dataclass(frozen=True)
class _Slice:
    """A row of the SQL's sliceProjection."""

    sop: str
    position: Vector
    x: Vector
    y: Vector
    orientation: str
    spacing: str
    size: tuple[Any, Any]
    cross: Vector

    @property
    def magnitude(self) -> float | None:
        squared = dot(self.cross, self.cross)
        return None if squared is None else math.sqrt(squared)

    @property
    def along(self) -> float | None:
        return dot(self.position, self.cross)


def _vector(values: Sequence[str], start: int) -> Vector:
    parts = values[start : start + 3]
    # an element of a shorter array is an error in BigQuery, which IDC's data do not give
    return tuple(safe_float(part) for part in parts) if len(parts) == 3 else _NOWHERE


def _cross(x: Vector, y: Vector) -> Vector:
    found: list[float | None] = []
    for one, other in ((1, 2), (2, 0), (0, 1)):
        left, right = dot([x[one]], [y[other]]), dot([x[other]], [y[one]])
        found.append(None if left is None or right is None else left - right)
    return tuple(found)


def _slice(header: Header) -> _Slice:
    orientation = header.array("ImageOrientationPatient")
    x, y = _vector(orientation, 0), _vector(orientation, 3)
    return _Slice(
        sop=header.value("SOPInstanceUID"),
        position=tuple(header.float_at("ImagePositionPatient", axis) for axis in range(3)),
        x=x,
        y=y,
        orientation=joined(orientation, "/"),
        spacing=joined(header.array("PixelSpacing"), "/"),
        size=(header.value("Rows"), header.value("Columns")),
        cross=_cross(x, y),
    )


def _spread(values: Iterable[float | None]) -> float | None:
    found = known(values)
    return max(found) - min(found) if found else None


def _expected_spacing(slices: Sequence[_Slice]) -> float | None:
    spread = _spread(each.along for each in slices)
    return None if spread is None or len(slices) == 1 else spread / (len(slices) - 1)


def _uniform(slices: Sequence[_Slice]) -> bool | None:
    expected = _expected_spacing(slices)
    places = sorted(known(each.along for each in slices))
    intervals = [after - before for before, after in itertools.pairwise(places)]
    if expected is None or not intervals:
        return None
    return bool(max(abs(each - expected) for each in intervals) < SPACING_TOLERANCE * abs(expected))


def _orthogonal(slices: Sequence[_Slice]) -> bool | None:
    found = known(each.magnitude for each in slices)
    if not found:
        return None
    low, high = 1 - ORIENTATION_TOLERANCE, 1 + ORIENTATION_TOLERANCE
    return bool(low <= min(found) <= high and low <= max(found) <= high)


def _obliquity(slices: Sequence[_Slice]) -> AnyOf:
    """Give the angle for every choice that four times ANY_VALUE may make."""
    parts = [any_value(each.cross[axis] for each in slices) for axis in range(3)]
    angles: list[float | None] = []
    for x, y, z, magnitude in itertools.product(*parts, any_value(s.magnitude for s in slices)):
        if None in (x, y, z, magnitude):
            angles.append(None)
            continue
        cosine = max(abs(x), abs(y), abs(z)) / magnitude if magnitude else 2.0
        if cosine <= 1:  # BigQuery refuses others
            angles.append(round(math.acos(cosine) * 180 / math.acos(-1), 2))
    return any_value(angles)


def _geometry(series: str, slices: Sequence[_Slice]) -> Row:
    sizes = [{each.size[axis] for each in slices} - {None} for axis in (0, 1)]
    checks: Row = {
        "single_orientation": len({each.orientation for each in slices}) == 1,
        "orthogonal_orientation": _orthogonal(slices),
        "unique_slice_positions": len({each.sop for each in slices})
        == len(set(known(each.along for each in slices))),
        "consistent_in_plane_row": less(
            _spread(dot(each.position, each.x) for each in slices), IN_PLANE_TOLERANCE
        ),
        "consistent_in_plane_col": less(
            _spread(dot(each.position, each.y) for each in slices), IN_PLANE_TOLERANCE
        ),
        "consistent_pixel_spacing": len({each.spacing for each in slices}) == 1,
        "consistent_image_dimensions": all(len(found) == 1 for found in sizes),
        "uniform_slice_spacing": _uniform(slices),
    }
    regular = all_of(*checks.values())
    # where the volume is regular, every slice has a place
    first = min(slices, key=lambda each: each.along or 0.0)
    return {
        "SeriesInstanceUID": series,
        **checks,
        "obliquity_degrees": _obliquity(slices),
        "regularly_spaced_3d_volume": regular,
        "origin_patient": list(first.position) if regular else [],
        "ImageOrientationPatient": [*first.x, *first.y] if regular else [],
        "slice_spacing_mm": _expected_spacing(slices) if regular else None,
    }


def volume_geometry_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of CT, MR or PT images of which none is a localizer or a projection."""
    unwanted = {
        each.series
        for each in instances
        if any(kind == "LOCALIZER" or "MIP" in kind for kind in each.header.array("ImageType"))
    }
    groups = by_series(instances, of_class(CT, MR, PT))
    return [
        _geometry(series, slices)
        for series, group in groups.items()
        if series not in unwanted and (slices := _joined_slices(group))
    ]


def _joined_slices(group: Sequence[Instance]) -> list[_Slice]:
    """Join slices to their cross products by SOPInstanceUID: one that is there twice gives four."""
    slices = [_slice(each.header) for each in group if each.header.value("SOPInstanceUID")]
    return [
        replace(each, cross=other.cross)
        for each in slices
        for other in slices
        if each.sop == other.sop
    ]
