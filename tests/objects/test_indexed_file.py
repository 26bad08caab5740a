"""Frames by their own bytes: decoded here, and by highdicom through a table that is put in."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO, cast

import highdicom
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit

import harvest
from harvest.cli import main
from harvest.errors import ErrorKind, HarvestError, ObjectError
from harvest.objects import indexed_file
from harvest.objects.frame_reader import FrameReader
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab

FRAMES = 30


def jpeg(number: int, side: int = 64) -> bytes:
    """Make a tile of noise, so that no two frames are alike."""
    from PIL import Image

    held = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(held, "JPEG", quality=50 + number)
    return held.getvalue()


def slide(path: Path, table: str, lab: Lab, side: int = 64, fragments: int = 1) -> Path:
    """Write a slide of 6 by 5 tiles in JPEG, with one kind of offset table."""
    series = next(each for each in lab.series if each.attributes["Modality"] == "SM")
    made = pydicom.dcmread(series.instances[0].path, stop_before_pixels=True)
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.NumberOfFrames = FRAMES
    made.Rows = made.Columns = side
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "YBR_FULL_422"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PlanarConfiguration = 7, 0, 0
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = 6 * side, 5 * side
    made.DimensionOrganizationType = "TILED_FULL"
    tiles = [jpeg(number, side) for number in range(FRAMES)]
    if table == "extended":
        pixels, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(
            tiles
        )
        made.PixelData = pixels
    else:
        made.PixelData = encapsulate(tiles, has_bot=table == "basic", fragments_per_frame=fragments)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path)
    return path


@pytest.fixture(params=["empty", "basic", "extended"])
def stored(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Path:
    return slide(tmp_path / "slide.dcm", request.param, lab)


def expected(path: Path) -> Any:
    return pydicom.dcmread(path).pixel_array


def index_of(path: Path | str, file: Path, *more: str) -> Path:
    ended = CliRunner().invoke(main, ["frames", str(path), "--dest", str(file), *more])
    assert ended.exit_code == 0, ended.output
    return file


def test_highdicom_never_walks_over_the_pixels(stored: Path, tmp_path: Path) -> None:
    whole = expected(stored)
    index = index_of(stored, tmp_path / "frames.parquet")
    with harvest.open(str(stored), index=index) as file:
        image = highdicom.imread(cast(BinaryIO, file), lazy_frame_retrieval=True)
        opened = file.bytes_read
        for number in (20, 3, 29):
            before = file.requests
            frame = image.get_frame(number, as_index=False, apply_icc_profile=False)
            assert np.array_equal(frame, whole[number - 1])
            assert file.requests - before <= 1
        assert opened < 2**16
    with harvest.open(str(stored), index=index) as file:
        assert np.array_equal(pydicom.dcmread(file).pixel_array, whole)


def test_the_file_with_its_table_is_one_file(stored: Path, tmp_path: Path) -> None:
    """Whatever is read of it in whatever steps."""
    index = index_of(stored, tmp_path / "frames.parquet")
    with harvest.open(str(stored), index=index) as file:
        content = file.read()
        assert len(content) == file.size
        for start, length in ((0, 10), (700, 3000), (len(content) - 5, 100), (1, 2**17)):
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        made = pydicom.dcmread(io.BytesIO(content))
        assert np.array_equal(made.pixel_array, expected(stored))


def test_an_index_that_knows_nothing_of_the_object(stored: Path, tmp_path: Path) -> None:
    index = index_of(stored, tmp_path / "frames.parquet")
    other = tmp_path / "other.dcm"
    other.write_bytes(stored.read_bytes())
    with pytest.raises(HarvestError, match="does not know"):
        harvest.open(str(other), index=index)
    with pytest.raises(HarvestError, match="no frame index"):
        harvest.open(str(other), index=tmp_path / "nothing.parquet")


def test_rows_of_tiles_are_read_at_once_when_their_length_is_known(
    lab: Lab, s3_gate: Gate, tmp_path: Path
) -> None:
    # the first request brings nothing of a tile that is asked for here
    path = slide(tmp_path / "slide.dcm", "empty", lab, side=200)
    conftest.put(lab, "idc-open-data", {"lazy/rows.dcm": path})
    url = "s3://idc-open-data/lazy/rows.dcm"
    index = index_of(url, tmp_path / "frames.parquet", "--endpoint", s3_gate.url)
    wanted = [number for row in range(1, 5) for number in range(6 * row + 2, 6 * row + 5)]
    with harvest.open(url, index=index, endpoint=s3_gate.url) as file:
        image = highdicom.imread(cast(BinaryIO, file), lazy_frame_retrieval=True)
        s3_gate.seen.clear()
        for number in wanted:
            image.get_frame(number, as_index=False, apply_icc_profile=False)
    # the first row teaches how many
    assert len(s3_gate.seen) == 2 + 3
    (row,) = conftest.table(f"SELECT lengths FROM '{index}'")
    least = sum(row["lengths"][number - 1] for number in wanted)
    # who reads a frame looks for another fragment behind it, too
    assert least <= sum(each.body_bytes for each in s3_gate.seen) <= least + 5 * 8


def test_frames_beyond_4_gib_have_an_extended_table(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexed_file, "BASIC_OFFSET_REACH", 1000)
    whole = expected(stored)
    index = index_of(stored, tmp_path / "frames.parquet")
    with harvest.open(str(stored), index=index) as file:
        made = pydicom.dcmread(file)
        assert len(made.ExtendedOffsetTable) == len(made.ExtendedOffsetTableLengths) == 8 * FRAMES
        assert np.array_equal(made.pixel_array, whole)
    with harvest.open(str(stored), index=index) as file:
        image = highdicom.imread(cast(BinaryIO, file), lazy_frame_retrieval=True)
        before = file.requests
        frame = image.get_frame(20, as_index=False, apply_icc_profile=False)
        assert np.array_equal(frame, whole[19])
        assert file.requests - before <= 1


def test_frames_of_several_fragments_have_no_table_beyond_4_gib(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = slide(tmp_path / "slide.dcm", "empty", lab, fragments=2)
    index = index_of(path, tmp_path / "frames.parquet")
    with harvest.open(str(path), index=index) as file:
        assert np.array_equal(pydicom.dcmread(file).pixel_array, expected(path))
    monkeypatch.setattr(indexed_file, "BASIC_OFFSET_REACH", 1000)
    with pytest.raises(ObjectError, match="read_frames") as caught:
        harvest.open(str(path), index=index)
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_a_later_frame_of_several_fragments_is_not_read_as_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexed_file, "BASIC_OFFSET_REACH", 1000)
    path = slide(tmp_path / "slide.dcm", "empty", lab)
    offsets = FrameReader(harvest.open(str(path))).ranges.offsets  # type: ignore[arg-type]
    assert offsets is not None
    content = bytearray(path.read_bytes())
    # the fragment of the third frame is cut in two
    start, length = offsets[2], int.from_bytes(content[offsets[2] + 4 : offsets[2] + 8], "little")
    content[start + 4 : start + 8] = (100).to_bytes(4, "little")
    rest = content[start : start + 4] + (length - 100 - 8).to_bytes(4, "little")
    content[start + 108 : start + 116] = rest
    path.write_bytes(content)
    index = index_of(path, tmp_path / "frames.parquet")
    with harvest.open(str(path), index=index) as file:
        image = highdicom.imread(cast(BinaryIO, file), lazy_frame_retrieval=True)
        image.get_frame(2, as_index=False, apply_icc_profile=False)
        with pytest.raises(ObjectError, match="several fragments"):
            image.get_frame(3, as_index=False, apply_icc_profile=False)
