"""The tables' Arrow schemas: fixed columns, and one column for each attribute of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from ..dicom.offsets import OffsetTable
from ..dicom.tags import Attribute, key_of, tag_text
from ..dicom.values import column_kind
from ..frames import FrameSource

ISSUE: Final = pa.struct([("path", pa.string()), ("problem", pa.string()), ("raw", pa.binary())])

_KINDS: Final = {
    "any": pa.string(),
    "text": pa.string(),
    "int": pa.int64(),
    "uint": pa.uint64(),
    "float": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
}

_INSTANCE_COLUMNS: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("url", pa.string(), "what was read: s3://, gs:// or file://, never the endpoint"),
    ("size", pa.int64(), "bytes of the object read"),
    ("etag", pa.string(), "entity tag of the object read, unquoted"),
    ("crdc_series_uuid", pa.string(), "IDC's name for this version of the series"),
    ("crdc_instance_uuid", pa.string(), "IDC's name for this version of the instance"),
    ("status", pa.string(), "ok or error"),
    ("error", pa.string(), "kind of error, null if ok"),
    ("retryable", pa.bool_(), "whether reading it again can end otherwise"),
    ("error_detail", pa.string(), "for people; never a tag value"),
    (
        "issues",
        pa.list_(ISSUE),
        "values that do not fit their column (raw holds up to 1 KiB of their bytes), "
        "missing UIDs, pixels that end early",
    ),
    ("header_bytes", pa.int64(), "offset of the first tag of the pixel area, or the object's end"),
    ("bytes_read", pa.int64(), "body bytes read for this object, own retries included"),
    ("requests", pa.int64(), "HTTP requests for this object, own retries included"),
    ("pixel_data_offset", pa.int64(), "absolute offset of the pixel value's first byte"),
    (
        "offset_table",
        pa.string(),
        OffsetTable.told(),
    ),
    ("offset_table_frames", pa.int64(), "entries of the offset table"),
    (
        "offset_table_problem",
        pa.string(),
        "what is wrong with it: by its length, and with read.frames by its content, too",
    ),
)

HEADER_COLUMN: Final = "header"
"""Of the whole header, where it was asked for."""
# all of a file's may take more than the 2 GiB of pa.string()
_HEADER: Final = pa.field(
    HEADER_COLUMN,
    pa.large_string(),
    metadata={
        "description": "with header: json, all of the header in the DICOM JSON Model "
        "(PS3.18 Annex F), group 0002 and private elements included; DS and IS as written; "
        "binary values over 1 KiB as BulkDataURI <url>#bytes=offset-length"
    },
)
FRAMES: Final = pa.schema(
    [
        pa.field(name, kind, metadata={"description": description})
        for name, kind, description in (
            ("url", pa.string(), "of the object"),
            ("SOPInstanceUID", pa.string(), "of the object"),
            ("size", pa.int64(), "bytes of the object in which the frames were located"),
            ("frames", pa.int64(), "Number of Frames, 1 where the header gives none"),
            (
                "source",
                pa.string(),
                f"what told where they lie: {FrameSource.told()}; null where nothing did",
            ),
            ("reason", pa.string(), "then: no table, video, a deflated data set, ..."),
            (
                "offsets",
                pa.list_(pa.uint64()),
                "of compressed frames: where in the object the first item of each begins",
            ),
            (
                "lengths",
                pa.list_(pa.uint64()),
                "of compressed frames: bytes of whole items, to the end of the frame's last",
            ),
            (
                "first_offset",
                pa.uint64(),
                "of native frames: n begins (n - 1) * frame_bits bits behind this",
            ),
            ("frame_bits", pa.uint64(), "of native frames: bits of each"),
        )
    ]
)
"""Of the ``frames`` table."""
FRAMES_COLUMN: Final = "frames"
"""Of the rows of a part: what becomes a row of the ``frames`` table, null where nothing does."""
FRAMES_FIELD: Final = pa.field(
    FRAMES_COLUMN, pa.struct([field for field in FRAMES if field.name not in ("url", "size")])
)
FIXED_COLUMNS: Final = frozenset(
    (*(name for name, _, _ in _INSTANCE_COLUMNS), HEADER_COLUMN, FRAMES_COLUMN)
)
"""Names that no attribute may have."""

SERIES_COUNTS: Final[tuple[tuple[str, str], ...]] = (
    ("instances_planned", "rows of this series in the plan"),
    ("instances_listed", "objects found under its prefix"),
    ("instances_ok", "rows with status ok"),
    ("instances_error", "rows with status error"),
)


def instances_schema(
    attributes: Iterable[Attribute], *, header: bool = False, frames: bool = False
) -> pa.Schema:
    """Build the schema of the ``instances`` table, or of the rows of a part.

    Parameters
    ----------
    attributes
        Of the profile, sequences with their members.
    header
        Whether the whole header is a column, too.
    frames
        Whether rows have `FRAMES_COLUMN`; the table never does.

    Returns
    -------
    pyarrow.Schema
        The fixed columns, then one for each attribute in the given order, then the header and the
        frames; their metadata holds description, tag, VR and VM.
    """
    fixed = [
        pa.field(name, kind, metadata={"description": description})
        for name, kind, description in _INSTANCE_COLUMNS
    ]
    columns = [attribute_field(attribute) for attribute in attributes]
    more = [*([_HEADER] if header else []), *([FRAMES_FIELD] if frames else [])]
    return pa.schema([*fixed, *columns, *more])


def columns_schema(attributes: Iterable[Attribute]) -> pa.Schema:
    """Build the schema of columns that are made later: rows are known by their url."""
    names = ("url", "issues")
    fixed = [field for field in instances_schema(()) if field.name in names]
    return pa.schema([*fixed, *map(attribute_field, attributes)])


def attribute_field(attribute: Attribute) -> pa.Field:
    """Build the Arrow field of an attribute, or of a struct member."""
    metadata = {
        "description": attribute.description,
        "tag": tag_text(attribute.key),
        "vr": attribute.vr,
        "vm": attribute.vm,
        "path": attribute.path,
    }
    return pa.field(attribute.name, _attribute_type(attribute), metadata=metadata)


def _attribute_type(attribute: Attribute) -> pa.DataType:
    if attribute.vr == "SQ":
        return pa.list_(pa.struct([attribute_field(member) for member in attribute.members]))
    single = _KINDS[column_kind(attribute.vr)]
    return single if attribute.vm == "1" else pa.list_(single)


def attributes_of(fields: Iterable[pa.Field]) -> tuple[Attribute, ...]:
    """Read the attributes of columns, or of a struct's members, from their metadata.

    Raises
    ------
    ValueError, KeyError
        They are not ours.
    """
    return tuple(_attributes(fields))


def _attributes(fields: Iterable[pa.Field]) -> Iterator[Attribute]:
    for field in fields:
        told = {name.decode(): text.decode() for name, text in (field.metadata or {}).items()}
        if "path" not in told:
            continue
        if told["vr"] == "SQ" and not pa.types.is_list(field.type):
            raise ValueError("a sequence is no list")
        members = attributes_of(field.type.value_type) if told["vr"] == "SQ" else ()
        yield Attribute(
            key=key_of(told["tag"]),
            name=field.name,
            path=told["path"],
            vr=told["vr"],
            vm=told["vm"],
            description=told["description"],
            members=members,
        )
