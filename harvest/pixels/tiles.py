"""Where the tiles of a slide lie in its total pixel matrix: pure, header in, places out.

TILED_FULL images say it by the order of their frames (PS3.3 section C.7.6.17.3), TILED_SPARSE ones
by a position of each frame (section C.8.12.14.1); there tiles may be absent, overlap, and lie
beside the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import ErrorKind, HarvestError, ObjectError
from .functional_groups import Values, each_frame, of_frames

_PLACE: Final = "PlanePositionSlideSequence"
_TOP: Final = f"{_PLACE}.RowPositionInTotalImagePixelMatrix"
_LEFT: Final = f"{_PLACE}.ColumnPositionInTotalImagePixelMatrix"
_HEIGHT: Final = f"{_PLACE}.ZOffsetInSlideCoordinateSystem"
_PATH: Final = "OpticalPathIdentificationSequence.OpticalPathIdentifier"
_SEGMENT: Final = "SegmentIdentificationSequence.ReferencedSegmentNumber"

TILE_ATTRIBUTES: Final = (
    "DimensionOrganizationType",
    "NumberOfOpticalPaths",
    "OpticalPathSequence.OpticalPathIdentifier",
    "SegmentationType",
    "SegmentSequence.SegmentNumber",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixFocalPlanes",
    "TotalPixelMatrixRows",
    *chain.from_iterable(map(of_frames, (_TOP, _LEFT, _HEIGHT, _PATH, _SEGMENT))),
)
"""What `layout_of` reads, as a profile names it."""
HEIGHT_DECIMALS: Final = 3
"""Z offsets, in micrometres, that are the same up to these are one focal plane."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Tiles of one focal plane and one optical path, in the order of their frames."""

    frames: Numbers
    """Number of each one's frame, from 1, through all parts of a concatenation."""
    tops: Numbers
    """Row of its first pixel in the total pixel matrix, from 0."""
    lefts: Numbers
    """Column of its first pixel, from 0."""

    def where(self, chosen: npt.NDArray[np.bool_]) -> Tiles:
        """Return some of the tiles."""
        return Tiles(self.frames[chosen], self.tops[chosen], self.lefts[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class TileLayout:
    """The tiles of one total pixel matrix."""

    shape: tuple[int, int]
    """Rows and columns of the total pixel matrix."""
    tile_shape: tuple[int, int]
    """Rows and columns of each tile."""
    optical_paths: tuple[str, ...]
    """Their identifiers; of a segmentation, the numbers of its segments."""
    focal_planes: int
    """How many, from the slide upwards."""
    tiles: Tiles
    """All of them."""
    path: Numbers
    """Of each tile, its place in `optical_paths`."""
    plane: Numbers
    """Of each tile, its focal plane from 0."""

    def plane_of(self, optical_path: str | None = None, focal_plane: int = 0) -> Tiles:
        """Return the tiles of one plane.

        Parameters
        ----------
        optical_path
            Its identifier; the first where None.
        focal_plane
            From 0, from the slide upwards.

        Raises
        ------
        HarvestError
            There is no such plane; the text says which there are.
        """
        path = 0
        if optical_path is not None:
            if str(optical_path) not in self.optical_paths:
                raise HarvestError(
                    f"there is no optical path {optical_path!r}: choose one of "
                    f"{', '.join(map(repr, self.optical_paths))}"
                )
            path = self.optical_paths.index(str(optical_path))
        if not 0 <= focal_plane < self.focal_planes:
            raise HarvestError(
                f"there is no focal plane {focal_plane}: choose one from 0 to "
                f"{self.focal_planes - 1}"
            )
        return self.tiles.where((self.path == path) & (self.plane == focal_plane))

    def touching(self, tiles: Tiles, x: int, y: int, width: int, height: int) -> Tiles:
        """Return those tiles that a region needs.

        Parameters
        ----------
        tiles
            Of this layout.
        x, y, width, height
            The region, in pixels of the total pixel matrix.
        """
        rows, columns = self.tile_shape
        return tiles.where(
            (tiles.tops < y + height)
            & (tiles.tops + rows > y)
            & (tiles.lefts < x + width)
            & (tiles.lefts + columns > x)
        )


def layout_of(
    parts: Sequence[Values], frames: Sequence[int], tile_shape: tuple[int, int]
) -> TileLayout:
    """Find out where the tiles of an image lie.

    Parameters
    ----------
    parts
        Values of `TILE_ATTRIBUTES` of each part of a concatenation in its order, or of the one
        object.
    frames
        Number of Frames of each part.
    tile_shape
        Rows and columns of a frame.

    Raises
    ------
    ObjectError
        ``unsupported``: it is no tiled image; ``malformed``: its attributes contradict each other.
    """
    first = parts[0]
    shape = first.get("TotalPixelMatrixRows"), first.get("TotalPixelMatrixColumns")
    if not all(isinstance(each, int) and each > 0 for each in shape):
        raise ObjectError(ErrorKind.UNSUPPORTED, "it has no total pixel matrix: it is no slide")
    rows, columns = shape[0] or 0, shape[1] or 0
    positions = [
        position
        for part, count in zip(parts, frames, strict=True)
        for position in _positions(part, count)
    ]
    sparse = first.get("DimensionOrganizationType") != "TILED_FULL" and any(
        top is not None for top, *_ in positions
    )
    if sparse:
        return _sparse(first, (rows, columns), tile_shape, positions)
    return _full(first, (rows, columns), tile_shape, sum(frames))


def _positions(values: Values, frames: int) -> list[tuple[Any, ...]]:
    """Return top, left, height and optical path or segment of each frame, as far as it has them."""
    if values.get("DimensionOrganizationType") == "TILED_FULL":
        return []
    return list(
        zip(
            *(
                each_frame(values, frames, path)
                for path in (_TOP, _LEFT, _HEIGHT, _SEGMENT if _by_segment(values) else _PATH)
            ),
            strict=True,
        )
    )


def _by_segment(values: Values) -> bool:
    """Tell whether the frames are of segments; those of a label map hold all of them."""
    return values.get("SegmentationType") in ("BINARY", "FRACTIONAL")


def _identifiers(values: Values) -> list[str]:
    """Return the optical paths, or segments, in the order of their sequence."""
    sequence, keyword = ("OpticalPathSequence", "OpticalPathIdentifier")
    if _by_segment(values):
        sequence, keyword = ("SegmentSequence", "SegmentNumber")
    found = [item.get(keyword) for item in values.get(sequence) or []]
    return [str(number if each is None else each) for number, each in enumerate(found, start=1)]


def _name(identifier: Any, first: str) -> str:
    """Write the optical path, or the one segment, that a frame names; the first if none."""
    if isinstance(identifier, list):
        identifier = identifier[0] if identifier else None
    return first if identifier is None else str(identifier)


def _full(
    values: Values, shape: tuple[int, int], tile_shape: tuple[int, int], frames: int
) -> TileLayout:
    """Lay tiles row by row, then focal plane by focal plane, then by optical path."""
    down, across = (-(-whole // tile) for whole, tile in zip(shape, tile_shape, strict=True))
    planes = values.get("TotalPixelMatrixFocalPlanes") or 1
    paths = _identifiers(values)
    if values.get("SegmentationType") is None:
        count = values.get("NumberOfOpticalPaths") or len(paths) or 1
        paths = [*paths, *map(str, range(len(paths) + 1, count + 1))][:count]
    paths = paths or ["1"]
    expected = down * across * planes * len(paths)
    if frames != expected:
        raise ObjectError(
            ErrorKind.MALFORMED,
            f"{frames} frames, where {down} x {across} tiles in {planes} focal planes and "
            f"{len(paths)} optical paths are {expected}",
        )
    path, plane, row, column = np.unravel_index(
        np.arange(frames), (len(paths), planes, down, across)
    )
    tiles = Tiles(np.arange(1, frames + 1), row * tile_shape[0], column * tile_shape[1])
    return TileLayout(shape, tile_shape, tuple(paths), planes, tiles, path, plane)


def _sparse(
    values: Values,
    shape: tuple[int, int],
    tile_shape: tuple[int, int],
    positions: Sequence[tuple[Any, ...]],
) -> TileLayout:
    """Lay each tile where it says."""
    tops, lefts, heights, of = zip(*positions, strict=True)
    if None in tops or None in lefts:
        raise ObjectError(ErrorKind.MALFORMED, "a tile has no place in the total pixel matrix")
    known = _identifiers(values)
    named = [_name(each, next(iter(known), "1")) for each in of]
    paths = list(dict.fromkeys([*known, *named]))
    numbers = {name: number for number, name in enumerate(paths)}
    rounded = np.round([float(each or 0) for each in heights], HEIGHT_DECIMALS)
    found, plane = np.unique(rounded, return_inverse=True)
    tiles = Tiles(
        np.arange(1, len(positions) + 1),
        np.array(tops, np.int64) - 1,
        np.array(lefts, np.int64) - 1,
    )
    path = np.array([numbers[name] for name in named], np.int64)
    return TileLayout(shape, tile_shape, tuple(paths), len(found), tiles, path, plane)
