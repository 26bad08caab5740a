"""Regions of slides: parts of a level's total pixel matrix, each tile by its own bytes.

A level is one object, or the parts of a concatenation (PS3.3 section C.7.6.16.2.2.4); a series has
several levels, and images that are none: thumbnails, labels, overviews.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, groupby, pairwise
from typing import Any, Final

import numpy as np

from ..config import source_of
from ..errors import ErrorKind, HarvestError, ObjectError, WrongArgument
from ..objects.file import DicomFile
from ..objects.frame_reader import THREADS, FrameReader
from ..objects.frame_table import Index
from ..objects.inflated import InflatedFile
from ..objects.single_frames import open_frames, use_index
from ..plan.listing import list_prefix
from ..urls import ObjectUrl, parse_url
from .tiles import TILE_ATTRIBUTES, TileLayout, Tiles, layout_of

SLIDE_ATTRIBUTES: Final = (
    *TILE_ATTRIBUTES,
    "ConcatenationUID",
    "ConcatenationFrameOffsetNumber",
    "ImageType",
    "InConcatenationTotalNumber",
)
"""What is read of each header, as a profile names it."""

Pixels = np.ndarray[Any, Any]


class PixelMatrix:
    """The total pixel matrix of one level, opened once and read region by region.

    Where its frames lie is found out at once. Safe to use from many threads. Picklable: another
    process reads the same objects through stores of its own. Nothing has to be closed.

    Parameters
    ----------
    readers
        Of the level's object, or of all parts of a concatenation; they have read
        `SLIDE_ATTRIBUTES`.
    passed
        Of other images that were opened on the way to these; their traffic is counted.

    Raises
    ------
    ObjectError
        It is no tiled image, or its attributes contradict each other, or a part is missing.
    """

    def __init__(self, readers: Sequence[FrameReader], passed: Sequence[FrameReader] = ()) -> None:
        self._readers = sorted(readers, key=_offset)
        self._requests_before = sum(reader.file.requests for reader in passed)
        self._bytes_before = sum(reader.file.bytes_read for reader in passed)
        counts = [reader.ranges.frames for reader in self._readers]
        self._before = [0, *accumulate(counts)]
        decoder = self._readers[0].decoder
        rows, columns, *samples = decoder.shape
        self.layout: TileLayout = _layout(self._readers, counts)
        """Where its tiles lie."""
        self.dtype: np.dtype[Any] = decoder.dtype
        """Of its pixels."""
        self.shape: tuple[int, ...] = (*self.layout.shape, *samples)
        """(rows, columns) or (rows, columns, samples)."""
        self.tile_shape: tuple[int, ...] = (rows, columns, *samples)
        """Of each tile, in the same order."""
        bits = decoder.attributes.get("BitsStored") or 8
        self.absent = 2**bits - 1 if decoder.is_colour else 0
        """Value of the pixels where no tile lies: white where there are colours, otherwise 0."""

    @property
    def optical_paths(self) -> tuple[str, ...]:
        """Identifiers of its optical paths; of a segmentation, the numbers of its segments."""
        return self.layout.optical_paths

    @property
    def focal_planes(self) -> int:
        """How many focal planes it has."""
        return self.layout.focal_planes

    @property
    def files(self) -> tuple[DicomFile | InflatedFile, ...]:
        """Its object, or the parts of a concatenation in their order."""
        return tuple(reader.file for reader in self._readers)

    @property
    def requests(self) -> int:
        """HTTP requests so far, retries included; a listing of the series excluded."""
        return self._requests_before + sum(file.requests for file in self.files)

    @property
    def bytes_read(self) -> int:
        """Body bytes of the answers so far."""
        return self._bytes_before + sum(file.bytes_read for file in self.files)

    def region(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        *,
        optical_path: str | None = None,
        focal_plane: int = 0,
    ) -> Pixels:
        """Read a part of the matrix.

        Tiles that lie beside each other in the object, as those of a row do in TILED_FULL images,
        are read by one request. Where tiles overlap, that of the later frame is seen.

        Parameters
        ----------
        x, y
            Column and row of its first pixel, from 0.
        width, height
            In pixels.
        optical_path
            Identifier of the optical path, or number of the segment; the first where None.
        focal_plane
            From 0, from the slide upwards.

        Returns
        -------
        numpy.ndarray
            (height, width) or (height, width, samples). Tiles are decoded as pydicom does it, YBR
            to RGB included; where none lies, colours are white and all else is 0.

        Raises
        ------
        WrongArgument
            The region does not lie inside the matrix.
        HarvestError
            There is no such optical path or focal plane, or no decoder is installed.
        ObjectError
            The object cannot be read, or a tile cannot be decoded.
        """
        self._check_inside(x, y, width, height)
        plane = self.layout.plane_of(optical_path, focal_plane)
        tiles = self.layout.touching(plane, x, y, width, height)
        made = np.full((height, width, *self.shape[2:]), self.absent, self.dtype)
        places = zip(tiles.tops.tolist(), tiles.lefts.tolist(), self._decoded(tiles), strict=True)
        for top, left, pixels in places:
            _paste(made, pixels, top - y, left - x)
        return made

    def _check_inside(self, x: int, y: int, width: int, height: int) -> None:
        rows, columns = self.shape[:2]
        inside = 0 <= x <= x + width <= columns and 0 <= y <= y + height <= rows
        if not inside or width < 1 or height < 1:
            raise WrongArgument(
                f"a region of {width} x {height} pixels at ({x}, {y}) does not lie inside the "
                f"matrix of {columns} x {rows} pixels (columns x rows), which begins at (0, 0)"
            )

    def _decoded(self, tiles: Tiles) -> Iterator[Pixels]:
        """Yield the pixels of tiles, in the order of their frames."""
        for reader, (before, behind) in zip(self._readers, pairwise(self._before), strict=True):
            inside = tiles.where((tiles.frames > before) & (tiles.frames <= behind))
            for pixels in reader.decoded((inside.frames - before).tolist()):
                if pixels.shape != self.tile_shape:
                    raise ObjectError(ErrorKind.MALFORMED, "a tile has another size than it says")
                yield pixels


def _paste(region: Pixels, tile: Pixels, top: int, left: int) -> None:
    """Put a tile into a region, as far as it lies inside."""
    rows = slice(max(top, 0), min(top + tile.shape[0], region.shape[0]))
    columns = slice(max(left, 0), min(left + tile.shape[1], region.shape[1]))
    region[rows, columns] = tile[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]


def _offset(reader: FrameReader) -> int:
    return reader.description.concatenation_offset


def _layout(readers: Sequence[FrameReader], frames: Sequence[int]) -> TileLayout:
    """Lay the tiles of an object, or of the parts of a concatenation in their order."""
    _check_parts(readers, frames)
    rows, columns, *_ = readers[0].decoder.shape
    return layout_of([reader.values for reader in readers], frames, (rows, columns))


def _check_parts(readers: Sequence[FrameReader], frames: Sequence[int]) -> None:
    """Refuse a part of a concatenation without the others: its pixels would look absent."""
    told = readers[0].values.get("InConcatenationTotalNumber")
    joined = [_offset(reader) for reader in readers] == [0, *accumulate(frames)][:-1]
    if not joined or (isinstance(told, int) and told != len(readers)):
        raise ObjectError(
            ErrorKind.UNSUPPORTED,
            f"{len(readers)} of {told or 'several'} parts of a concatenation: name the folder of "
            "the series, with a / at its end, and see that it holds all of them",
        )


def open_slide(
    url: str,
    *,
    level: int = 0,
    optical_path: str | None = None,
    index: Index | None = None,
    **source: Any,
) -> PixelMatrix:
    """Open a level of a slide, to read many regions of it.

    Parameters
    ----------
    url
        Of the level's object, or of its series, with a ``/`` at its end:
        ``s3://bucket/prefix/``, ``gs://bucket/prefix/``, or a local folder.
    level
        Of a series: 0 is the largest. Only images of the kind VOLUME are levels.
    optical_path
        Of a series whose optical paths are objects of their own: which of them to open. The first
        by its identifier where None.
    index
        A frame index, as in `read_frames`.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Raises
    ------
    HarvestError
        There is no such level or optical path; the text says which there are. Or the index cannot
        be read, or does not know the object.
    ObjectError
        What is wrong with an object.
    WrongArgument
        The URL or a key of `source` is wrong.
    """
    return PixelMatrix(
        *level_readers(url, level=level, optical_path=optical_path, index=index, **source)
    )


def level_readers(
    url: str,
    *,
    level: int = 0,
    optical_path: str | None = None,
    index: Index | None = None,
    **source: Any,
) -> tuple[list[FrameReader], list[FrameReader]]:
    """Open the objects that a level consists of; see `open_slide`.

    Returns
    -------
    tuple of list of FrameReader
        Those of the level, and those that were opened on the way. They have read
        `SLIDE_ATTRIBUTES`. A URL of one object may be of any object with frames.
    """
    parsed = parse_url(url)
    if not (parsed.key.endswith("/") or not parsed.key or _is_folder(parsed)):
        if level:
            raise HarvestError(
                f"{url} is one object, which is one level: name the folder of its series, with a / "
                f"at its end, for level {level}"
            )
        return [_opened(url, source, index)], []
    found = _series(parsed, source)
    readers = _chosen(_level(_images(found), level, url), optical_path)
    for reader in readers:
        use_index(reader, index)
    return readers, [reader for reader in found if reader not in readers]


def read_region(
    url: str,
    x: int,
    y: int,
    width: int,
    height: int,
    *,
    level: int = 0,
    optical_path: str | None = None,
    focal_plane: int = 0,
    index: Index | None = None,
    **source: Any,
) -> Pixels:
    """Read and decode a part of a slide, and no tile that it does not need.

    Parameters
    ----------
    url
        Of a level's object, or of its series, with a ``/`` at its end.
    x, y
        Column and row of the first pixel in the level's total pixel matrix, from 0.
    width, height
        In pixels of the level.
    level
        Of a series: 0 is the largest. Only images of the kind VOLUME are levels.
    optical_path
        Identifier of the optical path, or number of a tiled segmentation's segment; the first
        where None.
    focal_plane
        From 0, from the slide upwards.
    index
        A frame index, as in `read_frames`; without one the object's own offset table is read, and
        where it has none its items are walked over.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    numpy.ndarray
        (height, width) or (height, width, samples). Tiles are decoded as pydicom does it, YBR to
        RGB included; where none lies, colours are white and all else is 0.

    Raises
    ------
    WrongArgument
        The region does not lie inside the matrix; or the URL or a key of `source` is wrong.
    HarvestError
        There is no such level, optical path or focal plane, or no decoder is installed; or the
        index cannot be read, or does not know the object.
    ObjectError
        What is wrong with an object.

    See Also
    --------
    open_slide : For many regions: headers and offset tables are read once.
    dask_array : The whole level, each tile read when it is computed.
    read_frames : Tiles by the numbers of their frames.
    """
    matrix = open_slide(url, level=level, optical_path=optical_path, index=index, **source)
    return matrix.region(x, y, width, height, optical_path=optical_path, focal_plane=focal_plane)


def _is_folder(url: ObjectUrl) -> bool:
    return url.scheme == "file" and os.path.isdir(url.key)


def _opened(url: str, source: dict[str, Any], index: Index | None = None) -> FrameReader:
    return open_frames(url, index, SLIDE_ATTRIBUTES, **source)


# --- the levels of a series ------------------------------------------------------------------

Image = list[FrameReader]
"""One object, or the parts of a concatenation."""


def _series(folder: ObjectUrl, source: dict[str, Any]) -> list[FrameReader]:
    """Open the DICOM objects of a series, in the order of their keys."""
    prefix = folder.with_key(folder.key.rstrip("/") + "/" if folder.key else "")
    listed = list_prefix(prefix, source_of(prefix, source))
    urls = [str(folder.with_key(entry.key)) for entry in listed]
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda url: _opened_dicom(url, source), urls)
        return [reader for reader in found if reader is not None]


def _opened_dicom(url: str, source: dict[str, Any]) -> FrameReader | None:
    """Open an object and read its header; None where it is not DICOM, as a licence beside it."""
    try:
        reader = _opened(url, source)
        _ = reader.values
    except ObjectError as error:
        if error.kind == ErrorKind.NOT_DICOM:
            return None
        raise ObjectError(error.kind, f"{url}: {error.detail}") from None
    return reader


def _images(series: Sequence[FrameReader]) -> list[Image]:
    """Put together the images of a series that are parts of a pyramid."""
    volumes = sorted(filter(_is_level, series), key=_concatenation)
    return [list(parts) for _, parts in groupby(volumes, _concatenation)]


def _is_level(reader: FrameReader) -> bool:
    kinds = reader.values.get("ImageType") or []
    # images that do not tell are believed to be what slides are for
    return _size(reader) > 0 and (len(kinds) < 3 or "VOLUME" in kinds)


def _concatenation(reader: FrameReader) -> str:
    return str(reader.values.get("ConcatenationUID") or reader.file.name)


def _size(reader: FrameReader) -> int:
    """Return the pixels of the total pixel matrix; 0 where there is none."""
    rows, columns = (reader.values.get(f"TotalPixelMatrix{each}") for each in ("Rows", "Columns"))
    return (rows or 0) * (columns or 0)


def _level(images: Sequence[Image], level: int, url: str) -> list[Image]:
    sizes = sorted({_size(image[0]) for image in images}, reverse=True)
    if not sizes:
        raise HarvestError(f"{url} holds no level of a slide: name a level's object, or its series")
    if not 0 <= level < len(sizes):
        known = {_size(image[0]): image[0].values for image in images}
        there = ", ".join(
            f"{number}: {known[size]['TotalPixelMatrixColumns']} x "
            f"{known[size]['TotalPixelMatrixRows']}"
            for number, size in enumerate(sizes)
        )
        raise HarvestError(f"there is no level {level}: there are {there} (columns x rows)")
    return [image for image in images if _size(image[0]) == sizes[level]]


def _chosen(images: Sequence[Image], optical_path: str | None) -> Image:
    """Choose among images of one size: their optical paths tell them apart, or nothing does."""
    if len(images) == 1:
        return images[0]
    paths = {_optical_paths(image): image for image in images}
    if len(paths) < len(images):
        names = ", ".join(image[0].file.name for image in images)
        raise HarvestError(f"several images are that level: name one of {names}")
    if optical_path is None:
        return paths[min(paths)]
    for there, image in paths.items():
        if str(optical_path) in there:
            return image
    raise HarvestError(
        f"there is no optical path {optical_path!r}: choose one of "
        f"{', '.join(repr(name) for there in sorted(paths) for name in there)}"
    )


def _optical_paths(image: Image) -> tuple[str, ...]:
    """Name the optical paths of an image by its header alone: an index may know its frames."""
    parts = sorted(image, key=_offset)
    return _layout(parts, [part.description.frames or 1 for part in parts]).optical_paths
