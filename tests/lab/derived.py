"""Generated objects that refer to the generated images: SEG, RTSTRUCT, SR and ANN."""

from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import RTStructureSetStorage

from tests.lab.dicom import DATE, TIME, instance, item, items, pin, save, uid
from tests.lab.images import CT_SLICES, SIZE, organs

ORGANS: Final = (
    Code("10200004", "SCT", "Liver"),
    Code("78961009", "SCT", "Spleen"),
    Code("64033007", "SCT", "Kidney"),
)
_ALGORITHM: Final = hd.AlgorithmIdentificationSequence(
    name="lab threshold",
    version="1.0",
    family=Code("123109", "DCM", "Manual Processing"),
)


def write_segmentation(folder: Path, images: list[Dataset]) -> None:
    """Write a BINARY segmentation of three organs, one bit per pixel."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=str(organ.meaning),
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=organ,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=_ALGORITHM,
            tracking_uid=uid("tracking", organ.value),
            tracking_id=f"lab {organ.meaning}",
        )
        for number, organ in enumerate(ORGANS, start=1)
    ]
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=organs(CT_SLICES, SIZE),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        content_label="ORGANS",
        **_equipment("SEG organs", 300),
    )
    _finish(made, folder / "seg.dcm", "SEG organs")


def write_structures(folder: Path, images: list[Dataset]) -> None:
    """Write an RT structure set with a square contour of every organ on every slice."""
    made = instance(RTStructureSetStorage, "RTSTRUCT", "RTSTRUCT organs", 1)
    numbers = range(1, len(ORGANS) + 1)
    elements = item(
        StructureSetLabel="ORGANS",
        StructureSetDate=DATE,
        StructureSetTime=TIME,
        ApprovalStatus="UNAPPROVED",
        ReferencedFrameOfReferenceSequence=items(_referenced_frame_of_reference(images)),
        StructureSetROISequence=items(
            *(
                item(
                    ROINumber=str(number),
                    ReferencedFrameOfReferenceUID=made.FrameOfReferenceUID,
                    ROIName=organ.meaning,
                    ROIGenerationAlgorithm="AUTOMATIC",
                )
                for number, organ in zip(numbers, ORGANS, strict=True)
            )
        ),
        ROIContourSequence=items(*(_contours(number, images) for number in numbers)),
        RTROIObservationsSequence=items(
            *(
                item(
                    ObservationNumber=str(number),
                    ReferencedROINumber=str(number),
                    RTROIInterpretedType="ORGAN",
                    ROIInterpreter="",
                )
                for number in numbers
            )
        ),
    )
    made.update(elements)
    save(made, folder / "rtstruct.dcm")


def write_report(folder: Path, images: list[Dataset]) -> None:
    """Write a structured report (TID 1500) with a measured region."""
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid("observer"), name="lab"
        ),
    )
    square = np.array([[10, 10, 0], [40, 10, 0], [40, 40, 0], [10, 40, 0], [10, 10, 0]], float)
    region = hd.sr.ImageRegion3D(
        graphic_type=hd.sr.GraphicTypeValues3D.POLYGON,
        graphic_data=square,
        frame_of_reference_uid=images[0].FrameOfReferenceUID,
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=uid("roi"), identifier="lab region"),
        referenced_region=region,
        finding_type=ORGANS[0],
        measurements=[
            hd.sr.Measurement(name=codes.SCT.Area, value=900.0, unit=codes.UCUM.SquareMillimeter)
        ],
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=Code("44139-4", "LN", "PET/CT study"),
        imaging_measurements=[group],
        referenced_images=images[:1],
    )
    made = hd.sr.Comprehensive3DSR(
        evidence=images[:1], content=report, **_equipment("SR measurements", 400)
    )
    _finish(made, folder / "sr.dcm", "SR measurements")


def write_annotations(folder: Path, slide: Dataset) -> None:
    """Write bulk annotations of a slide: 1,000 points and 100 polygons."""
    places = np.random.default_rng(3).uniform(100, 3000, (1000, 2)).astype(np.float32)
    corners = np.array([[0, 0], [9, 0], [9, 7], [0, 7]], np.float32)
    groups = [
        _annotations(1, "Nuclei", "POINT", [place[None] for place in places]),
        _annotations(2, "Cells", "POLYGON", [place + corners for place in places[:100]]),
    ]
    made = hd.ann.MicroscopyBulkSimpleAnnotations(
        source_images=[slide],
        annotation_coordinate_type=hd.ann.AnnotationCoordinateTypeValues.SCOORD,
        annotation_groups=groups,
        **_equipment("ANN nuclei", 500),
    )
    _finish(made, folder / "ann.dcm", "ANN nuclei")


def _annotations(number: int, label: str, kind: str, shapes: list[Any]) -> hd.ann.AnnotationGroup:
    return hd.ann.AnnotationGroup(
        number=number,
        uid=uid("annotations", label),
        label=label,
        annotated_property_category=Code("91723000", "SCT", "Anatomical structure"),
        annotated_property_type=Code("84640000", "SCT", "Nucleus"),
        graphic_type=kind,
        graphic_data=shapes,
        algorithm_type=hd.ann.AnnotationGroupGenerationTypeValues.AUTOMATIC,
        algorithm_identification=_ALGORITHM,
    )


def _equipment(series: str, number: int) -> dict[str, Any]:
    return {
        "series_instance_uid": uid("series", series),
        "series_number": number,
        "sop_instance_uid": uid(series, 1),
        "instance_number": 1,
        "manufacturer": "Prüfgeräte GmbH",
        "manufacturer_model_name": "Lab workstation",
        "software_versions": "1.0",
        "device_serial_number": "LAB0002",
        "series_description": series,
    }


def _finish(made: Dataset, path: Path, series: str) -> None:
    pin(made, series)
    save(made, path)


def _referenced_frame_of_reference(images: list[Dataset]) -> Dataset:
    first = images[0]
    references = [
        item(ReferencedSOPClassUID=i.SOPClassUID, ReferencedSOPInstanceUID=i.SOPInstanceUID)
        for i in images
    ]
    series = item(
        SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=items(*references)
    )
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=items(series),
    )
    return item(
        FrameOfReferenceUID=first.FrameOfReferenceUID,
        RTReferencedStudySequence=items(study),
    )


def _contours(number: int, images: list[Dataset]) -> Dataset:
    corners = [(-10 * number, -10), (10 * number, -10), (10 * number, 10), (-10 * number, 10)]
    contours = []
    for image in images:
        height = str(image.ImagePositionPatient[2])
        reference = item(
            ReferencedSOPClassUID=image.SOPClassUID,
            ReferencedSOPInstanceUID=image.SOPInstanceUID,
        )
        contour = item(
            ContourImageSequence=items(reference),
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=str(len(corners)),
            ContourData=[text for x, y in corners for text in (str(x), str(y), height)],
        )
        contours.append(contour)
    return item(
        ROIDisplayColor=["255", "0", str(number)],
        ReferencedROINumber=str(number),
        ContourSequence=items(*contours),
    )
