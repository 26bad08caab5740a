"""Arrow types of the tables, as the Contract fixes them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydicom._dicom_dict import DicomDictionary

from harvest.config.ready import ready_files
from harvest.dicom.dictionary import UnknownTag
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.vrs import BINARY_VRS
from harvest.table.schema import (
    FIXED_COLUMNS,
    ISSUE,
    SERIES_COUNTS,
    attribute_field,
    instances_schema,
)
from tests.support.profiles import resolve_attributes

CONTRACT = {
    "DA": pa.date32(),
    "TM": pa.time64("us"),
    "DS": pa.float64(),
    "FL": pa.float64(),
    "FD": pa.float64(),
    "UV": pa.uint64(),
    **dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US"), pa.int64()),
    **dict.fromkeys(("US or SS", "US or OW", "US or SS or OW"), pa.int64()),
    **dict.fromkeys(
        ("AE", "AS", "AT", "CS", "DT", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"),
        pa.string(),
    ),
}


def test_the_fixed_columns_are_those_of_the_contract() -> None:
    schema = instances_schema(())
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "url": "string",
        "size": "int64",
        "etag": "string",
        "crdc_series_uuid": "string",
        "crdc_instance_uuid": "string",
        "status": "string",
        "error": "string",
        "retryable": "bool",
        "error_detail": "string",
        "issues": f"list<item: {ISSUE}>",
        "header_bytes": "int64",
        "bytes_read": "int64",
        "requests": "int64",
        "pixel_data_offset": "int64",
        "offset_table": "string",
        "offset_table_frames": "int64",
        "offset_table_problem": "string",
    }
    assert set(schema.names) | {"header", "frames"} == FIXED_COLUMNS
    assert str(ISSUE) == "struct<path: string, problem: string, raw: binary>"


def test_series_are_counted() -> None:
    assert [name for name, _ in SERIES_COUNTS] == [
        "instances_planned",
        "instances_listed",
        "instances_ok",
        "instances_error",
    ]


def columns() -> list[str]:
    return [
        keyword
        for number, (vr, _, _, _, keyword) in DicomDictionary.items()
        if keyword and vr not in BINARY_VRS | {"SQ", "NONE"} and number >= 0x00020000
    ]


def test_every_attribute_of_the_dictionary_has_the_type_of_its_vr_and_vm() -> None:
    for keyword in columns():
        (attribute,) = parse_path(keyword)
        single = CONTRACT[attribute.vr]
        expected = single if attribute.vm == "1" else pa.list_(single)
        assert attribute_field(attribute).type == expected, keyword


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("StudyDate", "date32[day]"),
        ("StudyTime", "time64[us]"),
        ("PatientWeight", "double"),
        ("PixelSpacing", "list<item: double>"),
        ("InstanceNumber", "int64"),
        ("Rows", "int64"),
        ("SelectorUVValue", "list<item: uint64>"),
        ("SelectorSVValue", "list<item: int64>"),
        ("FrameIncrementPointer", "list<item: string>"),
        ("SelectorAttribute", "string"),
        ("PatientName", "string"),
        ("AcquisitionDateTime", "string"),
        ("ImageType", "list<item: string>"),
        ("PixelPaddingValue", "int64"),
        ("OverlayRows_6000", "int64"),
        ("OverlayOrigin_6002", "list<item: int64>"),
        ("(0043,GEMS_PARM_01,39)", "list<item: int64>"),
    ],
)
def test_types(path: str, expected: str) -> None:
    (attribute,) = parse_path(path)
    assert str(attribute_field(attribute).type) == expected


def test_a_sequence_is_a_list_of_structs_in_tag_order() -> None:
    (attribute,) = merge_paths(
        parse_path(path)
        for path in (
            "ReferencedSeriesSequence.SeriesInstanceUID",
            "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedFrameNumber",
            "ReferencedSeriesSequence.StudyDate",
        )
    )
    field = attribute_field(attribute)
    assert field.name == "ReferencedSeriesSequence"
    inner = pa.struct([("ReferencedFrameNumber", pa.list_(pa.int64()))])
    assert field.type == pa.list_(
        pa.struct(
            [
                ("StudyDate", pa.date32()),
                ("ReferencedInstanceSequence", pa.list_(inner)),
                ("SeriesInstanceUID", pa.string()),
            ]
        )
    )


def metadata(path: str) -> dict[bytes, bytes]:
    (attribute,) = parse_path(path)
    found = attribute_field(attribute).metadata
    assert found is not None
    return dict(found)


def test_the_metadata_of_a_column() -> None:
    assert metadata("PatientID") == {
        b"description": b"Patient ID",
        b"tag": b"(0010,0020)",
        b"vr": b"LO",
        b"vm": b"1",
        b"path": b"PatientID",
    }


def test_the_exact_path_of_a_private_column_is_in_its_metadata() -> None:
    found = metadata("(0043,GEMS_PARM_01,39)")
    assert found[b"path"] == b"(0043,GEMS_PARM_01,39)"
    assert found[b"tag"] == b"(0043,GEMS_PARM_01,39)"
    assert parse_path(found[b"path"].decode())


def test_members_have_metadata_too() -> None:
    (attribute,) = merge_paths([parse_path("ReferencedSeriesSequence.Modality")])
    (member,) = attribute_field(attribute).type.value_type
    assert member.metadata[b"path"] == b"ReferencedSeriesSequence.Modality"


def test_columns_follow_the_fixed_ones_in_the_order_of_the_profile() -> None:
    schema = instances_schema(merge_paths([parse_path("Rows"), parse_path("PatientID")]))
    assert schema.names[-2:] == ["Rows", "PatientID"]
    assert schema.names[0] == "url"
    assert all(field.metadata[b"description"] for field in schema)


def test_the_union_of_all_profiles_is_a_schema_without_repeated_names() -> None:
    ready = list(ready_files("profiles"))
    schema = instances_schema(resolve_attributes(ready, []))
    assert len({name.lower() for name in schema.names}) == len(schema.names)


def test_no_attribute_takes_the_name_of_a_fixed_column() -> None:
    """DuckDB's names have no case: beside ``status`` it reads ``Status`` as ``Status_1``."""
    assert not [keyword for keyword in columns() if keyword.lower() in FIXED_COLUMNS]
    with pytest.raises(UnknownTag):
        parse_path("Status")
