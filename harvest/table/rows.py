"""From a header to a row of ``instances``: pure, values by column name."""

from __future__ import annotations

from collections import ChainMap
from typing import Any, Final, NamedTuple

from ..dicom.converter import Changed, Columns, Values, issue
from ..dicom.first_ranges import Subject
from ..dicom.header_json import HeaderJson
from ..dicom.offsets import OffsetTable, Pixels
from ..errors import ErrorKind, ObjectError, Problem
from ..frames import FrameRanges, Unlocatable
from ..store.fetch import Traffic
from .schema import FRAMES_COLUMN

Row = ChainMap[str, Any]
"""What a row has of its own, in front of `Values.columns`, which many rows share."""

_NOTHING: Final[Columns] = {}


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


def ok_row(
    planned: Planned,
    traffic: Traffic,
    header_bytes: int,
    pixels: Pixels,
    values: Values,
    changed: Changed | None = None,
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
        In what it differs from that one.

    Raises
    ------
    ObjectError
        ``wrong_object``: it is not of the series that the plan says.
    """
    uid = planned.series_instance_uid
    if uid is not None and uid != values.series_instance_uid:
        raise ObjectError(ErrorKind.WRONG_OBJECT, "it belongs to another series than planned")
    issues = values.issues(changed)
    issues += [issue(found.path, found.problem) for found in pixels.issues]
    own = _row(planned, traffic)
    own["status"] = "ok"
    own["retryable"] = False
    own["issues"] = issues or None
    own["header_bytes"] = header_bytes
    own["pixel_data_offset"] = pixels.offset
    own["offset_table"] = pixels.offset_table.value
    own["offset_table_frames"] = pixels.frames
    own["offset_table_problem"] = pixels.problem
    if changed is not None:
        own.update(changed.columns)
    return ChainMap(own, values.columns)


def add_header(row: Row, whole: HeaderJson) -> None:
    """Add the whole header to the row of an object that was read."""
    row["header"] = whole.text
    told = [issue(*found) for found in whole.issues]
    issues = row["issues"] or []
    row["issues"] = issues + [found for found in told if found not in issues] or None


class Located(NamedTuple):
    """What was found out about the frames of an object that has pixels."""

    found: FrameRanges | Unlocatable
    """Where they lie, or why that is not known."""
    keyword: str
    """Of the pixel element."""
    sop_instance_uid: str | None


def add_frames(row: Row, located: Located) -> None:
    """Add where its frames lie to the row of an object that was read."""
    found = located.found
    uid = located.sop_instance_uid
    row[FRAMES_COLUMN] = {"SOPInstanceUID": uid, **frames_columns(found)}
    if found.problem is None:
        return
    if row["offset_table"] == OffsetTable.NATIVE:
        longer = issue(located.keyword, Problem.LONGER_THAN_ITS_FRAMES)
        row["issues"] = [*(row["issues"] or []), longer]
        return
    # what the lengths have told is told again by who reads the table
    told = [*(row["offset_table_problem"] or "").split("; "), *found.problem.split("; ")]
    row["offset_table_problem"] = "; ".join(filter(None, dict.fromkeys(told)))


def frames_columns(found: FrameRanges | Unlocatable) -> Columns:
    """Return what the ``frames`` table says of the frames themselves."""
    if isinstance(found, Unlocatable):
        return {"frames": found.frames, "reason": found.reason}
    return {
        "frames": found.frames,
        "source": found.source.value,
        "offsets": found.offsets,
        "lengths": found.lengths,
        "first_offset": found.first_offset,
        "frame_bits": found.frame_bits,
    }


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
