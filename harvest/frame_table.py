"""The ``frames`` table: where the frames of each object lie."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from .destination import written_whole
from .errors import HarvestError
from .file import open_object
from .frame_reader import FrameReader
from .frames import FrameRanges, FrameSource, Unlocatable
from .output import LocalOutput
from .table import rows_of, write_parquet

FRAMES: Final = pa.schema(
    [
        pa.field(name, kind, metadata={"description": description})
        for name, kind, description in (
            ("url", pa.string(), "of the object"),
            ("SOPInstanceUID", pa.string(), "of the object"),
            ("frames", pa.int64(), "Number of Frames, 1 if absent"),
            ("source", pa.string(), "extended, basic, native, tiff or scan"),
            ("offsets", pa.list_(pa.uint64()), "of each frame's first item, absolute"),
            ("lengths", pa.list_(pa.uint64()), "bytes of each frame's items"),
            ("first_offset", pa.uint64(), "native: of the first frame, absolute"),
            ("frame_bits", pa.uint64(), "native: bits of each frame"),
        )
    ]
)
FRAMES_ENCODINGS: Final = {
    f"{name}.list.element": "DELTA_BINARY_PACKED" for name in ("offsets", "lengths")
}
"""Ascending numbers take two or three bytes each by their differences."""


def frames_row(url: str, sop_instance_uid: str | None, ranges: FrameRanges) -> dict[str, Any]:
    """Build the row of an object."""
    return {
        "url": url,
        "SOPInstanceUID": sop_instance_uid,
        "frames": ranges.frames,
        "source": ranges.source.value,
        "offsets": ranges.offsets,
        "lengths": ranges.lengths,
        "first_offset": ranges.first_offset,
        "frame_bits": ranges.frame_bits,
    }


def ranges_of(row: dict[str, Any]) -> FrameRanges:
    """Read the row of an object."""
    offsets, lengths = (
        None if row[name] is None else array("Q", row[name]) for name in ("offsets", "lengths")
    )
    return FrameRanges(
        source=FrameSource(row["source"]),
        frames=row["frames"],
        offsets=offsets,
        lengths=lengths,
        first_offset=row["first_offset"],
        frame_bits=row["frame_bits"],
    )


@dataclass(frozen=True, slots=True)
class Located:
    """What was found out about the frames of one object."""

    url: str
    row: dict[str, Any] | None
    """Of the ``frames`` table; None where they have no place."""
    remark: str | None
    """Why they have none, or what is wrong with a table that was passed over."""
    requests: int
    bytes_read: int
    size: int

    def report(self) -> dict[str, Any]:
        """Return all of it, for programs."""
        listed = {
            name: list(value) if isinstance(value, array) else value
            for name, value in (self.row or {"url": self.url}).items()
        }
        traffic = {"requests": self.requests, "bytes_read": self.bytes_read, "size": self.size}
        return {**listed, "remark": self.remark, **traffic}

    def shown(self) -> list[str]:
        """Return what people want to see."""
        row = self.row or {"frames": None, "source": None}
        frames = "" if row["frames"] is None else f"{row['frames']:,}"
        traffic = [f"{self.requests:,}", f"{self.bytes_read:,}"]
        return [self.url, frames, row["source"] or "", *traffic, self.remark or ""]


def located(url: str, *, scan: bool = True, **source: Any) -> Located:
    """Find out where the frames of an object lie.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    scan
        Whether to walk over its items where no table is right.
    **source
        Keys of the config's ``source:`` section.

    Raises
    ------
    ObjectError
        What is wrong with the object.
    ValueError
        The URL or a key of `source` is wrong.
    """
    with open_object(url, **source) as file:
        reader = FrameReader(file, scan=scan)
        found = reader.locate()
        row = None
        if isinstance(found, FrameRanges):
            row = frames_row(file.name, reader.sop_instance_uid, found)
        remark = found.reason if isinstance(found, Unlocatable) else found.problem
        return Located(file.name, row, remark, file.requests, file.bytes_read, file.size)


def write_frames(rows: Iterable[dict[str, Any]], file: Path) -> None:
    """Write a frame index of single objects; raises `OutputError`.

    Parameters
    ----------
    rows
        As `frames_row` gives them.
    file
        As `harvest.destination.local_file` gives it.
    """
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["url"])), schema=FRAMES)
    with written_whole(file) as unfinished:
        write_parquet(
            LocalOutput(unfinished.parent),
            unfinished.name,
            table.to_batches(),
            FRAMES,
            {},
            rows=table.num_rows,
            encodings=FRAMES_ENCODINGS,
        )


def indexed(index: str | Path, url: str) -> FrameRanges:
    """Find an object in a frame index.

    Parameters
    ----------
    index
        A Parquet file with the columns of the ``frames`` table.
    url
        Of the object, as the index names it.

    Raises
    ------
    HarvestError
        There is no such index, or it does not know the object.
    """
    try:
        rows = rows_of(Path(index), url)
    except (OSError, pa.ArrowException) as error:
        raise HarvestError(
            f"{index} is no frame index that can be read ({type(error).__name__}): "
            "`harvest frames URL --dest FILE` makes one"
        ) from None
    if not rows:
        raise HarvestError(f"the frame index {index} does not know {url}")
    return ranges_of(rows[0])
