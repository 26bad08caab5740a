"""Frames as lazy Dask arrays; the only module that knows dask.array.

Nothing but the header, and without an index the offset table, is read before something is
computed; a chunk then reads its own bytes, in whichever process it is computed.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from ..objects.file import DicomFile
from ..objects.frame_reader import FrameReader
from ..objects.frame_table import Index
from ..objects.inflated import InflatedFile
from .slides import PixelMatrix, level_readers

Pixels = np.ndarray[Any, Any]
Box = tuple[tuple[int, int], ...]
"""First and last but one index along each axis; not empty."""


class _Frames:
    """All frames of one object: (frames, rows, columns) or (frames, rows, columns, samples)."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        shape = reader.decoder.shape
        self.shape = (reader.ranges.frames, *shape)
        self.dtype = reader.decoder.dtype
        self.chunks = (1, *shape)
        self.files: tuple[DicomFile | InflatedFile, ...] = (reader.file,)

    def read(self, box: Box) -> Pixels:
        """Read frames, whole, and cut them."""
        (first, behind), *inside = box
        frames = self._reader.frames(range(first + 1, behind + 1))
        return np.stack(frames)[:, *(slice(*each) for each in inside)]


class _Matrix:
    """One plane of a total pixel matrix: (rows, columns) or (rows, columns, samples)."""

    def __init__(self, matrix: PixelMatrix, optical_path: str | None, focal_plane: int) -> None:
        matrix.layout.plane_of(optical_path, focal_plane)  # a wrong choice is told at once
        self._matrix, self._path, self._plane = matrix, optical_path, focal_plane
        self.shape, self.dtype = matrix.shape, matrix.dtype
        self.chunks = matrix.tile_shape
        self.files = matrix.files

    def read(self, box: Box) -> Pixels:
        """Read the tiles that a box touches."""
        (top, bottom), (left, right), *samples = box
        region = self._matrix.region(
            left,
            top,
            right - left,
            bottom - top,
            optical_path=self._path,
            focal_plane=self._plane,
        )
        return region[:, :, *(slice(*each) for each in samples)]


class _Sliced:
    """What Dask asks an array for: shape, dtype, and basic indexing.

    Parameters
    ----------
    stored
        What it is read from.
    """

    def __init__(self, stored: _Frames | _Matrix) -> None:
        self._stored = stored
        self.shape, self.dtype = stored.shape, stored.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> Pixels:
        """Read a part.

        Parameters
        ----------
        key
            Integers and slices, as Dask makes them.
        """
        key = key if isinstance(key, tuple) else (key,)
        key += (slice(None),) * (self.ndim - len(key))
        indices = [range(length)[each] for length, each in zip(self.shape, key, strict=True)]
        spans = [each if isinstance(each, range) else range(each, each + 1) for each in indices]
        dropped = tuple(axis for axis, each in enumerate(indices) if isinstance(each, int))
        if not all(spans):
            return np.empty([len(span) for span in spans], self.dtype).squeeze(dropped)
        read = self._stored.read(tuple((min(span), max(span) + 1) for span in spans))
        # what was read has every index from the lowest to the highest, upwards
        return read[tuple(slice(None, None, span.step) for span in spans)].squeeze(dropped)


def dask_array(
    url: str,
    index: Index | None = None,
    *,
    level: int = 0,
    optical_path: str | None = None,
    focal_plane: int = 0,
    **source: Any,
) -> da.Array:
    """Describe the pixels of an object as a Dask array, which reads them when it is computed.

    Of a slide, the array is the total pixel matrix of a level, its tiles are the chunks; of every
    other image, the frames are stacked, one a chunk. A chunk reads its own bytes and no others, by
    any scheduler: other processes open stores of their own, and insist on the state of the object
    that was opened here.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file; of a slide also its series, with
        a ``/`` at its end.
    index
        A frame index, as in `read_frames`; without one the object's own offset table is read, and
        where it has none its items are walked over.
    level, optical_path, focal_plane
        Of a slide; see `harvest.read_region`.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    dask.array.Array
        (rows, columns) or (rows, columns, samples) of a slide, otherwise (frames, rows, columns) or
        (frames, rows, columns, samples).

    Raises
    ------
    HarvestError
        There is no such level, optical path or focal plane; or the index cannot be read, or does
        not know the object. When it is computed: no decoder is installed.
    ObjectError
        What is wrong with the object; ``changed``, when it is computed, where it was replaced.
    WrongArgument
        The URL or a key of `source` is wrong.

    See Also
    --------
    read_frames : Some frames, at once.
    read_region : A part of a slide, at once.
    """
    readers, _ = level_readers(url, level=level, optical_path=optical_path, index=index, **source)
    stored: _Frames | _Matrix
    if readers[0].values.get("TotalPixelMatrixRows") is None:
        stored = _Frames(readers[0])
    else:
        stored = _Matrix(PixelMatrix(readers), optical_path, focal_plane)
    states = [(file.name, file.version) for file in stored.files]
    array: da.Array = da.from_array(
        _Sliced(stored),
        chunks=stored.chunks,
        name=f"frames-{tokenize(states, optical_path, focal_plane)}",
        meta=np.empty((0,) * len(stored.shape), stored.dtype),
        fancy=False,
    )
    return array
