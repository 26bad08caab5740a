"""Frame indices: where the frames of each object lie, written for single objects and looked up."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..config import OutputConfig, output_of
from ..errors import ErrorKind, HarvestError, ObjectError
from ..frames import FrameRanges, FrameSource, Unlocatable, Why
from ..output import Output, open_output
from ..output.destination import written_beside
from ..output.documents import finished
from ..table.frame_rows import frames_file
from ..table.parquet import rows_of
from ..table.rows import frames_columns
from ..table.schema import FRAMES
from .file import open_object
from .frame_reader import FrameReader

Index = str | Path | Mapping[str, Any] | OutputConfig
"""A Parquet file with the columns of the ``frames`` table, or the output of a harvest with one:
local, in a bucket, or the config's ``output:`` section."""


@dataclass(frozen=True, slots=True)
class Located:
    """What was found out about the frames of one object."""

    url: str
    row: dict[str, Any] | None
    """Of the ``frames`` table; None where the object has no pixels, or cannot be read."""
    remark: str | None
    """Why it is not known where they lie, or what is wrong with a table that was passed over."""
    requests: int = 0
    bytes_read: int = 0
    size: int | None = None
    """Bytes of the object; None where it cannot be read."""
    error: ErrorKind | None = None
    """Why it cannot be read."""

    def report(self) -> dict[str, Any]:
        """Return all of it, for programs."""
        listed = {
            name: list(value) if isinstance(value, array) else value
            for name, value in (self.row or {"url": self.url}).items()
        }
        traffic = {"requests": self.requests, "bytes_read": self.bytes_read, "size": self.size}
        return {**listed, "remark": self.remark, "error": self.error, **traffic}

    def shown(self) -> list[str]:
        """Return what people want to see."""
        row = self.row or {}
        frames = "" if row.get("frames") is None else f"{row['frames']:,}"
        traffic = [f"{self.requests:,}", f"{self.bytes_read:,}"]
        return [self.url, frames, row.get("source") or "", *traffic, self.remark or ""]


def located(url: str, *, scan: bool = True, **source: Any) -> Located:
    """Find out where the frames of an object lie; one that cannot be read says so.

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
    WrongArgument
        The URL or a key of `source` is wrong.
    """
    try:
        with open_object(url, **source) as file:
            reader = FrameReader(file, scan=scan)
            found = reader.locate()
            row = None
            if not isinstance(found, Unlocatable) or found.why is not Why.NO_PIXEL_DATA:
                row = {
                    "url": file.name,
                    "SOPInstanceUID": reader.sop_instance_uid,
                    "size": file.size,
                    **frames_columns(found),
                }
            remark = found.reason if isinstance(found, Unlocatable) else found.problem
            return Located(file.name, row, remark, file.requests, file.bytes_read, file.size)
    except ObjectError as error:
        return Located(url, None, f"{error.kind}: {error.detail}", error=error.kind)


def write_frames(rows: Iterable[dict[str, Any]], file: Path) -> None:
    """Write a frame index of single objects; raises `OutputError`.

    Parameters
    ----------
    rows
        As `Located` has them.
    file
        As `harvest.destination.local_file` gives it.
    """
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["url"])), schema=FRAMES)
    with (
        written_beside(file) as (folder, name),
        frames_file(folder, name, {}, table.num_rows) as index,
    ):
        for row in range(table.num_rows):  # a row group ends with a batch
            index.write(table.slice(row, 1).combine_chunks().to_batches()[0])


def indexed(index: Index, url: str, size: int) -> FrameRanges:
    """Find an object in a frame index.

    Parameters
    ----------
    index
        See `Index`.
    url
        Of the object, as the index names it.
    size
        Bytes of the object, which must be those that the index saw.

    Raises
    ------
    HarvestError
        There is no such index, or it does not know the object.
    ObjectError
        ``changed``: the object is another than the index saw; ``unsupported``: the index knows
        that its frames have no place, and why.
    """
    try:
        output, names = _files(index)
        rows = [row for name in names for row in rows_of(output, name, url)]
    except FileNotFoundError:
        raise HarvestError(
            f"there is no frame index {_shown(index)}: `harvest frames URL --dest FILE` makes one, "
            "and so does read.frames in a config"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise HarvestError(
            f"{_shown(index)} is no frame index that can be read ({type(error).__name__}): "
            "`harvest frames URL --dest FILE` makes one, and so does read.frames in a config"
        ) from None
    if not rows:
        raise HarvestError(
            f"the frame index {_shown(index)} does not know {url}: index that object, too, or go "
            "without an index"
        )
    row = rows[0]
    if not row.keys() >= set(FRAMES.names):
        raise HarvestError(f"{_shown(index)} lacks columns of a frame index: make it anew")
    if row["size"] != size:
        raise ObjectError(
            ErrorKind.CHANGED, "it is another object than the frame index saw: index it again"
        )
    if row["source"] is None:
        raise ObjectError(ErrorKind.UNSUPPORTED, f"its frames have no place: {row['reason']}")
    return _ranges(row)


def _ranges(row: Mapping[str, Any]) -> FrameRanges:
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


def _shown(index: Index) -> str:
    if isinstance(index, OutputConfig):
        return index.url
    return str(index["url"] if isinstance(index, Mapping) else index)


def _files(index: Index) -> tuple[Output, list[str]]:
    """Return the files of a frame index, and what holds them."""
    config = output_of(index)
    url = config.url.rstrip("/")
    if url.endswith(".parquet"):
        folder, slash, name = url.rpartition("/")
        return open_output(config.model_copy(update={"url": folder + slash or "."})), [name]
    if Path(url).is_file():
        raise HarvestError(f"{url} is no frame index: name a .parquet file, or a harvest's folder")
    output = open_output(config)
    tables = finished(output, url)["tables"]
    if "frames" not in tables:
        raise HarvestError(
            f"{url} has no frames table: harvest into another output with read.frames: table, or "
            "scan for objects without an offset table"
        )
    return output, [file["name"] for file in tables["frames"]]
