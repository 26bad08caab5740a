"""The lab's index: one row per series with the columns, names and types of IDC's."""

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydicom.uid import UID

from tests.lab.files import Series

_TEXT: Final = pa.large_string()

SCHEMA: Final = pa.schema(
    {
        "collection_id": _TEXT,
        "analysis_result_id": _TEXT,
        "PatientID": _TEXT,
        "SeriesInstanceUID": _TEXT,
        "StudyInstanceUID": _TEXT,
        "source_DOI": _TEXT,
        "PatientAge": _TEXT,
        "PatientSex": _TEXT,
        "StudyDate": _TEXT,
        "StudyDescription": _TEXT,
        "BodyPartExamined": _TEXT,
        "Modality": _TEXT,
        "SOPClassUID": _TEXT,
        "sop_class_name": _TEXT,
        "TransferSyntaxUID": _TEXT,
        "transfer_syntax_name": _TEXT,
        "PhotometricInterpretation": _TEXT,
        "PixelRepresentation": _TEXT,
        "Manufacturer": _TEXT,
        "ManufacturerModelName": _TEXT,
        "SeriesDate": _TEXT,
        "SeriesDescription": _TEXT,
        "SeriesNumber": _TEXT,
        "instanceCount": pa.int64(),
        "license_short_name": _TEXT,
        "series_init_idc_version": pa.int64(),
        "series_revised_idc_version": pa.int64(),
        "aws_bucket": _TEXT,
        "crdc_series_uuid": _TEXT,
        "series_aws_url": _TEXT,
        "series_size_MB": pa.float64(),
    }
)
"""Columns of ``idc_index.parquet`` in its order."""

_SYNTAX_NAMES: Final = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
_LICENSES: Final = ("CC BY 4.0", "CC BY 4.0", "CC BY 4.0", "CC BY 3.0", "CC BY-NC 4.0")
_FIRST_VERSIONS: Final = 20
_REVISIONS: Final = 5
_DATE_DIGITS: Final = 8


def write_index(series: Iterable[Series], target: Path) -> None:
    """Write the index of the lab's series.

    Parameters
    ----------
    series
        What lies in the buckets.
    target
        Parquet file to write.
    """
    rows = sorted(
        (_row(each) for each in series),
        key=lambda row: [
            str(row[name] or "")
            for name in ("collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
        ],
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), target)


def _row(series: Series) -> Mapping[str, str | int | float | None]:
    number = uuid.UUID(series.crdc_series_uuid).int
    first_version = 1 + number % _FIRST_VERSIONS
    syntaxes = (series.attributes["TransferSyntaxUID"] or "").split(",")
    sop_class = series.attributes["SOPClassUID"]
    return {
        **series.attributes,
        "collection_id": series.collection_id,
        "analysis_result_id": series.analysis_result_id,
        "SeriesInstanceUID": series.series_instance_uid,
        "source_DOI": f"10.0000/{series.analysis_result_id or series.collection_id}",
        "StudyDate": _iso_date(series.attributes["StudyDate"]),
        "SeriesDate": _iso_date(series.attributes["SeriesDate"]),
        "sop_class_name": UID(sop_class).name if sop_class else None,
        "transfer_syntax_name": ",".join(sorted(map(_syntax_name, syntaxes))) or None,
        "instanceCount": len(series.instances),
        "license_short_name": _LICENSES[number % len(_LICENSES)],
        "series_init_idc_version": first_version,
        "series_revised_idc_version": first_version + (number >> 8) % _REVISIONS,
        "aws_bucket": series.aws_bucket,
        "crdc_series_uuid": series.crdc_series_uuid,
        "series_aws_url": f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/*",
        "series_size_MB": sum(instance.size for instance in series.instances) / 1e6,
    }


def _syntax_name(syntax: str) -> str:
    # Names of the syntaxes that IDC does not hold may contain the comma that separates names.
    return _SYNTAX_NAMES.get(syntax) or UID(syntax).name.replace(",", "")


def _iso_date(value: str | None) -> str | None:
    if value is None or len(value) != _DATE_DIGITS or not value.isdigit():
        return None
    return f"{value[:4]}-{value[4:6]}-{value[6:]}"
