"""Frames by their own bytes: decoded here, and by highdicom through a table that is put in."""

from __future__ import annotations

import io
import os
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
from harvest.errors import HarvestError, ObjectError
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab

FRAMES = 30


def jpeg(number: int, side: int = 64) -> bytes:
    """Make a tile of one colour, so that no two frames are alike."""
    from PIL import Image

    held = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(held, "JPEG", quality=50 + number)
    return held.getvalue()


def slide(path: Path, table: str, lab: Lab) -> Path:
    """Write a slide whose tiles are in JPEG, with one kind of offset table."""
    series = next(each for each in lab.series if each.attributes["Modality"] == "SM")
    made = pydicom.dcmread(series.instances[0].path, stop_before_pixels=True)
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.NumberOfFrames = FRAMES
    made.Rows = made.Columns = 64
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "YBR_FULL_422"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PlanarConfiguration = 7, 0, 0
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = 6 * 64, 5 * 64
    made.DimensionOrganizationType = "TILED_FULL"
    tiles = [jpeg(number) for number in range(FRAMES)]
    if table == "extended":
        pixels, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(
            tiles
        )
        made.PixelData = pixels
    else:
        made.PixelData = encapsulate(tiles, has_bot=table == "basic", fragments_per_frame=1)
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


def test_frames_are_what_pydicom_decodes(stored: Path, tmp_path: Path) -> None:
    whole = expected(stored)
    index = index_of(stored, tmp_path / "frames.parquet")
    for given in (None, index):
        found = harvest.read_frames(str(stored), [1, 17, 17, FRAMES], index=given)
        for number, frame in zip([1, 17, 17, FRAMES], found, strict=True):
            assert np.array_equal(frame, whole[number - 1])
    with pytest.raises(IndexError, match="no frame 31"):
        harvest.read_frames(str(stored), [FRAMES + 1])


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


def test_a_row_of_tiles_is_one_request(lab: Lab, s3_gate: Gate, tmp_path: Path) -> None:
    path = slide(tmp_path / "slide.dcm", "empty", lab)
    conftest.put(lab, "idc-open-data", {"lazy/slide.dcm": path})
    url = "s3://idc-open-data/lazy/slide.dcm"
    index = index_of(url, tmp_path / "frames.parquet", "--endpoint", s3_gate.url)
    s3_gate.seen.clear()
    whole = expected(path)
    found = harvest.read_frames(url, [17, 18, 19, 20], index=index, endpoint=s3_gate.url)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole[16:20], strict=True))
    assert len(s3_gate.seen) == 2  # the header, and the tiles


def test_an_index_that_knows_nothing_of_the_object(stored: Path, tmp_path: Path) -> None:
    index = index_of(stored, tmp_path / "frames.parquet")
    other = tmp_path / "other.dcm"
    other.write_bytes(stored.read_bytes())
    with pytest.raises(HarvestError, match="does not know"):
        harvest.open(str(other), index=index)
    with pytest.raises(HarvestError, match="no frame index"):
        harvest.open(str(other), index=tmp_path / "nothing.parquet")


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return sorted(Path(os.environ["HARVEST_CORPUS"]).rglob("*.dcm"))


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_frames_of_real_files(files: list[Path]) -> None:
    """All frames that pydicom decodes, the same pixels; or a reason."""
    compared = 0
    reasons = set()
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path)
                whole = dataset.pixel_array
            except Exception:  # what pydicom cannot decode is nothing to compare with
                continue
            count = int(dataset.get("NumberOfFrames") or 1)
            try:
                found = harvest.read_frames(str(path), range(1, count + 1))
            except ObjectError as error:
                reasons.add(error.detail)
                continue
        wanted = [whole] if count == 1 else whole
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), path
        compared += count
    assert compared > 1000
    assert reasons == {"its frames have no place: the data set is deflated as a whole"}
