"""ct_index, mr_index, pt_index and contrast_index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.reference.bigquery import Row, joined, time_text
from tests.reference.header import CT, MR, PT, Instance
from tests.reference.series import (
    Column,
    all_floats,
    all_texts,
    any_array,
    any_float,
    any_integer,
    any_scalar,
    by_series,
    greatest,
    least,
    of_class,
    of_each,
    of_modality,
)

_PLANE: Final[dict[str, Column]] = {
    "PixelSpacing_row_mm": any_float("PixelSpacing"),
    "PixelSpacing_col_mm": any_float("PixelSpacing", 1),
    "Rows": any_scalar("Rows"),
    "Columns": any_scalar("Columns"),
    "SliceThickness": any_float("SliceThickness"),
}
_CT_COLUMNS: Final[dict[str, Column]] = {
    **_PLANE,
    "ImageType": any_array("ImageType"),
    "KVP": any_float("KVP"),
    "ScanOptions": any_array("ScanOptions"),
    "ConvolutionKernel": any_array("ConvolutionKernel"),
    "GantryDetectorTilt": any_float("GantryDetectorTilt"),
    "XRayTubeCurrent_min": least("XRayTubeCurrent"),
    "XRayTubeCurrent_max": greatest("XRayTubeCurrent"),
    "FilterType": any_scalar("FilterType"),
    "Exposure_min": least("Exposure"),
    "Exposure_max": greatest("Exposure"),
    "ExposureTime_min": least("ExposureTime"),
    "ExposureTime_max": greatest("ExposureTime"),
    "DataCollectionDiameter": any_float("DataCollectionDiameter"),
    "ReconstructionDiameter": any_float("ReconstructionDiameter"),
    "SpiralPitchFactor": any_scalar("SpiralPitchFactor"),
}
_MR_COLUMNS: Final[dict[str, Column]] = {
    **_PLANE,
    "MagneticFieldStrength": any_float("MagneticFieldStrength"),
    "ScanningSequence": any_array("ScanningSequence"),
    "SequenceVariant": any_array("SequenceVariant"),
    "MRAcquisitionType": any_scalar("MRAcquisitionType"),
    "EchoTime": all_floats("EchoTime"),
    "RepetitionTime": any_float("RepetitionTime"),
    "EchoTrainLength": any_integer("EchoTrainLength"),
    "FlipAngle": any_float("FlipAngle"),
    "PixelBandwidth": any_float("PixelBandwidth"),
    "ImagingFrequency": any_float("ImagingFrequency"),
    "ImagedNucleus": any_scalar("ImagedNucleus"),
    "InversionTime": any_float("InversionTime"),
    "ReceiveCoilName": any_scalar("ReceiveCoilName"),
    "SequenceName": any_scalar("SequenceName"),
    "DiffusionBValue": all_floats("DiffusionBValue"),
    "NumberOfTemporalPositions": any_integer("NumberOfTemporalPositions"),
}
_TRACER: Final = "RadiopharmaceuticalInformationSequence"
_PT_COLUMNS: Final[dict[str, Column]] = {
    **_PLANE,
    "SeriesType": of_each(lambda header: joined(header.array("SeriesType"), "/") or None),
    "Units": any_scalar("Units"),
    "DecayCorrection": any_scalar("DecayCorrection"),
    "CorrectedImage": any_array("CorrectedImage"),
    "RandomsCorrectionMethod": any_scalar("RandomsCorrectionMethod"),
    "ReconstructionMethod": any_scalar("ReconstructionMethod"),
    "ActualFrameDuration": all_floats("ActualFrameDuration"),
    "ScatterCorrectionMethod": any_scalar("ScatterCorrectionMethod"),
    "AttenuationCorrectionMethod": any_scalar("AttenuationCorrectionMethod"),
    "RadionuclideCodeMeaning": of_each(
        lambda header: header.first(_TRACER, "RadionuclideCodeSequence").value("CodeMeaning")
    ),
    "RadionuclideTotalDose": of_each(
        lambda header: header.first(_TRACER).float_at("RadionuclideTotalDose")
    ),
    "RadiopharmaceuticalStartTime": of_each(
        lambda header: time_text(header.first(_TRACER).value("RadiopharmaceuticalStartTime"))
    ),
    "Radiopharmaceutical": of_each(
        lambda header: header.first(_TRACER).value("Radiopharmaceutical")
    ),
    "NumberOfSlices": any_scalar("NumberOfSlices"),
    "NumberOfTimeSlices": any_scalar("NumberOfTimeSlices"),
}
_CONTRAST_COLUMNS: Final[dict[str, Column]] = {
    keyword: all_texts(keyword)
    for keyword in ("ContrastBolusAgent", "ContrastBolusIngredient", "ContrastBolusRoute")
}


def _table(groups: dict[str, list[Instance]], columns: dict[str, Column]) -> list[Row]:
    return [
        {"SeriesInstanceUID": series, **{name: find(group) for name, find in columns.items()}}
        for series, group in groups.items()
    ]


def ct_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of CT images."""
    return _table(by_series(instances, of_class(CT)), _CT_COLUMNS)


def mr_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of MR images."""
    return _table(by_series(instances, of_class(MR)), _MR_COLUMNS)


def pt_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series of PT images."""
    return _table(by_series(instances, of_class(PT)), _PT_COLUMNS)


def contrast_index(instances: Sequence[Instance]) -> list[Row]:
    """One row per series that names a contrast agent, its ingredient or its route."""
    groups = by_series(instances, of_modality("CT", "MR", "PT", "XA", "RF"))
    rows = _table(groups, _CONTRAST_COLUMNS)
    return [row for row in rows if any(row[keyword] for keyword in _CONTRAST_COLUMNS)]
