"""Slides and segmentations of thousands of frames, encoded item by item: pydicom is slow."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from pydicom.uid import UID, SegmentationStorage, VLWholeSlideMicroscopyImageStorage

from tests.bench.scanner import PIXEL_DATA, encoded, file_meta, uid
from tests.lab.dicom import DATE, code, instance, item, items
from tests.support.build import EXPLICIT_LITTLE, JPEG, LITTLE, even
from tests.support.build import uid as padded

_TILE_BYTES: Final = 3_000
_SEG_SIDE: Final = 64
_LARGE_PROFILE: Final = 141_992


def slide(
    chance: random.Random, series: str, number: int, frames: int, *, table: bool, sparse: bool
) -> tuple[str, bytes, bytes]:
    """Make a slide level.

    Parameters
    ----------
    chance
        Of the set.
    series
        SeriesInstanceUID.
    number
        Of the instance.
    frames
        Tiles.
    table
        Whether to fill the Basic Offset Table.
    sparse
        TILED_SPARSE, with a functional group for each tile, instead of TILED_FULL.

    Returns
    -------
    tuple of str, bytes, bytes
        SOPInstanceUID, the bytes before the pixels, and the rest.
    """
    side = int(frames**0.5) * 256
    header = instance(VLWholeSlideMicroscopyImageStorage, "SM", series, number)
    header.SeriesInstanceUID = series
    header.SOPInstanceUID = uid(chance)
    header.update(
        item(
            ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            DimensionOrganizationType="TILED_SPARSE" if sparse else "TILED_FULL",
            ContainerIdentifier="S-1",
            SamplesPerPixel=3,
            PhotometricInterpretation="YBR_FULL_422",
            PlanarConfiguration=0,
            NumberOfFrames=frames,
            Rows=256,
            Columns=256,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            LossyImageCompression="01",
            LossyImageCompressionMethod="ISO_10918_1",
            ImagedVolumeWidth=15.0,
            ImagedVolumeHeight=15.0,
            TotalPixelMatrixColumns=side,
            TotalPixelMatrixRows=side,
            OpticalPathSequence=items(
                item(
                    OpticalPathIdentifier="0",
                    ICCProfile=chance.randbytes(_LARGE_PROFILE if table else 3_000),
                    IlluminationTypeCodeSequence=items(code("111744", "DCM", "Brightfield")),
                )
            ),
        )
    )
    elements = encoded(header)
    if sparse:
        elements[0x52009230] = LITTLE.sequence(
            0x52009230,
            (_tile_position(frame, side // 256) for frame in range(frames)),
            defined=False,
        )
    tile = b"\xff\xd8" + chance.randbytes(_TILE_BYTES) + b"\xff\xd9"
    tiles = [tile[: _TILE_BYTES - 2 * (frame % 500)] for frame in range(frames)]
    offsets = [0]
    for each in tiles[:-1]:
        offsets.append(offsets[-1] + 8 + len(each))
    pixels = LITTLE.encapsulated(tiles, offsets if table else ())
    return header.SOPInstanceUID, _before(elements, header.SOPClassUID, header, JPEG), pixels


def segmentation(
    chance: random.Random, series: str, number: int, frames: int
) -> tuple[str, bytes, bytes]:
    """Make a binary segmentation with a functional group for each frame; returns as `slide`."""
    header = instance(SegmentationStorage, "SEG", series, number)
    header.SeriesInstanceUID = series
    header.SOPInstanceUID = uid(chance)
    header.update(
        item(
            ImageType=["DERIVED", "PRIMARY"],
            SegmentationType="BINARY",
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            NumberOfFrames=frames,
            Rows=_SEG_SIDE,
            Columns=_SEG_SIDE,
            BitsAllocated=1,
            BitsStored=1,
            HighBit=0,
            PixelRepresentation=0,
            LossyImageCompression="00",
            ContentLabel="SEG",
            SegmentSequence=items(
                *(
                    item(
                        SegmentNumber=segment,
                        SegmentLabel=f"Segment {segment}",
                        SegmentAlgorithmType="AUTOMATIC",
                        SegmentAlgorithmName="bench",
                        SegmentedPropertyCategoryCodeSequence=items(
                            code("123037004", "SCT", "Anatomical Structure")
                        ),
                        SegmentedPropertyTypeCodeSequence=items(code("10200004", "SCT", "Liver")),
                    )
                    for segment in range(1, 25)
                )
            ),
        )
    )
    elements = encoded(header)
    elements[0x52009230] = LITTLE.sequence(
        0x52009230, (_seg_frame(chance, frame) for frame in range(frames)), defined=False
    )
    pixels = LITTLE.element(PIXEL_DATA, "OB", bytes(frames * _SEG_SIDE**2 // 8))
    before = _before(elements, header.SOPClassUID, header, EXPLICIT_LITTLE)
    return header.SOPInstanceUID, before, pixels


def attributes(
    modality: str, sop_class: UID, syntax: str, patient: str, study: str
) -> dict[str, str | None]:
    """Return what the index says of such a series, by keyword."""
    given: dict[str, str | None] = dict.fromkeys(
        ("PatientAge", "PatientSex", "StudyDescription", "BodyPartExamined", "Manufacturer")
    )
    return given | {
        "PatientID": patient,
        "StudyInstanceUID": study,
        "StudyDate": DATE,
        "SeriesDate": DATE,
        "Modality": modality,
        "SOPClassUID": str(sop_class),
        "ManufacturerModelName": f"Lab {modality}",
        "SeriesDescription": None,
        "SeriesNumber": "1",
        "PhotometricInterpretation": "YBR_FULL_422" if modality == "SM" else "MONOCHROME2",
        "PixelRepresentation": "0",
        "TransferSyntaxUID": syntax,
    }


def _before(elements: dict[int, bytes], sop_class: UID, header: object, syntax: str) -> bytes:
    sop = str(getattr(header, "SOPInstanceUID"))  # noqa: B009
    return file_meta(sop_class, sop, syntax) + b"".join(elements[tag] for tag in sorted(elements))


def _items(tag: int, content: Iterable[bytes]) -> bytes:
    return LITTLE.sequence(
        tag, (LITTLE.item(each, defined=False) for each in content), defined=False
    )


def _tile_position(frame: int, across: int) -> bytes:
    row, column = divmod(frame, across)
    place = b"".join(
        (
            LITTLE.element(0x0040072A, "DS", even(f"{20 - row * 0.064:.4f}".encode())),
            LITTLE.element(0x0040073A, "DS", even(f"{30 - column * 0.064:.4f}".encode())),
            LITTLE.element(0x0040074A, "DS", b"0 "),
            LITTLE.element(0x0048021E, "SL", LITTLE.pack("l", 1 + 256 * column)),
            LITTLE.element(0x0048021F, "SL", LITTLE.pack("l", 1 + 256 * row)),
        )
    )
    indices = LITTLE.element(0x00209157, "UL", LITTLE.pack("LL", 1 + column, 1 + row))
    groups = _items(0x00209111, [indices]) + _items(0x0048021A, [place])
    return LITTLE.item(groups, defined=False)


def _seg_frame(chance: random.Random, frame: int) -> bytes:
    segment, plane = 1 + frame % 24, frame // 24
    purpose = b"".join(
        (
            LITTLE.element(0x00080100, "SH", b"121322"),
            LITTLE.element(0x00080102, "SH", b"DCM "),
            LITTLE.element(0x00080104, "LO", even(b"Source image for image processing operation")),
        )
    )
    source = b"".join(
        (
            LITTLE.element(0x00081150, "UI", padded("1.2.840.10008.5.1.4.1.1.2")),
            LITTLE.element(0x00081155, "UI", padded(f"2.25.{chance.getrandbits(127)}")),
            _items(0x0040A170, [purpose]),
        )
    )
    derivation = _items(0x00082112, [source])
    indices = LITTLE.element(0x00209157, "UL", LITTLE.pack("LL", segment, 1 + plane))
    position = f"-166.5\\-171.699\\{-250 + 1.25 * plane:.6f}"
    groups = b"".join(
        (
            _items(0x00089124, [derivation]),
            _items(0x00209111, [indices]),
            _items(0x00209113, [LITTLE.element(0x00200032, "DS", even(position.encode()))]),
            _items(0x0062000A, [LITTLE.element(0x0062000B, "US", LITTLE.pack("H", segment))]),
        )
    )
    return LITTLE.item(groups, defined=False)
