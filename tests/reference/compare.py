"""Where an index differs from the reference, and whether it has IDC's order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tests.reference.bigquery import AnyOf, Row, at, descending, nulls_first, nulls_last


def _first(column: str) -> Callable[[Row], Any]:
    return lambda row: at(row[column], 0)


def _cell(column: str) -> Callable[[Row], Any]:
    return lambda row: row[column]


_SERIES: Final = (nulls_first, _cell("SeriesInstanceUID"))
_ORDERS: Final[dict[str, tuple[tuple[Callable[[Any], Any], Callable[[Row], Any]], ...]]] = {
    "ct_index": (
        (nulls_last, _cell("KVP")),
        (nulls_last, _first("ConvolutionKernel")),
        (nulls_last, _cell("SliceThickness")),
        _SERIES,
    ),
    "mr_index": (
        (nulls_last, _cell("MagneticFieldStrength")),
        (nulls_last, _first("ScanningSequence")),
        (nulls_last, _cell("MRAcquisitionType")),
        (nulls_last, _first("EchoTime")),
        _SERIES,
    ),
    "pt_index": (
        (nulls_last, _cell("Units")),
        (nulls_last, _cell("RadionuclideCodeMeaning")),
        _SERIES,
    ),
    "contrast_index": (
        (nulls_first, _first("ContrastBolusAgent")),
        (nulls_first, _first("ContrastBolusIngredient")),
        (nulls_first, _first("ContrastBolusRoute")),
    ),
    "volume_geometry_index": ((descending, _cell("regularly_spaced_3d_volume")), _SERIES),
    "seg_index": (
        (descending, _cell("SegmentationType")),
        (nulls_first, _cell("AlgorithmType")),
        (nulls_first, _cell("AlgorithmName")),
    ),
    "rtstruct_index": (_SERIES,),
    "ann_index": (
        (nulls_first, _cell("AnnotationCoordinateType")),
        (nulls_first, _cell("referenced_SeriesInstanceUID")),
    ),
    "ann_group_index": tuple(
        (nulls_first, _cell(column))
        for column in (
            "AnnotationPropertyCategory_CodeMeaning",
            "AnnotationPropertyType_CodeMeaning",
            "AlgorithmName",
        )
    ),
    "sm_index": (
        (nulls_first, _cell("primaryAnatomicStructure_CodeMeaning")),
        (nulls_first, _first("staining_usingSubstance_CodeMeaning")),
        (nulls_first, _cell("collection_id")),
    ),
    "sm_instance_index": (
        (nulls_first, _first("staining_usingSubstance_CodeMeaning")),
        (nulls_first, _cell("TransferSyntaxUID")),
        _SERIES,
    ),
}


def sort_key(name: str, row: Row) -> tuple[Any, ...]:
    """Return what an index is ordered by; the rows of sm_index need their collection_id."""
    return tuple(order(find(row)) for order, find in _ORDERS[name])


_KEYS: Final = {
    "sm_instance_index": ("SOPInstanceUID", "SeriesInstanceUID", "instance_size"),
    "ann_index": ("SeriesInstanceUID", "AnnotationCoordinateType", "referenced_SeriesInstanceUID"),
    "ann_group_index": ("SeriesInstanceUID", "AnnotationGroupNumber", "AnnotationGroupUID"),
}


def differences(name: str, found: Sequence[Row], expected: Sequence[Row]) -> list[str]:
    """Say where an index differs from the reference; its order is another question.

    Parameters
    ----------
    name
        Of the index.
    found
        Its rows.
    expected
        The reference's rows.

    Returns
    -------
    list of str
        Empty if every row is there, as often as it must, with an allowed value in every column.
    """
    keys = _KEYS.get(name, ("SeriesInstanceUID",))
    ours, theirs = _by_key(found, keys), _by_key(expected, keys)
    said = [f"{key}: not there" for key in theirs.keys() - ours.keys()]
    said += [f"{key}: should not be there" for key in ours.keys() - theirs.keys()]
    for key in ours.keys() & theirs.keys():
        if len(ours[key]) != len(theirs[key]):
            said.append(f"{key}: {len(ours[key])} rows instead of {len(theirs[key])}")
        for row, wanted in zip(ours[key], theirs[key], strict=False):
            if row.keys() != wanted.keys():
                said.append(f"{key}: columns {sorted(row.keys() ^ wanted.keys())}")
                continue
            said += [
                f"{key}: {column} is {row[column]!r} instead of {value!r}"
                for column, value in wanted.items()
                if not _agree(row[column], value)
            ]
    return sorted(said)


def _by_key(rows: Iterable[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    return found


def _agree(found: Any, allowed: Any) -> bool:
    if isinstance(allowed, AnyOf):
        return any(_agree(found, value) for value in allowed)
    if isinstance(allowed, list):
        if not isinstance(found, list) or len(found) != len(allowed):
            return False
        # an empty value among several is a NULL in one place and an empty text in another
        return all(_agree(*map(_no_text, pair)) for pair in zip(found, allowed, strict=True))
    if isinstance(allowed, float):
        return isinstance(found, float) and math.isclose(found, allowed, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(allowed) and bool(found == allowed)


def _no_text(value: Any) -> Any:
    return None if value == "" else value
