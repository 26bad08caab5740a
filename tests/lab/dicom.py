"""Building blocks of the generated DICOM: fixed UIDs, fixed dates, and one way to write a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

DATE: Final = "20200229"
TIME: Final = "123456.250000"
_IMPLEMENTATION: Final = UID("1.2.826.0.1.3680043.8.498.1")


def uid(*parts: object) -> UID:
    """Derive a UID from words, the same on every machine and in every run."""
    return generate_uid(entropy_srcs=["harvest-lab", *map(str, parts)])


def item(**elements: Any) -> Dataset:
    """Make a dataset from keywords, the way one item of a sequence is written down."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def items(*made: Dataset) -> DicomSequence:
    """Make a sequence of items."""
    return DicomSequence(made)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Make an item of a coded concept."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def instance(sop_class: UID, modality: str, series: str, number: int) -> Dataset:
    """Begin an instance: patient, study, series and equipment, as every generated file has them.

    Parameters
    ----------
    sop_class
        Storage class.
    modality
        Value of ``Modality``.
    series
        Short name of the series; its UIDs derive from it.
    number
        Instance number within the series, from 1.

    Returns
    -------
    Dataset
        Everything but what is particular to the modality.
    """
    patient = "LAB-002" if modality in ("SM", "ANN") else "LAB-001"
    return item(
        SpecificCharacterSet="ISO_IR 192",
        InstanceCreationDate=DATE,
        InstanceCreationTime=TIME,
        SOPClassUID=sop_class,
        SOPInstanceUID=uid(series, number),
        StudyDate=DATE,
        SeriesDate=DATE,
        AcquisitionDate=DATE,
        ContentDate=DATE,
        StudyTime=TIME,
        SeriesTime=TIME,
        AcquisitionTime=TIME,
        ContentTime=TIME,
        AccessionNumber="1234567890123",
        Modality=modality,
        Manufacturer="Prüfgeräte GmbH",
        ManufacturerModelName=f"Lab {modality}",
        InstitutionName="",
        ReferringPhysicianName="",
        StudyDescription="Lab study",
        SeriesDescription=series,
        PatientName="Phantom^Lab",
        PatientID=patient,
        PatientBirthDate="",
        PatientSex="O",
        PatientAge="057Y",
        PatientWeight="70.5",
        PatientIdentityRemoved="YES",
        DeidentificationMethod=["Generated", "Never identified"],
        DeidentificationMethodCodeSequence=items(
            code("113100", "DCM", "Basic Application Confidentiality Profile"),
            code("113105", "DCM", "Clean Descriptors Option"),
        ),
        DeviceSerialNumber="LAB0001",
        SoftwareVersions=["1.0", "1.0.1"],
        StudyInstanceUID=uid("study", patient),
        SeriesInstanceUID=uid("series", series),
        StudyID="1",
        SeriesNumber=str(1 + len(series)),
        InstanceNumber=str(number),
        FrameOfReferenceUID=uid("frame of reference", patient),
        PositionReferenceIndicator="",
    )


def save(made: Dataset, path: Path, transfer_syntax: UID = ExplicitVRLittleEndian) -> None:
    """Write a dataset as a conforming file whose bytes depend on nothing but its contents."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    # Named here, or pydicom would write its own version into every file.
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "HARVEST_LAB"
    made.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)


def pin(made: Dataset, name: str) -> None:
    """Replace the moment and the random UIDs that highdicom writes into its objects.

    Parameters
    ----------
    made
        Object built by highdicom; changed in place.
    name
        Name of the object, from which the new UIDs derive.
    """
    organization = uid("dimension organization", name)
    for element in _walk(made):
        if element.keyword == "DimensionOrganizationUID":
            element.value = organization
        elif element.VR == "DA" and element.value:
            element.value = DATE
        elif element.VR == "TM" and element.value:
            element.value = TIME
        elif element.VR == "DT" and element.value:
            element.value = DATE + TIME


def _walk(made: Dataset) -> Iterator[Any]:
    for element in made:
        if element.VR == "SQ":
            for each in element.value:
                yield from _walk(each)
        else:
            yield element
