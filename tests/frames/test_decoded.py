"""Frames at the ranges found, decoded: the same pixels as pydicom and highdicom give."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.pixels.utils import pack_bits
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from harvest.errors import ObjectError
from harvest.frames import FrameRanges, FrameSource, Unlocatable, join_fragments
from tests.lab.generate import generate

from ..support.frames import Located, locate

Pixels = npt.NDArray[Any]

# Why harvest does not locate these frames; pydicom decodes the deflated ones.
EXPLAINED = {
    "cornerstone3D/CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_"
    "1.2.840.10008.1.2.1.99.dcm": "deflated",
    "pydicom/MR_truncated.dcm": "truncated",
    "pydicom/badVR.dcm": "unclear",  # Number of Frames is no number
    "pydicom/image_dfl.dcm": "deflated",
    "pydicom/meta_missing_tsyntax.dcm": "unclear",  # no Bits Allocated
    "pydicom/nested_priv_SQ.dcm": "unclear",  # no Rows, no Columns
}
DAMAGED = {"pydicom/MR_small_padded.dcm": "128 bytes of pixels more than 1 frames take"}


class Image:
    """A file that has pixels, its frames as pydicom decodes them."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.data = path.read_bytes()
        self.dataset = dataset
        self.encapsulated = dataset["PixelData"].is_undefined_length

    @cached_property
    def frames(self) -> int:
        return int(self.dataset.get("NumberOfFrames") or 1)

    @cached_property
    def encoded(self) -> list[bytes] | None:
        """The encoded frames as pydicom finds them; None where the pixels are native."""
        if not self.encapsulated:
            return None
        return list(generate_frames(self.dataset.PixelData, number_of_frames=self.frames))

    def decoded(self) -> Pixels | None:
        """Return all frames; None where pydicom has no decoder."""
        try:
            pixels = pixel_array(self.dataset)
        except (AttributeError, NotImplementedError, RuntimeError):
            return None
        return pixels if self.frames > 1 else pixels[None]

    def read(self, ranges: FrameRanges, number: int) -> bytes:
        """Return one frame, encoded or native; one of single bits moved to the first of them."""
        start, stop = ranges.byte_range(number)
        if not self.dataset.original_encoding[1] and self.dataset["PixelData"].VR == "OW":
            stop += (stop - start) % 2  # the last word is whole, its bytes swapped
        piece = self.data[start:stop]
        if self.encapsulated:
            return join_fragments(piece)
        if self.dataset.BitsAllocated != 1:
            return piece
        bits = np.unpackbits(np.frombuffer(piece, np.uint8), bitorder="little")
        begin = ranges.bit_offset(number)
        assert ranges.frame_bits is not None
        return np.packbits(bits[begin : begin + ranges.frame_bits], bitorder="little").tobytes()

    def decode(self, frame: bytes) -> Pixels:
        """Decode one frame as an object of its own."""
        single = Dataset()
        single.file_meta = FileMetaDataset()
        single.file_meta.TransferSyntaxUID = self.dataset.file_meta.TransferSyntaxUID
        single.update(self.dataset.group_dataset(0x0028))
        single.NumberOfFrames = 1
        padded = frame + b"\0" * (len(frame) % 2)
        single.PixelData = encapsulate([frame]) if self.encapsulated else padded
        single["PixelData"].VR = self.dataset["PixelData"].VR
        return pixel_array(single)


def compare(image: Image, located: Located, step: int = 1) -> bool:
    """Compare every frame's bytes, and the pixels of every so many; tell whether there were any."""
    ranges = located.ranges
    assert ranges.frames == image.frames
    frames = [image.read(ranges, number) for number in range(1, image.frames + 1)]
    if image.encoded is not None:
        assert frames == image.encoded
    decoded = image.decoded()
    if decoded is None:
        return False
    assert len(decoded) == image.frames
    for number in range(0, image.frames, step):
        assert (image.decode(frames[number]) == decoded[number]).all()
    return True


# the corpus


@pytest.fixture(scope="module")
def corpus() -> Iterator[dict[str, Image]]:
    if "HARVEST_CORPUS" not in os.environ:
        pytest.skip("HARVEST_CORPUS names no folder of real files with a manifest.csv")
    folder = Path(os.environ["HARVEST_CORPUS"])
    with (folder / "manifest.csv").open() as file:
        names = [entry["path"] for entry in csv.DictReader(file)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the files are as they are, and pydicom warns of them
        found = {}
        for name in names:
            with suppress(InvalidDicomError):
                dataset = dcmread(folder / name)
                if "PixelData" in dataset:
                    found[name] = Image(folder / name, dataset)
        yield found


@pytest.mark.filterwarnings("ignore")
def test_every_frame_of_the_corpus(corpus: dict[str, Image]) -> None:
    done: Counter[str] = Counter()
    unlocated: dict[str, str] = {}
    for name, image in corpus.items():
        try:
            located = locate(image.data)
        except ObjectError:
            done["no header"] += 1
            continue
        if isinstance(located.found, Unlocatable):
            unlocated[name] = str(located.found.why)
            continue
        assert located.bytes_asked <= len(image.data)
        done[located.found.source] += 1
        done["decoded" if compare(image, located) else "bytes only"] += 1
    print(done, unlocated)
    assert unlocated == EXPLAINED
    assert done[FrameSource.SCAN] >= 50
    assert done[FrameSource.BASIC] >= 60
    assert done[FrameSource.NATIVE] >= 200
    assert done["decoded"] >= 300


def test_tables_of_the_corpus_are_right_without_a_scan(corpus: dict[str, Image]) -> None:
    for name, image in corpus.items():
        try:
            located = locate(image.data, scan=False)
        except ObjectError:
            continue
        if isinstance(located.found, FrameRanges):
            assert located.found.problem == DAMAGED.get(name), name
            assert located.found == locate(image.data).found


# the lab


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("generated"))


@pytest.mark.parametrize(
    ("pattern", "source", "files"),
    [
        ("sm/sm_basic*_[123].dcm", FrameSource.BASIC, 3),
        ("sm/sm_extended*_[123].dcm", FrameSource.EXTENDED, 3),
        ("sm/sm_empty*_[123].dcm", FrameSource.SCAN, 3),
        ("sm/*thumbnail.dcm", FrameSource.NATIVE, 3),
        ("seg/*.dcm", FrameSource.NATIVE, 1),
        ("pt/*.dcm", FrameSource.NATIVE, 6),
    ],
)
def test_every_frame_of_the_lab(
    generated: Path, pattern: str, source: FrameSource, files: int
) -> None:
    paths = sorted(generated.glob(pattern))
    assert len(paths) == files
    for path in paths:
        image = Image(path, dcmread(path))
        located = locate(image.data)
        assert (located.ranges.source, located.ranges.problem) == (source, None)
        assert compare(image, located, step=max(1, image.frames // 50))


def test_highdicom_reads_the_same_frames(generated: Path) -> None:
    for name in ("sm/sm_empty_offset_table_2.dcm", "sm/sm_extended_offset_table_2.dcm"):
        image = Image(generated / name, dcmread(generated / name))
        ranges = locate(image.data).ranges
        with highdicom.imread(generated / name, lazy_frame_retrieval=True) as opened:
            for number in range(1, image.frames + 1, 13):
                expected = opened.get_raw_frame(number)
                assert image.read(ranges, number).rstrip(b"\0") == expected.rstrip(b"\0")


# made here


def made(folder: Path, transfer_syntax: UID, **attributes: Any) -> Path:
    """Write an image as pydicom writes it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.SeriesInstanceUID = "2.25.2"
    dataset.PixelRepresentation = 0
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsAllocated - 1
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


COLOUR: dict[str, Any] = {
    "SamplesPerPixel": 3,
    "PlanarConfiguration": 0,
    "NumberOfFrames": 5,
    "Rows": 6,
    "Columns": 10,
    "BitsAllocated": 8,
}
NOISE = np.random.default_rng(7)


def test_native_frames_that_share_chrominance(tmp_path: Path) -> None:
    pixels = NOISE.integers(0, 256, 5 * 6 * 10 * 2, np.uint8).tobytes()
    path = made(
        tmp_path,
        ExplicitVRLittleEndian,
        **COLOUR,
        PhotometricInterpretation="YBR_FULL_422",
        PixelData=pixels,
    )
    image = Image(path, dcmread(path))
    assert compare(image, locate(image.data))


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (8, 8), (1, 3)])
def test_frames_of_single_bits(tmp_path: Path, rows: int, columns: int) -> None:
    bits = NOISE.integers(0, 2, (11, rows, columns), np.uint8)
    path = made(
        tmp_path,
        ExplicitVRLittleEndian,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        NumberOfFrames=11,
        Rows=rows,
        Columns=columns,
        BitsAllocated=1,
        PixelData=pack_bits(bits),
    )
    image = Image(path, dcmread(path))
    decoded = image.decoded()
    assert decoded is not None
    assert (decoded == bits).all()
    assert compare(image, locate(image.data))


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("has_table", [False, True])
def test_rle_in_several_fragments(tmp_path: Path, fragments: int, has_table: bool) -> None:
    pixels = NOISE.integers(0, 4, (5, 6, 10, 3), np.uint8)
    frames = [
        RLELosslessEncoder.encode(
            frame,
            rows=6,
            columns=10,
            number_of_frames=1,
            samples_per_pixel=3,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            photometric_interpretation="RGB",
            planar_configuration=0,
        )
        for frame in pixels
    ]
    path = made(
        tmp_path,
        RLELossless,
        **COLOUR,
        PhotometricInterpretation="RGB",
        PixelData=encapsulate(frames, fragments_per_frame=fragments, has_bot=has_table),
    )
    image = Image(path, dcmread(path))
    located = locate(image.data)
    assert located.ranges.source == (FrameSource.BASIC if has_table else FrameSource.SCAN)
    # pydicom finds no frames of several fragments without a table: the pixels are the oracle
    for number, expected in enumerate(pixels, start=1):
        frame = image.read(located.ranges, number)
        assert (image.decode(frame) == expected).all()
