"""Single frames, each by its own bytes: the pixels that pydicom decodes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

import harvest
from harvest.errors import HarvestError, ObjectError
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab
from tests.support.tiled import cut, frame_index, picture, write_slide

FRAMES = 15


@pytest.fixture(params=["native", "empty", "basic", "extended"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_slide(tmp_path / "slide.dcm", cut(picture()), table=request.param)


def test_frames_are_what_pydicom_decodes(stored: Path, tmp_path: Path) -> None:
    whole = pydicom.dcmread(stored).pixel_array
    index = frame_index(stored, tmp_path / "frames.parquet")
    for given in (None, index):
        found = harvest.read_frames(str(stored), [1, 9, 9, FRAMES], index=given)
        for number, frame in zip([1, 9, 9, FRAMES], found, strict=True):
            assert np.array_equal(frame, whole[number - 1])
    with pytest.raises(IndexError, match="no frame 16"):
        harvest.read_frames(str(stored), [FRAMES + 1])
    assert harvest.read_frames(str(stored), []) == []


def test_neighbours_are_one_request(lab: Lab, s3_gate: Gate, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), table="empty")
    conftest.put(lab, "idc-open-data", {"frames/slide.dcm": path})
    url = "s3://idc-open-data/frames/slide.dcm"
    index = frame_index(url, tmp_path / "frames.parquet", endpoint=s3_gate.url)
    s3_gate.seen.clear()
    whole = pydicom.dcmread(path).pixel_array
    found = harvest.read_frames(url, [11, 12, 13, 14], index=index, endpoint=s3_gate.url)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole[10:14], strict=True))
    assert len(s3_gate.seen) <= 2  # the header, and the tiles, if they are not behind it


def test_an_index_that_knows_nothing_of_the_object(stored: Path, tmp_path: Path) -> None:
    index = frame_index(stored, tmp_path / "frames.parquet")
    other = tmp_path / "other.dcm"
    other.write_bytes(stored.read_bytes())
    with pytest.raises(HarvestError, match="does not know"):
        harvest.read_frames(str(other), [1], index=index)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return sorted(Path(os.environ["HARVEST_CORPUS"]).rglob("*.dcm"))


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_frames_of_real_files(files: list[Path]) -> None:
    """All frames that pydicom decodes, those of deflated objects included: the same pixels."""
    compared = 0
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path)
                whole = dataset.pixel_array
            except Exception:  # what pydicom cannot decode is nothing to compare with
                continue
            count = int(dataset.get("NumberOfFrames") or 1)
            found = harvest.read_frames(str(path), range(1, count + 1))
        wanted = [whole] if count == 1 else whole
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), path
        compared += count
    assert compared > 1000


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_real_files_that_pydicom_does_not_decode(files: list[Path]) -> None:
    """Each gives pixels or one of our errors, never another exception."""
    refused = 0
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                harvest.read_frames(str(path), [1])
            except (ObjectError, HarvestError):
                refused += 1
    assert 0 < refused < len(files) / 3
