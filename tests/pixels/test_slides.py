"""Regions of slides: the pixels that highdicom sees, by few requests."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.pixels.common import CoderBase
from pydicom.uid import DeflatedExplicitVRLittleEndian

import harvest
from harvest.errors import ErrorKind, HarvestError, ObjectError
from harvest.objects.frame_table import located, write_frames
from harvest.pixels.slides import PixelMatrix
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab
from tests.support.tiled import (
    COLUMNS,
    ROWS,
    TILE,
    Tile,
    cut,
    frame_index,
    picture,
    write_parts,
    write_slide,
)

BUCKET = "idc-open-data"
REGIONS = [
    (0, 0, COLUMNS, ROWS),
    (0, 0, 1, 1),
    (COLUMNS - 1, ROWS - 1, 1, 1),
    (47, 63, 2, 2),
    (50, 70, 100, 61),
    (COLUMNS - 60, 0, 60, ROWS),
]
"""x, y, width, height: the whole, corners, where four tiles meet, the edges that are cut."""


def by_highdicom(path: Path) -> Any:
    """Return the total pixel matrix as highdicom puts it together."""
    with highdicom.imread(path) as image:
        return image.get_total_pixel_matrix(dtype=np.uint8, apply_icc_profile=False)


def assert_same(read: Callable[..., Any], whole: Any) -> None:
    for x, y, width, height in REGIONS:
        found = read(x, y, width, height)
        assert found.dtype == whole.dtype
        assert np.array_equal(found, whole[y : y + height, x : x + width])


@pytest.mark.parametrize("table", ["native", "empty", "basic", "extended"])
@pytest.mark.parametrize("sparse", [False, True])
def test_regions_are_highdicoms(tmp_path: Path, table: str, sparse: bool) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), sparse=sparse, table=table)
    whole = by_highdicom(path)
    if table == "native":
        assert np.array_equal(whole, picture())
    index = frame_index(path, tmp_path / "frames.parquet")
    for given in (None, index):
        assert_same(lambda *at, i=given: harvest.read_region(str(path), *at, index=i), whole)


def test_a_slide_is_opened_once_and_read_by_many_threads(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), table="basic")
    whole = by_highdicom(path)
    slide = harvest.open_slide(str(path))
    assert slide.shape == whole.shape
    assert slide.dtype == whole.dtype
    assert slide.tile_shape == (*TILE, 3)
    assert (slide.optical_paths, slide.focal_planes) == (("1",), 1)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda at: slide.region(*at), REGIONS * 3))
    for (x, y, width, height), pixels in zip(REGIONS * 3, found, strict=True):
        assert np.array_equal(pixels, whole[y : y + height, x : x + width])
    assert_same(pickle.loads(pickle.dumps(slide)).region, whole)


@pytest.mark.parametrize("sparse", [False, True])
def test_optical_paths_and_focal_planes(tmp_path: Path, sparse: bool) -> None:
    planes = {
        (path, height): picture(seed=number)[..., number % 3].copy()
        for number, (path, height) in enumerate(
            (path, height) for path in ("DAPI", "FITC", "TRITC") for height in (0.0, 1.5)
        )
    }
    tiles = [
        tile
        for (path, height), matrix in planes.items()
        for tile in cut(matrix, path=path, height=height)
    ]
    if sparse:
        np.random.default_rng(1).shuffle(tiles)
    path = write_slide(tmp_path / "slide.dcm", tiles, sparse=sparse)
    slide = harvest.open_slide(str(path))
    assert slide.optical_paths == ("DAPI", "FITC", "TRITC")
    assert slide.focal_planes == 2
    for (name, height), matrix in planes.items():
        found = slide.region(
            0, 0, COLUMNS, ROWS, optical_path=name, focal_plane=[0.0, 1.5].index(height)
        )
        assert np.array_equal(found, matrix)
    assert np.array_equal(slide.region(5, 6, 70, 80), planes["DAPI", 0.0][6:86, 5:75])
    with pytest.raises(HarvestError, match="no optical path 'CY5': choose one of 'DAPI', 'FITC'"):
        harvest.read_region(str(path), 0, 0, 1, 1, optical_path="CY5")
    with pytest.raises(HarvestError, match="no focal plane 2: choose one from 0 to 1"):
        harvest.read_region(str(path), 0, 0, 1, 1, focal_plane=2)


def test_the_order_of_full_tiles_is_highdicoms(tmp_path: Path) -> None:
    tiles = [
        tile
        for name in "AB"
        for height in (0.0, 1.0)
        for tile in cut(picture()[..., 0], path=name, height=height)
    ]
    path = write_slide(tmp_path / "slide.dcm", tiles)
    layout = harvest.open_slide(str(path)).layout
    frames = highdicom.spatial.iter_tiled_full_frame_data(pydicom.dcmread(path))
    for number, (channel, plane, column, row, *_) in enumerate(frames):
        assert layout.tiles.frames[number] == number + 1
        assert (layout.path[number] + 1, layout.plane[number] + 1) == (channel, plane)
        assert (layout.tiles.lefts[number] + 1, layout.tiles.tops[number] + 1) == (column, row)


@pytest.mark.parametrize("coloured", [True, False])
def test_absent_tiles_are_white_or_zero(tmp_path: Path, coloured: bool) -> None:
    whole = picture() if coloured else picture()[..., 1].copy()
    tiles = cut(whole)
    path = write_slide(tmp_path / "slide.dcm", [*tiles[:4], *tiles[6:]], sparse=True)
    for tile in tiles[4:6]:
        place = np.s_[tile.top : tile.top + TILE[0], tile.left : tile.left + TILE[1]]
        whole[place] = 255 if coloured else 0
    assert_same(lambda *at: harvest.read_region(str(path), *at), whole)


def test_tiles_beside_the_grid_and_above_each_other(tmp_path: Path) -> None:
    """Of tiles that overlap the later one is seen; what lies outside the matrix is cut."""
    source = picture(400, 400, seed=3)
    places = [(0, 0), (30, 20), (10, 35), (-20, 100), (100, -11), (ROWS - 9, COLUMNS - 8)]
    tiles = [
        Tile(source[30 * n : 30 * n + TILE[0], 40 * n : 40 * n + TILE[1]], top, left)
        for n, (top, left) in enumerate(places)
    ]
    path = write_slide(tmp_path / "slide.dcm", tiles, sparse=True)
    # put together on a larger ground, the long way
    ground = np.full((ROWS + 200, COLUMNS + 200, 3), 255, np.uint8)
    for tile in tiles:
        at = (100 + tile.top, 100 + tile.left)
        ground[at[0] : at[0] + TILE[0], at[1] : at[1] + TILE[1]] = tile.pixels
    whole = ground[100 : 100 + ROWS, 100 : 100 + COLUMNS]
    assert_same(lambda *at: harvest.read_region(str(path), *at), whole)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_concatenation(tmp_path: Path, sparse: bool) -> None:
    whole = write_slide(tmp_path / "whole.dcm", cut(picture()), sparse=sparse, table="empty")
    folder = tmp_path / "series"
    parts = write_parts(folder, cut(picture()), (4, 5, 15), sparse=sparse)
    assert_same(lambda *at: harvest.read_region(f"{folder}/", *at), by_highdicom(whole))
    with pytest.raises(ObjectError, match="1 of 3 parts of a concatenation: name the folder"):
        harvest.read_region(str(parts[0]), 0, 0, 1, 1)
    parts[1].unlink()
    with pytest.raises(ObjectError, match="2 of 3 parts"):
        harvest.read_region(f"{folder}/", 0, 0, 1, 1)


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_levels_of_a_series(lab: Lab, cloud: str) -> None:
    series = conftest.series_of(lab, "SM basic offset table")
    name = series.aws_bucket if cloud == "aws" else series.gcs_bucket
    url = f"{'s3' if cloud == 'aws' else 'gs'}://{name}/{series.crdc_series_uuid}/"
    endpoint = conftest.source_of(lab, cloud)["endpoint"]
    paths = {
        int(pydicom.dcmread(each.path, stop_before_pixels=True).TotalPixelMatrixRows): each.path
        for each in series.instances
        if "thumbnail" not in each.path.name
    }
    for level, rows in enumerate(sorted(paths, reverse=True)):
        slide = harvest.open_slide(url, level=level, endpoint=endpoint)
        assert slide.shape == (rows, rows, 3)
        assert slide.requests >= len(series.instances)
    assert np.array_equal(slide.region(0, 0, rows, rows), by_highdicom(paths[rows]))
    with pytest.raises(HarvestError, match=r"no level 3: there are 0: 3254 x 3254, 1: 813 x 813"):
        harvest.open_slide(url, level=3, endpoint=endpoint)
    with pytest.raises(HarvestError, match="is one object"):
        harvest.open_slide(str(paths[rows]), level=1)


def test_optical_paths_in_objects_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    planes = {name: picture(seed=ord(name))[..., 0] for name in "CAB"}
    for number, (name, matrix) in enumerate(planes.items()):
        write_slide(folder / f"{number}.dcm", cut(matrix, path=name), level=number)
    (folder / "LICENSE").write_text("not DICOM " * 100)
    for name, matrix in planes.items():
        found = harvest.read_region(f"{folder}/", 3, 4, 99, 98, optical_path=name)
        assert np.array_equal(found, matrix[4:102, 3:102])
    assert np.array_equal(harvest.read_region(str(folder), 0, 0, 9, 9), planes["A"][:9, :9])
    with pytest.raises(HarvestError, match="no optical path 'D': choose one of 'A', 'B', 'C'"):
        harvest.open_slide(f"{folder}/", optical_path="D")
    cut_short = folder / "cut.dcm"
    cut_short.write_bytes((folder / "0.dcm").read_bytes()[:1000])
    with pytest.raises(ObjectError, match=r"truncated: .*/cut\.dcm: "):
        harvest.open_slide(f"{folder}/")
    cut_short.unlink()
    write_slide(folder / "again.dcm", cut(planes["A"], path="A"), level=9)
    with pytest.raises(HarvestError, match=r"several images are that level: name one of .*again"):
        harvest.open_slide(f"{folder}/")


@pytest.mark.parametrize(
    ("x", "y", "width", "height"),
    [
        (-1, 0, 5, 5),
        (0, -1, 5, 5),
        (0, 0, COLUMNS + 1, 5),
        (0, ROWS, 5, 1),
        (COLUMNS, 0, 1, 1),
        (3, 3, 0, 5),
        (3, 3, 5, -2),
    ],
)
def test_a_region_outside_the_matrix(
    tmp_path: Path, x: int, y: int, width: int, height: int
) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()))
    with pytest.raises(ValueError, match=f"matrix of {COLUMNS} x {ROWS} pixels"):
        harvest.read_region(str(path), x, y, width, height)


def test_what_is_no_slide(tmp_path: Path, lab: Lab) -> None:
    image = conftest.write_dicom(tmp_path / "series" / "image.dcm", "2.25.1")
    with pytest.raises(ObjectError, match="no total pixel matrix"):
        harvest.read_region(str(image), 0, 0, 1, 1)
    with pytest.raises(HarvestError, match="holds no level of a slide"):
        harvest.read_region(f"{image.parent}/", 0, 0, 1, 1)
    with pytest.raises(HarvestError, match="does not exist"):
        harvest.read_region(f"{tmp_path}/nothing/", 0, 0, 1, 1)
    short = write_slide(tmp_path / "short.dcm", cut(picture())[:-1])
    with pytest.raises(ObjectError, match="14 frames, where 3 x 5 tiles in 1 focal planes") as told:
        harvest.read_region(str(short), 0, 0, 1, 1)
    assert told.value.kind == ErrorKind.MALFORMED


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), table="basic")
    monkeypatch.setattr(CoderBase, "is_available", property(lambda self: False))
    with pytest.raises(HarvestError, match=r"no decoder for JPEG Baseline .*: pip install pillow"):
        harvest.read_region(str(path), 0, 0, 1, 1)


# --- what crosses the wire -------------------------------------------------------------------


@pytest.mark.parametrize("table", ["empty", "basic", "extended", "native"])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_row_of_tiles_is_one_request(
    lab: Lab, s3_gate: Gate, tmp_path: Path, table: str, sparse: bool
) -> None:
    path = write_slide(
        tmp_path / "slide.dcm",
        cut(picture(1000, 1500)),
        shape=(1000, 1500),
        table=table,
        sparse=sparse,
    )
    key = f"regions/{table}-{sparse}.dcm"
    conftest.put(lab, BUCKET, {key: path})
    url = f"s3://{BUCKET}/{key}"
    index = frame_index(url, tmp_path / "frames.parquet", endpoint=s3_gate.url)
    s3_gate.seen.clear()
    slide = harvest.open_slide(url, index=index, endpoint=s3_gate.url)
    header = harvest.read(str(path)).header_bytes
    assert len(s3_gate.seen) == (1 if header < 2**15 else 2)
    s3_gate.seen.clear()
    found = slide.region(500, 200, 400, 300)
    assert np.array_equal(found, by_highdicom(path)[200:500, 500:900])
    rows, columns = range(200 // TILE[0], -(-500 // TILE[0])), range(500 // 48, -(-900 // 48))
    assert len(s3_gate.seen) <= len(rows)
    across = -(-1500 // TILE[1])
    with harvest.open(str(path)) as file:
        ranges = located(file.name).row
    assert ranges is not None
    tile_bytes = sum(
        TILE[0] * TILE[1] * 3 if table == "native" else ranges["lengths"][row * across + column]
        for row in rows
        for column in columns
    )
    assert sum(each.body_bytes for each in s3_gate.seen) <= 1.3 * tile_bytes


def test_channels_between_each_other_are_not_read_for_nothing(
    lab: Lab, s3_gate: Gate, tmp_path: Path
) -> None:
    """Where the tiles of a row are no neighbours, requests are many, and no byte is in vain."""
    pairs = zip(cut(picture(seed=1), path="A"), cut(picture(seed=2), path="B"), strict=True)
    path = write_slide(
        tmp_path / "slide.dcm", [tile for pair in pairs for tile in pair], sparse=True
    )
    key = "regions/channels.dcm"
    conftest.put(lab, BUCKET, {key: path})
    slide = harvest.open_slide(f"s3://{BUCKET}/{key}", endpoint=s3_gate.url)
    s3_gate.seen.clear()
    found = slide.region(0, 64, COLUMNS, 64, optical_path="B")
    assert np.array_equal(found, picture(seed=2)[64:128])
    assert sum(each.body_bytes for each in s3_gate.seen) == 5 * TILE[0] * TILE[1] * 3


def test_a_header_of_many_tiles_is_read_once(lab: Lab, s3_gate: Gate, tmp_path: Path) -> None:
    """Thousands of items cost few requests, and walks; pydicom takes seconds for 10,000."""
    tile = cut(picture()[..., 0])[0]
    tiles = [replace(tile, top=64 * (n // 100), left=48 * (n % 100)) for n in range(3_000)]
    path = write_slide(tmp_path / "slide.dcm", tiles, sparse=True, shape=(1920, 4800))
    key = "regions/many.dcm"
    conftest.put(lab, BUCKET, {key: path})
    header = harvest.read(str(path)).header_bytes
    assert header > 400_000
    slide = harvest.open_slide(f"s3://{BUCKET}/{key}", endpoint=s3_gate.url)
    assert slide.requests == len(s3_gate.seen) <= 4
    assert slide.bytes_read == sum(each.body_bytes for each in s3_gate.seen) < 2.5 * header
    found = slide.region(4800 - 48, 1920 - 64, 48, 64)
    assert np.array_equal(found, tile.pixels)


def test_an_index_spares_the_walk_over_optical_paths_too(
    lab: Lab, s3_gate: Gate, tmp_path: Path
) -> None:
    """Where the optical paths of a level are objects of their own, headers tell them apart."""
    planes = {name: picture(1000, 1500, seed=ord(name)) for name in "AB"}
    for name, matrix in planes.items():
        path = tmp_path / f"{name}.dcm"
        write_slide(path, cut(matrix, path=name), shape=(1000, 1500), table="empty")
        conftest.put(lab, BUCKET, {f"paths/{name}.dcm": path})
    rows = [
        located(f"s3://{BUCKET}/paths/{name}.dcm", endpoint=lab.s3.endpoint).row for name in "AB"
    ]
    index = tmp_path / "frames.parquet"
    write_frames([row for row in rows if row is not None], index)
    slide = harvest.open_slide(
        f"s3://{BUCKET}/paths/", optical_path="B", index=index, endpoint=s3_gate.url
    )
    # the listing, and a header each
    assert len(s3_gate.seen) == 3
    whole = by_highdicom(tmp_path / "B.dcm")
    assert np.array_equal(slide.region(700, 500, 90, 80), whole[500:580, 700:790])


# --- real slides -----------------------------------------------------------------------------


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_real_slides() -> None:
    compared = 0
    for path in sorted(Path(os.environ["HARVEST_CORPUS"]).glob("highdicom/sm_image*.dcm")):
        slide: PixelMatrix = harvest.open_slide(str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = highdicom.imread(path).get_total_pixel_matrix(
                dtype=slide.dtype,
                apply_icc_profile=False,
                apply_modality_transform=False,
                apply_real_world_transform=False,
                apply_presentation_lut=False,
            )
        rows, columns = slide.shape[:2]
        assert np.array_equal(slide.region(0, 0, columns, rows), whole), path
        assert np.array_equal(slide.region(7, 3, 21, 30), whole[3:33, 7:28]), path
        compared += 1
    assert compared >= 8


def test_a_deflated_level_needs_no_index(tmp_path: Path) -> None:
    """Of a series as of one object, and by an index that knows other levels."""
    matrix = picture()[..., 0]
    folder = tmp_path / "series"
    path = write_slide(folder / "0.dcm", cut(matrix))
    made = pydicom.dcmread(path)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(path)
    index = frame_index(path, tmp_path / "frames.parquet")
    for url in (str(path), f"{folder}/"):
        found = harvest.read_region(url, 3, 4, 99, 98, index=index)
        assert np.array_equal(found, matrix[4:102, 3:102])
