"""Objects that are deflated as a whole: what pydicom reads of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

import harvest
from harvest.errors import ErrorKind, ObjectError
from harvest.objects import inflated
from harvest.objects.file import open_object
from harvest.objects.inflated import InflatedFile
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab
from tests.support.tiled import frame_index


@pytest.fixture
def deflated(tmp_path: Path) -> Path:
    """An image of three frames, deflated."""
    path = conftest.write_dicom(tmp_path / "image.dcm", "2.25.1", header=300)
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.NumberOfFrames, image.Rows, image.Columns = 3, 50, 60
    image.PixelData = np.random.default_rng(4).integers(0, 256, 9000, np.uint8).tobytes()
    image.save_as(path)
    return path


def test_frames_are_pydicoms(deflated: Path) -> None:
    whole = pydicom.dcmread(deflated).pixel_array
    found = harvest.read_frames(str(deflated), [3, 1])
    assert np.array_equal(found[0], whole[2])
    assert np.array_equal(found[1], whole[0])
    array: Any = harvest.dask_array(str(deflated))
    assert np.array_equal(array.compute(scheduler="sync"), whole)


def test_it_is_the_object_that_it_was_before(deflated: Path) -> None:
    file = InflatedFile(open_object(str(deflated)))
    content = file.pread(0, file.size)
    copy = deflated.with_name("copy.dcm")
    copy.write_bytes(content)
    read, original = pydicom.dcmread(copy), pydicom.dcmread(deflated)
    assert read.file_meta.TransferSyntaxUID.is_deflated is False
    read.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert read == original
    with pytest.raises(ObjectError, match="ends before"):
        file.pread(0, file.size + 1)


def test_it_is_read_by_two_requests(deflated: Path, lab: Lab, s3_gate: Gate) -> None:
    conftest.put(lab, "idc-open-data", {"inflated/image.dcm": deflated})
    url = "s3://idc-open-data/inflated/image.dcm"
    assert len(harvest.read_frames(url, [1, 2, 3], endpoint=s3_gate.url)) == 3
    assert len(s3_gate.seen) <= 2
    array: Any = harvest.dask_array(url, endpoint=s3_gate.url)
    s3_gate.seen.clear()
    shipped = pickle.loads(pickle.dumps(array))
    assert np.array_equal(shipped.compute(scheduler="sync"), array.compute(scheduler="sync"))
    assert len(s3_gate.seen) == 1


def test_what_does_not_inflate(deflated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = deflated.read_bytes()
    begin = whole.index(b"1.2.840.10008.1.2.1.99")
    cut = deflated.with_name("cut.dcm")
    cut.write_bytes(whole[:-40])
    with pytest.raises(ObjectError) as told:
        InflatedFile(open_object(str(cut)))
    assert told.value.kind == ErrorKind.TRUNCATED
    corrupt = deflated.with_name("corrupt.dcm")
    corrupt.write_bytes(whole[: begin + 2000] + b"\xff" * 500 + whole[begin + 2500 :])
    with pytest.raises(ObjectError) as told:
        InflatedFile(open_object(str(corrupt)))
    assert told.value.kind in (ErrorKind.MALFORMED, ErrorKind.TRUNCATED)
    monkeypatch.setattr(inflated, "MOST_INFLATED_BYTES", 5000)
    with pytest.raises(ObjectError, match="inflates to over 5000 bytes") as told:
        InflatedFile(open_object(str(deflated)))
    assert told.value.kind == ErrorKind.TOO_LARGE


def test_an_index_does_not_keep_it_from_being_opened(deflated: Path) -> None:
    """As it is, whether the index knows it or not."""
    index = frame_index(deflated, deflated.with_name("frames.parquet"))
    whole = pydicom.dcmread(deflated)
    with harvest.open(str(deflated), index=index) as file:
        assert pydicom.dcmread(file) == whole
    assert len(harvest.read_frames(str(deflated), [1, 2, 3], index)) == 3
