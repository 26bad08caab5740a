"""Dask arrays of frames: the same pixels by every scheduler, and only the bytes that count."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pydicom
import pytest
from distributed import Client

import harvest
from harvest.errors import ErrorKind, HarvestError, ObjectError
from harvest.objects.frame_table import located
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab
from tests.support.tiled import (
    COLUMNS,
    ROWS,
    TILE,
    cut,
    frame_index,
    picture,
    write_parts,
    write_slide,
)

BUCKET = "idc-open-data"


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """No cluster of another test may compute what a test here computes."""
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def multi_frame(path: Path, frames: int = 20, rows: int = 30, columns: int = 41) -> Path:
    """Write a native image of many frames that is no slide."""
    conftest.write_dicom(path, "2.25.1")
    image = pydicom.dcmread(path)
    image.NumberOfFrames, image.Rows, image.Columns = frames, rows, columns
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    pixels = np.random.default_rng(2).integers(-2000, 2000, (frames, rows, columns), np.int16)
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OW"
    image.save_as(path)
    return path


def compute(array: Any, **more: Any) -> Any:
    return array.compute(**more)


def test_frames_are_stacked_one_a_chunk(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "image.dcm")
    whole = pydicom.dcmread(path).pixel_array
    array = harvest.dask_array(str(path))
    assert (array.shape, array.dtype) == (whole.shape, whole.dtype)
    assert array.chunksize == (1, 30, 41)
    assert np.array_equal(compute(array), whole)
    assert compute((array > 0).sum()) == (whole > 0).sum()


@pytest.mark.parametrize("table", ["native", "empty", "basic", "extended"])
def test_tiles_are_the_chunks_of_a_slide(tmp_path: Path, table: str) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), table=table)
    whole = harvest.read_region(str(path), 0, 0, COLUMNS, ROWS)
    index = frame_index(path, tmp_path / "frames.parquet")
    for given in (None, index):
        array = harvest.dask_array(str(path), given)
        assert array.chunks == ((64, 64, 22), (48, 48, 48, 48, 18), (3,))
        assert array.dtype == whole.dtype
        assert np.array_equal(compute(array), whole)


KEYS: list[Any] = [
    np.s_[0],
    np.s_[-1, 3],
    np.s_[:, 3],
    np.s_[::-2],
    np.s_[9:2:-3, ::5],
    np.s_[3:40:7, 5:2],
    np.s_[None, 2:5],
    np.s_[..., 0],
    np.s_[[1, 3, 5]],
    np.s_[6, 7, 1],
    np.s_[4:4],
]


@pytest.mark.parametrize("optimized", [True, False])
def test_every_way_to_index(tmp_path: Path, optimized: bool) -> None:
    """Dask fuses what is asked for into what is read, or it does not."""
    slide = write_slide(tmp_path / "slide.dcm", cut(picture()))
    image = multi_frame(tmp_path / "image.dcm")
    for path, whole in ((slide, picture()), (image, pydicom.dcmread(image).pixel_array)):
        array = harvest.dask_array(str(path))
        for key in KEYS:
            found = compute(array[key], optimize_graph=optimized)
            assert np.array_equal(found, whole[key]), key


def test_planes_and_levels(tmp_path: Path) -> None:
    planes = {name: picture(seed=ord(name))[..., 0] for name in "AB"}
    tiles = [tile for name in "AB" for tile in cut(planes[name], path=name)]
    path = write_slide(tmp_path / "planes" / "slide.dcm", tiles)
    arrays = {name: harvest.dask_array(str(path), optical_path=name) for name in "AB"}
    assert len({array.name for array in arrays.values()}) == 2
    for name, array in arrays.items():
        assert np.array_equal(compute(array), planes[name])
    with pytest.raises(HarvestError, match="no optical path 'C'"):
        harvest.dask_array(str(path), optical_path="C")
    folder = tmp_path / "parts"
    write_parts(folder, cut(picture()), (7, 15))
    whole = harvest.read_region(f"{folder}/", 0, 0, COLUMNS, ROWS)
    assert np.array_equal(compute(harvest.dask_array(f"{folder}/")), whole)


def test_only_the_tiles_of_a_slice_are_read(lab: Lab, s3_gate: Gate, tmp_path: Path) -> None:
    path = write_slide(
        tmp_path / "slide.dcm", cut(picture(1000, 1500)), shape=(1000, 1500), table="empty"
    )
    key = "arrays/slide.dcm"
    conftest.put(lab, BUCKET, {key: path})
    url = f"s3://{BUCKET}/{key}"
    index = frame_index(url, tmp_path / "frames.parquet", endpoint=s3_gate.url)
    s3_gate.seen.clear()
    array = harvest.dask_array(url, index, endpoint=s3_gate.url)
    assert len(s3_gate.seen) == 1  # the header
    part = array[700:830, 960:1056]  # rows 10 to 12 of tiles, columns 20 and 21
    assert len(s3_gate.seen) == 1
    found = compute(part)
    assert np.array_equal(found, harvest.read_region(str(path), 960, 700, 96, 130))
    row = located(str(path)).row
    assert row is not None
    across = -(-1500 // TILE[1])
    lengths = [row["lengths"][r * across + c] for r in (10, 11, 12) for c in (20, 21)]
    tiles = [each.body_bytes for each in s3_gate.seen[1:]]
    assert sorted(tiles) == sorted(lengths)


def test_other_processes_read_by_stores_of_their_own(
    lab: Lab, s3_gate: Gate, tmp_path: Path, scheduler: str
) -> None:
    path = multi_frame(tmp_path / "image.dcm", frames=16, rows=200, columns=200)
    key = "arrays/image.dcm"
    conftest.put(lab, BUCKET, {key: path})
    url = f"s3://{BUCKET}/{key}"
    array = harvest.dask_array(url, endpoint=s3_gate.url)
    opened = len(s3_gate.seen)
    with Client(scheduler) as client, dask.config.set(scheduler=client):  # type: ignore[no-untyped-call]
        found = compute(array)
    assert np.array_equal(found, pydicom.dcmread(path).pixel_array)
    read = s3_gate.seen[opened:]
    # one request for each frame, by two processes; none for a header
    assert [each.body_bytes for each in read] == [200 * 200 * 2] * 16
    assert {each.headers["if-match"] for each in read} == {s3_gate.seen[-1].headers["if-match"]}
    assert len({each.port for each in read} - {each.port for each in s3_gate.seen[:opened]}) >= 2


def test_what_is_shipped_is_small(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "image.dcm", frames=200)
    array = harvest.dask_array(str(path))
    assert len(pickle.dumps(array)) < 40_000


def test_after_a_fork(lab: Lab, tmp_path: Path) -> None:
    """Connections are opened anew; obstore's threads are not, so that only the SDKs can do it."""
    path = multi_frame(tmp_path / "image.dcm", frames=8, rows=200, columns=200)
    conftest.put(lab, BUCKET, {"arrays/fork.dcm": path})
    script = f"""
import os, harvest
url, endpoint = "s3://{BUCKET}/arrays/fork.dcm", "{lab.s3.endpoint}"
array = harvest.dask_array(url, endpoint=endpoint, transport="sdk")
first = array[:4].sum().compute(scheduler="sync")
child = os.fork()
if not child:
    os._exit(int(array[4:].sum().compute(scheduler="sync") != {int(_sum(path, 4))}))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def _sum(path: Path, begin: int) -> Any:
    return pydicom.dcmread(path).pixel_array[begin:].sum()


def test_an_object_that_was_replaced(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "image.dcm", frames=40)
    array = harvest.dask_array(str(path))
    multi_frame(path, frames=41)
    with pytest.raises(ObjectError) as told:
        compute(array[-1])
    assert told.value.kind == ErrorKind.CHANGED
