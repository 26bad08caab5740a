"""The reference of IDC's indices on cases computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import idc_index_data
import pytest

from tests import reference
from tests.lab.dicom import uid
from tests.lab.every_index import (
    IOP_TWICE,
    REGULAR,
    SPACING_TWICE,
    Cohort,
    read_cohort,
    write_cohort,
)
from tests.reference import AnyOf, Instance, Row, bigquery

GEOMETRY = (
    "single_orientation",
    "orthogonal_orientation",
    "unique_slice_positions",
    "consistent_in_plane_row",
    "consistent_in_plane_col",
    "consistent_pixel_spacing",
    "consistent_image_dimensions",
    "uniform_slice_spacing",
)
WITHOUT_PLACES = {
    "orthogonal_orientation": None,
    "unique_slice_positions": False,
    "consistent_in_plane_row": None,
    "consistent_in_plane_col": None,
    "uniform_slice_spacing": None,
}
FAILED: dict[str, dict[str, bool | None]] = {
    REGULAR: {},
    "CT irregular": {"uniform_slice_spacing": False},
    "CT oblique": {},
    # six centimetres along the table move the planes' columns by sin(15) of that
    "CT gantry tilt": {"consistent_in_plane_col": False},
    IOP_TWICE: {"single_orientation": False},
    SPACING_TWICE: {"consistent_pixel_spacing": False},
    # one empty text is one orientation
    "CT without repeated attributes": WITHOUT_PLACES,
    "CT with empty attributes": WITHOUT_PLACES,
    "CT of one slice": {"uniform_slice_spacing": None},
    "CT of one place twice": {"unique_slice_positions": False, "uniform_slice_spacing": False},
    "CT of two sizes": {"consistent_pixel_spacing": False, "consistent_image_dimensions": False},
    "CT of two orientations": {
        "single_orientation": False,
        "consistent_in_plane_row": False,
        "consistent_in_plane_col": False,
        "uniform_slice_spacing": False,
    },
    "CT within tolerances": {},
    "CT skewed": {"orthogonal_orientation": False, "consistent_in_plane_col": True},
    "CT with odd numbers": {},
    "CT half described": {},
    "CT with a slice nowhere": {"unique_slice_positions": False, "uniform_slice_spacing": False},
    # four of six rows are at the third place
    "CT with an instance twice": {"uniform_slice_spacing": False},
    "MR of several echoes": {},
    "MR bare": {},
    "PT whole body": {},
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def instances(cohort: Cohort) -> list[Instance]:
    return read_cohort(cohort, as_written=True)


@pytest.fixture(scope="module")
def numbers(cohort: Cohort) -> list[Instance]:
    return read_cohort(cohort, as_written=False)


def of_series(rows: list[Row], name: str) -> Row:
    (found,) = (row for row in rows if row["SeriesInstanceUID"] == uid("series", name))
    return found


def test_the_reference_has_idcs_columns(instances: list[Instance]) -> None:
    for name, index in reference.INDICES.items():
        schema: Any = idc_index_data.INDEX_METADATA[name]["schema"]
        columns = schema["columns"]
        wanted = {column["name"] for column in columns}
        lists = {column["name"] for column in columns if column["mode"] == "REPEATED"}
        rows = index(instances)
        assert rows, name
        for row in rows:
            assert row.keys() == wanted
            for column, value in row.items():
                for each in value if isinstance(value, AnyOf) else (value,):
                    assert isinstance(each, list) == (column in lists), (name, column)


def test_series_and_rows(instances: list[Instance]) -> None:
    assert {name: len(index(instances)) for name, index in reference.INDICES.items()} == {
        "ct_index": 20,
        "mr_index": 2,
        "pt_index": 5,
        # of the regular CT, the MR, the XA and the raw data of a CT
        "contrast_index": 4,
        # without the two of localizer and projection
        "volume_geometry_index": 18 + 2 + 5,
        # without the one that has no segments
        "seg_index": 7,
        "rtstruct_index": 4,
        "ann_index": 3,
        "ann_group_index": 3,
        "sm_index": 10,
        "sm_instance_index": 14,
    }


def test_ct(instances: list[Instance]) -> None:
    rows = reference.INDICES["ct_index"](instances)
    regular = of_series(rows, REGULAR)
    assert regular == {
        "SeriesInstanceUID": uid("series", REGULAR),
        "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"],),
        "PixelSpacing_row_mm": (0.5,),
        "PixelSpacing_col_mm": (0.75,),
        "Rows": (16,),
        "Columns": (16,),
        "SliceThickness": (3.0,),
        "KVP": (120.0,),
        "ScanOptions": (["HELIX", "AXIAL"],),
        "ConvolutionKernel": (["B30f", "3"],),
        "GantryDetectorTilt": (0.0,),
        "XRayTubeCurrent_min": 215.0,
        "XRayTubeCurrent_max": 300.0,
        "FilterType": ("WEDGE_3",),
        "Exposure_min": 90.0,
        "Exposure_max": 125.0,
        "ExposureTime_min": 8.0,
        "ExposureTime_max": 13.0,
        "DataCollectionDiameter": (500.0,),
        "ReconstructionDiameter": (320.5,),
        "SpiralPitchFactor": (0.8,),
    }
    bare = of_series(rows, "CT without repeated attributes")
    assert (bare["ImageType"], bare["PixelSpacing_row_mm"]) == (([],), (None,))
    half = of_series(rows, "CT half described")
    # an empty array is a value to pick, a NULL is none
    assert half["ScanOptions"] == ([], ["HELIX", "AXIAL"])
    assert half["KVP"] == (120.0,)


def test_numbers_written_oddly(instances: list[Instance], numbers: list[Instance]) -> None:
    for given, exposure_times in ((instances, 1.5), (numbers, None)):
        odd = of_series(reference.INDICES["ct_index"](given), "CT with odd numbers")
        assert (odd["XRayTubeCurrent_min"], odd["XRayTubeCurrent_max"]) == (7.0, 20.0)
        # 'abc' is no number
        assert (odd["Exposure_min"], odd["Exposure_max"]) == (9.0, 11.0)
        # '1.5' is no IS, and a column of integers cannot hold it
        assert odd["ExposureTime_min"] == exposure_times
        assert odd["SliceThickness"] == (1.25,)
        assert odd["DataCollectionDiameter"] == (None,)
    for given, positions, power in ((instances, None, None), (numbers, 20, 40)):
        mr = of_series(reference.INDICES["mr_index"](given), "MR of several echoes")
        assert mr["NumberOfTemporalPositions"] == (positions,)
        slide = of_series(reference.INDICES["sm_index"](given), "SM power with a fraction")
        assert slide["ObjectiveLensPower"] == (power,)


def test_mr(instances: list[Instance]) -> None:
    rows = reference.INDICES["mr_index"](instances)
    echoes = of_series(rows, "MR of several echoes")
    assert echoes["EchoTime"] == [2.46, 4.92, 10.0]
    assert echoes["DiffusionBValue"] == [0.0, 50.0, 800.0]
    assert echoes["EchoTrainLength"] == (8,)
    bare = of_series(rows, "MR bare")
    assert (bare["EchoTime"], bare["ScanningSequence"]) == ([], ([],))


def test_pt(instances: list[Instance]) -> None:
    rows = reference.INDICES["pt_index"](instances)
    found = {
        name: (row["SeriesType"], row["RadiopharmaceuticalStartTime"], row["ActualFrameDuration"])
        for name in ("whole body", "dynamic", "of an hour", "with empty sequences", "bare")
        for row in (of_series(rows, f"PT {name}"),)
    }
    assert found == {
        "whole body": (("WHOLE BODY/IMAGE",), ("11:30:00",), [150000.0]),
        "dynamic": (("DYNAMIC/IMAGE",), ("09:05:00.250",), [9000.0, 30000.0]),
        "of an hour": ((None,), ("07:00:00",), []),
        "with empty sequences": ((None,), (None,), []),
        "bare": ((None,), (None,), []),
    }
    whole = of_series(rows, "PT whole body")
    assert whole["RadionuclideTotalDose"] == (350000000.5,)
    assert whole["RadionuclideCodeMeaning"] == ("^18^Fluorine",)


def test_contrast(instances: list[Instance]) -> None:
    rows = reference.INDICES["contrast_index"](instances)
    found = {row["SeriesInstanceUID"]: tuple(row.values())[1:] for row in rows}
    # capitals first; a series without a SeriesInstanceUID and an ultrasound are not there
    assert found == {
        uid("series", REGULAR): (["Iohexol", "iodixanol"], ["IODINE"], ["IV"]),
        uid("series", "MR of several echoes"): (["Gadobutrol"], [], []),
        uid("series", "XA with contrast"): (["Iopamidol"], [], []),
        uid("series", "CT raw data"): ([], [], ["ORAL"]),
    }


@pytest.mark.parametrize("name", FAILED)
def test_geometry(instances: list[Instance], name: str) -> None:
    row = of_series(reference.INDICES["volume_geometry_index"](instances), name)
    checks = dict.fromkeys(GEOMETRY, True) | FAILED[name]
    assert {check: row[check] for check in GEOMETRY} == checks
    values = set(checks.values())
    regular = False if False in values else None if None in values else True
    assert row["regularly_spaced_3d_volume"] == regular
    if not regular:
        assert (row["origin_patient"], row["ImageOrientationPatient"]) == ([], [])
        assert row["slice_spacing_mm"] is None


def test_volumes(instances: list[Instance]) -> None:
    rows = reference.INDICES["volume_geometry_index"](instances)
    regular = of_series(rows, REGULAR)
    assert regular["origin_patient"] == [-20.0, -20.0, 0.0]
    assert regular["ImageOrientationPatient"] == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert regular["slice_spacing_mm"] == 2.5
    assert regular["obliquity_degrees"] == (0.0,)
    oblique = of_series(rows, "CT oblique")
    assert oblique["obliquity_degrees"] == (30.0,)
    assert oblique["slice_spacing_mm"] == pytest.approx(2.5, abs=1e-6)
    assert oblique["origin_patient"] == [-160.0, -160.0, 0.0]
    # four spacings of 2.5, the last plane moved by nothing
    assert of_series(rows, "CT within tolerances")["slice_spacing_mm"] == pytest.approx(2.5)
    two = of_series(rows, "CT of two orientations")
    assert 0.0 in two["obliquity_degrees"]


def test_geometry_of_numbers(numbers: list[Instance]) -> None:
    """As numbers the two ways to write 1 are one."""
    rows = reference.INDICES["volume_geometry_index"](numbers)
    for name in (IOP_TWICE, SPACING_TWICE):
        assert of_series(rows, name)["regularly_spaced_3d_volume"] is True


def test_segmentations(instances: list[Instance]) -> None:
    rows = reference.INDICES["seg_index"](instances)
    ct = uid("series", REGULAR)
    assert of_series(rows, "SEG of several") == {
        "SeriesInstanceUID": uid("series", "SEG of several"),
        "SegmentationType": ("BINARY",),
        # the number 1 of the second instance is the number 1 of the first
        "total_segments": 3,
        "AlgorithmType": "AUTOMATIC,MANUAL,SEMIAUTOMATIC",
        "AlgorithmName": "lab threshold",
        "segmented_SeriesInstanceUID": (ct,),
        "SegmentedPropertyCategory_CodeMeanings": ["Morphologically Abnormal Structure", "Organ"],
        "SegmentedPropertyType_CodeMeanings": ["Kidney", "Liver", "Mass"],
        "AnatomicRegion_CodeMeanings": ["Kidney"],
    }
    assert of_series(rows, "SEG label map")["SegmentationType"] == ("LABELMAP",)
    odd = of_series(rows, "SEG with odd segments")
    assert odd["AlgorithmName"] == "Net, v2"
    assert odd["SegmentedPropertyType_CodeMeanings"] == ["Liver"]
    assert odd["SegmentedPropertyCategory_CodeMeanings"] == ["Organ"]
    for name, segmented in {
        "SEG with ReferencedImageSequence": ct,
        "SEG with SourceImageSequence": ct,
        "SEG of an unknown image": None,
        "SEG with two references": None,
    }.items():
        assert of_series(rows, name)["segmented_SeriesInstanceUID"] == (segmented,), name


def test_structures(instances: list[Instance], numbers: list[Instance]) -> None:
    rows = reference.INDICES["rtstruct_index"](instances)
    assert of_series(rows, "RTSTRUCT organs") == {
        "SeriesInstanceUID": uid("series", "RTSTRUCT organs"),
        "total_rois": 4,
        "ROINames": ["GTV-1", "Liver", "Spleen", "gtv-1"],
        "ROIGenerationAlgorithms": ["AUTOMATIC", "MANUAL", "SEMIAUTOMATIC"],
        "RTROIInterpretedTypes": ["GTV", "ORGAN"],
        "referenced_SeriesInstanceUID": (uid("series", REGULAR),),
    }
    # the text '02' is not the text '2'
    for given, types in ((instances, ["ORGAN"]), (numbers, ["AVOIDANCE", "ORGAN"])):
        both = of_series(reference.INDICES["rtstruct_index"](given), "RTSTRUCT numbers in two ways")
        assert both["RTROIInterpretedTypes"] == types
    latin = of_series(rows, "RTSTRUCT in Latin 1")
    assert latin["ROINames"] == ["Zone", "zone", "Ösophagus"]
    alone = of_series(rows, "RTSTRUCT without observations")
    assert (alone["total_rois"], alone["ROINames"]) == (1, [])
    assert alone["referenced_SeriesInstanceUID"] == (None,)


def test_annotations(instances: list[Instance]) -> None:
    slide = uid("series", "SM stained")
    found = {
        row["SeriesInstanceUID"]: row["referenced_SeriesInstanceUID"]
        for row in reference.INDICES["ann_index"](instances)
    }
    assert found == {
        uid("series", "ANN of two groups"): slide,
        uid("series", "ANN with odd groups"): None,
        uid("series", "ANN without groups"): slide,
    }
    rows = reference.INDICES["ann_group_index"](instances)
    groups = {(row["AnnotationGroupLabel"], row["NumberOfAnnotations"]): row for row in rows}
    nuclei, cells, odd = groups["Nuclei", 3], groups["Cells", 4], groups["Odd", 3]
    assert (nuclei["AlgorithmName"], cells["AlgorithmName"]) == ("lab threshold", None)
    assert nuclei["AnnotationPropertyType_code"] == "SCT:84640000"
    assert odd["AnnotationPropertyCategory_code"] is None
    assert odd["AnnotationPropertyCategory_CodeMeaning"] == "Anatomical structure"
    assert odd["AnnotationPropertyType_CodeMeaning"] is None


def test_slides(instances: list[Instance]) -> None:
    rows = reference.INDICES["sm_index"](instances)
    assert of_series(rows, "SM stained") == {
        "SeriesInstanceUID": uid("series", "SM stained"),
        "ContainerIdentifier": ("SM stained container",),
        "embeddingMedium_CodeMeaning": ["Paraffin wax"],
        "embeddingMedium_code_designator_value_str": ["SCT:311731000"],
        "tissueFixative_CodeMeaning": ["Formalin"],
        "tissueFixative_code_designator_value_str": ["SCT:431510009"],
        # a colon in a meaning is where the SQL cuts it
        "staining_usingSubstance_CodeMeaning": [
            "Ki-67",
            "hematoxylin stain",
            "water soluble eosin stain",
        ],
        "staining_usingSubstance_code_designator_value_str": [
            " clone MIB-1:SCT:1234",
            "SCT:12710003",
            "SCT:36879007",
        ],
        "min_PixelSpacing_2sf": 0.0005,
        "max_TotalPixelMatrixColumns": 67,
        "max_TotalPixelMatrixRows": 64,
        "ObjectiveLensPower": (20,),
        "primaryAnatomicStructure_code_designator_value_str": "SCT:76752008",
        "primaryAnatomicStructure_CodeMeaning": "Breast",
        "primaryAnatomicStructureModifier_code_designator_value_str": "SCT:24028007",
        "primaryAnatomicStructureModifier_CodeMeaning": "Right",
        "illuminationType_code_designator_value_str": "DCM:111744",
        "illuminationType_CodeMeaning": "Brightfield illumination",
        "admittingDiagnosis_code_designator_value_str": "SCT:254837009",
        "admittingDiagnosis_CodeMeaning": "Breast cancer",
    }
    bare = of_series(rows, "SM bare")
    assert (bare["max_TotalPixelMatrixColumns"], bare["min_PixelSpacing_2sf"]) == (16, None)
    assert bare["staining_usingSubstance_CodeMeaning"] == []
    lacking = of_series(rows, "SM without a code value")
    assert lacking["primaryAnatomicStructure_CodeMeaning"] is None
    diagnosis = of_series(rows, "SM of two diagnoses")["admittingDiagnosis_CodeMeaning"]
    assert diagnosis == "Diagnosis 254837009"
    assert of_series(rows, "SM with a spacing of its own")["min_PixelSpacing_2sf"] == 0.026
    assert of_series(rows, "SM of two specimens")["tissueFixative_CodeMeaning"] == []


def test_slides_by_instance(instances: list[Instance]) -> None:
    rows = reference.INDICES["sm_instance_index"](instances)
    spacings = sorted(
        row["PixelSpacing_0"]
        for row in rows
        if row["SeriesInstanceUID"] == uid("series", "SM stained")
    )
    assert spacings == [0.000498, 0.000996, 0.001992]
    assert {row["TransferSyntaxUID"] for row in rows} == {"1.2.840.10008.1.2", EXPLICIT}
    twice = [row for row in rows if row["SeriesInstanceUID"] == TWICE]
    assert len({row["crdc_instance_uuid"] for row in rows if row not in twice}) == len(rows) - 2
    # each has what both say
    assert [row["staining_usingSubstance_CodeMeaning"] for row in twice] == [
        ["Ki-67", "hematoxylin stain", "periodic acid stain", "water soluble eosin stain"]
    ] * 2
    assert {row["crdc_instance_uuid"] for row in twice} == {None}


TWICE = uid("series", "SM with an instance twice")
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (bigquery.safe_float, "1.25E0", 1.25),
        (bigquery.safe_float, "1_0", None),
        (bigquery.safe_float, "", None),
        (bigquery.safe_integer, "20", 20),
        (bigquery.safe_integer, "20.0", None),
        (bigquery.time_text, "113000.000", "11:30:00"),
        (bigquery.time_text, "113000.000001", "11:30:00.000001"),
        (bigquery.two_figures, 0.000498, 0.0005),
        (bigquery.two_figures, 1234.0, 1200.0),
        (bigquery.two_figures, 0.0, 0.0),
        (bigquery.two_figures, None, None),
    ],
)
def test_functions(function: Callable[[Any], Any], given: Any, expected: Any) -> None:
    assert function(given) == expected


def test_differences_are_seen(instances: list[Instance]) -> None:
    expected = reference.INDICES["ct_index"](instances)
    right = [
        {column: value[-1] if isinstance(value, AnyOf) else value for column, value in row.items()}
        for row in expected
    ]
    assert reference.differences("ct_index", right, expected) == []
    assert reference.differences("ct_index", list(reversed(right)), expected) == []
    assert len(reference.differences("ct_index", right[1:], expected)) == 1
    assert len(reference.differences("ct_index", [*right, right[0]], expected)) == 1
    for changed in ({"KVP": 121.0}, {"Rows": 16.0}, {"ImageType": None}, {"ScanOptions": ["A"]}):
        wrong = [right[0] | changed, *right[1:]]
        assert len(reference.differences("ct_index", wrong, expected)) == 1, changed


def test_a_file_without_a_series_is_no_row(cohort: Cohort) -> None:
    loose = [each.path for each in cohort.objects if each.collection_id is None]
    found = [reference.read_instance(path, as_written=True) for path in loose]
    assert found.count(None) == 2
    assert len(found) == 8
