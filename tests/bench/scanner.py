"""Headers as scanners write them, after de-identification: built once, then patched by slice."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element
from pydicom.uid import UID, CTImageStorage, MRImageStorage

from tests.lab.dicom import DATE, code, item, items
from tests.support.build import EXPLICIT_LITTLE, LITTLE, even

_ROOT: Final = "1.3.6.1.4.1.14519.5.2.1.6279.6001."
_LONGEST_UID: Final = 64
_IMPLEMENTATION: Final = "1.2.40.0.13.1.1.1"
PIXEL_DATA: Final = 0x7FE00010


def uid(chance: random.Random, root: str = _ROOT) -> str:
    """Make a UID of a random length, as anonymizers do."""
    digits = chance.randint(20, _LONGEST_UID - len(root))
    return f"{root}{chance.randint(10 ** (digits - 1), 10**digits - 1)}"


def encoded(header: Dataset) -> dict[int, bytes]:
    """Encode each top-level element by itself, in Explicit VR Little Endian."""
    made = {}
    for element in correct_ambiguous_vr(header, is_little_endian=True):
        target = DicomBytesIO()
        target.is_little_endian, target.is_implicit_VR = True, False
        write_data_element(target, element, ["iso8859", "iso8859", "iso8859"])
        made[int(element.tag)] = target.getvalue()
    return made


def file_meta(sop_class: str, sop: str, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Encode preamble, prefix and file meta information (PS3.10 section 7.1)."""
    content = LITTLE.element(0x00020001, "OB", b"\0\1") + b"".join(
        LITTLE.element(
            0x00020000 | element, vr, even(value.encode(), b"\0" if vr == "UI" else b" ")
        )
        for element, vr, value in (
            (0x02, "UI", sop_class),
            (0x03, "UI", sop),
            (0x10, "UI", syntax),
            (0x12, "UI", _IMPLEMENTATION),
            (0x13, "SH", "dcm4che-1.4.35"),
        )
    )
    length = LITTLE.element(0x00020000, "UL", LITTLE.pack("L", len(content)))
    return bytes(128) + b"DICM" + length + content


@dataclass(frozen=True)
class Scan:
    """What all slices of a series share."""

    sop_class: UID
    chance: random.Random
    shared: Mapping[int, bytes]
    """Encoded elements; those that differ by slice are there to be replaced."""
    attributes: Mapping[str, str]
    """Of the series, by keyword, as the index has them."""

    def header(self, number: int, patches: Mapping[int, bytes]) -> tuple[str, bytes]:
        """Return the SOPInstanceUID of a slice, and its bytes before the pixels."""
        sop = uid(self.chance)
        common = _slice_patches(self.chance, number, sop)
        elements = {**self.shared, **common, **patches}
        body = b"".join(elements[tag] for tag in sorted(elements))
        return sop, file_meta(self.sop_class, sop) + body


def _text(tag: int, vr: str, value: str) -> bytes:
    return LITTLE.element(tag, vr, even(value.encode(), b"\0" if vr == "UI" else b" "))


def _slice_patches(chance: random.Random, number: int, sop: str) -> dict[int, bytes]:
    place = -250.0 + 1.25 * number
    seconds = 40_000 + 0.37 * number
    moment = f"{int(seconds // 3600):02}{int(seconds // 60 % 60):02}{seconds % 60:09.6f}"
    position = f"-166.{chance.randint(0, 999999)}\\-171.{chance.randint(0, 9999)}\\{place:.6f}"
    values = (
        (0x00080013, "TM", moment),
        (0x00080018, "UI", sop),
        (0x00080032, "TM", moment),
        (0x00080033, "TM", moment),
        (0x00200013, "IS", str(number)),
        (0x00200032, "DS", position),
        (0x00201041, "DS", f"{place:.6f}".rstrip("0")),
        (0x00281050, "DS", str(chance.choice((40, -600, 37.5)))),
        (0x00281051, "DS", str(chance.choice((400, 1500, 350)))),
    )
    return {tag: _text(tag, vr, value) for tag, vr, value in values}


# --- CT --------------------------------------------------------------------------------------


def ct_scan(chance: random.Random, collection: str, side: int) -> Scan:
    """Describe a CT series: square images of 16 bits, with the private groups of GE."""
    series, attributes = _series(chance, CTImageStorage, "CT", collection)
    series.update(_plane(side))
    series.update(
        item(
            ContrastBolusAgent="OMNIPAQUE 350",
            ScanOptions="HELICAL MODE",
            KVP="120",
            DataCollectionDiameter="500.000000",
            ContrastBolusRoute="IV",
            ReconstructionDiameter="360.000000",
            DistanceSourceToDetector="949.075012",
            DistanceSourceToPatient="541.000000",
            GantryDetectorTilt="0.000000",
            TableHeight="144.399994",
            RotationDirection="CW",
            ExposureTime="570",
            XRayTubeCurrent="400",
            Exposure="684",
            FilterType="BODY FILTER",
            GeneratorPower="48000",
            FocalSpots="1.200000",
            ConvolutionKernel="STANDARD",
            RevolutionTime=0.8,
            SingleCollimationWidth=1.25,
            TotalCollimationWidth=40.0,
            TableSpeed=68.75,
            TableFeedPerRotation=55.0,
            SpiralPitchFactor=1.375,
            ExposureModulationType="XYZ_EC",
            CTDIvol=14.25,
            RescaleIntercept="-1024",
            RescaleSlope="1",
            RescaleType="HU",
            PixelPaddingValue=-2000,
            SmallestImagePixelValue=0,
            LargestImagePixelValue=3071,
            CTDIPhantomTypeCodeSequence=items(code("113691", "DCM", "IEC Body Dosimetry Phantom")),
        )
    )
    _add_ge(series, chance)
    return Scan(CTImageStorage, chance, encoded(series), attributes)


def ct_header(scan: Scan, number: int) -> tuple[str, bytes]:
    """Return the SOPInstanceUID of a CT slice, and its bytes before the pixels."""
    current = 150 + scan.chance.randint(0, 400)
    patches = {
        tag: _text(tag, vr, value)
        for tag, vr, value in (
            (0x00181151, "IS", str(current)),
            (0x00181152, "IS", str(current * 57 // 100)),
        )
    }
    patches[0x001910A1] = LITTLE.element(0x001910A1, "SS", LITTLE.pack("h", number % 888))
    patches[0x00271041] = LITTLE.element(0x00271041, "FL", LITTLE.pack("f", 1.25 * number))
    patches[0x0045103B] = _text(0x0045103B, "LO", f"view {scan.chance.random():.9f}")
    return scan.header(number, patches)


def _add_ge(series: Dataset, chance: random.Random) -> None:
    blocks: tuple[tuple[int, str, int], ...] = (
        (0x0009, "GEMS_IDEN_01", 6),
        (0x0019, "GEMS_ACQU_01", 18),
        (0x0021, "GEMS_RELA_01", 8),
        (0x0023, "GEMS_STDY_01", 3),
        (0x0027, "GEMS_IMAG_01", 9),
        (0x0043, "GEMS_PARM_01", 14),
        (0x0045, "GEMS_HELIOS_01", 10),
    )
    kinds: tuple[tuple[str, Any], ...] = (
        ("SL", chance.randint(0, 10**6)),
        ("DS", f"{chance.random():.6f}"),
        ("SS", 17),
        ("LO", "PRIVATE TEXT"),
        ("FL", 0.125),
        ("US", 3),
    )
    for group, creator, count in blocks:
        block = series.private_block(group, creator, create=True)
        for number in range(count):
            vr, value = kinds[number % len(kinds)]
            block.add_new(0x02 + 3 * number, vr, value)
    # these three differ by slice
    series.private_block(0x0019, "GEMS_ACQU_01").add_new(0xA1, "SS", 0)
    series.private_block(0x0027, "GEMS_IMAG_01").add_new(0x41, "FL", 0.0)
    series.private_block(0x0045, "GEMS_HELIOS_01").add_new(0x3B, "LO", "")


# --- MR --------------------------------------------------------------------------------------

_CSA_BYTES: Final = (12_000, 125_000)
"""Of the image's and of the series' private header."""


def mr_scan(chance: random.Random, collection: str, side: int) -> Scan:
    """Describe an MR series with Siemens' private headers of some 140 KB."""
    series, attributes = _series(chance, MRImageStorage, "MR", collection)
    series.update(_plane(side))
    series.update(
        item(
            ScanningSequence=["SE", "EP"],
            SequenceVariant=["SK", "SP"],
            ScanOptions=["PFP", "FS"],
            MRAcquisitionType="2D",
            SequenceName="*ep_b800t",
            AngioFlag="N",
            RepetitionTime="7500",
            EchoTime="80",
            NumberOfAverages="2",
            ImagingFrequency="123.252373",
            ImagedNucleus="1H",
            EchoNumbers="1",
            MagneticFieldStrength="3",
            SpacingBetweenSlices="3.5999999046326",
            NumberOfPhaseEncodingSteps="104",
            EchoTrainLength="52",
            PercentSampling="100",
            PercentPhaseFieldOfView="81.25",
            PixelBandwidth="1502",
            TransmitCoilName="Body",
            AcquisitionMatrix=[128, 0, 0, 104],
            InPlanePhaseEncodingDirection="COL",
            FlipAngle="90",
            VariableFlipAngleFlag="N",
            SAR="0.35042962",
            dBdt="0",
        )
    )
    identity = series.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    identity.add_new(0x0C, "IS", "800")
    identity.add_new(0x0E, "FD", [0.0, 0.6, 0.8])
    identity.add_new(0x27, "FD", [1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    medcom = series.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    medcom.add_new(0x08, "CS", "IMAGE NUM 4")
    medcom.add_new(0x10, "OB", b"")
    medcom.add_new(0x18, "CS", "MR")
    medcom.add_new(0x20, "OB", b"")
    series.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x08, "CS", "IMAGE")
    return Scan(MRImageStorage, chance, encoded(series), attributes)


def mr_header(scan: Scan, number: int) -> tuple[str, bytes]:
    """Return the SOPInstanceUID of an MR slice, and its bytes before the pixels."""
    patches = {}
    for tag, size in zip((0x00291010, 0x00291020), _CSA_BYTES, strict=True):
        # as much as the vendor's own: its length hardly differs between slices, its content does
        size += 4 * scan.chance.randint(0, 8)
        patches[tag] = LITTLE.element(tag, "OB", b"SV10\4\3\2\1" + scan.chance.randbytes(size))
    return scan.header(number, patches)


# --- both ------------------------------------------------------------------------------------


def _series(
    chance: random.Random, sop_class: UID, modality: str, collection: str
) -> tuple[Dataset, dict[str, str]]:
    attributes = {
        "PatientID": f"{collection.upper()}-{chance.randint(0, 9999):04}",
        "StudyInstanceUID": uid(chance),
        "SeriesInstanceUID": uid(chance),
        "PatientAge": f"0{chance.randint(20, 89)}Y",
        "PatientSex": chance.choice("FM"),
        "StudyDate": DATE,
        "StudyDescription": f"{modality} CHEST WITH CONTRAST",
        "BodyPartExamined": "CHEST",
        "Modality": modality,
        "SOPClassUID": str(sop_class),
        "Manufacturer": "GE MEDICAL SYSTEMS" if modality == "CT" else "SIEMENS",
        "ManufacturerModelName": "LightSpeed VCT" if modality == "CT" else "Skyra",
        "SeriesDate": DATE,
        "SeriesDescription": "AXIAL " + chance.choice(("THIN", "BODY 2.5", "RECON 3")),
        "SeriesNumber": str(chance.randint(1, 999)),
        "PhotometricInterpretation": "MONOCHROME2",
    }
    series = item(**attributes, PixelRepresentation=1)
    series.update(_identity(chance, sop_class))
    return series, attributes | {"PixelRepresentation": "1", "TransferSyntaxUID": EXPLICIT_LITTLE}


def _identity(chance: random.Random, sop_class: UID) -> Dataset:
    made = item(
        SpecificCharacterSet="ISO_IR 100",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        InstanceCreationDate=DATE,
        InstanceCreationTime="",
        SOPInstanceUID="",
        AcquisitionDate=DATE,
        ContentDate=DATE,
        StudyTime="101112",
        SeriesTime="101530.5",
        AcquisitionTime="",
        ContentTime="",
        AccessionNumber=str(chance.randint(10**15, 10**16 - 1)),
        ReferringPhysicianName="",
        ReferencedStudySequence=items(
            item(
                ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                ReferencedSOPInstanceUID=uid(chance),
            )
        ),
        ReferencedImageSequence=items(
            *(
                item(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid(chance))
                for _ in range(2)
            )
        ),
        ProcedureCodeSequence=items(code("71260", "C4", "CT chest with contrast")),
        StationName="ct01",
        InstitutionName="",
        PatientName="",
        PatientBirthDate="",
        PatientSize="1.75",
        PatientWeight="80",
        AdditionalPatientHistory="",
        PatientIdentityRemoved="YES",
        DeidentificationMethod="Per DICOM PS 3.15 AnnexE. Details in 0012,0064",
        DeidentificationMethodCodeSequence=items(
            code("113100", "DCM", "Basic Application Confidentiality Profile"),
            code("113101", "DCM", "Clean Pixel Data Option"),
            code("113105", "DCM", "Clean Descriptors Option"),
            code("113107", "DCM", "Retain Longitudinal With Modified Dates Option"),
            code("113108", "DCM", "Retain Patient Characteristics Option"),
            code("113109", "DCM", "Retain Device Identity Option"),
            code("113111", "DCM", "Retain Safe Private Option"),
        ),
        ClinicalTrialSponsorName="",
        ClinicalTrialProtocolID="Bench",
        ClinicalTrialProtocolName="Bench",
        ClinicalTrialSiteID="6279",
        ClinicalTrialTimePointID="",
        LongitudinalTemporalInformationModified="MODIFIED",
        DeviceSerialNumber="",
        SoftwareVersions=["gmp_vct.42", "07MW18.4"],
        ProtocolName="6.1 CHEST ROUTINE",
        StudyID="",
        AcquisitionNumber="1",
        InstanceNumber="1",
        FrameOfReferenceUID=uid(chance),
        PositionReferenceIndicator="SN",
        ImagesInAcquisition="300",
        PerformedProcedureStepStartDate=DATE,
        PerformedProcedureStepStartTime="101112",
        PerformedProcedureStepDescription="CHEST",
        RequestedProcedureDescription="CHEST WITH CONTRAST",
    )
    block = made.private_block(0x0013, "CTP", create=True)
    block.add_new(0x10, "LO", "Bench")
    block.add_new(0x13, "LO", "62796001")
    return made


def _plane(side: int) -> Dataset:
    return item(
        SliceThickness="1.250000",
        PatientPosition="FFS",
        ImagePositionPatient=["0", "0", "0"],
        ImageOrientationPatient=["1.0", "0.0", "0.0", "0.0", "1.0", "0.0"],
        SliceLocation="0",
        Laterality="",
        SamplesPerPixel=1,
        Rows=side,
        Columns=side,
        PixelSpacing=["0.703125", "0.703125"],
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        WindowCenter="40",
        WindowWidth="400",
    )
