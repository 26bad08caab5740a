"""One slide level of many real JPEG tiles, with each kind of offset table, and with none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from struct import pack
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from harvest.frames import tiff as tags
from tests.lab.dicom import code, instance, item, items, save, uid
from tests.lab.slides import color_profile
from tests.support.tiff import Tiff

TILE: Final = 256
QUALITIES: Final = (60, 92)
"""Of JPEG, so that tiles have 5 to 25 kB."""
DESIGNS: Final = 500
"""Different tiles; each is used some times, and never twice in a row or a column."""
TABLES: Final = ("basic", "extended", "none", "tiff")
"""The last has no offset table, but a TIFF directory, as converted slides of IDC have."""
_TRAILING_PADDING: Final = b"\xfc\xff\xfc\xffOB\0\0"
_PROFILE_BYTES: Final = 4_000


def write_slides(folder: Path, across: int) -> dict[str, Path]:
    """Write the same level once for each of `TABLES`.

    Parameters
    ----------
    folder
        For the files.
    across
        Tiles of a row, and of a column.
    """
    folder.mkdir(parents=True, exist_ok=True)
    designs = [_tile(number) for number in range(DESIGNS)]
    tiles = [_numbered(designs[(7 * n + n // across) % DESIGNS], n) for n in range(across**2)]
    return {table: _write(folder / f"{table}.dcm", table, across, tiles) for table in TABLES}


def _tile(number: int) -> bytes:
    """Encode what looks a little like tissue: waves of colour under grain."""
    chance = np.random.default_rng(number)
    y, x = np.mgrid[0:TILE, 0:TILE] / TILE
    waves = np.sin((2 + number % 7) * np.pi * x) * np.cos((1 + number % 5) * np.pi * y)
    grain = chance.normal(0, 14, (TILE, TILE, 1))
    stain = np.array([200, 130, 180]) + waves[..., None] * np.array([25, 60, 35])
    held = io.BytesIO()
    low, high = QUALITIES
    picture = Image.fromarray(np.clip(stain + grain, 0, 255).astype(np.uint8))
    picture.save(held, "JPEG", quality=low + number % (high - low), subsampling="4:2:2")
    return held.getvalue()


def _numbered(tile: bytes, number: int) -> bytes:
    """Put a comment into a tile, so that all of them differ in length and in bytes."""
    comment = np.random.default_rng(number).bytes(2 + number * 7919 % 1999)
    # behind the first marker (ISO/IEC 10918-1 section B.2.4.5)
    return tile[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + tile[2:]


def _write(path: Path, table: str, across: int, tiles: Sequence[bytes]) -> Path:
    level = _level(table, across)
    if table == "extended":
        pixels, level.ExtendedOffsetTable, level.ExtendedOffsetTableLengths = encapsulate_extended(
            list(tiles)
        )
        level.PixelData = pixels
    else:
        level.PixelData = encapsulate(list(tiles), has_bot=table == "basic")
    level["PixelData"].VR = "OB"
    level["PixelData"].is_undefined_length = True
    save(level, path, JPEGBaseline8Bit)
    if table == "tiff":
        _add_directory(path, across, tiles)
    return path


def _level(table: str, across: int) -> Dataset:
    made = instance(VLWholeSlideMicroscopyImageStorage, "SM", f"bench {table}", 1)
    spacing = ["0.0005", "0.0005"]
    measures = item(SliceThickness="0.001", PixelSpacing=spacing)
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    path = item(
        OpticalPathIdentifier="1",
        IlluminationTypeCodeSequence=items(code("111744", "DCM", "Brightfield illumination")),
        ICCProfile=color_profile(_PROFILE_BYTES),
    )
    made.update(
        item(
            ImageType=kind,
            ContainerIdentifier="BENCH-1",
            SpecimenDescriptionSequence=items(
                item(SpecimenIdentifier="BENCH-1-1", SpecimenUID=uid("bench specimen"))
            ),
            VolumetricProperties="VOLUME",
            SamplesPerPixel=3,
            PhotometricInterpretation="YBR_FULL_422",
            PlanarConfiguration=0,
            NumberOfFrames=across**2,
            Rows=TILE,
            Columns=TILE,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            LossyImageCompression="01",
            LossyImageCompressionRatio="12",
            LossyImageCompressionMethod="ISO_10918_1",
            ImagedVolumeWidth=across * TILE * 0.0005,
            ImagedVolumeHeight=across * TILE * 0.0005,
            ImagedVolumeDepth=1.0,
            TotalPixelMatrixColumns=across * TILE,
            TotalPixelMatrixRows=across * TILE,
            TotalPixelMatrixFocalPlanes=1,
            TotalPixelMatrixOriginSequence=items(
                item(XOffsetInSlideCoordinateSystem="20", YOffsetInSlideCoordinateSystem="40")
            ),
            ImageOrientationSlide=["0", "-1", "0", "-1", "0", "0"],
            NumberOfOpticalPaths=1,
            OpticalPathSequence=items(path),
            DimensionOrganizationType="TILED_FULL",
            DimensionOrganizationSequence=items(
                item(DimensionOrganizationUID=uid("dimension organization", table))
            ),
            SharedFunctionalGroupsSequence=items(
                item(
                    PixelMeasuresSequence=items(measures),
                    WholeSlideMicroscopyImageFrameTypeSequence=items(item(FrameType=kind)),
                    OpticalPathIdentificationSequence=items(item(OpticalPathIdentifier="1")),
                )
            ),
        )
    )
    return made


def _add_directory(path: Path, across: int, tiles: Sequence[bytes]) -> None:
    """Make the file a TIFF file, too: a header in its preamble, a directory behind the pixels."""
    content = bytearray(path.read_bytes())
    # the value begins behind 12 bytes of its element, with an empty offset table of 8
    first = content.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 20
    starts, at = [], first
    for tile in tiles:
        starts.append(at + 8)
        at += 8 + len(tile) + len(tile) % 2
    place = len(content) + 12
    directory = Tiff(
        fields={
            tags.IMAGE_WIDTH: ("L", [across * TILE]),
            tags.IMAGE_LENGTH: ("L", [across * TILE]),
            tags.TILE_WIDTH: ("H", [TILE]),
            tags.TILE_LENGTH: ("H", [TILE]),
            tags.TILE_OFFSETS: ("L", starts),
            tags.TILE_BYTE_COUNTS: ("L", [len(tile) for tile in tiles]),
        }
    )
    data = directory.directory(place)
    data += bytes(len(data) % 2)
    content[:16] = directory.preamble(place)
    path.write_bytes(bytes(content) + _TRAILING_PADDING + pack("<L", len(data)) + data)
