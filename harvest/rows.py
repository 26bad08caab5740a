"""From a header to a row of ``instances``: pure, values by column name."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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
from .header_json import HeaderJson
from .offsets import Pixels
from .ranges import Subject
from .tags import Attribute, keyword_of, parse_path
from .values import Encoding, NotPlain, Unfit, convert, plain_converter
from .walk import META_GROUP

RAW_BYTES: Final = 1024
"""How much of a value that does not fit is kept in ``issues``."""

Columns = dict[str, Any]
"""Values by column name; what is absent is null."""
Row = ChainMap[str, Any]
"""What a row has of its own, in front of `Values.columns`, which many rows share."""
Issue = dict[str, Any]

(_FRAMES,) = parse_path("NumberOfFrames")
_NOTHING: Final[Columns] = {}
_REQUIRED: Final = (TRANSFER_SYNTAX_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, SERIES_INSTANCE_UID)


class Planned(NamedTuple):
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
    kind: str | None = None
    """Collection and modality: the headers of its series are somewhat alike."""

    @property
    def folder(self) -> str:
        """URL of what holds the object: of its series, where they lie as in IDC's buckets."""
        return self.url.rpartition("/")[0]

    @property
    def subject(self) -> Subject:
        """What its first range is guessed from."""
        return Subject(self.folder, self.kind, self.size)


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


@dataclass(frozen=True, slots=True)
class Values:
    """What the columns of a profile hold of one header."""

    columns: Columns
    """Of the attributes."""
    issues: list[Issue]
    """Of the header and its values."""
    troubled: frozenset[int]
    """Tags of the elements that the issues are about."""
    encoding: Encoding
    """Of the main data set."""
    series_instance_uid: str
    """Empty where there is none."""
    number_of_frames: int
    """1 where the header gives none that can be read."""


class Converter:
    """Makes values of headers; safe to use from many threads.

    Parameters
    ----------
    attributes
        What becomes columns.
    """

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        self._wanted = [(each, plain_converter(each)) for each in attributes]
        self._by_key = {each.key: (each, plain) for each, plain in self._wanted}

    def values(self, header: Header) -> Values:
        """Convert the wanted attributes of a header."""
        encoding = root_encoding(header)
        missing = [
            tag for tag in _REQUIRED if tag not in header.dataset or not header.dataset[tag].value
        ]
        issues = [issue(keyword_of(tag), "missing") for tag in missing]
        troubled = set(missing)
        columns: Columns = {}
        for attribute, plain in self._wanted:
            element = header.dataset.get(attribute.key)
            if element is not None:
                before = len(issues)
                columns[attribute.name] = _top_value(element, attribute, plain, encoding, issues)
                if len(issues) > before:
                    troubled.add(element.tag)
        if not encoding.known:
            issues.append(issue("SpecificCharacterSet", "unknown_character_set"))
        if header.odd_bytes_at_end:
            issues.append(issue("", "zero_bytes_at_the_end"))
        return Values(
            columns,
            issues,
            frozenset(troubled),
            encoding,
            text_of(header.dataset.get(SERIES_INSTANCE_UID)),
            number_of_frames(header),
        )

    def changed(self, changed: DataSet, values: Values) -> Columns | None:
        """Convert the elements in which a header differs from one whose values are known.

        Parameters
        ----------
        changed
            The elements that may differ.
        values
            Of the other header; none of its issues are about these elements.

        Returns
        -------
        Columns or None
            The columns that may differ; None where an element has an issue.
        """
        columns: Columns = {}
        issues: list[Issue] = []
        for key, element in changed.items():
            if not element.value and key in _REQUIRED:
                return None
            wanted = self._by_key.get(key)
            if wanted is None:
                continue
            attribute, plain = wanted
            columns[attribute.name] = _top_value(element, attribute, plain, values.encoding, issues)
        return None if issues else columns


def _top_value(
    element: Element,
    attribute: Attribute,
    plain: Callable[[bytes], Any] | None,
    encoding: Encoding,
    issues: list[Issue],
) -> Any:
    """Convert an element that is in no item, the fast way if that will do."""
    if plain is not None and element.value and element.vr in (attribute.vr, None):
        try:
            return plain(element.value)
        except NotPlain:
            pass
    if element.tag >> 16 == META_GROUP and not encoding.little_endian:
        encoding = encoding._replace(little_endian=True)  # PS3.10 section 7.1
    return _value(element, attribute, encoding, issues, "")


def ok_row(
    planned: Planned,
    traffic: Traffic,
    header_bytes: int,
    pixels: Pixels,
    values: Values,
    changed: Columns | None = None,
) -> Row:
    """Build the row of an object that was read.

    Parameters
    ----------
    planned, traffic
        Of the object.
    header_bytes
        Offset behind the header.
    pixels
        Of the object.
    values
        Of the header, or of one that it is like.
    changed
        Columns in which it differs from that one.

    Raises
    ------
    ObjectError
        ``wrong_object``: it is not of the series that the plan says.
    """
    uid = planned.series_instance_uid
    if uid is not None and uid != values.series_instance_uid:
        raise ObjectError(ErrorKind.WRONG_OBJECT, "it belongs to another series than planned")
    issues = values.issues + [issue(found.path, found.problem) for found in pixels.issues]
    own = _row(planned, traffic)
    own["status"] = "ok"
    own["retryable"] = False
    own["issues"] = issues or None
    own["header_bytes"] = header_bytes
    own["pixel_data_offset"] = pixels.offset
    own["offset_table"] = pixels.offset_table.value
    own["offset_table_frames"] = pixels.frames
    own["offset_table_problem"] = pixels.problem
    if changed:
        own.update(changed)
    return ChainMap(own, values.columns)


def add_header(row: Row, whole: HeaderJson) -> None:
    """Add the whole header to the row of an object that was read."""
    row["header"] = whole.text
    told = [issue(*found) for found in whole.issues]
    issues = row["issues"] or []
    row["issues"] = issues + [found for found in told if found not in issues] or None


def error_row(planned: Planned, traffic: Traffic, error: ObjectError) -> Row:
    """Build the row of an object that could not be read."""
    own = _row(planned, traffic)
    own["status"] = "error"
    own["error"] = error.kind.value
    own["retryable"] = error.kind.retryable
    own["error_detail"] = error.detail
    return ChainMap(own, _NOTHING)


def _row(planned: Planned, traffic: Traffic) -> Columns:
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


def _value(
    element: Element, attribute: Attribute, encoding: Encoding, issues: list[Issue], prefix: str
) -> Any:
    """Convert an element to the value of its column; what does not fit goes to `issues`.

    Parameters
    ----------
    element, attribute
        What is there, and what is wanted of it.
    encoding
        Of the data set that holds the element.
    issues
        Is appended to.
    prefix
        Path of the sequence that holds the data set, with its dot.
    """
    if attribute.members:
        return _items(element, attribute, encoding, issues, prefix)
    try:
        return convert(element, attribute, encoding)
    except Unfit as unfit:
        path = f"{prefix}{keyword_of(attribute.key)}"
        issues.append(issue(path, str(unfit), element.value))
        return None


def _items(
    element: Element, attribute: Attribute, encoding: Encoding, issues: list[Issue], prefix: str
) -> list[Columns] | None:
    path = f"{prefix}{keyword_of(attribute.key)}"
    if element.items is None:
        if element.length:
            issues.append(issue(path, "vr_conflict", element.value))
        return None
    return [_item(item, attribute, encoding, issues, f"{path}.") for item in element.items] or None


def _item(
    item: DataSet, attribute: Attribute, around: Encoding, issues: list[Issue], prefix: str
) -> Columns:
    encoding = inner_encoding(item, around)
    return {
        member.name: _value(item[member.key], member, encoding, issues, prefix)
        for member in attribute.members
        if member.key in item
    }
