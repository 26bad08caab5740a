"""sm_index and sm_instance_index."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tests.reference.bigquery import (
    AnyOf,
    Row,
    any_value,
    at,
    concat,
    known,
    nulls_first,
    safe_integer,
    sorted_distinct,
    two_figures,
)
from tests.reference.header import Header, Instance
from tests.reference.series import by_series

_SPECIMEN: Final = "SpecimenDescriptionSequence"
_STRUCTURE: Final = "PrimaryAnatomicStructureSequence"
_PREPARATIONS: Final = {
    "embeddingMedium": "430863003",
    "tissueFixative": "430864009",
    "staining_usingSubstance": "424361007",
}
_SERIES_CODES: Final = {
    "primaryAnatomicStructure": (_SPECIMEN, _STRUCTURE),
    "primaryAnatomicStructureModifier": (
        _SPECIMEN,
        _STRUCTURE,
        "PrimaryAnatomicStructureModifierSequence",
    ),
    "illuminationType": ("OpticalPathSequence", "IlluminationTypeCodeSequence"),
    "admittingDiagnosis": ("AdmittingDiagnosesCodeSequence",),
}


def _substances(header: Header, concept: str) -> Iterator[str | None]:
    """Yield what preparation steps say of a concept, as meaning:scheme:value."""
    for step in header.first(_SPECIMEN).items("SpecimenPreparationSequence"):
        for content in step.items("SpecimenPreparationStepContentItemSequence"):
            names = content.items("ConceptNameCodeSequence")
            for name, code in itertools.product(names, content.items("ConceptCodeSequence")):
                scheme, value = name.value("CodingSchemeDesignator"), name.value("CodeValue")
                if (scheme, value) == ("SCT", concept):
                    parts = (
                        code.value(keyword)
                        for keyword in ("CodeMeaning", "CodingSchemeDesignator", "CodeValue")
                    )
                    yield concat(*itertools.chain(*zip(parts, (":", ":", ""), strict=True)))


def _preparation(headers: Sequence[Header]) -> Row:
    row: Row = {}
    for name, concept in _PREPARATIONS.items():
        found = {text for header in headers for text in _substances(header, concept)}
        texts = sorted(found, key=nulls_first)
        row[f"{name}_CodeMeaning"] = [text and text.split(":")[0] for text in texts]
        row[f"{name}_code_designator_value_str"] = [
            text and text.partition(":")[2] for text in texts
        ]
    return row


def _levels_spacing(header: Header) -> float | None:
    measures = header.first("SharedFunctionalGroupsSequence", "PixelMeasuresSequence")
    return measures.float_at("PixelSpacing")


def _slide(series: str, group: list[Instance]) -> Row:
    headers = [each.header for each in group]

    def most(keyword: str) -> Any:
        return max(known(header.value(keyword) for header in headers), default=None)

    def smallest(values: Iterable[float | None]) -> float | None:
        return min(known(values), default=None)

    spacing = smallest(header.float_at("PixelSpacing") for header in headers)
    if spacing is None:
        spacing = smallest(map(_levels_spacing, headers))
    columns, rows = most("TotalPixelMatrixColumns"), most("TotalPixelMatrixRows")
    powers = any_value(h.first("OpticalPathSequence").value("ObjectiveLensPower") for h in headers)
    row: Row = {
        "SeriesInstanceUID": series,
        "ContainerIdentifier": any_value(h.value("ContainerIdentifier") for h in headers),
        **_preparation(headers),
        "min_PixelSpacing_2sf": two_figures(spacing),
        "max_TotalPixelMatrixColumns": most("Columns") if columns is None else columns,
        "max_TotalPixelMatrixRows": most("Rows") if rows is None else rows,
        "ObjectiveLensPower": AnyOf(safe_integer(power) for power in powers),
    }
    for name, place in _SERIES_CODES.items():
        text = at(sorted_distinct(_code_text(header.first(*place)) for header in headers), 0)
        parts = text.split(":") if text is not None else []
        row[f"{name}_code_designator_value_str"] = concat(at(parts, 0), ":", at(parts, 1))
        row[f"{name}_CodeMeaning"] = at(parts, 2)
    return row


def _code_text(code: Header) -> str | None:
    scheme, value = code.value("CodingSchemeDesignator"), code.value("CodeValue")
    return concat(scheme, ":", value, ":", code.value("CodeMeaning"))


def sm_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of slides."""
    return [
        _slide(series, group)
        for series, group in by_series(instances).items()
        if "SM" in any_value(each.header.value("Modality") for each in group)
    ]


def sm_instance_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per instance of slides."""
    slides = [each for each in instances if each.header.value("Modality") == "SM"]
    # preparations are joined by SOPInstanceUID
    namesakes = defaultdict(list)
    for each in instances:
        if each.header.value("SOPInstanceUID") is not None:
            namesakes[each.header.value("SOPInstanceUID")].append(each.header)
    return [
        {
            "SOPInstanceUID": each.header.value("SOPInstanceUID"),
            "SeriesInstanceUID": each.series,
            **_preparation(namesakes[each.header.value("SOPInstanceUID")]),
            "PixelSpacing_0": _levels_spacing(each.header),
            "ImageType": each.header.array("ImageType"),
            "TransferSyntaxUID": each.transfer_syntax,
            "instance_size": each.size,
            "TotalPixelMatrixColumns": each.header.value("TotalPixelMatrixColumns"),
            "TotalPixelMatrixRows": each.header.value("TotalPixelMatrixRows"),
            "crdc_instance_uuid": each.crdc_instance_uuid,
        }
        for each in slides
    ]
