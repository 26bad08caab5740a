"""From a header to a row of ``instances``: pure, one dictionary by column name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .elements import (
    NUMBER_OF_FRAMES,
    PIXEL_REPRESENTATION,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SPECIFIC_CHARACTER_SET,
    TRANSFER_SYNTAX_UID,
    DataSet,
    Element,
    text_of,
)
from .errors import ErrorKind, ObjectError
from .header import Header
from .offsets import Pixels
from .tags import Attribute, keyword_of, parse_path
from .values import Encoding, Unfit, convert

RAW_BYTES: Final = 1024
"""How much of a value that does not fit is kept in ``issues``."""

Row = dict[str, Any]
Issue = dict[str, Any]

(_FRAMES,) = parse_path("NumberOfFrames")
_REQUIRED: Final = (TRANSFER_SYNTAX_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, SERIES_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plan knows of one object."""

    url: str
    """As the row will name it."""
    size: int | None
    """Bytes, by the listing; None where nothing was listed."""
    etag: str | None
    """Unquoted, by the listing."""
    crdc_series_uuid: str | None = None
    crdc_instance_uuid: str | None = None
    series_instance_uid: str | None = None
    """The series that it must belong to; None where the plan does not know."""


@dataclass(slots=True)
class Traffic:
    """What reading one object took."""

    size: int | None = None
    """Bytes of the object, by the first answer."""
    etag: str | None = None
    """Of the first answer, unquoted."""
    bytes_read: int = 0
    """Body bytes of the answers."""
    requests: int = 0
    """HTTP requests, retries included."""


def ok_row(
    planned: Planned,
    traffic: Traffic,
    header: Header,
    pixels: Pixels,
    attributes: Sequence[Attribute],
) -> Row:
    """Build the row of an object that was read.

    Raises
    ------
    ObjectError
        ``wrong_object``: it is not of the series that the plan says.
    """
    encoding = root_encoding(header)
    _check_series(planned, header)
    issues = [
        issue(keyword_of(tag), "missing")
        for tag in _REQUIRED
        if tag not in header.dataset or not header.dataset[tag].value
    ]
    values = attribute_values(header.dataset, attributes, encoding, issues)
    if not encoding.known:
        issues.append(issue("SpecificCharacterSet", "unknown_character_set"))
    if header.odd_bytes_at_end:
        issues.append(issue("", "zero_bytes_at_the_end"))
    issues += [issue(found.path, found.problem) for found in pixels.issues]
    return {
        **_row(planned, traffic),
        "status": "ok",
        "retryable": False,
        "issues": issues or None,
        "header_bytes": header.end,
        "pixel_data_offset": pixels.offset,
        "offset_table": str(pixels.offset_table),
        "offset_table_frames": pixels.frames,
        "offset_table_problem": pixels.problem,
        **values,
    }


def error_row(planned: Planned, traffic: Traffic, error: ObjectError) -> Row:
    """Build the row of an object that could not be read."""
    return {
        **_row(planned, traffic),
        "status": "error",
        "error": str(error.kind),
        "retryable": error.kind.retryable,
        "error_detail": error.detail,
    }


def _row(planned: Planned, traffic: Traffic) -> Row:
    return {
        "url": planned.url,
        "size": planned.size if traffic.size is None else traffic.size,
        "etag": planned.etag if traffic.etag is None else traffic.etag,
        "crdc_series_uuid": planned.crdc_series_uuid,
        "crdc_instance_uuid": planned.crdc_instance_uuid,
        "bytes_read": traffic.bytes_read,
        "requests": traffic.requests,
    }


def issue(path: str, problem: str, raw: bytes | None = None) -> Issue:
    """Build one entry of ``issues``."""
    return {"path": path, "problem": problem, "raw": None if raw is None else raw[:RAW_BYTES]}


def _check_series(planned: Planned, header: Header) -> None:
    if planned.series_instance_uid is None:
        return
    if text_of(header.dataset.get(SERIES_INSTANCE_UID)) != planned.series_instance_uid:
        raise ObjectError(ErrorKind.WRONG_OBJECT, "it belongs to another series than planned")


def number_of_frames(header: Header) -> int:
    """Return Number of Frames, 1 where the header gives none that can be read."""
    element = header.dataset.get(NUMBER_OF_FRAMES)
    if element is None:
        return 1
    try:
        frames = convert(element, _FRAMES, Encoding(header.little_endian, None, False))
    except Unfit:
        return 1
    return frames if isinstance(frames, int) and frames > 0 else 1


def root_encoding(header: Header) -> Encoding:
    """Tell how the values of a header's main data set are encoded."""
    return inner_encoding(header.dataset, Encoding(header.little_endian, None, False))


def inner_encoding(dataset: DataSet, outer: Encoding) -> Encoding:
    """Tell how an item's values are encoded: as the data set around it, unless it says."""
    character_set = dataset.get(SPECIFIC_CHARACTER_SET)
    representation = dataset.get(PIXEL_REPRESENTATION)
    return Encoding(
        outer.little_endian,
        outer.character_set if character_set is None else character_set.value,
        outer.signed if representation is None else any(representation.value or b""),
    )


def attribute_values(
    dataset: DataSet,
    attributes: Sequence[Attribute],
    encoding: Encoding,
    issues: list[Issue],
    prefix: str = "",
) -> Row:
    """Convert the wanted attributes of a data set; what does not fit goes to `issues`.

    Parameters
    ----------
    dataset
        Elements by key.
    attributes
        What is wanted, sequences with their members.
    encoding
        Of this data set.
    issues
        Is appended to.
    prefix
        Path of the sequence that holds the data set, with its dot.
    """
    values: Row = {}
    for attribute in attributes:
        element = dataset.get(attribute.key)
        if element is None:
            continue
        path = f"{prefix}{keyword_of(attribute.key)}"
        if attribute.members:
            values[attribute.name] = _items(element, attribute, encoding, issues, path)
            continue
        try:
            values[attribute.name] = convert(element, attribute, encoding)
        except Unfit as unfit:
            issues.append(issue(path, str(unfit), element.value))
    return values


def _items(
    element: Element, attribute: Attribute, encoding: Encoding, issues: list[Issue], path: str
) -> list[Row] | None:
    if element.items is None:
        if element.length:
            issues.append(issue(path, "vr_conflict", element.value))
        return None
    return [
        attribute_values(
            item, attribute.members, inner_encoding(item, encoding), issues, f"{path}."
        )
        for item in element.items
    ] or None
