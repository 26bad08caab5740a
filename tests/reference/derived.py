"""seg_index, rtstruct_index, ann_index and ann_group_index."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from tests.reference.bigquery import Row, any_value, at, concat, known, sorted_distinct
from tests.reference.header import ANN, RTSTRUCT, SEGMENTATIONS, Header, Instance
from tests.reference.series import any_scalar, by_series, of_class


def _referenced_instance(header: Header) -> str | None:
    """Return the first image that a segmentation says it is of."""
    places = (
        ("ReferencedSeriesSequence", "ReferencedInstanceSequence"),
        ("ReferencedImageSequence",),
        ("SourceImageSequence",),
    )
    found = known(header.first(*place).value("ReferencedSOPInstanceUID") for place in places)
    return found[0] if found else None


def seg_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of segmentations that have segments."""
    series_of = defaultdict(list)
    for each in instances:
        series_of[each.header.value("SOPInstanceUID")].append(each.series)
    rows = []
    for series, group in by_series(instances, of_class(*SEGMENTATIONS)).items():
        group = [each for each in group if each.header.items("SegmentSequence")]
        segments = [s for each in group for s in each.header.items("SegmentSequence")]
        if not segments:
            continue
        images = [
            _referenced_instance(each.header)
            for each in group
            if each.header.value("Modality") == "SEG"
        ]
        found = [series_of.get(image, []) if image else [] for image in images]
        names = sorted_distinct(at(s.array("SegmentAlgorithmName"), 0) for s in segments)
        kinds = sorted_distinct(s.value("SegmentAlgorithmType") for s in segments)
        row = {
            "SeriesInstanceUID": series,
            "SegmentationType": any_scalar("SegmentationType")(group),
            "total_segments": len({s.value("SegmentNumber") for s in segments} - {None}),
            "AlgorithmType": ",".join(kinds) or None,
            "AlgorithmName": ",".join(names) or None,
            "segmented_SeriesInstanceUID": any_value(itertools.chain.from_iterable(found)),
        }
        for column, sequence in _SEGMENT_CODES.items():
            meanings = (s.first(sequence).value("CodeMeaning") for s in segments)
            row[column] = sorted_distinct(meanings)
        rows.append(row)
    return rows


_SEGMENT_CODES: Final = {
    "SegmentedPropertyCategory_CodeMeanings": "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyType_CodeMeanings": "SegmentedPropertyTypeCodeSequence",
    "AnatomicRegion_CodeMeanings": "AnatomicRegionSequence",
}


def rtstruct_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of structure sets that have regions."""
    is_structures = of_class(RTSTRUCT)
    types: dict[tuple[Any, Any], list[Any]] = defaultdict(list)
    references: dict[Any, list[Any]] = defaultdict(list)
    for each in filter(is_structures, instances):
        sop = each.header.value("SOPInstanceUID")
        for observed in each.header.items("RTROIObservationsSequence"):
            number = observed.value("ReferencedROINumber")
            types[sop, number].append(observed.value("RTROIInterpretedType"))
        references[sop] += [
            series.value("SeriesInstanceUID")
            for frame in each.header.items("ReferencedFrameOfReferenceSequence")
            for study in frame.items("RTReferencedStudySequence")
            for series in study.items("RTReferencedSeriesSequence")
        ]
    rows = []
    for series, group in by_series(instances, is_structures).items():
        regions = [
            (each.header.value("SOPInstanceUID"), roi)
            for each in group
            for roi in each.header.items("StructureSetROISequence")
        ]
        if not regions:
            continue
        numbers = [(sop, roi.value("ROINumber")) for sop, roi in regions]
        rows.append(
            {
                "SeriesInstanceUID": series,
                "total_rois": len({number for _, number in numbers} - {None}),
                "ROINames": sorted_distinct(roi.value("ROIName") for _, roi in regions),
                "ROIGenerationAlgorithms": sorted_distinct(
                    roi.value("ROIGenerationAlgorithm") for _, roi in regions
                ),
                # a NULL number joins nothing
                "RTROIInterpretedTypes": sorted_distinct(
                    kind for key in numbers if key[1] is not None for kind in types.get(key, ())
                ),
                "referenced_SeriesInstanceUID": any_value(
                    uid for sop, _ in regions for uid in references.get(sop, ())
                ),
            }
        )
    return rows


def ann_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per instance of bulk annotations."""
    return [
        {
            "SeriesInstanceUID": each.series,
            "AnnotationCoordinateType": each.header.value("AnnotationCoordinateType"),
            "referenced_SeriesInstanceUID": each.header.first("ReferencedSeriesSequence").value(
                "SeriesInstanceUID"
            ),
        }
        for each in instances
        if of_class(ANN)(each)
    ]


def ann_group_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per group of bulk annotations."""
    rows = []
    for each in filter(of_class(ANN), instances):
        for group in each.header.items("AnnotationGroupSequence"):
            row: Row = {"SeriesInstanceUID": each.series}
            row |= {keyword: group.value(keyword) for keyword in _GROUP_ATTRIBUTES}
            for kind in ("AnnotationPropertyCategory", "AnnotationPropertyType"):
                code = group.first(f"{kind}CodeSequence")
                scheme, value = code.value("CodingSchemeDesignator"), code.value("CodeValue")
                row[f"{kind}_code"] = concat(scheme, ":", value)
                row[f"{kind}_CodeMeaning"] = code.value("CodeMeaning")
            algorithm = group.first("AnnotationGroupAlgorithmIdentificationSequence")
            row["AlgorithmName"] = algorithm.value("AlgorithmName")
            rows.append(row)
    return rows


_GROUP_ATTRIBUTES: Final = (
    "AnnotationGroupNumber",
    "AnnotationGroupUID",
    "AnnotationGroupLabel",
    "AnnotationGroupGenerationType",
    "NumberOfAnnotations",
    "GraphicType",
)
