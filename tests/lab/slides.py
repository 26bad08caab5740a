"""Generated slide pyramids, the same slide once for each kind of offset table."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
)

from tests.lab.dicom import DATE, TIME, code, instance, item, items, save, uid

TILE: Final = 64
BASE_TILES: Final = 51
"""Tiles along one side of the base level: 2,601 frames."""
LEVELS: Final = (1, 4, 16)
"""Downsampling of each level."""

_THUMBNAIL: Final = 100
_DESIGNS: Final = 8
_BASE_SPACING: Final = 0.0005


class Variant(NamedTuple):
    """One way to say, or not to say, where the frames of an encapsulated object are."""

    name: str
    """Series description."""
    fill: Callable[[Dataset, list[bytes]], None]
    """Puts the frames into the dataset."""
    profile_bytes: int
    """Size of the colour profile, which stands before the pixels."""


def _fill_basic(image: Dataset, frames: list[bytes]) -> None:
    image.PixelData = encapsulate(frames, has_bot=True)


def _fill_extended(image: Dataset, frames: list[bytes]) -> None:
    data, offsets, lengths = encapsulate_extended(frames)
    image.ExtendedOffsetTable = offsets
    image.ExtendedOffsetTableLengths = lengths
    image.PixelData = data


def _fill_empty(image: Dataset, frames: list[bytes]) -> None:
    image.PixelData = encapsulate(frames, has_bot=False)


# One variant has a profile as large as some scanners write: its header ends far into the file.
VARIANTS: Final = (
    Variant("SM basic offset table", _fill_basic, 4_000),
    Variant("SM extended offset table", _fill_extended, 141_992),
    Variant("SM empty offset table", _fill_empty, 4_000),
)


def write_slides(folder: Path) -> Dataset:
    """Write the pyramids: per variant three tiled levels in JPEG and a thumbnail in plain RGB.

    Returns
    -------
    Dataset
        The base level of the first variant, for the annotations derived from it.
    """
    tiles = _tiles()
    bases = [_write_pyramid(folder, variant, tiles) for variant in VARIANTS]
    return bases[0]


def _write_pyramid(folder: Path, variant: Variant, tiles: list[bytes]) -> Dataset:
    made = []
    stem = variant.name.replace(" ", "_").lower()
    for number, factor in enumerate(LEVELS, start=1):
        # The last column and row are not full, as in most real slides.
        side = (BASE_TILES * TILE - 10) // factor
        image = _slide(variant, number, side, TILE)
        image.ImageType = ["ORIGINAL" if factor == 1 else "DERIVED", "PRIMARY", "VOLUME"]
        image.ImageType += ["NONE" if factor == 1 else "RESAMPLED"]
        _describe_frames(image, factor)
        _add_jpeg(image)
        across = -(-side // TILE)
        image.NumberOfFrames = across**2
        variant.fill(image, [tiles[(n * 5 + n // across) % _DESIGNS] for n in range(across**2)])
        image["PixelData"].is_undefined_length = True
        save(image, folder / f"{stem}_{number}.dcm", JPEGBaseline8Bit)
        made.append(image)
    _write_thumbnail(folder / f"{stem}_thumbnail.dcm", variant, len(LEVELS) + 1)
    return made[0]


def _write_thumbnail(path: Path, variant: Variant, number: int) -> None:
    factor = BASE_TILES * TILE // _THUMBNAIL
    image = _slide(variant, number, _THUMBNAIL, _THUMBNAIL)
    image.ImageType = ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]
    _describe_frames(image, factor)
    image.PhotometricInterpretation = "RGB"
    image.LossyImageCompression = "01"
    image.LossyImageCompressionRatio = "12.5"
    image.LossyImageCompressionMethod = "ISO_10918_1"
    image.NumberOfFrames = 1
    image.PixelData = _picture(0, _THUMBNAIL).tobytes()
    save(image, path, ExplicitVRLittleEndian)


def _picture(design: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    y, x = np.mgrid[0:side, 0:side] / side
    waves = np.sin((design + 2) * np.pi * x) * np.cos((design + 1) * np.pi * y)
    channels = (220 + 30 * waves, 150 + 60 * waves, 190 + 40 * waves)
    return np.stack(channels, axis=-1).astype(np.uint8)


def _tiles() -> list[bytes]:
    """Encode a handful of tiles, reused all over the slides: encoding thousands would be slow."""
    encoded = []
    for design in range(_DESIGNS):
        target = io.BytesIO()
        picture = Image.fromarray(_picture(design, TILE))
        picture.save(target, "JPEG", quality=60 + 4 * design, subsampling="4:2:2")
        encoded.append(target.getvalue())
    return encoded


def _slide(variant: Variant, number: int, side: int, tile: int) -> Dataset:
    image = instance(VLWholeSlideMicroscopyImageStorage, "SM", variant.name, number)
    width = (BASE_TILES * TILE - 10) * _BASE_SPACING
    elements = item(
        PositionReferenceIndicator="SLIDE_CORNER",
        AcquisitionDateTime=DATE + TIME,
        AcquisitionDuration=95.5,
        VolumetricProperties="VOLUME",
        ContainerIdentifier="LAB-002-A",
        IssuerOfTheContainerIdentifierSequence=items(),
        ContainerTypeCodeSequence=items(code("433466003", "SCT", "Microscope slide")),
        AcquisitionContextSequence=items(),
        SpecimenDescriptionSequence=items(_specimen()),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        Rows=tile,
        Columns=tile,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        BurnedInAnnotation="NO",
        SpecimenLabelInImage="NO",
        FocusMethod="AUTO",
        ExtendedDepthOfField="NO",
        ImagedVolumeWidth=width,
        ImagedVolumeHeight=width,
        ImagedVolumeDepth=1.0,
        TotalPixelMatrixColumns=side,
        TotalPixelMatrixRows=side,
        TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=items(
            item(XOffsetInSlideCoordinateSystem="20", YOffsetInSlideCoordinateSystem="40")
        ),
        ImageOrientationSlide=["0", "-1", "0", "-1", "0", "0"],
        NumberOfOpticalPaths=1,
        OpticalPathSequence=items(_optical_path(variant.profile_bytes)),
        DimensionOrganizationType="TILED_FULL",
        DimensionOrganizationSequence=items(
            item(DimensionOrganizationUID=uid("dimension organization", variant.name))
        ),
        PresentationLUTShape="IDENTITY",
        RescaleIntercept="0",
        RescaleSlope="1",
    )
    image.update(elements)
    return image


def _describe_frames(image: Dataset, factor: int) -> None:
    spacing = f"{_BASE_SPACING * factor:.6f}"
    measures = item(SliceThickness="0.001", PixelSpacing=[spacing, spacing])
    image.SharedFunctionalGroupsSequence = items(
        item(
            PixelMeasuresSequence=items(measures),
            WholeSlideMicroscopyImageFrameTypeSequence=items(item(FrameType=image.ImageType)),
            OpticalPathIdentificationSequence=items(item(OpticalPathIdentifier="1")),
        )
    )


def _add_jpeg(image: Dataset) -> None:
    image.PhotometricInterpretation = "YBR_FULL_422"
    image.LossyImageCompression = "01"
    image.LossyImageCompressionRatio = "8.5"
    image.LossyImageCompressionMethod = "ISO_10918_1"


def color_profile(size: int) -> bytes:
    """Make an sRGB profile of a given size with a fixed date; the rest of it is padding."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile.extend(bytes(size - len(profile)))
    profile[0:4] = size.to_bytes(4, "big")
    profile[24:36] = struct.pack(">6H", 2020, 2, 29, 12, 34, 56)
    return bytes(profile)


def _optical_path(profile_bytes: int) -> Dataset:
    return item(
        OpticalPathIdentifier="1",
        OpticalPathDescription="Brightfield",
        IlluminationTypeCodeSequence=items(code("111744", "DCM", "Brightfield illumination")),
        IlluminationColorCodeSequence=items(code("414298005", "SCT", "Full Spectrum")),
        ObjectiveLensPower="20",
        ObjectiveLensNumericalAperture="0.75",
        ICCProfile=color_profile(profile_bytes),
    )


def _specimen() -> Dataset:
    stains = ("12710003", "hematoxylin stain"), ("36879007", "water soluble eosin stain")
    steps = [
        item(
            ValueType="CODE",
            ConceptNameCodeSequence=items(code("424361007", "SCT", "Using substance")),
            ConceptCodeSequence=items(code(value, "SCT", meaning)),
        )
        for value, meaning in stains
    ]
    return item(
        SpecimenIdentifier="LAB-002-A-1",
        SpecimenUID=uid("specimen"),
        IssuerOfTheSpecimenIdentifierSequence=items(),
        SpecimenPreparationSequence=items(
            item(SpecimenPreparationStepContentItemSequence=items(*steps))
        ),
        PrimaryAnatomicStructureSequence=items(code("76752008", "SCT", "Breast")),
    )
