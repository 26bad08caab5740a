"""Segmentations of a CT made for a test, by highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests import conftest

SLICES, ROWS, COLUMNS = 12, 37, 41
"""1,517 pixels: frames of single bits begin inside bytes."""

ORGANS = (
    Code("10200004", "SCT", "Liver"),
    Code("78961009", "SCT", "Spleen"),
    Code("64033007", "SCT", "Kidney"),
    Code("64033007", "SCT", "Kidney"),
)


def images_in(folder: Path) -> list[Dataset]:
    """Write a CT of its own, one file a slice."""
    made: list[Dataset] = []
    for number in range(SLICES):
        path = conftest.write_dicom(folder / f"{number}.dcm", "2.25.77", instance=str(number + 1))
        image = pydicom.dcmread(path)
        image.PatientName = image.PatientBirthDate = image.PatientSex = ""
        image.StudyDate = image.StudyTime = image.AccessionNumber = image.StudyID = ""
        image.FrameOfReferenceUID = "2.25.78"
        image.Rows, image.Columns = ROWS, COLUMNS
        image.PixelSpacing, image.SliceThickness = [1, 1], 2
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [-10.5, 20.25, 2.0 * number]
        image.PixelData = bytes(ROWS * COLUMNS + 1)
        made.append(image)
    return made


def masks() -> Any:
    """Return (slices, rows, columns, segments) of 0 and 1; the last segment is on two slices."""
    made = np.random.default_rng(5).integers(0, 2, (SLICES, ROWS, COLUMNS, 4), np.uint8)
    made[2:-1, ..., 3] = 0
    made[0, ..., 3] = 0
    made[1, 3, 4, 3] = 1
    return made


def segmentation(
    path: Path, images: list[Dataset], kind: str, pixels: Any, syntax: UID = ExplicitVRLittleEndian
) -> Path:
    """Write a segmentation by highdicom."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"organ {number}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=organ,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, organ in enumerate(ORGANS, start=1)
    ]
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid="2.25.79",
        series_number=1,
        sop_instance_uid="2.25.80",
        instance_number=1,
        manufacturer="lab",
        manufacturer_model_name="lab",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
        omit_empty_frames=True,
        transfer_syntax_uid=syntax,
    )
    made.save_as(path)
    return path
