"""A cohort that breaks none of the ready rules, and for each rule what it takes to break it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from harvest.audit.listings import LISTINGS_SCHEMA
from harvest.audit.rules import Askable, RuleOutcome, check_rules, run_rules, selected_rules
from harvest.audit.sandbox import sandboxed
from harvest.config.audit import AuditConfig, RuleConfig
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes
from tests.support.snapshots import instance, series_rows, series_schema

Row = dict[str, Any]

PROFILES: Final = ("core", "deid", "mr", "pt", "sm")
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
MR: Final = "1.2.840.10008.5.1.4.1.1.4"
PT: Final = "1.2.840.10008.5.1.4.1.1.128"
SM: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
JPEG: Final = "1.2.840.10008.1.2.4.50"


@dataclass
class Cohort:
    """The tables that rules look at."""

    instances: list[Row]
    series: list[Row]
    listings: list[Row]

    def of(self, sop_class: str) -> list[Row]:
        """Return the rows of a class, to be changed."""
        return [row for row in self.instances if row["SOPClassUID"] == sop_class]


def sound() -> Cohort:
    """Return a CT, a dynamic PET, a two-echo MR and a slide, of one patient."""
    rows = [*_ct(), *_pet(), *_mr(), *_slide()]
    listings = [row for each in rows for row in _listings(each)]
    series = series_rows(rows, SeriesDescription="made", Manufacturer="Maker")
    return Cohort(
        rows,
        [{**row, "series_size_MB": round(row["series_size_MB"], 2)} for row in series],
        listings,
    )


def _row(number: int, series: int, sop_class: str, **values: Any) -> Row:
    row = instance(number, series)
    uid = row["SOPInstanceUID"]
    return {
        **row,
        "SOPClassUID": sop_class,
        "MediaStorageSOPClassUID": sop_class,
        "MediaStorageSOPInstanceUID": uid,
        "TransferSyntaxUID": EXPLICIT,
        "FrameOfReferenceUID": f"1.2.3.{series}.0.1",
        "PatientName": "P1",
        "PatientSex": "F",
        "SeriesDescription": "made",
        "Manufacturer": "Maker",
        "InstanceNumber": number,
        "AcquisitionNumber": 1,
        "BurnedInAnnotation": "NO",
        "RecognizableVisualFeatures": "NO",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": ["by hand"],
        "LongitudinalTemporalInformationModified": "MODIFIED",
        "Rows": 4,
        "Columns": 4,
        "BitsAllocated": 16,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "header": json.dumps({"00080060": {"vr": "CS", "Value": ["CT"]}}),
        **values,
    }


def _slice(number: int, series: int, sop_class: str, place: int, **values: Any) -> Row:
    geometry = {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "ImagePositionPatient": [0.0, 0.0, 2.5 * place],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [0.5, 0.5],
        "SliceThickness": 2.5,
    }
    return _row(number, series, sop_class, **geometry, **values)


def _ct() -> Iterator[Row]:
    for number in range(1, 5):
        yield _slice(number, 1, CT, number, BodyPartExamined="CHEST")


def _pet() -> Iterator[Row]:
    for number in range(11, 15):
        place, time = divmod(number - 11, 2)
        yield _slice(
            number,
            2,
            PT,
            place,
            Modality="PT",
            NumberOfSlices=2,
            NumberOfTimeSlices=2,
            FrameReferenceTime=float(time),
        )


def _mr() -> Iterator[Row]:
    for number in range(21, 25):
        place, echo = divmod(number - 21, 2)
        yield _slice(number, 3, MR, place, Modality="MR", EchoTime=10.0 + echo)


def _slide() -> Iterator[Row]:
    spacing = [{"PixelMeasuresSequence": [{"PixelSpacing": [0.001, 0.001]}]}]
    for number in (31, 32):
        yield _row(
            number,
            4,
            SM,
            Modality="SM",
            TransferSyntaxUID=JPEG,
            offset_table="basic",
            offset_table_frames=4,
            NumberOfFrames=4,
            ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            SpecimenLabelInImage="NO",
            DimensionOrganizationType="TILED_FULL",
            TotalPixelMatrixColumns=8,
            TotalPixelMatrixRows=8,
            TotalPixelMatrixFocalPlanes=1,
            NumberOfOpticalPaths=1,
            ImagedVolumeWidth=0.008,
            ConcatenationUID=None,
            SharedFunctionalGroupsSequence=spacing,
        )


def _listings(row: Row) -> Iterator[Row]:
    for cloud, scheme in (("aws", "s3"), ("gcs", "gs")):
        yield {
            "cloud": cloud,
            "url": row["url"].replace("s3://", f"{scheme}://"),
            "crdc_series_uuid": row["crdc_series_uuid"],
            "crdc_instance_uuid": row["crdc_instance_uuid"],
            "size": row["size"],
            "etag": row["etag"],
            "md5": f"{row['size']:032x}",
        }


# --- running rules on a cohort -----------------------------------------------------------------

SCHEMA = instances_schema(resolve_attributes(PROFILES, []), header=True)
TABLES = Askable(SCHEMA, series_schema(), PROFILES)


def in_memory(cohort: Cohort) -> dict[str, pa.Table]:
    return {
        "instances": pa.Table.from_pylist(cohort.instances, SCHEMA),
        "series": pa.Table.from_pylist(cohort.series, series_schema()),
        "listings": pa.Table.from_pylist(cohort.listings, LISTINGS_SCHEMA),
    }


def outcomes(audit: AuditConfig, cohort: Cohort, only: str = "") -> dict[str, RuleOutcome]:
    rules = [rule for rule in selected_rules(audit) if rule.name == (only or rule.name)]
    skipped = check_rules(rules, TABLES)
    with sandboxed({}, tables=in_memory(cohort)) as sandbox:
        return {outcome.name: outcome for outcome in run_rules(rules, skipped, sandbox)}


def own(**rule: Any) -> AuditConfig:
    """Return a section with one rule."""
    given = {"name": "mine", "severity": "error", "description": "mine", **rule}
    return AuditConfig(rules=[RuleConfig.model_validate(given)])


# --- what breaks each rule ---------------------------------------------------------------------

Break = Callable[[Cohort], None]


def _set(sop_class: str, number: int = 0, **values: Any) -> Break:
    """Change a row of a class."""
    return lambda cohort: cohort.of(sop_class)[number].update(values)


def _all(sop_class: str, **values: Any) -> Break:
    def change(cohort: Cohort) -> None:
        for row in cohort.of(sop_class):
            row.update(deepcopy(values))

    return change


def _series(number: int = 0, **values: Any) -> Break:
    return lambda cohort: cohort.series[number].update(values)


def _listing(number: int, **values: Any) -> Break:
    """Change a listing; even numbers are on AWS, odd ones on GCS."""
    return lambda cohort: cohort.listings[number].update(values)


def _without_listing(number: int) -> Break:
    def change(cohort: Cohort) -> None:
        del cohort.listings[number]

    return change


def _again(sop_class: str, **values: Any) -> Break:
    """Add a copy of a row under a URL and a UID of its own."""

    def change(cohort: Cohort) -> None:
        row = deepcopy(cohort.of(sop_class)[0])
        name = {"url": f"{row['url']}.copy.dcm", "SOPInstanceUID": f"{row['SOPInstanceUID']}.9"}
        name["MediaStorageSOPInstanceUID"] = name["SOPInstanceUID"]
        cohort.instances.append({**row, **name, **values})

    return change


def _head(cohort: Cohort) -> None:
    row = cohort.of(CT)[0] | {"BodyPartExamined": "HEAD", "RecognizableVisualFeatures": None}
    head = {"SeriesInstanceUID": "1.2.3.77", "SliceThickness": 1.0}
    for number in range(51):
        uid = f"1.2.3.77.{number}"
        url = {"url": f"s3://idc-open-data/head/{number}.dcm", "SOPInstanceUID": uid}
        cohort.instances.append({**row, **head, **url, "InstanceNumber": number})


def _spacing(down: float) -> list[Row]:
    return [{"PixelMeasuresSequence": [{"PixelSpacing": [down, 0.001]}]}]


_PRIVATE = {"00290010": {"vr": "LO", "Value": ["MAKER"]}, "00291001": {"vr": "LO", "Value": ["x"]}}

BREAKS: Final[dict[str, dict[str, Break]]] = {
    "offset_tables": {
        "slides_without_table": _set(SM, offset_table="empty", offset_table_frames=0),
        "multiframe_without_table": _set(
            CT, offset_table="empty", NumberOfFrames=3, TransferSyntaxUID=JPEG
        ),
        "both_tables": _set(SM, offset_table="both"),
        "table_is_wrong": _set(SM, offset_table_problem="the first entry is not 0"),
        "table_length_is_not_number_of_frames": _set(SM, offset_table_frames=3),
        "basic_table_past_4gib": _set(SM, size=2**33),
        "encapsulation_contradicts_transfer_syntax": _set(CT, TransferSyntaxUID=JPEG),
        "native_pixels_cut_short": _set(CT, size=920),
        "deflated_images": _set(CT, TransferSyntaxUID="1.2.840.10008.1.2.1.99"),
        "image_without_pixels": _set(CT, offset_table="no_pixel_data"),
    },
    "completeness": {
        "missing_instances": _series(instances_listed=3),
        "surplus_instances": _series(instances_listed=5),
        "unread_instances": _series(instances_ok=3, instances_error=1),
        "error_rows": _set(CT, status="error", error="truncated"),
        "bytes_differ_from_index": _series(series_size_MB=9.0),
        "sop_instance_twice": _set(CT, 1, SOPInstanceUID="1.2.3.1.1"),
        "instance_number_gaps": _set(CT, 3, InstanceNumber=9),
        "pet_slices_missing": _all(PT, NumberOfSlices=3),
        "concatenation_incomplete": _set(
            SM, ConcatenationUID="1.9", InConcatenationNumber=1, InConcatenationTotalNumber=2
        ),
        "values_that_did_not_fit": _set(
            CT, issues=[{"path": "KVP", "problem": "no_number", "raw": b"x"}]
        ),
    },
    "deidentification": {
        "patient_name_is_not_the_id": _set(CT, PatientName="Doe^Jane"),
        "direct_identifiers": _set(CT, PatientAge="091Y"),
        "people_and_places": _set(CT, InstitutionName="General Hospital"),
        "burned_in_annotation": _set(CT, BurnedInAnnotation="YES"),
        "pixels_never_cleared": _set(CT, Modality="US", BurnedInAnnotation=None),
        "slide_labels": _set(SM, ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"]),
        "faces": _head,
        "text_that_looks_like_an_identifier": _set(CT, ImageComments="born 1955-03-04"),
        "method_not_declared": _all(CT, PatientIdentityRemoved=None),
        "private_elements": _set(CT, header=json.dumps(_PRIVATE)),
    },
    "geometry": {
        "geometry_missing": _set(CT, PixelSpacing=None),
        "orientation_not_orthonormal": _all(
            CT, ImageOrientationPatient=[1.0, 0.0, 0.0, 0.1, 1.0, 0.0]
        ),
        "several_orientations": _set(CT, ImageOrientationPatient=[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
        "mixed_matrix_or_spacing": _set(CT, Rows=8),
        "uneven_slice_spacing": _set(CT, 3, ImagePositionPatient=[0.0, 0.0, 11.0]),
        "duplicate_positions": _again(CT),
        "duplicate_positions_of_mr": _all(MR, EchoTime=10.0),
        "duplicate_positions_of_pet": _all(PT, FrameReferenceTime=0.0),
        "several_frames_of_reference": _set(CT, FrameOfReferenceUID="1.2.3.9"),
        "tile_count": _set(SM, NumberOfFrames=5),
        "slide_size_contradicts_spacing": _set(SM, ImagedVolumeWidth=0.009),
        "slide_pixels_not_square": _set(SM, SharedFunctionalGroupsSequence=_spacing(0.0011)),
    },
    "identity": {
        "object_of_another_series": _set(CT, SeriesInstanceUID="1.2.3.99"),
        "patient_differs_from_index": _series(PatientID="P2"),
        "modality_differs_from_index": _series(Modality="MR"),
        "description_not_in_series": _series(Manufacturer="Other"),
        "several_patients_or_studies_in_series": _set(CT, StudyInstanceUID="1.2.4"),
        "several_patients_in_study": _set(CT, PatientID="P2"),
        "patient_with_changing_sex": _set(CT, PatientSex="M"),
        "file_meta_contradicts_data_set": _set(CT, MediaStorageSOPInstanceUID="1.2.9"),
        "invalid_uid": _set(CT, FrameOfReferenceUID="1.02.3"),
        "uid_on_two_levels": _set(CT, SOPInstanceUID="1.2.3.1"),
    },
    "licence": {
        "licence_unknown": _series(license_short_name=None),
        "not_for_commercial_use": _series(license_short_name="CC BY-NC 4.0"),
        "licence_not_creative_commons": _series(
            license_short_name="National Library of Medicine Terms and Conditions; May 21, 2019"
        ),
        "licence_not_known_to_this_rule": _series(license_short_name="CC BY 5.0"),
        "nothing_to_cite": _series(source_DOI=None),
        "doi_with_two_licences": _series(license_short_name="CC BY 3.0"),
        "bucket_suggests_otherwise": _series(license_short_name="CC BY-NC 4.0"),
        "analysis_results_included": _series(analysis_result_id="made"),
        "several_sources_to_cite": _series(source_DOI="10.1/other"),
    },
    "both_clouds": {
        "only_on_aws": _without_listing(1),
        "only_on_gcs": _without_listing(0),
        "sizes_differ": _listing(0, size=7),
        "checksums_differ": _listing(0, md5="0" * 32),
        "checksums_not_comparable": _listing(0, md5=None),
        "counts_per_series": _series(instanceCount=5),
        "bucket_mapping": _listing(1, url="gs://public-datasets-idc/a/b.dcm"),
        "harvested_object_has_changed": _listing(0, size=7),
    },
}
