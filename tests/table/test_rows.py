"""From headers to rows: columns, issues, and the two kinds of rows."""

from __future__ import annotations

import pyarrow as pa
import pytest

from harvest.dicom.converter import Converter, issue
from harvest.dicom.offsets import OffsetTable, PixelIssue, Pixels
from harvest.dicom.tags import Wanted
from harvest.errors import ErrorKind, ObjectError, Problem
from harvest.store.fetch import Traffic
from harvest.table.rows import Planned, error_row, ok_row
from harvest.table.schema import instances_schema
from tests.support.build import (
    INSTANCE,
    LITTLE,
    SERIES,
    even,
    file_meta,
    header_of,
    identity,
    image,
    part10,
    uid,
)
from tests.support.rows import FREE, dataset, row_of

PLANNED = Planned("s3://bucket/key.dcm", 1000, "abc", "series-uuid", "instance-uuid", SERIES)
NO_PIXELS = Pixels(OffsetTable.NO_PIXEL_DATA)


# the fixed columns


def test_the_row_of_an_image() -> None:
    data = image()
    row = row_of(data, "Modality", "PatientName", planned=PLANNED)
    assert row == {
        "error": None,
        "error_detail": None,
        "url": PLANNED.url,
        "size": len(data),
        "etag": "abc",
        "crdc_series_uuid": "series-uuid",
        "crdc_instance_uuid": "instance-uuid",
        "bytes_read": 500,
        "requests": 2,
        "status": "ok",
        "retryable": False,
        "issues": None,
        "header_bytes": len(data) - 20,
        "pixel_data_offset": len(data) - 8,
        "offset_table": "native",
        "offset_table_frames": None,
        "offset_table_problem": None,
        "Modality": "CT",
        "PatientName": "Doe^Jane",
    }


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_row_of_an_error(kind: ErrorKind) -> None:
    row = error_row(PLANNED, Traffic(bytes_read=7, requests=1), ObjectError(kind, "why"))
    assert row == {
        "url": PLANNED.url,
        "size": 1000,
        "etag": "abc",
        "crdc_series_uuid": "series-uuid",
        "crdc_instance_uuid": "instance-uuid",
        "bytes_read": 7,
        "requests": 1,
        "status": "error",
        "error": kind.value,
        "retryable": kind.retryable,
        "error_detail": "why",
    }
    pa.Table.from_pylist([row], schema=instances_schema(()))


def test_what_was_read_wins_over_what_was_listed() -> None:
    row = error_row(PLANNED, Traffic(5, "new"), ObjectError(ErrorKind.CHANGED, "it changed"))
    assert (row["size"], row["etag"]) == (5, "new")


def test_an_object_of_another_series_is_wrong() -> None:
    other = Planned("s3://b/k", None, None, series_instance_uid="2.25.999")
    with pytest.raises(ObjectError) as caught:
        row_of(image(), planned=other)
    assert caught.value.kind == ErrorKind.WRONG_OBJECT
    assert SERIES not in str(caught.value)


@pytest.mark.parametrize(
    "element",
    [
        b"",
        LITTLE.element(0x0020000E, "UI"),
        LITTLE.element(0x0020000E, "UI", uid("2.25.9")),
        LITTLE.element(0x0020000E, "UI", b"\xe9\xe9"),
        LITTLE.element(0x0020000E, "SQ", LITTLE.item(b"")),
    ],
    ids=["absent", "empty", "other", "no text", "sequence"],
)
def test_an_object_without_the_planned_series_is_wrong(element: bytes) -> None:
    """Whatever stands there, in whatever character set, it is not the planned series."""
    utf8 = LITTLE.element(0x00080005, "CS", b"ISO_IR 192")
    with pytest.raises(ObjectError) as caught:
        row_of(part10(utf8 + identity() + element), planned=PLANNED)
    assert caught.value.kind == ErrorKind.WRONG_OBJECT


def test_the_planned_series_may_be_padded() -> None:
    for padded in (SERIES + "\0", SERIES + " ", " " + SERIES):
        element = LITTLE.element(0x0020000E, "UI", even(padded.encode()))
        assert row_of(part10(identity() + element), planned=PLANNED)["status"] == "ok"


# issues


def test_what_is_missing_is_an_issue() -> None:
    data = part10(LITTLE.element(0x00100010, "PN", b"Doe^Jane"), meta=file_meta(None))
    assert row_of(data)["issues"] == [
        issue("TransferSyntaxUID", "missing"),
        issue("SOPClassUID", "missing"),
        issue("SOPInstanceUID", "missing"),
        issue("SeriesInstanceUID", "missing"),
    ]


def test_what_is_empty_is_missing() -> None:
    data = part10(identity() + LITTLE.element(0x0020000E, "UI"))
    assert row_of(data)["issues"] == [issue("SeriesInstanceUID", "missing")]


def test_pixels_that_end_early_are_an_issue_of_an_ok_row() -> None:
    row = row_of(image()[:-3])
    assert row["status"] == "ok"
    assert row["issues"] == [issue("PixelData", "ends_early")]


def test_zeros_at_the_end_are_an_issue() -> None:
    assert row_of(dataset() + bytes(5))["issues"] == [issue("", "zero_bytes_at_the_end")]


def test_issues_of_pixels_come_from_the_pixels() -> None:
    header = header_of(image())
    pixels = Pixels(
        OffsetTable.EMPTY, 0, "why", 5, (PixelIssue("FloatPixelData", Problem.ENDS_EARLY),)
    )
    row = ok_row(FREE, Traffic(), header.end, pixels, Converter(Wanted()).values(header))
    assert row["issues"] == [issue("FloatPixelData", "ends_early")]
    assert (row["offset_table"], row["offset_table_frames"]) == ("empty", 0)
    assert (row["offset_table_problem"], row["pixel_data_offset"]) == ("why", 5)


# nothing is told twice


def test_no_identity_is_needed_from_a_plan() -> None:
    row = row_of(image())
    assert row["crdc_series_uuid"] is None
    assert INSTANCE not in str(row)
