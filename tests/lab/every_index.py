"""A generated cohort with everything that IDC's header indices read, and what they react to.

Small series, each with one thing to it, which its SeriesDescription names.
"""

from __future__ import annotations

import csv
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import highdicom as hd
import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RawDataStorage,
    RTStructureSetStorage,
    UltrasoundImageStorage,
    VLWholeSlideMicroscopyImageStorage,
    XRayAngiographicImageStorage,
)

from tests.lab.dicom import DATE, TIME, code, instance, item, items, pin, save, uid
from tests.lab.files import Source, collect
from tests.lab.index import write_index
from tests.reference import Instance, read_instance

IMAGES: Final = "lab_images"
SLIDES: Final = "lab_a_slides"
"""Collections; sm_index is ordered by them."""
REGULAR: Final = "CT regular"
IOP_TWICE: Final = "CT orientation written in two ways"
SPACING_TWICE: Final = "CT spacing written in two ways"

_SIZE: Final = 16
_SPACING: Final = 2.5
_ALGORITHM: Final = hd.AlgorithmIdentificationSequence(
    name="lab threshold", version="1.0", family=Code("123109", "DCM", "Manual Processing")
)


class Placed(NamedTuple):
    """A file of the cohort."""

    path: Path
    """Named as in IDC's buckets where the index knows its series."""
    collection_id: str | None
    crdc_instance_uuid: str | None


class Cohort(NamedTuple):
    """Files, and what a config needs to name them."""

    objects: tuple[Placed, ...]
    series: Path
    """Index: a Parquet with IDC's columns."""
    manifest: Path
    """CSV with the URL of every file."""


def place(
    sources: Iterable[Source], folder: Path, loose: Sequence[Path] = (), *, link: bool = False
) -> Cohort:
    """Lay files out as in IDC's buckets and write the index of their series.

    Parameters
    ----------
    sources
        Files by collection; those without a SeriesInstanceUID find no place.
    folder
        Of the cohort.
    loose
        Files that the cohort has as well, and the index does not know.
    link
        Leave the files where they are, and link to them; those that find no place are `loose`.
    """
    sources = list(sources)
    series = collect(sources, folder / "variants")
    objects = []
    for each in series:
        for member in each.instances:
            path = folder / each.aws_bucket / each.key(member)
            path.parent.mkdir(parents=True, exist_ok=True)
            if link:
                path.symlink_to(member.path)
            else:
                shutil.move(member.path, path)
            objects.append(Placed(path, each.collection_id, member.crdc_instance_uuid))
    if link:
        known = {member.path for each in series for member in each.instances}
        loose = [path for each in sources for path in each.paths if path not in known]
    objects += [Placed(path, None, None) for path in loose]
    index, manifest = folder / "index.parquet", folder / "manifest.csv"
    write_index(series, index)
    with manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url"])
        rows.writerows([each.path.as_uri()] for each in objects)
    return Cohort(tuple(objects), index, manifest)


def write_cohort(folder: Path) -> Cohort:
    """Write the whole cohort, the same in every run."""
    made = folder / "made"
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # the libraries warn of their own deprecations, and of values that are wrong on purpose
        warnings.simplefilter("ignore")
        images = write_ct_series(made / "ct")
        _write_other_images(made / "other")
        _write_mr(made / "mr")
        _write_pt(made / "pt")
        _write_segmentations(made / "seg", images)
        _write_structures(made / "rtstruct", images)
        slide = _write_slides(made / "sm")
        _write_annotations(made / "ann", slide)
        loose = [*_write_nameless(made / "loose"), *_write_twice(made / "loose")]
    slides = [*_files(made / "sm"), *_files(made / "ann")]
    images_only = [path for path in _files(made) if path not in {*slides, *loose}]
    return place([Source(IMAGES, images_only), Source(SLIDES, slides)], folder, loose)


def read_cohort(cohort: Cohort, *, as_written: bool) -> list[Instance]:
    """Read the files of a cohort that are rows of dicom_all; see `tests.reference.Header`."""
    found = (
        read_instance(
            each.path,
            as_written=as_written,
            collection_id=each.collection_id,
            crdc_instance_uuid=each.crdc_instance_uuid,
        )
        for each in cohort.objects
    )
    return [instance for instance in found if instance is not None]


def write_ct_cohort(folder: Path) -> Cohort:
    """Write a cohort of the CT series alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_ct_series(folder / "made")
    return place([Source(IMAGES, _files(folder / "made"))], folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.dcm"))


# --- images ----------------------------------------------------------------------------------

Change = Callable[[Dataset, int], None]
"""Makes the n-th instance of a series what it is."""


def _image(sop_class: UID, modality: str, series: str, index: int) -> Dataset:
    """Make an axial image without a word more than geometry needs."""
    image = instance(sop_class, modality, series, index + 1)
    image.update(
        item(
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            ImagePositionPatient=["-20", "-20", f"{index * _SPACING}"],
            ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
            PixelSpacing=["0.5", "0.75"],
            SliceThickness="3.0",
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=_SIZE,
            Columns=_SIZE,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            PixelData=bytes(_SIZE * _SIZE),
        )
    )
    image["PixelData"].VR = "OB"
    return image


def _set(**elements: Any) -> Change:
    def change(image: Dataset, _index: int) -> None:
        image.update(item(**elements))

    return change


def _without(*keywords: str) -> Change:
    def change(image: Dataset, _index: int) -> None:
        for keyword in keywords:
            del image[keyword]

    return change


def _raw(image: Dataset, keyword: str, value: bytes) -> None:
    """Set bytes that pydicom would refuse to write as the value of an attribute."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag)
    image[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


_CT_ATTRIBUTES: Final[dict[str, Any]] = {
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "320.5",
    "GantryDetectorTilt": "0.0",
    "FilterType": "WEDGE_3",
    "ScanOptions": ["HELIX", "AXIAL"],
    "ConvolutionKernel": ["B30f", "3"],
    "SpiralPitchFactor": 0.8,
}


def _doses(image: Dataset, index: int) -> None:
    image.XRayTubeCurrent = str(300 - 17 * index)
    image.Exposure = str(90 + 7 * index)
    image.WindowCenter = ["40", "-600"]
    # as numbers 9 comes before 10, as text after it
    image.ExposureTime = str(8 + index)


def _contrast(image: Dataset, index: int) -> None:
    agents = ("Iohexol", "", "iodixanol", "Iohexol")
    image.ContrastBolusAgent = agents[index % len(agents)]
    if index == 1:
        image.ContrastBolusIngredient = "IODINE"
        image.ContrastBolusRoute = "IV"


def _irregular(image: Dataset, index: int) -> None:
    image.ImagePositionPatient = ["-20", "-20", f"{(0, 2.5, 5, 8.5)[index]}"]


def _turned(degrees: float) -> Change:
    """Turn the planes about the y axis, and move them along their normal."""

    def change(image: Dataset, index: int) -> None:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along = index * _SPACING
        image.ImageOrientationPatient = [f"{cosine:.7f}", "0", f"{sine:.7f}", "0", "1", "0"]
        place = [-160 - along * sine, -160.0, along * cosine]
        image.ImagePositionPatient = [f"{coordinate:.7f}" for coordinate in place]

    return change


def _tilted(image: Dataset, index: int) -> None:
    """Tilt the planes and move them along the table, so that they slide over each other."""
    cosine, sine = np.cos(np.radians(15)), np.sin(np.radians(15))
    image.GantryDetectorTilt = "15"
    image.ImageOrientationPatient = ["1", "0", "0", "0", f"{cosine:.7f}", f"{sine:.7f}"]
    image.ImagePositionPatient = ["-20", "-20", f"{index * 3}"]


def _localizer_first(image: Dataset, index: int) -> None:
    if index == 0:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _projection_last(image: Dataset, index: int) -> None:
    if index == 2:
        image.ImageType = ["DERIVED", "SECONDARY", "CURVED_MIP_3"]


def _orientation_twice(image: Dataset, index: int) -> None:
    if index == 1:
        image.ImageOrientationPatient = ["1.000000", "0.000000", "0", "0", "1.0", "0"]


def _spacing_twice(image: Dataset, index: int) -> None:
    if index == 1:
        image.PixelSpacing = ["0.50", "0.750"]


def _same_place(image: Dataset, index: int) -> None:
    image.ImagePositionPatient = ["-20", "-20", f"{index // 2 * _SPACING}"]


def _sizes(image: Dataset, index: int) -> None:
    if index == 2:
        image.Rows, image.Columns = 8, 32
        image.PixelSpacing = ["1", "1"]


def _two_orientations(image: Dataset, index: int) -> None:
    if index == 2:
        image.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
        image.ImagePositionPatient = ["7", "0", "0"]


def _jitter(image: Dataset, index: int) -> None:
    """Stay below every tolerance."""
    shift = 0.04 * (index % 2)
    height = index * _SPACING + 0.01 * (index % 2)
    image.ImagePositionPatient = [f"{-20 + shift:.2f}", f"{-20 - shift:.2f}", f"{height:.2f}"]


def _skewed(image: Dataset, _index: int) -> None:
    image.ImageOrientationPatient = ["1", "0", "0", "0.5", "0.8660254", "0"]


def _odd_numbers(image: Dataset, index: int) -> None:
    image.KVP = "120.0"
    _raw(image, "XRayTubeCurrent", (b"20.0", b"+7", b"007 ")[index])
    _raw(image, "Exposure", (b"abc ", b"11", b" 9")[index])
    _raw(image, "ExposureTime", b"1.5 ")
    _raw(image, "SliceThickness", b"1.25E0")
    _raw(image, "DataCollectionDiameter", b"5OO ")


def _half_described(image: Dataset, index: int) -> None:
    """Say of one instance what the others do not."""
    if index != 1:
        _without("KVP", "ScanOptions", "ConvolutionKernel", "SpiralPitchFactor")(image, index)


def _one_without_place(image: Dataset, index: int) -> None:
    if index == 1:
        del image["ImagePositionPatient"]


_REPEATED: Final = (
    "ImageType",
    "ScanOptions",
    "ConvolutionKernel",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_CT_SERIES: Final[dict[str, tuple[int, tuple[Change, ...]]]] = {
    REGULAR: (6, (_doses, _contrast)),
    "CT irregular": (4, (_irregular,)),
    "CT oblique": (4, (_turned(30),)),
    "CT gantry tilt": (4, (_tilted,)),
    "CT with localizer": (4, (_localizer_first,)),
    "CT with projection": (3, (_projection_last,)),
    IOP_TWICE: (4, (_orientation_twice,)),
    SPACING_TWICE: (4, (_spacing_twice,)),
    "CT without repeated attributes": (2, (_without(*_REPEATED),)),
    "CT with empty attributes": (2, (_set(**dict.fromkeys(_REPEATED, None), KVP=None),)),
    "CT of one slice": (1, ()),
    "CT of one place twice": (4, (_same_place,)),
    "CT of two sizes": (4, (_sizes,)),
    "CT of two orientations": (3, (_two_orientations,)),
    "CT within tolerances": (5, (_jitter,)),
    "CT skewed": (3, (_skewed,)),
    "CT with odd numbers": (3, (_odd_numbers,)),
    "CT half described": (3, (_half_described,)),
    "CT with a slice nowhere": (3, (_one_without_place,)),
}


def write_ct_series(folder: Path) -> list[Dataset]:
    """Write the CT series; return the instances of the regular one."""
    regular = []
    for series, (count, changes) in _CT_SERIES.items():
        for index in range(count):
            image = _image(CTImageStorage, "CT", series, index)
            image.update(item(**_CT_ATTRIBUTES))
            for change in changes:
                change(image, index)
            save(image, folder / series.replace(" ", "_") / f"{index}.dcm")
            if series == REGULAR:
                regular.append(image)
    return regular


def _write_other_images(folder: Path) -> None:
    """Write what contrast_index is to take by its Modality, and what it is not."""
    agents = {
        "XA": (XRayAngiographicImageStorage, "XA", "Iopamidol"),
        "US": (UltrasoundImageStorage, "US", "SonoVue"),
    }
    for series, (sop_class, modality, agent) in agents.items():
        image = _image(sop_class, modality, f"{series} with contrast", 0)
        image.ContrastBolusAgent = agent
        save(image, folder / f"{series}.dcm", ExplicitVRBigEndian)
    raw = instance(RawDataStorage, "CT", "CT raw data", 1)
    raw.ContrastBolusRoute = "ORAL"
    save(raw, folder / "raw.dcm")


def _write_nameless(folder: Path) -> list[Path]:
    """Write localizers without a SeriesInstanceUID; one NULL would empty a NOT IN."""
    paths = []
    for index in range(2):
        image = _image(CTImageStorage, "CT", "CT nameless", index)
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        image.ContrastBolusAgent = "of nobody"
        del image.SeriesInstanceUID
        path = folder / f"{index}.dcm"
        save(image, path)
        paths.append(path)
    return paths


def _write_twice(folder: Path) -> list[Path]:
    """Write series of which one SOPInstanceUID is there twice, by which IDC's SQL joins."""
    images = [_image(CTImageStorage, "CT", "CT with an instance twice", n) for n in (0, 1, 2, 2)]
    images[-1].KVP = "80"
    slides = [_slide("SM with an instance twice", 0) for _ in range(2)]
    slides[1].ContainerIdentifier = "SM with an instance twice container, again"
    slides[1].SpecimenDescriptionSequence[0].SpecimenPreparationSequence = items(
        _step("424361007", "Using substance", ("4656000", "periodic acid stain"))
    )
    paths = []
    for number, image in enumerate((*images, *slides)):
        paths.append(folder / f"twice_{number}.dcm")
        save(image, paths[-1])
    return paths


def _write_mr(folder: Path) -> None:
    echoes = ("10", "2.46", "10.0", "4.92")
    for index, echo in enumerate(echoes):
        image = _image(MRImageStorage, "MR", "MR of several echoes", index)
        _turned(5)(image, index)
        image.update(
            item(
                MagneticFieldStrength="3",
                ScanningSequence=["SE", "EP"],
                SequenceVariant=["SK", "SP"],
                MRAcquisitionType="2D",
                EchoTime=echo,
                RepetitionTime="7500",
                EchoTrainLength="8",
                FlipAngle="90",
                PixelBandwidth="1500.5",
                ImagingFrequency="123.25",
                ImagedNucleus="1H",
                InversionTime="900",
                ReceiveCoilName="Head",
                SequenceName="*ep_b800t",
                DiffusionBValue=float((800, 0, 50, 800)[index]),
                ContrastBolusAgent="Gadobutrol",
            )
        )
        _raw(image, "NumberOfTemporalPositions", b"20.0")
        save(image, folder / f"echoes_{index}.dcm", ImplicitVRLittleEndian)
    for index in range(2):
        image = _image(MRImageStorage, "MR bare", "MR bare", index)
        image.Modality = "MR"
        image.SequenceVariant = None
        image.EchoTime = None
        save(image, folder / f"bare_{index}.dcm")


def _tracer(start: str) -> Dataset:
    return item(
        Radiopharmaceutical="FDG -- fluorodeoxyglucose",
        RadiopharmaceuticalStartTime=start,
        RadionuclideTotalDose="350000000.5",
        RadionuclideHalfLife="6586.2",
        RadionuclideCodeSequence=items(code("C-111A1", "SRT", "^18^Fluorine")),
    )


def _write_pt(folder: Path) -> None:
    described = item(
        SeriesType=["WHOLE BODY", "IMAGE"],
        Units="BQML",
        DecayCorrection="START",
        CorrectedImage=["DECY", "ATTN", "SCAT"],
        RandomsCorrectionMethod="DLYD",
        ReconstructionMethod="OSEM 3i24s",
        ScatterCorrectionMethod="Model-based",
        AttenuationCorrectionMethod="CT, measured",
        NumberOfSlices=3,
    )
    dynamic = item(SeriesType=["DYNAMIC", "IMAGE"], NumberOfTimeSlices=2)
    series: dict[str, tuple[Dataset, ...]] = {
        "PT whole body": (described, item(ActualFrameDuration="150000", **_with_tracer("113000"))),
        "PT dynamic": (described, dynamic, item(**_with_tracer("090500.25"))),
        "PT of an hour": (item(Units="CNTS", **_with_tracer("07")),),
        "PT with empty sequences": (item(SeriesType=None, **{_TRACER: items()}),),
        "PT bare": (),
    }
    for name, parts in series.items():
        for index in range(3):
            image = _image(PositronEmissionTomographyImageStorage, "PT", name, index)
            for part in parts:
                image.update(part)
            if name == "PT dynamic":
                image.ActualFrameDuration = ("30000", "9000", "30000.0")[index]
            syntax = DeflatedExplicitVRLittleEndian if index else ExplicitVRLittleEndian
            save(image, folder / name.replace(" ", "_") / f"{index}.dcm", syntax)


_TRACER: Final = "RadiopharmaceuticalInformationSequence"


def _with_tracer(start: str) -> dict[str, Any]:
    return {_TRACER: items(_tracer(start))}


# --- segmentations ---------------------------------------------------------------------------

_LIVER: Final = Code("10200004", "SCT", "Liver")
_MASS: Final = Code("4147007", "SCT", "Mass")
_KIDNEY: Final = Code("64033007", "SCT", "Kidney")


def _segments(count: int) -> list[hd.seg.SegmentDescription]:
    manual = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    automatic = hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    semiautomatic = hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    described = (
        (_LIVER, codes.SCT.Organ, automatic, None),
        (_MASS, codes.SCT.MorphologicallyAbnormalStructure, manual, _KIDNEY),
        (_KIDNEY, codes.SCT.Organ, semiautomatic, None),
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=str(kind.meaning),
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=algorithm,
            algorithm_identification=None if algorithm == manual else _ALGORITHM,
            anatomic_regions=[region] if region else None,
            tracking_uid=uid("tracking", kind.value),
            tracking_id=f"lab {kind.meaning}",
        )
        for number, (kind, category, algorithm, region) in enumerate(described[:count], start=1)
    ]


def _segmentation(
    images: list[Dataset], series: str, number: int, segments: int, kind: str = "BINARY"
) -> Dataset:
    labels = np.zeros((len(images), _SIZE, _SIZE), np.uint8)
    for segment in range(1, segments + 1):
        labels[:, 4 * segment - 3 : 4 * segment, 2:9] = segment
    made: Dataset = hd.seg.Segmentation(
        source_images=images,
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues[kind],
        segment_descriptions=_segments(segments),
        **_equipment(series, number),
    )
    pin(made, series)
    return made


def _equipment(series: str, number: int) -> dict[str, Any]:
    return {
        "series_instance_uid": uid("series", series),
        "series_number": 300,
        "sop_instance_uid": uid(series, number),
        "instance_number": number,
        "manufacturer": "Lab",
        "manufacturer_model_name": "Lab workstation",
        "software_versions": "1.0",
        "device_serial_number": "LAB0002",
        "series_description": series,
    }


def _write_segmentations(folder: Path, images: list[Dataset]) -> None:
    whole = _segmentation(images, "SEG of several", 1, 3)
    # the modifier that highdicom does not write
    region = whole.SegmentSequence[1].AnatomicRegionSequence[0]
    region.AnatomicRegionModifierSequence = items(code("7771000", "SCT", "Left"))
    save(whole, folder / "several_1.dcm")
    save(_segmentation(images, "SEG of several", 2, 1), folder / "several_2.dcm")
    save(_segmentation(images, "SEG label map", 1, 3, "LABELMAP"), folder / "labels.dcm")

    nameless = _segmentation(images, "SEG with odd segments", 1, 2)
    nameless.SegmentSequence[0].SegmentAlgorithmName = "Net, v2"
    nameless.SegmentSequence[1].SegmentedPropertyTypeCodeSequence = items()
    nameless.SegmentSequence[1].SegmentedPropertyCategoryCodeSequence[0].CodeMeaning = ""
    save(nameless, folder / "odd.dcm")

    elsewhere = [_image(CTImageStorage, "CT", "CT that is not there", 0)]
    save(_segmentation(elsewhere, "SEG of an unknown image", 1, 1), folder / "unknown.dcm")

    # the label map standard's way, and that of old objects
    reference = item(
        ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=images[0].SOPInstanceUID
    )
    for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
        made = _segmentation(images, f"SEG with {keyword}", 1, 1)
        del made.ReferencedSeriesSequence
        setattr(made, keyword, items(reference))
        save(made, folder / f"{keyword}.dcm")
    both = _segmentation(elsewhere, "SEG with two references", 1, 1)
    # the first reference counts, even where the second would lead somewhere
    both.SourceImageSequence = items(reference)
    save(both, folder / "both.dcm")
    empty = _segmentation(images, "SEG without segments", 1, 1)
    empty.SegmentSequence = items()
    save(empty, folder / "empty.dcm")


# --- structures ------------------------------------------------------------------------------


def _region(number: str, name: str, algorithm: str) -> Dataset:
    return item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=uid("frame of reference", "LAB-001"),
        ROIName=name,
        ROIGenerationAlgorithm=algorithm,
    )


def _observation(number: str, kind: str) -> Dataset:
    return item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIInterpretedType=kind,
        ROIInterpreter="",
    )


def _write_structures(folder: Path, images: list[Dataset]) -> None:
    def structures(series: str, number: int, **elements: Any) -> None:
        made = instance(RTStructureSetStorage, "RTSTRUCT", series, number)
        made.update(item(StructureSetLabel="LAB", StructureSetDate=DATE, StructureSetTime=TIME))
        made.update(item(**elements))
        save(made, folder / f"{series.replace(' ', '_')}_{number}.dcm")

    series = item(SeriesInstanceUID=images[0].SeriesInstanceUID)
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=items(series),
    )
    frame = item(
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        RTReferencedStudySequence=items(study),
    )
    structures(
        "RTSTRUCT organs",
        1,
        ReferencedFrameOfReferenceSequence=items(frame),
        StructureSetROISequence=items(
            _region("1", "Liver", "AUTOMATIC"),
            _region("2", "GTV-1", "MANUAL"),
            _region("3", "gtv-1", ""),
            _region("4", "Liver", "AUTOMATIC"),
        ),
        RTROIObservationsSequence=items(
            _observation("1", "ORGAN"),
            _observation("2", "GTV"),
            _observation("3", ""),
            # of no region
            _observation("9", "CTV"),
        ),
    )
    # numbers start anew in every instance, and observations are of their own
    structures(
        "RTSTRUCT organs",
        2,
        StructureSetROISequence=items(_region("1", "Spleen", "SEMIAUTOMATIC")),
        RTROIObservationsSequence=items(_observation("2", "PTV")),
    )
    structures(
        "RTSTRUCT numbers in two ways",
        1,
        StructureSetROISequence=items(_region("1", "A", ""), _region("02", "B", "")),
        RTROIObservationsSequence=items(_observation("1", "ORGAN"), _observation("2", "AVOIDANCE")),
    )
    structures(
        "RTSTRUCT in Latin 1",
        1,
        SpecificCharacterSet="ISO_IR 100",
        # by code points: capitals, small letters, umlauts
        StructureSetROISequence=items(
            _region("1", "Ösophagus", ""), _region("2", "zone", ""), _region("3", "Zone", "")
        ),
    )
    structures("RTSTRUCT without regions", 1, StructureSetROISequence=items())
    structures(
        "RTSTRUCT without observations", 1, StructureSetROISequence=items(_region("1", "", ""))
    )


# --- slides ----------------------------------------------------------------------------------


def _step(concept: str, meaning: str, *substances: tuple[str, str]) -> Dataset:
    contents = [
        item(
            ValueType="CODE",
            ConceptNameCodeSequence=items(code(concept, "SCT", meaning)),
            ConceptCodeSequence=items(code(value, "SCT", substance)),
        )
        for value, substance in substances
    ]
    return item(SpecimenPreparationStepContentItemSequence=items(*contents))


def _specimen(**more: Any) -> Dataset:
    made = item(
        SpecimenIdentifier="LAB-002-A-1",
        SpecimenUID=uid("specimen"),
        SpecimenPreparationSequence=items(
            _step("430864009", "Tissue Fixative", ("431510009", "Formalin")),
            _step("430863003", "Embedding medium", ("311731000", "Paraffin wax")),
            _step(
                "424361007",
                "Using substance",
                ("36879007", "water soluble eosin stain"),
                ("12710003", "hematoxylin stain"),
                ("1234", "Ki-67: clone MIB-1"),
            ),
            _step("424361007", "Using substance", ("12710003", "hematoxylin stain")),
            _step("17636008", "Specimen collection", ("65801008", "Excision")),
        ),
        PrimaryAnatomicStructureSequence=items(_structure()),
    )
    made.update(item(**more))
    return made


def _structure() -> Dataset:
    return item(
        CodeValue="76752008",
        CodingSchemeDesignator="SCT",
        CodeMeaning="Breast",
        PrimaryAnatomicStructureModifierSequence=items(code("24028007", "SCT", "Right: upper")),
    )


def _slide(series: str, level: int, **elements: Any) -> Dataset:
    side = 64 >> level
    spacing = f"{0.000498 * 2**level:.6f}"
    image = _image(VLWholeSlideMicroscopyImageStorage, "SM", series, level)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del image[keyword]
    image.update(
        item(
            ImageType=["ORIGINAL" if level == 0 else "DERIVED", "PRIMARY", "VOLUME", "NONE"],
            ContainerIdentifier=f"{series} container",
            AcquisitionDateTime=DATE + TIME,
            VolumetricProperties="VOLUME",
            SpecimenDescriptionSequence=items(_specimen()),
            ImagedVolumeWidth=15.0,
            ImagedVolumeHeight=15.0,
            ImagedVolumeDepth=1.0,
            ImageOrientationSlide=["0", "-1", "0", "-1", "0", "0"],
            TotalPixelMatrixColumns=side + 3,
            TotalPixelMatrixRows=side,
            TotalPixelMatrixFocalPlanes=1,
            TotalPixelMatrixOriginSequence=items(
                item(XOffsetInSlideCoordinateSystem="20", YOffsetInSlideCoordinateSystem="40")
            ),
            NumberOfOpticalPaths=1,
            OpticalPathSequence=items(
                item(
                    OpticalPathIdentifier="1",
                    IlluminationTypeCodeSequence=items(
                        code("111744", "DCM", "Brightfield illumination")
                    ),
                    ObjectiveLensPower="20",
                )
            ),
            AdmittingDiagnosesCodeSequence=items(code("254837009", "SCT", "Breast cancer")),
            DimensionOrganizationType="TILED_FULL",
            NumberOfFrames=1,
            SharedFunctionalGroupsSequence=items(
                item(PixelMeasuresSequence=items(item(PixelSpacing=[spacing, "0.9"])))
            ),
        )
    )
    image.update(item(**elements))
    return image


_SLIDE_SEQUENCES: Final = (
    "SpecimenDescriptionSequence",
    "OpticalPathSequence",
    "AdmittingDiagnosesCodeSequence",
    "SharedFunctionalGroupsSequence",
)


def _write_slides(folder: Path) -> Dataset:
    """Write the slides; return the base level of the first."""
    base = _slide("SM stained", 0)
    save(base, folder / "stained_0.dcm")
    for level in (1, 2):
        syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)[level - 1]
        save(_slide("SM stained", level), folder / f"stained_{level}.dcm", syntax)

    power = items(item(OpticalPathIdentifier="1", ObjectiveLensPower="40.0"))
    two = _specimen(), _specimen(SpecimenPreparationSequence=items())
    liver = items(code("10200004", "SCT", "Liver"))
    long = items(item(LongCodeValue="76752008", CodingSchemeDesignator="SCT", CodeMeaning="Breast"))
    slides: dict[str, dict[str, Any]] = {
        "SM power with a fraction": {"OpticalPathSequence": power},
        "SM with empty sequences": dict.fromkeys(_SLIDE_SEQUENCES, items()),
        "SM of two specimens": {
            # the first counts, which has no preparation
            "SpecimenDescriptionSequence": items(*reversed(two)),
        },
        "SM of the liver": {
            "SpecimenDescriptionSequence": items(_specimen(PrimaryAnatomicStructureSequence=liver)),
        },
        "SM without a code value": {
            "SpecimenDescriptionSequence": items(_specimen(PrimaryAnatomicStructureSequence=long)),
        },
        "SM with a spacing of its own": {"PixelSpacing": ["0.0257", "0.0257"]},
    }
    for series, elements in slides.items():
        save(_slide(series, 0, **elements), folder / f"{series.replace(' ', '_')}.dcm")
    bare = _slide("SM bare", 0)
    for keyword in (*_SLIDE_SEQUENCES, "TotalPixelMatrixColumns", "TotalPixelMatrixRows"):
        del bare[keyword]
    save(bare, folder / "bare.dcm")
    # levels that disagree: the first diagnosis and the first structure by code count
    for level, value in enumerate(("94381002", "254837009")):
        image = _slide("SM of two diagnoses", level)
        image.AdmittingDiagnosesCodeSequence = items(code(value, "SCT", f"Diagnosis {value}"))
        save(image, folder / f"diagnoses_{level}.dcm")
    return base


def _group(number: int, label: str, kind: str, *, manual: bool) -> hd.ann.AnnotationGroup:
    corners = np.array([[0, 0], [9, 0], [9, 7], [0, 7]], np.float32)
    generation = hd.ann.AnnotationGroupGenerationTypeValues
    return hd.ann.AnnotationGroup(
        number=number,
        uid=uid("annotations", label),
        label=label,
        annotated_property_category=Code("91723000", "SCT", "Anatomical structure"),
        annotated_property_type=Code("84640000", "SCT", "Nucleus"),
        graphic_type=kind,
        graphic_data=[corners[:1] if kind == "POINT" else corners] * (2 + number),
        algorithm_type=generation.MANUAL if manual else generation.AUTOMATIC,
        algorithm_identification=None if manual else _ALGORITHM,
    )


def _write_annotations(folder: Path, slide: Dataset) -> None:
    def annotations(series: str, number: int, *groups: hd.ann.AnnotationGroup) -> Dataset:
        made: Dataset = hd.ann.MicroscopyBulkSimpleAnnotations(
            source_images=[slide],
            annotation_coordinate_type=hd.ann.AnnotationCoordinateTypeValues.SCOORD,
            annotation_groups=groups,
            **_equipment(series, number),
        )
        pin(made, series)
        return made

    nuclei = _group(1, "Nuclei", "POINT", manual=False)
    cells = _group(2, "Cells", "POLYGON", manual=True)
    save(annotations("ANN of two groups", 1, nuclei, cells), folder / "two.dcm")
    odd = annotations("ANN with odd groups", 1, _group(1, "Odd", "POINT", manual=True))
    odd.AnnotationGroupSequence[0].AnnotationPropertyTypeCodeSequence = items()
    del odd.AnnotationGroupSequence[0].AnnotationPropertyCategoryCodeSequence[0].CodeValue
    del odd.ReferencedSeriesSequence
    save(odd, folder / "odd.dcm")
    empty = annotations("ANN without groups", 1, _group(1, "Gone", "POINT", manual=True))
    empty.AnnotationGroupSequence = items()
    save(empty, folder / "empty.dcm")
