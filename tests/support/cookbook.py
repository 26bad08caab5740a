"""A small cohort for the README's cookbook: what each question finds, and what it must pass over.

Each series is named by what it is there for. UIDs derive from these names, see `tests.lab.dicom`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from tests.lab.dicom import code, instance, item, items, save, uid
from tests.lab.index import SCHEMA

BUCKET: Final = "idc-open-data"
SIEMENS: Final = "SIEMENS MR HEADER"

_INDEXED: Final[dict[str, dict[str, str | None]]] = {
    "CT flipped": {"license_short_name": "CC BY-NC 4.0"},
    "CT thick": {"license_short_name": None},
    "CT short": {"analysis_result_id": "cookbook_results"},
    "CT two kernels": {"license_short_name": "CC BY 3.0", "source_DOI": "10.0000/kernels"},
}
"""What the index says of some series; all others are alike."""
_ALIKE: Final = {
    "collection_id": "cookbook",
    "license_short_name": "CC BY 4.0",
    "source_DOI": "10.0000/cookbook",
}


_SYNTAXES: Final = {
    **dict.fromkeys(("SM pyramid", "SM table", "SM channels", "US untimed"), JPEGBaseline8Bit),
    # no VRs: the reader finds those of private elements in the dictionary, by the creator
    "DWI Siemens": ImplicitVRLittleEndian,
}
"""Transfer syntaxes by series; all others are Explicit VR Little Endian."""


@dataclass(frozen=True)
class Stored:
    """An object of the cohort."""

    series: str
    """Name of its series."""
    dataset: Dataset
    """What was written; None of it where `readable` is false."""
    path: Path
    key: str
    readable: bool

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.key}"


def series_uid(name: str) -> str:
    """Return the SeriesInstanceUID of a series by its name."""
    return str(uid("series", name))


def series_uuid(name: str) -> str:
    """Return IDC's name for a series."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, series_uid(name)))


def write_cohort(folder: Path) -> list[Stored]:
    """Write all objects into a folder.

    Returns
    -------
    list of Stored
        In the order of their writing; the last one is cut in its header.
    """
    made = [*_ct(), *_mr(), *_pt(), *_sm(), *_seg(), *_rtstruct(), *_mg(), *_us()]
    stored = []
    for number, dataset in enumerate(made):
        name = str(dataset.SeriesDescription)
        key = f"{series_uuid(name)}/{uuid.uuid5(uuid.NAMESPACE_OID, str(number))}.dcm"
        save(dataset, folder / key, _SYNTAXES.get(name, ExplicitVRLittleEndian))
        stored.append(Stored(name, dataset, folder / key, key, readable=True))
    whole = stored[0]
    key = f"{series_uuid(whole.series)}/{uuid.uuid5(uuid.NAMESPACE_OID, 'cut')}.dcm"
    (folder / key).write_bytes(whole.path.read_bytes()[:600])
    return [*stored, Stored(whole.series, whole.dataset, folder / key, key, readable=False)]


def write_index(stored: list[Stored], path: Path) -> None:
    """Write an index of the cohort with IDC's columns."""
    rows = []
    for name in dict.fromkeys(each.series for each in stored):
        members = [each for each in stored if each.series == name]
        rows.append(
            {
                **_ALIKE,
                "SeriesInstanceUID": series_uid(name),
                "Modality": members[0].dataset.Modality,
                "crdc_series_uuid": series_uuid(name),
                "aws_bucket": BUCKET,
                "series_aws_url": f"s3://{BUCKET}/{series_uuid(name)}/*",
                "instanceCount": len(members),
                "series_size_MB": sum(each.path.stat().st_size for each in members) / 1e6,
                **_INDEXED.get(name, {}),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def _image(sop_class: Any, modality: str, series: str, number: int, **elements: Any) -> Dataset:
    """Make an image of 2 by 2 pixels; an element of None is left out."""
    made = instance(sop_class, modality, series, number)
    made.Manufacturer = "Lab"
    made.update(
        item(
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=2,
            Columns=2,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
        )
    )
    made.PixelData = bytes(4 * int(elements.get("NumberOfFrames") or 1))
    made["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        if value is None:
            if keyword in made:
                delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


# --- CT --------------------------------------------------------------------------------------


def _slices(name: str, heights: list[float], **elements: Any) -> Iterator[Dataset]:
    for number, height in enumerate(heights, start=1):
        plane = {
            "ImagePositionPatient": ["-160", "-160", f"{height:.3f}"],
            "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
            "PixelSpacing": ["0.7", "0.7"],
            "SliceThickness": "2",
            "KVP": "120",
            "ConvolutionKernel": ["B30f", "3"],
        }
        yield _image(CTImageStorage, "CT", name, number, **{**plane, **elements})


def _ct() -> Iterator[Dataset]:
    even = [2.0 * number for number in range(20)]
    # noise in the positions must not matter, nor their order
    noisy = [-2.0 * number + 0.001 * (number % 3) for number in range(22)]
    said = {"ImagesInAcquisition": "20", "AcquisitionNumber": "1"}
    yield from _slices("CT even", even, ContrastBolusAgent="Iohexol", **said)
    flipped = ["1", "0", "0", "0", "-1", "0"]
    yield from _slices("CT flipped", noisy, ImageOrientationPatient=flipped, KVP="100")
    missing = [2.0 * number for number in range(22) if number not in (7, 8)]
    said = {"ImagesInAcquisition": "22", "AcquisitionNumber": "4"}
    yield from _slices("CT gap", missing, **said)
    yield from _slices("CT thick", [5.0 * number for number in range(20)], SliceThickness="5")
    yield from _slices("CT short", even[:19])
    yield from _slices("CT one place", [0.0] * 20)
    tilt = ["1", "0", "0", "0", "0.9848", "-0.1736"]
    yield from _slices("CT tilted", even, ImageOrientationPatient=tilt)
    yield from _two_kernels(even)
    yield from _drifting(even)
    yield from _with_scout(even)
    yield from _slices("CT unplaced", even)
    unplaced: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    (last,) = _slices("CT unplaced", [0.0], ImageType=None, **unplaced)
    last.SOPInstanceUID = uid("CT unplaced", "last")
    yield last


def _two_kernels(heights: list[float]) -> Iterator[Dataset]:
    for image in _slices("CT two kernels", heights):
        if image.InstanceNumber > 15:
            image.ConvolutionKernel = "B70f"
        if image.InstanceNumber == 20:
            del image.KVP
        yield image


def _drifting(heights: list[float]) -> Iterator[Dataset]:
    for axis, name in enumerate(("CT drifting", "CT sinking")):
        for image in _slices(name, heights):
            image.ImagePositionPatient[axis] -= image.InstanceNumber
            yield image


def _with_scout(heights: list[float]) -> Iterator[Dataset]:
    yield from _slices("CT with scout", heights)
    (scout,) = _slices("CT with scout", [-10.0])
    scout.SOPInstanceUID = uid("CT with scout", "scout")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    yield scout


# --- MR --------------------------------------------------------------------------------------


def _mr_image(name: str, number: int, **elements: Any) -> Dataset:
    given = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "MagneticFieldStrength": "3",
        "MRAcquisitionType": "2D",
        "ScanningSequence": ["SE"],
        "RepetitionTime": "4000",
        "EchoTime": "90",
        "ImagePositionPatient": ["0", "0", f"{3 * number}"],
    }
    return _image(MRImageStorage, "MR", name, number, **{**given, **elements})


def _mr() -> Iterator[Dataset]:
    yield from (_mr_image("MR T2", number) for number in (1, 2, 3))
    short = {"RepetitionTime": "500", "EchoTime": "10"}
    yield from (
        _mr_image("MR gauss", number, MagneticFieldStrength="14940", **short) for number in (1, 2)
    )
    yield _mr_image("MR FLAIR", 1, InversionTime="2500", RepetitionTime="9000", EchoTime="120")
    gradient = {"ScanningSequence": ["GR", "IR"], "MRAcquisitionType": "3D"}
    yield _mr_image(
        "MR MPRAGE", 1, InversionTime="900", RepetitionTime="2000", EchoTime="3", **gradient
    )
    yield _mr_image("MR STIR", 1, InversionTime="160", EchoTime="40")
    # GE writes 0 where nothing is inverted
    yield _mr_image("MR PD", 1, InversionTime="0", EchoTime="20")
    yield _mr_image("MR late", 1, RepetitionTime="500", EchoTime="40")
    yield _mr_image("MR no echo", 1, EchoTime=None)
    yield _mr_image("MR no repetition", 1, RepetitionTime=None, EchoTime="20")
    yield from _diffusion()
    yield from _dynamic()


def _diffusion() -> Iterator[Dataset]:
    planar: dict[str, Any] = {"ScanningSequence": ["EP"], "EchoTime": "80"}
    for number, b in enumerate((0, 800, 800), start=1):
        yield _mr_image("DWI standard", number, DiffusionBValue=float(b), **planar)
        siemens = _mr_image("DWI Siemens", number, **planar)
        siemens.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION"]
        _add_siemens(siemens, b + 200, other_first=number > 1)
        yield siemens
        philips = _mr_image("DWI Philips", number, **planar)
        block = philips.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "FL", float(b))
        yield philips
        ge = _mr_image("DWI GE", number, **planar)
        block = ge.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [1_000_000_000 + b if b else 0, 8, 0, 0])
        yield ge
        yield _mr_image("DWI named", number, SequenceName=f"*ep_b{b}t", **planar)
        # another creator's element of the same number, and zeros: no diffusion
        stranger = _mr_image("MR stranger", number, **planar)
        stranger.private_block(0x0019, "HARVEST LAB 01", create=True).add_new(0x0C, "IS", "700")
        yield stranger
        still = {**planar, "EchoTime": "30"}
        yield _mr_image("MR function", number, DiffusionBValue=0.0, **still)
    # a map made of them has no b-value
    yield _mr_image("DWI named", 4, **planar)
    yield _enhanced()


def _add_siemens(image: Dataset, b: int, *, other_first: bool) -> None:
    """Add private elements of Siemens's, their blocks moved where another creator is first."""
    for group in (0x0019, 0x0051):
        if other_first:
            other = image.private_block(group, "HARVEST LAB 01", create=True)
            other.add_new(0x0C if group == 0x0019 else 0x0F, "LO", "not this")
        block = image.private_block(group, SIEMENS, create=True)
        if group == 0x0019:
            block.add_new(0x0C, "IS", str(b))
        else:
            block.add_new(0x0F, "LO", "HE1-4" if other_first else "BC")


def _enhanced() -> Dataset:
    frames = [
        item(MRDiffusionSequence=items(item(DiffusionBValue=b))) for b in (0.0, 1000.0, 1000.0)
    ]
    # two frames have the shared value
    frames += [item(), item()]
    shared = item(MRDiffusionSequence=items(item(DiffusionBValue=50.0)))
    return _image(
        EnhancedMRImageStorage,
        "MR",
        "DWI enhanced",
        1,
        NumberOfFrames=5,
        MagneticFieldStrength="3",
        PerFrameFunctionalGroupsSequence=items(*frames),
        SharedFunctionalGroupsSequence=items(shared),
    )


def _dynamic() -> Iterator[Dataset]:
    # three positions, a second apart; the second phase begins a minute later, after midnight
    starts = {
        1: ("20200229", 235930),
        2: ("20200301", 30),
        3: ("20200301", 50),
        4: ("20200301", 110),
    }
    for phase, (date, start) in starts.items():
        for position in range(3):
            yield _mr_image(
                "MR contrast",
                3 * phase + position,
                ImagePositionPatient=["0", "0", f"{position}"],
                TemporalPositionIdentifier=str(phase),
                NumberOfTemporalPositions="5",
                AcquisitionNumber="1",
                AcquisitionDate=date,
                AcquisitionTime=f"{start + position:06d}",
                ContrastBolusAgent="Gadobutrol" if phase > 1 else None,
            )
    for acquisition in (1, 2, 3):
        for position in range(2):
            yield _mr_image(
                "MR repeated",
                2 * acquisition + position,
                ImagePositionPatient=["0", "0", f"{position}"],
                AcquisitionNumber=str(acquisition),
                AcquisitionTime=f"1200{10 * acquisition + 5 * position:02d}",
            )
        # two echoes of every position; positions that nobody knows
        for echo in (1, 2):
            yield _mr_image(
                "MR echoes",
                2 * acquisition + echo,
                ImagePositionPatient=["0", "0", "0"],
                AcquisitionNumber=str(acquisition),
                EchoNumbers=str(echo),
            )
        yield _mr_image(
            "MR unplaced",
            acquisition,
            ImagePositionPatient=None,
            AcquisitionNumber=str(acquisition),
        )
        # one position in each: three localizers
        yield _mr_image("MR localizer", acquisition, AcquisitionNumber=str(acquisition))
        # the last phase was broken off, and there are two phases only
        for series, count in (
            ("MR broken off", 3 if acquisition < 3 else 2),
            ("MR before after", 2),
        ):
            if series == "MR before after" and acquisition == 3:
                continue
            for position in range(count):
                yield _mr_image(
                    series,
                    4 * acquisition + position,
                    ImagePositionPatient=["0", "0", f"{position}"],
                    AcquisitionNumber=str(acquisition),
                )


# --- PT --------------------------------------------------------------------------------------


def _pt_series(
    name: str, *, tracer: dict[str, Any] | None = None, philips: str | None = None, **elements: Any
) -> Iterator[Dataset]:
    given = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "PatientWeight": "70",
        "SeriesTime": "123000",
    }
    injected = {
        "Radiopharmaceutical": "FDG",
        "RadiopharmaceuticalStartTime": "113000.00",
        "RadiopharmaceuticalStartDateTime": "20200229113000.00",
        "RadionuclideTotalDose": "350000000",
        "RadionuclideHalfLife": "6586.2",
        "RadionuclideCodeSequence": items(code("C-111A1", "SRT", "^18^Fluorine")),
        **(tracer or {}),
    }
    for number, time in enumerate(("123000", "123300"), start=1):
        image = _image(
            PositronEmissionTomographyImageStorage,
            "PT",
            name,
            number,
            **{"AcquisitionTime": time, **given, **elements},
            RadiopharmaceuticalInformationSequence=items(item(**injected)),
        )
        if philips is not None:
            block = image.private_block(0x7053, "Philips PET Private Group", create=True)
            block.add_new(0x00, "DS", philips)
        yield image


def _pt() -> Iterator[Dataset]:
    yield from _pt_series("PT 1 start")
    # times of day only, and the dose in MBq
    evening = {
        "RadiopharmaceuticalStartTime": "234000",
        "RadiopharmaceuticalStartDateTime": "",
        "RadionuclideTotalDose": "370",
    }
    yield from _pt_series(
        "PT 2 midnight", tracer=evening, SeriesTime="004000", AcquisitionTime="004000"
    )
    yield from _pt_series("PT 3 admin", DecayCorrection="ADMIN")
    yield from _pt_series("PT 4 counts", philips="0.0005", Units="CNTS")
    yield from _pt_series("PT 5 ready", Units="GML")
    # processed an hour later: the first acquisition counts
    yield from _pt_series("PT 6 processed", SeriesTime="133000")
    # a factor for counts says nothing of Bq/ml
    yield from _pt_series("PT 7 Philips", philips="0.0005")
    zirconium = {
        "RadiopharmaceuticalStartDateTime": "20200227112950",
        "RadionuclideHalfLife": "282240",
    }
    yield from _pt_series("PT 8 days", tracer=zirconium)
    # injected while the scanner was running
    late = {"RadiopharmaceuticalStartTime": "123006", "RadiopharmaceuticalStartDateTime": ""}
    yield from _pt_series("PT 9 dynamic", tracer=late)
    yield from _pt_series("PT lean", Units="GML", SUVType="LBM")
    yield from _pt_series("PT uncorrected", CorrectedImage=["DECY"])
    yield from _pt_series("PT silent", CorrectedImage=None)
    yield from _pt_series("PT undecayed", DecayCorrection="NONE")
    yield from _pt_series("PT unweighed", PatientWeight="0")
    yield from _pt_series("PT zero", philips="0", Units="CNTS")


# --- SM --------------------------------------------------------------------------------------


def _level(
    name: str,
    number: int,
    side: int,
    *,
    paths: list[Dataset],
    table: bool = False,
    tile_bytes: int = 30,
    **elements: Any,
) -> Dataset:
    """Make a level in tiles of 16 by 16; `table` fills its Basic Offset Table."""
    frames = (side // 16) ** 2
    tile = b"\xff\xd8" + bytes(tile_bytes) + b"\xff\xd9"
    spacing = f"{0.032 / side:.6f}"
    given = {
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "NumberOfFrames": frames,
        "Rows": 16,
        "Columns": 16,
        "TotalPixelMatrixColumns": side,
        "TotalPixelMatrixRows": side,
        "DimensionOrganizationType": "TILED_FULL",
        "ContainerIdentifier": f"glass of {name}",
        "OpticalPathSequence": items(*paths),
        "SharedFunctionalGroupsSequence": items(
            item(PixelMeasuresSequence=items(item(PixelSpacing=[spacing, spacing])))
        ),
    }
    made = _image(VLWholeSlideMicroscopyImageStorage, "SM", name, number, **{**given, **elements})
    made.PixelData = encapsulate([tile] * frames, has_bot=table)
    made["PixelData"].is_undefined_length = True
    return made


def _path(identifier: str, description: str | None, power: str, profile: int = 0) -> Dataset:
    made = item(
        OpticalPathIdentifier=identifier,
        IlluminationTypeCodeSequence=items(code("111744", "DCM", "Brightfield illumination")),
        ObjectiveLensPower=power,
    )
    if description is not None:
        made.OpticalPathDescription = description
    if profile:
        made.ICCProfile = bytes(profile)
    return made


def _specimen(*named: tuple[str, str, str]) -> Dataset:
    """Make a specimen with preparation steps of an item each: name, kind and value."""
    steps = []
    for name, kind, value in named:
        content = item(
            ValueType=kind, ConceptNameCodeSequence=items(code(name, "SCT", "not looked at"))
        )
        if kind == "TEXT":
            content.TextValue = value
        else:
            content.ConceptCodeSequence = items(code("1", "SCT", value))
        steps.append(item(SpecimenPreparationStepContentItemSequence=items(content)))
    return item(SpecimenIdentifier="S", SpecimenPreparationSequence=items(*steps))


def _sm() -> Iterator[Dataset]:
    prepared = items(
        _specimen(
            ("430864009", "CODE", "Formalin"),
            ("430863003", "CODE", "Paraffin wax"),
            ("424361007", "CODE", "hematoxylin stain"),
            ("424361007", "CODE", "eosin"),
            ("17636008", "CODE", "Specimen collection"),
        )
    )
    # large enough to be seen in gigabytes
    large: dict[str, Any] = {"paths": [_path("1", None, "20", profile=2000)]}
    large["tile_bytes"] = 1_000_000
    small: dict[str, Any] = {"paths": [_path("1", None, "20", profile=600)]}
    for number, (side, what) in enumerate(((64, large), (32, small), (16, small)), start=1):
        yield _level("SM pyramid", number, side, SpecimenDescriptionSequence=prepared, **what)
    label = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    yield _level(
        "SM pyramid", 4, 128, paths=[_path("9", "camera", "5")], ImageType=label, NumberOfFrames=1
    )
    text = items(_specimen(("424361007", "TEXT", "H&E")), _specimen(("424361007", "CODE", "eosin")))
    yield _level(
        "SM table",
        1,
        64,
        paths=[_path("1", None, "40", profile=600)],
        table=True,
        SpecimenDescriptionSequence=text,
    )
    # one channel an object, under the same identifier, the first with a frame too many for its
    # table; and a smaller level with these and one more
    yield _level(
        "SM channels", 1, 32, paths=[_path("1", "DAPI", "20")], table=True, NumberOfFrames=5
    )
    yield _level("SM channels", 2, 32, paths=[_path("1", "CD8", "20")], table=True)
    every = [_path("1", "DAPI", "20"), _path("2", "CD8", "20"), _path("3", None, "20")]
    yield _level("SM channels", 3, 16, paths=every, table=True)


# --- SEG, RTSTRUCT ---------------------------------------------------------------------------


def _segment(number: int, label: str, value: str, meaning: str, **elements: Any) -> Dataset:
    category = code("123037004", "SCT", "Anatomical Structure")
    given = {
        "SegmentNumber": number,
        "SegmentLabel": label,
        "SegmentAlgorithmType": "AUTOMATIC",
        "SegmentAlgorithmName": "threshold",
        "SegmentedPropertyCategoryCodeSequence": items(category),
        "SegmentedPropertyTypeCodeSequence": items(code(value, "SCT", meaning)),
    }
    return item(**{**given, **elements})


# frames of 9 bits: all but the first begin inside a byte
SEGMENT_FRAMES: Final = ((1, 2.0), (2, 2.0), (1, 4.0), (2, 4.0), (3, 4.0))
"""Of the series SEG liver: the segment of each frame, and its height in mm."""
_SEGMENT_FRAMES: Final[dict[str, Any]] = {
    "NumberOfFrames": len(SEGMENT_FRAMES),
    "Rows": 3,
    "Columns": 3,
    "BitsAllocated": 1,
    "BitsStored": 1,
    "HighBit": 0,
    "PixelData": bytes(6),
    "PerFrameFunctionalGroupsSequence": items(
        *(
            item(
                SegmentIdentificationSequence=items(item(ReferencedSegmentNumber=segment)),
                PlanePositionSequence=items(
                    item(ImagePositionPatient=["-160", "-160", f"{height:.1f}"])
                ),
            )
            for segment, height in SEGMENT_FRAMES
        )
    ),
}


def _seg() -> Iterator[Dataset]:
    liver = _segment(1, "1", "10200004", "Liver")
    spleen = _segment(2, "Spleen", "78961009", "Spleen")
    accessory = _segment(3, "Spleen, accessory", "78961009", "Spleen")
    old = _segment(1, "organ", "T-62000", "Liver")
    labelled = _segment(3, " Liver", "113343008", "Organ", SegmentAlgorithmType="MANUAL")
    del labelled.SegmentAlgorithmName
    region = items(code("10200004", "SCT", "Liver"))
    tumour = _segment(1, "Liver tumor", "108369006", "Neoplasm", AnatomicRegionSequence=region)
    for name, segments, referenced in (
        ("SEG liver", [liver, spleen, accessory], ["CT even"]),
        ("SEG old code", [old], ["CT two kernels"]),
        ("SEG labelled", [spleen, labelled], ["MR T2", "CT thick"]),
        ("SEG tumour", [tumour], ["CT even"]),
        ("SEG of MR", [liver], ["MR T2"]),
        ("SEG of elsewhere", [liver], ["not in the cohort"]),
    ):
        yield _image(
            SegmentationStorage,
            "SEG",
            name,
            1,
            **(_SEGMENT_FRAMES if name == "SEG liver" else {}),
            PatientID="LAB-003" if name == "SEG of elsewhere" else "LAB-001",
            SegmentSequence=items(*segments),
            ReferencedSeriesSequence=items(
                *(item(SeriesInstanceUID=series_uid(each)) for each in referenced)
            ),
        )


def _roi(number: int, name: str, frame: str) -> Dataset:
    return item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=uid("frame", frame))


def _frame(frame: str, *series: str) -> Dataset:
    drawn = [item(SeriesInstanceUID=series_uid(name)) for name in series]
    study = item(RTReferencedSeriesSequence=items(*drawn))
    return item(FrameOfReferenceUID=uid("frame", frame), RTReferencedStudySequence=items(study))


def _rtstruct() -> Iterator[Dataset]:
    for name, rois, kinds, frames in (
        (
            "RT one",
            [_roi(1, "Lung Left", "ct"), _roi(2, "GTV-1", "ct")],
            {2: "GTV", 1: "ORGAN"},
            [_frame("ct", "CT even")],
        ),
        (
            "RT two",
            [_roi(1, " lung_left", "ct"), _roi(7, "PTV", "mr"), _roi(8, "Couch", "none")],
            {1: "ORGAN", 7: "PTV"},
            [_frame("ct", "CT even", "CT thick"), _frame("mr", "MR T2")],
        ),
    ):
        made = instance(RTStructureSetStorage, "RTSTRUCT", name, 1)
        made.StructureSetROISequence = items(*rois)
        made.RTROIObservationsSequence = items(
            *(
                item(ReferencedROINumber=number, RTROIInterpretedType=kind)
                for number, kind in kinds.items()
            )
        )
        made.ReferencedFrameOfReferenceSequence = items(*frames)
        yield made


# --- MG, US ----------------------------------------------------------------------------------


def _view(study: str, number: int, side: str | None, view: str | None, **elements: Any) -> Dataset:
    given = {
        "StudyInstanceUID": uid("study", study),
        "PatientID": f"patient of {study}",
        "PresentationIntentType": "FOR PRESENTATION",
        "ImageLaterality": side,
        "ViewPosition": view,
    }
    return _image(
        DigitalMammographyXRayImageStorageForPresentation,
        "MG",
        study,
        number,
        **{**given, **elements},
    )


_VIEWS: Final = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))


def _mg() -> Iterator[Dataset]:
    spot = items(code("399161006", "SCT", "Spot Compression"))
    standard = items(code("399368009", "SCT", "medio-lateral oblique"))
    modified = items(code("399368009", "SCT", "medio-lateral oblique"))
    modified[0].ViewModifierCodeSequence = spot
    craniocaudal = items(code("R-10242", "SRT", "cranio-caudal"))
    for number, (side, view) in enumerate(_VIEWS, start=1):
        yield _view("MG complete", number, side, view)
        yield _view("MG processing", number, side, view, PresentationIntentType="FOR PROCESSING")
        yield _view("MG implants", number, side, view, BreastImplantPresent="NO")
        if number < 4:
            yield _view("MG three", number, side, view)
            yield _view("MG spot", number, side, view)
    yield _view("MG complete", 5, "L", "MLO", ViewCodeSequence=modified)
    yield _view("MG complete", 6, "R", "ML")
    yield _view("MG complete", 7, "L", None)
    yield _view("MG complete", 8, "L", "CC")
    yield _view("MG implants", 5, "R", "CC", BreastImplantPresent="YES")
    yield _view("MG spot", 4, "R", "MLO", ViewCodeSequence=modified)
    # by codes, and the last as tomosynthesis says it
    yield _view("MG codes", 1, "L", None, ViewCodeSequence=craniocaudal)
    yield _view("MG codes", 2, None, None, Laterality="R", ViewCodeSequence=craniocaudal)
    yield _view("MG codes", 3, "L", None, ViewCodeSequence=standard)
    anatomy = item(FrameAnatomySequence=items(item(FrameLaterality="R")))
    yield _view(
        "MG codes",
        4,
        None,
        None,
        ViewCodeSequence=standard,
        SharedFunctionalGroupsSequence=items(anatomy),
        PresentationIntentType=None,
    )


def _region(left: int, **elements: Any) -> Dataset:
    given: dict[str, Any] = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionLocationMinX0": left,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": left + 99,
        "RegionLocationMaxY1": 199,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.02,
        "PhysicalDeltaY": 0.025,
    }
    return item(**{**given, **elements})


def _us() -> Iterator[Dataset]:
    others = [
        _region(200, RegionSpatialFormat=2),
        _region(200, RegionDataType=3),
        _region(200, PhysicalUnitsXDirection=4),
        _region(200, PhysicalUnitsYDirection=7),
    ]
    # measured to the left, and upwards
    second = _region(100, PhysicalDeltaX=-0.01, PhysicalDeltaY=-0.03)
    still = ["0", "0", "0"]
    for name, regions, timing in (
        ("US clip", [_region(0), second, *others], {"FrameTime": "40", "CineRate": "30"}),
        ("US vector", [_region(0)], {"FrameTimeVector": ["0", "60", "40"], "CineRate": "30"}),
        ("US rate", [_region(0)], {"FrameTime": "0", "FrameTimeVector": still, "CineRate": "15"}),
        ("US untimed", [_region(0)], {"CineRate": "0"}),
        ("US still", [_region(0)], {"NumberOfFrames": None}),
    ):
        made = _image(
            UltrasoundMultiFrameImageStorage,
            "US",
            name,
            1,
            SequenceOfUltrasoundRegions=items(*regions),
            TransducerType="LINEAR",
            **{"NumberOfFrames": 3, **timing},
        )
        if name == "US untimed":
            # as slides often are: compressed, without an offset table
            made.PixelData = encapsulate([b"\xff\xd8\xff\xd9"] * 3, has_bot=False)
            made["PixelData"].is_undefined_length = True
        yield made
