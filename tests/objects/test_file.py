"""An object as a file: the bytes of the object, by few requests."""

from __future__ import annotations

import io
import os
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydicom
import pytest

import harvest
from harvest.dicom.first_ranges import FIRST_RANGE_BYTES
from harvest.errors import ErrorKind, ObjectError
from harvest.objects import file as files
from harvest.objects.file import HELD_BYTES, MOST_AHEAD_BYTES, MOST_REQUEST_BYTES, open_object
from harvest.store.patience import Patience
from tests import conftest
from tests.faults.proxy import Gate, stalled
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


def test_a_long_read_is_several_requests(
    lab: Lab, s3_gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None takes longer because the object is long, and one that fails is asked for by itself."""
    path = tmp_path / "object"
    path.write_bytes(content := random.Random(2).randbytes(2 * MOST_REQUEST_BYTES + 100_000))
    conftest.put(lab, "idc-open-data", {"file/longer": path})
    url, source = "s3://idc-open-data/file/longer", {"endpoint": s3_gate.url}
    with open_object(url, **source) as file:
        assert file.read() == content
        assert file.requests == len(s3_gate.seen) == 1 + 3
    monkeypatch.setattr(files, "REQUEST_SECONDS", 4.0)
    with open_object(url, **source) as file:
        s3_gate.seen.clear()
        s3_gate.only = "file/longer"
        s3_gate.on_request = lambda number: s3_gate.faults.extend([stalled] * (number == 0))
        assert file.pread(0, file.size) == content
        ranges = [each.headers["range"] for each in s3_gate.seen]
    assert len(ranges) == 3 + 1
    assert len(set(ranges)) == 3


def test_what_is_held_has_a_bound_and_goes_when_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(100_000_000))
    file = open_object(str(path))
    for size in (10, 30_000_000, 1_000, -1):
        file.read(size)
        assert file._held.bytes <= 4 * MOST_AHEAD_BYTES
    file.seek(0)
    while file.read(500_000):
        assert file._held.bytes == sum(map(len, file._held._segments)) <= HELD_BYTES
    assert file._held.bytes > HELD_BYTES / 2
    file.close()
    assert file._held.bytes == 0


def test_reading_behind_the_end_asks_for_nothing(long: Path) -> None:
    with open_object(str(long)) as file:
        with pytest.raises(ObjectError) as caught:
            file.pread(2_999_990, 3_000_001)
        assert caught.value.kind == ErrorKind.TRUNCATED
        assert file.requests == 1


def test_another_process_is_told_of_another_size_of_the_same_state(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RETRIES", 0)
    file = open_object(str(long))
    remade, (url, source, first, (version, size)) = file.__reduce__()
    with pytest.raises(ObjectError) as caught:
        remade(url, source, first, (version, size + 1)).read(10)
    assert caught.value.kind == ErrorKind.UNAVAILABLE


def test_a_wrong_whence_and_a_closed_file_are_as_those_of_io(long: Path) -> None:
    file, expected = harvest.open(str(long)), io.BytesIO()
    for each in (file, expected):
        with pytest.raises(ValueError, match="3"):
            each.seek(0, 3)
        each.close()
        for method in (each.seek, each.read):
            with pytest.raises(ValueError, match="closed"):
                method(0)
        for asked in (each.tell, each.readable, each.seekable):
            with pytest.raises(ValueError, match="closed"):
                asked()


def test_what_is_known_in_several_pieces_is_known(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(content := random.Random(3).randbytes(12_000_000))
    with open_object(str(path)) as file:
        while file.tell() < 9_000_000:
            file.read(300_000)
        requests, read = file.requests, file.bytes_read
        for border in range(2_000, 9_000_000, 1_000):
            file.seek(border - 1_000)
            assert file.read(2_000) == content[border - 1_000 : border + 1_000]
        assert file.pread(10, 9_000_000) == content[10:9_000_000]
        assert (file.requests, file.bytes_read) == (requests, read)
        assert file._held.bytes == read
        file.seek(10_000_000)
        file.read(10)
        file.seek(9_500_000)
        file.read(2_000_000)
        assert file._held.bytes == sum(map(len, file._held._segments))
        assert len(file._held._starts) == len(set(file._held._starts))


def test_many_threads_have_each_their_own_patience(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that begins a request forgives no fault of another's."""
    begun = threading.Barrier(8)
    used: list[Patience] = []

    class Noted(Patience):
        def __init__(self, retries: int, seconds: float) -> None:
            super().__init__(retries, seconds)
            begun.wait()

        def call(self, request: Any) -> Any:
            used.append(self)
            return super().call(request)

    with open_object(str(long)) as file, ThreadPoolExecutor(8) as threads:
        monkeypatch.setattr(files, "Patience", Noted)
        starts = range(100_000, 900_000, 100_000)
        assert len(list(threads.map(lambda start: file.pread(start, start + 9), starts))) == 8
        assert len(used) == len(set(map(id, used))) == 8
