"""Segments of segmentations: highdicom's pixels, and no byte of other segments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

import harvest
from harvest.errors import ErrorKind, HarvestError, ObjectError
from harvest.pixels.segments import Segment
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.dicom import item, items
from tests.lab.laboratory import Lab
from tests.support.segmentations import COLUMNS, ROWS, SLICES, images_in, masks, segmentation
from tests.support.tiled import frame_index

BUCKET = "idc-open-data"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    return images_in(tmp_path_factory.mktemp("ct"))


def by_highdicom(path: Path, number: int, images: list[Dataset], **more: Any) -> Any:
    """Return the mask of a segment on each source image."""
    return hd.seg.segread(path).get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in images],
        segment_numbers=[number],
        assert_missing_frames_are_empty=True,
        **more,
    )[..., 0]


def on_slices(segment: Segment, images: list[Dataset]) -> Any:
    """Spread the frames of a segment over the source images that they name."""
    made = np.zeros((len(images), ROWS, COLUMNS), segment.pixels.dtype)
    places = {str(image.SOPInstanceUID): number for number, image in enumerate(images)}
    assert segment.positions is not None
    for pixels, (source,), position in zip(
        segment.pixels, segment.source_instances, segment.positions, strict=True
    ):
        assert np.array_equal(position, images[places[source]].ImagePositionPatient)
        made[places[source]] = pixels
    return made


def test_binary_segments_are_highdicoms(tmp_path: Path, images: list[Dataset]) -> None:
    path = segmentation(tmp_path / "seg.dcm", images, "BINARY", masks())
    index = frame_index(path, tmp_path / "frames.parquet")
    for given in (None, index):
        found = harvest.read_segments(str(path), [4, 1, 3], index=given)
        assert [each.number for each in found] == [4, 1, 3]
        for segment in found:
            assert np.array_equal(
                on_slices(segment, images), by_highdicom(path, segment.number, images)
            )
            assert segment.pixels.dtype == np.uint8
            assert segment.segmentation_type == "BINARY"
            assert segment.maximum_fractional_value is None
    assert len(found[0].frames) == 2
    assert (found[1].label, found[1].property_type, found[1].property_meaning) == (
        "organ 1",
        "SCT:10200004",
        "Liver",
    )


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (2, [2]),
        ("10200004", [1]),
        ("sct:78961009", [2]),
        ("kidney", [3, 4]),
        (["Kidney", 1, "SCT:64033007", 4], [3, 4, 1]),
    ],
)
def test_segments_by_type(
    tmp_path: Path, images: list[Dataset], asked: Any, numbers: list[int]
) -> None:
    path = segmentation(tmp_path / "seg.dcm", images, "BINARY", masks())
    assert [each.number for each in harvest.read_segments(str(path), asked)] == numbers
    with pytest.raises(HarvestError, match=r"no segment 'lung': choose among 1 \(SCT:10200004, Li"):
        harvest.read_segments(str(path), "lung")
    with pytest.raises(HarvestError, match="no segment 5"):
        harvest.read_segments(str(path), [1, 5])


def test_fractions_are_as_stored(tmp_path: Path, images: list[Dataset]) -> None:
    fractions = np.random.default_rng(6).random((SLICES, ROWS, COLUMNS, 4))
    path = segmentation(tmp_path / "seg.dcm", images, "FRACTIONAL", fractions)
    (found,) = harvest.read_segments(str(path), "liver")
    assert found.segmentation_type == "FRACTIONAL"
    assert found.maximum_fractional_value == 200
    stored = by_highdicom(path, 1, images, rescale_fractional=False)
    assert np.array_equal(on_slices(found, images), stored)
    assert np.allclose(on_slices(found, images) / 200, fractions[..., 0], atol=0.5 / 200)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian]
)
def test_a_label_map(tmp_path: Path, images: list[Dataset], syntax: UID) -> None:
    """The Imaging Data Commons has them deflated as a whole: all is read, then."""
    labels = np.random.default_rng(7).integers(0, 5, (SLICES, ROWS, COLUMNS), np.uint8)
    labels[labels == 2] = 3
    encoded = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    path = segmentation(tmp_path / "seg.dcm", images, "LABELMAP", labels, encoded)
    if encoded != syntax:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    found = harvest.read_segments(str(path), [1, 2, "kidney"])
    assert [each.number for each in found] == [1, 2, 3, 4]
    for segment in found:
        assert len(segment.frames) == SLICES
        assert np.array_equal(on_slices(segment, images), labels == segment.number)


def test_segments_of_tiles_in_full_order(tmp_path: Path, images: list[Dataset]) -> None:
    """There are no groups of single frames, which would tell their segments."""
    path = segmentation(tmp_path / "seg.dcm", images, "BINARY", masks())
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array[:12]
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.NumberOfFrames = 12
    dataset.save_as(path)
    found = harvest.read_segments(str(path), [2, 4])
    assert [each.frames for each in found] == [(4, 5, 6), (10, 11, 12)]
    assert np.array_equal(found[1].pixels, pixels[9:12])
    assert found[0].positions is None
    assert found[0].source_instances == ((), (), ())


def test_only_the_frames_of_a_segment_are_read(
    lab: Lab, s3_gate: Gate, tmp_path: Path, images: list[Dataset]
) -> None:
    path = segmentation(tmp_path / "seg.dcm", images, "BINARY", masks())
    dataset = pydicom.dcmread(path)
    # so many pixels of the first segment that those of the third do not come with the header
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups = [groups[0]] * 80 + list(groups)
    dataset.Rows, dataset.Columns = 301, 303
    pixels = np.random.default_rng(8).integers(0, 2, (len(groups), 301, 303), np.uint8)
    dataset.PerFrameFunctionalGroupsSequence = items(*groups)
    dataset.NumberOfFrames = len(groups)
    dataset.PixelData = pydicom.pixels.pack_bits(pixels)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    key = "segments/seg.dcm"
    conftest.put(lab, BUCKET, {key: path})
    url = f"s3://{BUCKET}/{key}"
    header = harvest.read(str(path)).header_bytes
    (found,) = harvest.read_segments(url, 3, endpoint=s3_gate.url)
    numbers = [
        number
        for number, group in enumerate(groups, start=1)
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
    ]
    assert found.frames == tuple(numbers)
    assert len(numbers) == SLICES
    assert np.array_equal(found.pixels, pixels[np.array(numbers) - 1])
    *opening, frames_read = s3_gate.seen
    assert len(opening) == 2
    assert header < sum(each.body_bytes for each in opening) <= 160 * 2**10
    # they are neighbours: one request, which begins and ends inside bytes
    assert frames_read.body_bytes <= SLICES * 301 * 303 // 8 + 2


def test_what_is_no_segmentation(tmp_path: Path) -> None:
    image = conftest.write_dicom(tmp_path / "image.dcm", "2.25.1")
    with pytest.raises(ObjectError, match="it is no segmentation") as told:
        harvest.read_segments(str(image), 1)
    assert told.value.kind == ErrorKind.UNSUPPORTED


def test_frames_that_do_not_tell_their_segment(tmp_path: Path, images: list[Dataset]) -> None:
    path = segmentation(tmp_path / "seg.dcm", images, "BINARY", masks())
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[3].SegmentIdentificationSequence
    dataset.save_as(path)
    with pytest.raises(ObjectError, match="a frame does not tell its segment"):
        harvest.read_segments(str(path), 1)
    dataset.PerFrameFunctionalGroupsSequence = items(item())
    dataset.save_as(path)
    with pytest.raises(ObjectError, match="functional groups of 1 frames, where 38 are"):
        harvest.read_segments(str(path), 1)


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
@pytest.mark.filterwarnings("ignore")
def test_real_segmentations() -> None:
    """Every segment of every file that pydicom decodes, frame by frame."""
    compared = 0
    for path in sorted(Path(os.environ["HARVEST_CORPUS"]).rglob("*")):
        if not path.is_file() or not any(name in str(path) for name in ("seg", "liver", "label")):
            continue
        try:
            dataset = pydicom.dcmread(path)
            numbers = [each.SegmentNumber for each in dataset.SegmentSequence]
            whole = dataset.pixel_array
        except Exception:  # no segmentation, or none that pydicom decodes
            continue
        whole = whole[None] if whole.ndim == 2 else whole
        if len(dataset.get("PerFrameFunctionalGroupsSequence", whole)) not in (0, len(whole)):
            continue  # cut to one frame, its groups forgotten
        for segment in harvest.read_segments(str(path), numbers):
            frames = whole[np.array(segment.frames, int) - 1]
            if segment.segmentation_type == "LABELMAP":
                frames = frames == segment.number
            assert np.array_equal(segment.pixels, frames), path
            compared += 1
    assert compared >= 150
