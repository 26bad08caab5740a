"""From headers to rows: columns, issues, and the two kinds of rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from harvest.dicom.converter import RAW_BYTES, Converter, issue, number_of_frames
from harvest.dicom.elements import Selection
from harvest.dicom.header import Header
from harvest.dicom.offsets import OffsetTable, PixelIssue, Pixels, locate_pixels
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.tags import Attribute, Wanted
from harvest.errors import ErrorKind, ObjectError
from harvest.store.fetch import Traffic
from harvest.table.parts import table_of
from harvest.table.rows import Planned, error_row, ok_row
from harvest.table.schema import instances_schema
from tests.support.build import (
    BIG,
    CT_IMAGE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    INSTANCE,
    LITTLE,
    SERIES,
    Syntax,
    even,
    file_meta,
    header_of,
    identity,
    image,
    oracle,
    part10,
    series,
    uid,
    window_of,
)

PLANNED = Planned("s3://bucket/key.dcm", 1000, "abc", "series-uuid", "instance-uuid", SERIES)
FREE = Planned("file:///x", None, None)
NO_PIXELS = Pixels(OffsetTable.NO_PIXEL_DATA)


def attributes(*paths: str) -> tuple[Attribute, ...]:
    return merge_paths(parse_path(path) for path in paths)


def row_of(data: bytes, *paths: str, planned: Planned = FREE) -> dict[str, Any]:
    """Read an object and build its row, as it comes back from a table."""
    wanted = attributes(*paths)
    header = header_of(data, Selection(wanted))
    pixels = locate_pixels(window_of(data), header, number_of_frames(header))
    assert isinstance(pixels, Pixels)
    values = Converter(Wanted(tuple(wanted))).values(header)
    row = ok_row(planned, Traffic(len(data), "abc", 500, 2), header.end, pixels, values)
    (back,) = table_of([row], instances_schema(wanted)).to_pylist()
    assert isinstance(back, dict)
    return back


def dataset(*elements: bytes, syntax: str = EXPLICIT_LITTLE, code: Syntax = LITTLE) -> bytes:
    return part10(identity(code) + series(code) + b"".join(elements), syntax)


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


def test_a_value_that_does_not_fit_is_null_and_kept_raw() -> None:
    row = row_of(
        dataset(
            LITTLE.element(0x00080020, "DA", b"2020-13-45"),
            LITTLE.element(0x00181030, "LO", b"fine"),
            LITTLE.element(0x00280010, "US", b"\1\0\2"),
        ),
        "StudyDate",
        "ProtocolName",
        "Rows",
    )
    assert row["issues"] == [
        issue("StudyDate", "not_a_date", b"2020-13-45"),
        issue("Rows", "wrong_length", b"\1\0\2"),
    ]
    assert row["StudyDate"] is None
    assert row["Rows"] is None
    assert row["ProtocolName"] == "fine"


@pytest.mark.parametrize("length", [1022, 1024, 1026, 5000])
def test_of_a_long_value_one_kibibyte_is_kept(length: int) -> None:
    row = row_of(dataset(LITTLE.element(0x00101030, "DS", b"x" * length)), "PatientWeight")
    (found,) = row["issues"]
    assert found["raw"] == b"x" * min(length, 1024)
    assert RAW_BYTES == 1024


def test_a_value_over_the_limit_is_told_without_its_bytes() -> None:
    data = dataset(LITTLE.element(0x0040A160, "UT", b"x" * (2**20 + 2)))
    assert row_of(data, "TextValue")["issues"] == [issue("TextValue", "too_long")]


def test_issues_name_the_path() -> None:
    private = LITTLE.private(0x0043, 0x10, "GEMS_PARM_01", (0x39, "IS", b"bad "))
    item = LITTLE.item(LITTLE.element(0x00181030, "LO", b"x\\y ") + private)
    row = row_of(
        dataset(LITTLE.sequence(0x00081140, [item])),
        "ReferencedImageSequence.ProtocolName",
        "ReferencedImageSequence.(0043,GEMS_PARM_01,39)",
    )
    assert row["issues"] == [
        issue("ReferencedImageSequence.ProtocolName", "several_values", b"x\\y "),
        issue("ReferencedImageSequence.(0043,GEMS_PARM_01,39)", "not_an_integer", b"bad "),
    ]


def test_an_issue_of_a_repeating_group_has_its_keyword() -> None:
    row = row_of(dataset(LITTLE.element(0x60020010, "US", b"\1\0\2")), "OverlayRows_6002")
    (found,) = row["issues"]
    assert found["path"].startswith("OverlayRows")
    assert found["problem"] == "wrong_length"


def test_pixels_that_end_early_are_an_issue_of_an_ok_row() -> None:
    row = row_of(image()[:-3])
    assert row["status"] == "ok"
    assert row["issues"] == [issue("PixelData", "ends_early")]


def test_zeros_at_the_end_are_an_issue() -> None:
    assert row_of(dataset() + bytes(5))["issues"] == [issue("", "zero_bytes_at_the_end")]


def test_issues_of_pixels_come_from_the_pixels() -> None:
    header = header_of(image())
    pixels = Pixels(OffsetTable.EMPTY, 0, "why", 5, (PixelIssue("FloatPixelData", "what"),))
    row = ok_row(FREE, Traffic(), header.end, pixels, Converter(Wanted()).values(header))
    assert row["issues"] == [issue("FloatPixelData", "what")]
    assert (row["offset_table"], row["offset_table_frames"]) == ("empty", 0)
    assert (row["offset_table_problem"], row["pixel_data_offset"]) == ("why", 5)


# columns


@pytest.mark.parametrize(
    ("syntax", "code"),
    [(EXPLICIT_LITTLE, LITTLE), (EXPLICIT_BIG, BIG), (IMPLICIT_LITTLE, IMPLICIT)],
)
def test_columns_are_the_same_in_every_syntax(syntax: str, code: Syntax) -> None:
    item = code.item(code.element(0x00081150, "UI", uid(CT_IMAGE)), defined=False)
    data = part10(
        identity(code)
        + code.sequence(0x00081140, [item, code.item(b"")])
        + series(code)
        + code.element(0x00280009, "AT", code.pack("HH", 0x0018, 0x1063))
        + code.element(0x00280010, "US", code.pack("H", 512))
        + code.element(0x00280030, "DS", b"0.5\\0.25")
        + code.element(0x00280103, "US", code.pack("H", 1))
        + code.element(0x00280120, "SS", code.pack("h", -2000)),
        syntax,
    )
    row = row_of(
        data,
        "ReferencedImageSequence.ReferencedSOPClassUID",
        "Rows",
        "PixelSpacing",
        "PixelPaddingValue",
        "FrameIncrementPointer",
        "TransferSyntaxUID",
    )
    expected = oracle(data)
    assert row["ReferencedImageSequence"] == [
        {"ReferencedSOPClassUID": item.get("ReferencedSOPClassUID")}
        for item in expected.ReferencedImageSequence
    ]
    assert row["Rows"] == expected.Rows == 512
    assert row["PixelSpacing"] == list(expected.PixelSpacing)
    assert row["PixelPaddingValue"] == expected.PixelPaddingValue == -2000
    assert row["FrameIncrementPointer"] == ["00181063"]
    assert row["TransferSyntaxUID"] == syntax
    assert row["issues"] is None


def test_absent_and_empty_are_null() -> None:
    row = row_of(
        dataset(
            LITTLE.element(0x00080008, "CS"),
            LITTLE.sequence(0x00081140),
            LITTLE.sequence(0x00082112, defined=False),
        ),
        "ImageType",
        "PatientID",
        "ReferencedImageSequence.ReferencedSOPClassUID",
        "SourceImageSequence.ReferencedSOPClassUID",
        "ReferencedSeriesSequence.SeriesInstanceUID",
    )
    for name in ("ImageType", "PatientID"):
        assert row[name] is None
    for name in ("ReferencedImageSequence", "SourceImageSequence", "ReferencedSeriesSequence"):
        assert row[name] is None
    assert row["issues"] is None


def test_private_columns() -> None:
    row = row_of(
        dataset(LITTLE.private(0x0043, 0x22, "GEMS_PARM_01", (0x39, "IS", b"1\\2\\3\\4 "))),
        "(0043,GEMS_PARM_01,39)",
    )
    assert row["private_0043_GEMS_PARM_01_39"] == [1, 2, 3, 4]


def test_nested_sequences_become_nested_lists() -> None:
    inner = LITTLE.item(LITTLE.element(0x00081155, "UI", uid("2.25.5")))
    outer = LITTLE.item(
        LITTLE.sequence(0x0008114A, [inner, inner]) + LITTLE.element(0x0020000E, "UI", uid(SERIES))
    )
    row = row_of(
        dataset(LITTLE.sequence(0x00081115, [outer])),
        "ReferencedSeriesSequence.SeriesInstanceUID",
        "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPInstanceUID",
    )
    reference = {"ReferencedSOPInstanceUID": "2.25.5"}
    assert row["ReferencedSeriesSequence"] == [
        {"ReferencedInstanceSequence": [reference, reference], "SeriesInstanceUID": SERIES}
    ]


def test_a_sequence_that_is_something_else_is_an_issue() -> None:
    row = row_of(
        dataset(LITTLE.element(0x00081140, "LO", b"text")),
        "ReferencedImageSequence.ReferencedSOPClassUID",
    )
    assert row["ReferencedImageSequence"] is None
    assert row["issues"] == [issue("ReferencedImageSequence", "vr_conflict", b"text")]


def test_a_value_that_is_a_sequence_is_an_issue() -> None:
    row = row_of(dataset(LITTLE.sequence(0x00100020, [LITTLE.item(b"")])), "PatientID")
    assert row["issues"] == [issue("PatientID", "not_a_value")]


def test_items_inherit_the_character_set_or_have_their_own() -> None:
    name = LITTLE.element(0x00081090, "LO", "Prüf".encode() + b" ")
    latin = LITTLE.element(0x00080005, "CS", b"ISO_IR 100") + LITTLE.element(
        0x00081090, "LO", "Prüf".encode("latin-1")
    )
    inner = LITTLE.sequence(0x00081140, [LITTLE.item(LITTLE.element(0x00081090, "LO", b"\xfcx"))])
    data = part10(
        LITTLE.element(0x00080005, "CS", b"ISO_IR 192")
        + identity()
        + LITTLE.sequence(0x00081140, [LITTLE.item(name), LITTLE.item(latin + inner)])
        + series()
    )
    row = row_of(
        data,
        "ReferencedImageSequence.ManufacturerModelName",
        "ReferencedImageSequence.ReferencedImageSequence.ManufacturerModelName",
    )
    first, second = row["ReferencedImageSequence"]
    assert first["ManufacturerModelName"] == second["ManufacturerModelName"] == "Prüf"
    assert second["ReferencedImageSequence"] == [{"ManufacturerModelName": "üx"}]
    expected = oracle(data).ReferencedImageSequence
    assert [item.ManufacturerModelName for item in expected] == ["Prüf", "Prüf"]
    assert expected[1].ReferencedImageSequence[0].ManufacturerModelName == "üx"


@pytest.mark.parametrize(("representation", "expected"), [(0, 63536), (1, -2000), (None, 63536)])
def test_pixel_representation_reaches_items(representation: int | None, expected: int) -> None:
    value = IMPLICIT.element(0x00280120, "SS", IMPLICIT.pack("h", -2000))
    tail = b""
    if representation is not None:
        tail = IMPLICIT.element(0x00280103, "US", IMPLICIT.pack("H", representation))
    row = row_of(
        dataset(
            tail,
            value,
            IMPLICIT.sequence(0x00409096, [IMPLICIT.item(value)]),
            syntax=IMPLICIT_LITTLE,
            code=IMPLICIT,
        ),
        "PixelPaddingValue",
        "RealWorldValueMappingSequence.PixelPaddingValue",
    )
    assert row["PixelPaddingValue"] == expected
    assert row["RealWorldValueMappingSequence"] == [{"PixelPaddingValue": expected}]


# the number of frames


def frames_of(value: bytes, vr: str = "IS") -> int:
    header = header_of(dataset(LITTLE.element(0x00280008, vr, value)), Selection())
    assert isinstance(header, Header)
    return number_of_frames(header)


@pytest.mark.parametrize(
    ("value", "frames"),
    [
        (b"12", 12),
        (b" 3", 3),
        (b"3\0", 3),
        (b"", 1),
        (b"  ", 1),
        (b"many", 1),
        (b"1\\2 ", 1),
        (b"-1", 1),
    ],
)
def test_the_number_of_frames(value: bytes, frames: int) -> None:
    assert frames_of(value) == frames


@pytest.mark.parametrize("value", [b"\xb2 ", b"1\xb3", b"9" * 5000])
def test_no_number_of_frames_ends_in_a_crash(value: bytes) -> None:
    assert frames_of(value) >= 1


def test_without_a_number_there_is_one_frame() -> None:
    assert number_of_frames(header_of(dataset(), Selection())) == 1
    assert frames_of(LITTLE.item(b""), "SQ") == 1


@pytest.mark.parametrize("value", [b"+2", b"2.0 "])
def test_the_number_of_frames_is_that_of_its_column(value: bytes) -> None:
    """One reading of the same value: the offset table is counted against what the row says."""
    data = dataset(LITTLE.element(0x00280008, "IS", value))
    assert row_of(data, "NumberOfFrames")["NumberOfFrames"] == 2
    assert frames_of(value) == 2


# nothing is told twice


def test_no_identity_is_needed_from_a_plan() -> None:
    row = row_of(image())
    assert row["crdc_series_uuid"] is None
    assert INSTANCE not in str(row)
