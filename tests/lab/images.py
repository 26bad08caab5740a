"""Generated CT, MR and PT series."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ImplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from tests.lab.dicom import DATE, TIME, code, instance, item, items, save, uid

SIZE: Final = 128
CT_SLICES: Final = 24
MR_SLICES: Final = 20
PT_SLICES: Final = 6
MANY: Final = 1200
"""More than the 1,000 keys of one listing page."""

_SPACING: Final = 2.5
_THICKNESS: Final = 3.0
_MANY_SIZE: Final = 16


def organs(slices: int, size: int = SIZE) -> npt.NDArray[np.uint8]:
    """Draw three ellipsoids, labelled 1 to 3, in a volume of ``(slices, size, size)``."""
    z, y, x = np.meshgrid(
        *(np.linspace(-1, 1, count) for count in (slices, size, size)), indexing="ij"
    )
    labels = np.zeros((slices, size, size), np.uint8)
    bodies = ((0.0, -0.2, -0.3, 0.35), (0.2, 0.1, 0.4, 0.2), (-0.3, 0.4, 0.1, 0.15))
    for label, (zc, yc, xc, radius) in enumerate(bodies, start=1):
        inside = ((z - zc) / 2) ** 2 + (y - yc) ** 2 + (x - xc) ** 2 < radius**2
        labels[inside] = label
    return labels


def write_ct(folder: Path) -> list[Dataset]:
    """Write an axial CT series with a scanner's full header.

    Returns
    -------
    list of Dataset
        The instances in order of position, for the objects derived from them.
    """
    volume = 1024 + 40 * organs(CT_SLICES).astype(np.int16)
    noise = np.random.default_rng(1).integers(-20, 20, volume.shape, np.int16)
    made = []
    for index in range(CT_SLICES):
        image = instance(CTImageStorage, "CT", "CT axial", index + 1)
        _add_plane(image, index, volume[index] + noise[index])
        _add_ct(image, index)
        _add_private(image, index)
        save(image, folder / f"ct_{index + 1:03d}.dcm")
        made.append(image)
    return made


def write_mr(folder: Path) -> None:
    """Write an oblique MR series in Implicit VR, alternating between two b values."""
    volume = 200 + 300 * organs(MR_SLICES).astype(np.int16)
    noise = np.random.default_rng(2).integers(0, 60, volume.shape, np.int16)
    for index in range(MR_SLICES):
        image = instance(MRImageStorage, "MR", "MR oblique", index + 1)
        _add_plane(image, index, volume[index] + noise[index])
        _tilt(image, index)
        _add_mr(image, index)
        _add_private(image, index)
        save(image, folder / f"mr_{index + 1:03d}.dcm", ImplicitVRLittleEndian)


def write_pt(folder: Path) -> None:
    """Write a short PT series with a radiopharmaceutical."""
    volume = 500 * organs(PT_SLICES, SIZE // 2).astype(np.int16)
    for index in range(PT_SLICES):
        image = instance(
            PositronEmissionTomographyImageStorage, "PT", "PT attenuation corrected", index + 1
        )
        _add_plane(image, index, volume[index])
        image.PixelSpacing = ["5", "5"]
        image.RescaleSlope = f"{0.5 + index / 8}"
        _add_pt(image, index)
        save(image, folder / f"pt_{index + 1:03d}.dcm")


def write_many(folder: Path) -> None:
    """Write `MANY` small CT instances of one series by patching the bytes of a single one.

    Notes
    -----
    Building each through pydicom would take longer than the rest of the lab together. Every value
    that differs has a fixed width, so that no length in the file changes.
    """
    stem = "1.2.826.0.1.3680043.8.498.20200229.7"
    template = folder / "template.dcm"
    image = instance(CTImageStorage, "CT", "CT many", 1)
    _add_plane(image, 0, organs(8, _MANY_SIZE)[4].astype(np.int16) * 40)
    _add_ct(image, 0)
    image.SOPInstanceUID = f"{stem}.9999"
    image.InstanceNumber = "99999999"
    image.ImagePositionPatient = ["-20", "-20", "-88888.88"]
    image.SliceLocation = "-88888.88"
    save(image, template)
    pattern = template.read_bytes()
    template.unlink()
    for index in range(MANY):
        place = f"{index * 0.5 - 300:+09.2f}"
        patched = (
            pattern.replace(f"{stem}.9999".encode(), f"{stem}.{1000 + index}".encode())
            .replace(b"99999999", f"{index + 1:08d}".encode())
            .replace(b"-88888.88", place.encode())
        )
        (folder / f"many_{index + 1:04d}.dcm").write_bytes(patched)


def _add_plane(image: Dataset, index: int, pixels: npt.NDArray[np.int16]) -> None:
    rows, columns = pixels.shape
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.BodyPartExamined = "ABDOMEN"
    image.PatientPosition = "HFS"
    image.AcquisitionNumber = "1"
    image.Laterality = ""
    image.SliceThickness = f"{_THICKNESS}"
    image.ImagePositionPatient = ["-160", "-160", f"{index * _THICKNESS:.1f}"]
    image.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    image.SliceLocation = f"{index * _THICKNESS:.1f}"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = rows
    image.Columns = columns
    image.PixelSpacing = [f"{_SPACING}", f"{_SPACING}"]
    image.BitsAllocated = 16
    image.BitsStored = 12
    image.HighBit = 11
    image.PixelRepresentation = 0
    image.WindowCenter = ["40", "-600"]
    image.WindowWidth = ["400", "1500"]
    image.WindowCenterWidthExplanation = ["ABDOMEN", "LUNG"]
    image.PixelData = pixels.astype("<u2").tobytes()


def _tilt(image: Dataset, index: int) -> None:
    """Turn a plane about the y axis and move it along its own normal."""
    cosine, sine = np.cos(np.radians(5)), np.sin(np.radians(5))
    along = index * _THICKNESS
    image.ImageOrientationPatient = [f"{cosine:.7f}", "0", f"{sine:.7f}", "0", "1", "0"]
    image.ImagePositionPatient = [f"{-160 - along * sine:.7f}", "-160", f"{along * cosine:.7f}"]


def _add_ct(image: Dataset, index: int) -> None:
    elements = item(
        KVP="120",
        DataCollectionDiameter="500",
        ReconstructionDiameter=f"{SIZE * _SPACING}",
        DistanceSourceToDetector="1085.6",
        DistanceSourceToPatient="595",
        GantryDetectorTilt="0",
        TableHeight="160",
        RotationDirection="CW",
        ExposureTime="500",
        XRayTubeCurrent=str(200 + index),
        Exposure=str(100 + index // 2),
        FilterType="WEDGE_3",
        GeneratorPower="36",
        FocalSpots=["1.2", "0.7"],
        ConvolutionKernel=["B30f", "3"],
        ProtocolName="Abdomen^Lab",
        ContrastBolusAgent="Iohexol",
        ContrastBolusRoute="IV",
        ContrastBolusVolume="75",
        ContrastBolusAgentSequence=items(code("C-B0322", "SRT", "Iohexol")),
        SpiralPitchFactor=0.8,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=19.2,
        CTDIvol=7.25 + index / 100,
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
        ReferencedStudySequence=items(
            item(
                ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                ReferencedSOPInstanceUID=uid("referenced study"),
            )
        ),
        RequestAttributesSequence=items(
            item(
                ScheduledProcedureStepID="7",
                ScheduledProtocolCodeSequence=items(code("CTABD", "99LAB", "CT abdomen")),
            )
        ),
    )
    image.update(elements)


def _add_mr(image: Dataset, index: int) -> None:
    elements = item(
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        ScanningSequence=["SE", "EP"],
        SequenceVariant=["SK", "SP"],
        ScanOptions=["PFP", "FS"],
        MRAcquisitionType="2D",
        SequenceName="*ep_b800t",
        AngioFlag="N",
        RepetitionTime="7500",
        EchoTime=f"{80 + index % 2}",
        NumberOfAverages="2",
        ImagingFrequency="123.25",
        ImagedNucleus="1H",
        EchoNumbers="1",
        MagneticFieldStrength="3",
        SpacingBetweenSlices=f"{_THICKNESS}",
        EchoTrainLength="1",
        PercentSampling="100",
        PercentPhaseFieldOfView="81.25",
        PixelBandwidth="1500",
        TransmitCoilName="Body",
        AcquisitionMatrix=[128, 0, 0, 104],
        InPlanePhaseEncodingDirection="COL",
        FlipAngle="90",
        SAR="0.35",
        DiffusionBValue=float(800 * (index % 2)),
        DiffusionGradientOrientation=[0.0, 0.0, 1.0],
    )
    image.update(elements)


def _add_pt(image: Dataset, index: int) -> None:
    elements = item(
        SeriesType=["WHOLE BODY", "IMAGE"],
        Units="BQML",
        CountsSource="EMISSION",
        CorrectedImage=["DECY", "ATTN", "SCAT", "RAN"],
        DecayCorrection="START",
        AttenuationCorrectionMethod="CT",
        ReconstructionMethod="OSEM 3i24s",
        NumberOfSlices=PT_SLICES,
        ActualFrameDuration="150000",
        FrameReferenceTime=f"{1000 * index}",
        DecayFactor="1.02",
        ImageIndex=index + 1,
        RescaleIntercept="0",
        RadiopharmaceuticalInformationSequence=items(
            item(
                Radiopharmaceutical="FDG -- fluorodeoxyglucose",
                RadiopharmaceuticalStartTime="113000.000",
                RadiopharmaceuticalStartDateTime=f"{DATE}113000.000",
                RadionuclideTotalDose="350000000",
                RadionuclideHalfLife="6586.2",
                RadionuclidePositronFraction="0.97",
                RadionuclideCodeSequence=items(code("C-111A1", "SRT", "^18^Fluorine")),
                RadiopharmaceuticalCodeSequence=items(
                    code("C-B1031", "SRT", "Fluorodeoxyglucose F^18^")
                ),
            )
        ),
        PatientOrientationCodeSequence=items(
            item(
                CodeValue="F-10450",
                CodingSchemeDesignator="SRT",
                CodeMeaning="recumbent",
                PatientOrientationModifierCodeSequence=items(code("F-10340", "SRT", "supine")),
            )
        ),
    )
    image.update(elements)
    image.SeriesTime = TIME


def _add_private(image: Dataset, index: int) -> None:
    block = image.private_block(0x0019, "HARVEST LAB 01", create=True)
    block.add_new(0x0C, "IS", str(800 * (index % 2)))
    block.add_new(0x0E, "FD", [0.0, 0.6, 0.8])
    block.add_new(0x0F, "LO", ["private", "text"])
    block.add_new(0x10, "SQ", items(code("P1", "99LAB", "Private code")))
    # As many vendors do: a kilobyte or more of binary before the public elements continue.
    other = image.private_block(0x0029, "HARVEST LAB 02", create=True)
    other.add_new(0x10, "OB", bytes(range(256)) * 8)
