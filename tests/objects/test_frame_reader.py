"""The reader of one object's frames: its requests, and what it tells another process."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_fragments

from harvest.dicom.window import ByteRange
from harvest.objects import frame_reader
from harvest.objects.file import open_object
from harvest.objects.frame_reader import GAP_BYTES, MOST_WASTE, FrameReader, coalesced
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab import Lab
from tests.support.tiled import cut, picture, write_slide


def joined(*wanted: tuple[int, int]) -> list[tuple[int, int]]:
    return [(start, stop) for start, stop in coalesced(ByteRange(*each) for each in wanted)]


def test_neighbours_are_joined() -> None:
    assert joined() == []
    assert joined((5, 9), (0, 5), (5, 9)) == [(0, 9)]
    assert joined((0, 100), (20, 40), (90, 120)) == [(0, 120)]


def test_what_lies_between_is_read_only_if_it_is_little() -> None:
    far = 100 * GAP_BYTES
    assert joined((0, far), (far + GAP_BYTES, 2 * far)) == [(0, 2 * far)]
    assert len(joined((0, far), (far + GAP_BYTES + 1, 2 * far))) == 2
    assert joined((0, 80), (120, 200)) == [(0, 200)]
    assert len(joined((0, 80), (121, 200))) == 2  # more than a quarter of what is wanted


def test_no_request_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_reader, "MOST_REQUEST_BYTES", 100)
    assert joined((0, 50), (50, 100), (100, 150)) == [(0, 100), (100, 150)]
    assert joined((0, 500), (500, 510)) == [(0, 500), (500, 510)]


@pytest.mark.parametrize("seed", range(20))
def test_any_ranges_lie_in_one_request_each(seed: int) -> None:
    rng = random.Random(seed)
    starts = [rng.randrange(10**6) for _ in range(50)]
    wanted = [ByteRange(start, start + rng.randrange(1, 30_000)) for start in starts]
    requests = list(coalesced(wanted))
    assert requests == sorted(requests)
    for each in wanted:
        assert [r for r in requests if r.start <= each.start and each.stop <= r.stop]
    useful = np.zeros(2 * 10**6, bool)
    for each in wanted:
        useful[each.start : each.stop] = True
    for start, stop in requests:
        assert (stop - start) <= (1 + MOST_WASTE) * useful[start:stop].sum()


@pytest.fixture
def url(lab: Lab, tmp_path: Path) -> str:
    path = write_slide(tmp_path / "slide.dcm", cut(picture()), table="extended")
    conftest.put(lab, "idc-open-data", {"reader/slide.dcm": path})
    return "s3://idc-open-data/reader/slide.dcm"


def test_frames_are_read_as_they_are_stored(url: str, s3_gate: Gate, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(tmp_path / "slide.dcm")
    reader = FrameReader(open_object(url, endpoint=s3_gate.url), wanted=["ImageType"])
    assert reader.sop_instance_uid == dataset.SOPInstanceUID
    assert reader.values["ImageType"] == list(dataset.ImageType)
    assert reader.description.frames == dataset.NumberOfFrames
    fragments = list(generate_fragments(dataset.PixelData))
    read = reader.raw([3, 1])
    # an item has its tag and its length before it
    assert [each[8:] for each in read] == [fragments[3], fragments[1]]
    with pytest.raises(IndexError):
        reader.raw([0])


def test_another_process_needs_no_header(url: str, s3_gate: Gate) -> None:
    reader = FrameReader(open_object(url, endpoint=s3_gate.url))
    (expected,) = reader.frames([2])
    shipped = pickle.dumps(reader)
    s3_gate.seen.clear()
    (found,) = pickle.loads(shipped).frames([2])
    assert np.array_equal(found, expected)
    assert len(s3_gate.seen) == 1
