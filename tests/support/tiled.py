"""Slides made for a test: known pixels, cut into tiles in every way that the standard allows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
)

from harvest.objects.frame_table import located, write_frames
from tests.lab.dicom import code, instance, item, items, save, uid

Pixels = np.ndarray[Any, Any]
ROWS, COLUMNS = 150, 210
"""Of the total pixel matrix, unless another is given."""
TILE = (64, 48)
"""Rows and columns of a tile: not square, and in no way a part of the matrix."""


@dataclass(frozen=True)
class Tile:
    """One frame."""

    pixels: Pixels
    top: int
    """Row of its first pixel, from 0."""
    left: int
    path: str = "1"
    height: float = 0.0
    """Above the slide, in micrometres."""


def picture(rows: int = ROWS, columns: int = COLUMNS, *, seed: int = 0) -> Pixels:
    """Make a coloured picture without repetition: waves, and some noise."""
    y, x = np.mgrid[0:rows, 0:columns]
    noise = np.random.default_rng(seed).integers(0, 40, (rows, columns, 3))
    waves = np.stack([np.sin(x / 17 + seed), np.cos(y / 23), np.sin((x + y) / 31)], axis=-1)
    return (100 + 90 * waves + noise).clip(0, 255).astype(np.uint8)


def cut(matrix: Pixels, *, path: str = "1", height: float = 0.0) -> list[Tile]:
    """Cut a matrix into tiles, row by row; what lies behind the edges is 7."""
    rows, columns = TILE
    behind = [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns), (0, 0)]
    padded = np.pad(matrix, behind[: matrix.ndim], constant_values=7)
    return [
        Tile(padded[top : top + rows, left : left + columns], top, left, path, height)
        for top in range(0, matrix.shape[0], rows)
        for left in range(0, matrix.shape[1], columns)
    ]


def write_slide(
    path: Path,
    tiles: Sequence[Tile],
    *,
    sparse: bool = False,
    table: str = "native",
    shape: tuple[int, int] = (ROWS, COLUMNS),
    level: int = 0,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write tiles as one object.

    Parameters
    ----------
    path
        File to write.
    tiles
        In the order of their frames.
    sparse
        Whether each frame tells its place.
    table
        ``native``, or JPEG with one kind of offset table: ``basic``, ``extended``, ``empty``.
    shape
        Rows and columns of the total pixel matrix.
    level
        Names the object.
    more
        Further attributes, which replace others.
    """
    image = _image(tiles, shape, f"{path.parent.name} {path.stem}", level)
    image.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    if sparse:
        image.DimensionIndexSequence = items(*(_index(keyword) for keyword in _INDICES))
        image.PerFrameFunctionalGroupsSequence = items(*map(_groups, tiles))
    syntax = ExplicitVRLittleEndian
    if table == "native":
        image.PixelData = np.stack([tile.pixels for tile in tiles]).tobytes()
        image.PixelData += b"\0" * (len(image.PixelData) % 2)
        image["PixelData"].VR = "OB"
    else:
        image.PhotometricInterpretation = "YBR_FULL_422"
        syntax = JPEGBaseline8Bit
        _compress(image, tiles, table)
    for keyword, value in (more or {}).items():
        setattr(image, keyword, value)
    save(image, path, syntax)
    return path


def _image(tiles: Sequence[Tile], shape: tuple[int, int], name: str, level: int) -> Dataset:
    image = instance(VLWholeSlideMicroscopyImageStorage, "SM", name, 1 + level)
    paths = sorted({tile.path for tile in tiles})
    samples = 3 if tiles[0].pixels.ndim == 3 else 1
    bits = 8 * tiles[0].pixels.itemsize
    image.update(
        item(
            ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            ContainerIdentifier="LAB-002-A",
            NumberOfFrames=len(tiles),
            SamplesPerPixel=samples,
            PhotometricInterpretation="RGB" if samples == 3 else "MONOCHROME2",
            Rows=TILE[0],
            Columns=TILE[1],
            BitsAllocated=bits,
            BitsStored=bits,
            HighBit=bits - 1,
            PixelRepresentation=0,
            VolumetricProperties="VOLUME",
            ImagedVolumeWidth=1.0,
            ImagedVolumeHeight=1.0,
            ImagedVolumeDepth=1.0,
            TotalPixelMatrixRows=shape[0],
            TotalPixelMatrixColumns=shape[1],
            TotalPixelMatrixFocalPlanes=len({tile.height for tile in tiles}),
            TotalPixelMatrixOriginSequence=items(
                item(XOffsetInSlideCoordinateSystem="20", YOffsetInSlideCoordinateSystem="40")
            ),
            ImageOrientationSlide=["0", "-1", "0", "-1", "0", "0"],
            NumberOfOpticalPaths=len(paths),
            OpticalPathSequence=items(*map(_optical_path, paths)),
            DimensionOrganizationSequence=items(
                item(DimensionOrganizationUID=uid("dimension organization", name))
            ),
            SharedFunctionalGroupsSequence=items(_shared(paths)),
            LossyImageCompression="00",
        )
    )
    if samples == 3:
        image.PlanarConfiguration = 0
    return image


def _optical_path(name: str) -> Dataset:
    return item(
        OpticalPathIdentifier=name,
        IlluminationTypeCodeSequence=items(code("111744", "DCM", "Brightfield illumination")),
    )


def _shared(paths: Sequence[str]) -> Dataset:
    measures = item(SliceThickness="0.001", PixelSpacing=["0.0005", "0.0005"])
    shared = item(PixelMeasuresSequence=items(measures))
    if len(paths) == 1:
        shared.OpticalPathIdentificationSequence = items(item(OpticalPathIdentifier=paths[0]))
    return shared


_INDICES = ("ColumnPositionInTotalImagePixelMatrix", "RowPositionInTotalImagePixelMatrix")


def _index(keyword: str) -> Dataset:
    return item(
        DimensionIndexPointer=tag_for_keyword(keyword),
        FunctionalGroupPointer=tag_for_keyword("PlanePositionSlideSequence"),
    )


def _groups(tile: Tile) -> Dataset:
    place = item(
        ColumnPositionInTotalImagePixelMatrix=1 + tile.left,
        RowPositionInTotalImagePixelMatrix=1 + tile.top,
        XOffsetInSlideCoordinateSystem=f"{20 - tile.top * 0.0005:.6f}",
        YOffsetInSlideCoordinateSystem=f"{40 - tile.left * 0.0005:.6f}",
        ZOffsetInSlideCoordinateSystem=f"{tile.height:.6f}",
    )
    indices = [1 + tile.left // TILE[1], 1 + tile.top // TILE[0]]
    return item(
        FrameContentSequence=items(item(DimensionIndexValues=indices)),
        PlanePositionSlideSequence=items(place),
        OpticalPathIdentificationSequence=items(item(OpticalPathIdentifier=tile.path)),
    )


def _compress(image: Dataset, tiles: Sequence[Tile], table: str) -> None:
    frames = [jpeg(tile.pixels) for tile in tiles]
    if table == "extended":
        image.PixelData, offsets, lengths = encapsulate_extended(frames)
        image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = offsets, lengths
    else:
        image.PixelData = encapsulate(frames, has_bot=table == "basic")
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True


def jpeg(pixels: Pixels) -> bytes:
    """Encode a tile."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=80, subsampling="4:2:2")
    return held.getvalue()


def write_parts(
    folder: Path, tiles: Sequence[Tile], ends: Sequence[int], *, sparse: bool = False
) -> list[Path]:
    """Write tiles as a concatenation of several objects.

    Parameters
    ----------
    folder
        Where to write them.
    tiles
        Of all of them.
    ends
        How many frames there are up to the end of each part.
    sparse
        Whether each frame tells its place.
    """
    source = uid("concatenation source", folder.name)
    written = []
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), start=1):
        more = {
            "ConcatenationUID": uid("concatenation", folder.name),
            "SOPInstanceUIDOfConcatenationSource": source,
            "InConcatenationNumber": number,
            "InConcatenationTotalNumber": len(ends),
            "ConcatenationFrameOffsetNumber": begin,
        }
        # their names are not in their order
        path = folder / f"part_{9 - number}.dcm"
        part = tiles[begin:end]
        written.append(
            write_slide(path, part, sparse=sparse, table="empty", level=number, more=more)
        )
    return written


def frame_index(url: Path | str, file: Path, **source: Any) -> Path:
    """Write a frame index of one object, as ``harvest frames`` does."""
    row = located(str(url), **source).row
    assert row is not None
    write_frames([row], file)
    return file
