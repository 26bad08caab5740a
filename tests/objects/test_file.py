"""An object as a file: the bytes of the object, by few requests."""

from __future__ import annotations

import io
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pydicom
import pytest

import harvest
from harvest.dicom.first_ranges import FIRST_RANGE_BYTES
from harvest.errors import ErrorKind, ObjectError
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab.laboratory import Lab


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(random.Random(1).randbytes(3_000_000))
    return path


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_read_is_what_the_object_holds(long: Path, seed: int) -> None:
    chance = random.Random(seed)
    expected = io.BytesIO(long.read_bytes())
    with harvest.open(str(long)) as file:
        for _ in range(300):
            if chance.random() < 0.6:
                offset = chance.choice([chance.randrange(3_100_000), chance.randrange(70_000)])
                assert file.seek(offset) == expected.seek(offset) == file.tell()
            size = chance.choice([1, 8, 100, 5_000, 200_000])
            if chance.random() < 0.1:
                buffer, wanted = bytearray(size), bytearray(size)
                assert file.readinto(buffer) == expected.readinto(wanted)
                assert buffer == wanted
            else:
                assert file.read(size) == expected.read(size)
        assert file.seek(-5, io.SEEK_END) == 2_999_995
        assert file.seek(2, io.SEEK_CUR) == 2_999_997
        assert file.read() == expected.getvalue()[-3:]
        assert file.read() == b""
        with pytest.raises(ValueError, match="lies before"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_reading_on_asks_for_ever_more_at_once(long: Path) -> None:
    with harvest.open(str(long)) as file:
        while file.read(1_000):
            pass
        # 32 KiB, then 32, 64, ... KiB, and never more than 1 MiB
        assert file.bytes_read == file.size == 3_000_000
        assert file.requests == 8


def test_hopping_on_is_reading_on(long: Path) -> None:
    """As who walks over the items of pixels does: 8 bytes of each, and no more than the file."""
    with harvest.open(str(long)) as file:
        for offset in range(0, 3_000_000, 15_000):
            file.seek(offset)
            file.read(8)
        assert file.requests <= 12
        assert file.bytes_read <= file.size


def test_reading_here_and_there_reads_little_more_than_that(long: Path) -> None:
    with harvest.open(str(long)) as file:
        for offset in range(100_000, 3_000_000, 100_000):
            file.seek(offset)
            file.read(100)
        assert file.requests == 30
        assert file.bytes_read == FIRST_RANGE_BYTES + 29 * 16 * 2**10


@pytest.mark.parametrize(
    "how",
    [
        {"stop_before_pixels": True},
        {"specific_tags": ["PatientID", "Rows"]},
        {"defer_size": 1000},
        {},
        {"force": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_pydicom_reads_it_as_a_file(lab: Lab, how: dict[str, Any], scheme: str) -> None:
    series = conftest.series_of(lab, "CT many")
    instance = series.instances[0]
    bucket = series.aws_bucket if scheme == "s3" else series.gcs_bucket
    source = conftest.source_of(lab, "aws" if scheme == "s3" else "gcs")
    source.pop("cloud", None)
    with harvest.open(f"{scheme}://{bucket}/{series.key(instance)}", **source) as file:
        found = pydicom.dcmread(file, **how)
        assert found == pydicom.dcmread(instance.path, **how)


def test_metadata_are_one_request(lab: Lab, s3_gate: Gate) -> None:
    series = conftest.series_of(lab, "CT many")
    url = f"s3://{series.aws_bucket}/{series.key(series.instances[0])}"
    with harvest.open(url, endpoint=s3_gate.url) as file:
        pydicom.dcmread(file, stop_before_pixels=True)
        assert (file.requests, len(s3_gate.seen)) == (1, 1)
        assert file.bytes_read <= FIRST_RANGE_BYTES


def test_an_object_that_changes_is_not_mixed(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(200_000))
    with harvest.open(str(path)) as file:
        path.write_bytes(b"1" * 200_000)
        os.utime(path, (1, 1))
        file.seek(150_000)
        with pytest.raises(ObjectError) as caught:
            file.read(10)
    assert caught.value.kind == ErrorKind.CHANGED


def test_another_process_reads_the_same_state(lab: Lab, s3_gate: Gate, long: Path) -> None:
    """By its URL, its version and its size alone, and without a first request."""
    content = long.read_bytes()
    conftest.put(lab, "idc-open-data", {"file/long": long})
    with harvest.open("s3://idc-open-data/file/long", endpoint=s3_gate.url) as file:
        shipped = pickle.dumps(file)
    assert len(shipped) < 1000
    s3_gate.seen.clear()
    with pickle.loads(shipped) as again:
        assert (again.name, again.size, len(s3_gate.seen)) == (file.name, file.size, 0)
        assert again.pread(2_000_000, 2_000_100) == content[2_000_000:2_000_100]
        assert again.read(10) == content[:10]
    long.write_bytes(content[::-1])
    conftest.put(lab, "idc-open-data", {"file/long": long})
    with pytest.raises(ObjectError) as caught:
        pickle.loads(shipped).pread(5, 6)
    assert caught.value.kind == ErrorKind.CHANGED


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ObjectError) as caught:
        harvest.open(str(tmp_path / "nothing"))
    assert caught.value.kind == ErrorKind.NOT_FOUND
    with pytest.raises(ValueError, match="endpoint"):
        harvest.open("s3://bucket/key", endpoint="nonsense")
