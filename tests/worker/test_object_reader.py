"""Reading one object: requests and bytes as they cross the wire, versions, retries, error rows."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harvest.config import SourceConfig
from harvest.dicom.first_ranges import FIRST_RANGE_BYTES, PIXEL_AREA_BYTES
from harvest.dicom.walk import HeaderLimits
from harvest.store.fetch import Traffic
from harvest.store.patience import RateLimit
from harvest.table.rows import Planned, Row
from harvest.worker.object_reader import ObjectReader
from harvest.worker.reading import read_alone
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults.proxy import Fault, Gate
from tests.lab import Lab, servers
from tests.support.reading import WANTED, planned_of, read_row

WAYS = ("obstore-aws", "sdk-aws", "obstore-gcs", "sdk-gcs")


def reader_of(source: dict[str, Any], **more: Any) -> ObjectReader:
    defaults: dict[str, Any] = {
        "limits": HeaderLimits(),
        "retries": 3,
        "object_seconds": 60,
        "rate": RateLimit(None),
    }
    config = SourceConfig.model_validate(source)
    return ObjectReader(
        config, WANTED, more.pop("limits", defaults.pop("limits")), **{**defaults, **more}
    )


def read_all(planned: Iterable[Planned], source: dict[str, Any], **more: Any) -> list[Row]:
    """Read objects one after the other with one reader."""
    reader = reader_of(source, **more)
    return [read_row(reader, each) for each in planned]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, lab: Lab) -> Any:
    transport, cloud = request.param.split("-")
    server = lab.s3 if cloud == "aws" else lab.gcs
    with conftest.gate(server.endpoint) as gate:
        yield gate, cloud, {"cloud": cloud, "endpoint": gate.url, "transport": transport}


Way = tuple[Gate, str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.0)


@pytest.fixture(scope="module")
def small(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    return conftest.own_series(lab, tmp_path_factory.mktemp("small"), 3)


@pytest.fixture(scope="module")
def large(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    """Headers of some 40 KB, in a series of 4."""
    return conftest.own_series(lab, tmp_path_factory.mktemp("large"), 4, header=40_000)


def check_traffic(rows: list[Row], gate: Gate) -> None:
    for row in rows:
        seen = gate.of(str(row["url"]).partition("://")[2].partition("/")[2])
        assert row["requests"] == len(seen), row["url"]
        assert row["bytes_read"] == sum(each.body_bytes for each in seen if each.status == 206)


def test_a_small_object_is_one_request(way: Way, small: OwnSeries) -> None:
    gate, cloud, source = way
    rows = read_all(planned_of(small, cloud), source)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert len(gate.seen) == 3
    for row, path in zip(rows, small.paths, strict=True):
        assert (row["requests"], row["bytes_read"]) == (1, path.stat().st_size)
        assert row["size"] == path.stat().st_size
        assert row["etag"] not in (None, "listed")
        assert '"' not in row["etag"]
    check_traffic(rows, gate)


def test_a_header_past_the_first_range_is_two_requests(way: Way, large: OwnSeries) -> None:
    gate, cloud, source = way
    (row,) = read_all(planned_of(large, cloud)[:1], source)
    assert row["status"] == "ok"
    assert row["requests"] == 2
    first, second = gate.seen
    assert first.headers["range"] == f"bytes=0-{FIRST_RANGE_BYTES - 1}"
    # a long value that no column wants is leapt over
    start = int(second.headers["range"].removeprefix("bytes=").partition("-")[0])
    assert FIRST_RANGE_BYTES <= start < row["header_bytes"] + PIXEL_AREA_BYTES
    # the first answer's version is insisted on
    if cloud == "aws":
        assert second.headers["if-match"].strip('"') == row["etag"]
    else:
        assert "eneration" in second.path
    check_traffic([row], gate)


def test_the_first_range_is_learned_within_a_series(
    way: Way, large: OwnSeries, small: OwnSeries
) -> None:
    gate, cloud, source = way
    planned = [*planned_of(large, cloud), *planned_of(small, cloud)]
    rows = read_all(planned, source)
    assert {row["status"] for row in rows} == {"ok"}
    # the headers of this series grow from object to object by a byte or two
    assert [row["requests"] for row in rows] == [2, 1, 1, 1, 1, 1, 1]
    learned = int(gate.seen[2].headers["range"].partition("-")[2]) + 1
    # what lies behind the header is as long as in the first object
    assert learned == rows[1]["header_bytes"] + PIXEL_AREA_BYTES
    assert gate.seen[5].headers["range"] == f"bytes=0-{FIRST_RANGE_BYTES - 1}"
    check_traffic(rows, gate)


PASSING: dict[str, Fault] = {
    "500": conftest.status(500),
    "503": conftest.status(503),
    "429": conftest.status(429),
    "reset": conftest.reset,
    "short body": conftest.short_body,
    "another range": conftest.moved_range,
    "shorter range": conftest.shorter_range,
    "page": conftest.whole_object(b"<html>SECRET-PATIENT</html>"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_tried_again_and_counted(
    way: Way, small: OwnSeries, fault: str
) -> None:
    gate, cloud, source = way
    gate.faults.extend([PASSING[fault]] * 2)
    (row,) = read_all(planned_of(small, cloud)[:1], source)
    assert row["status"] == "ok"
    assert row["requests"] == len(gate.seen) == 3
    assert row["PatientID"] == "SECRET-PATIENT"


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_is_an_error_row(way: Way, small: OwnSeries, fault: str) -> None:
    gate, cloud, source = way
    gate.always = PASSING[fault]
    gate.only = small.keys[0]
    planned = planned_of(small, cloud)[0]
    row, *others = read_all(planned_of(small, cloud), source, retries=2)
    assert [other["status"] for other in others] == ["ok", "ok"]
    assert (row["status"], row["error"], row["retryable"]) == ("error", "unavailable", True)
    assert row["requests"] == len(gate.of(small.keys[0])) == 3
    assert (row["size"], row["etag"]) == (planned.size, planned.etag)
    for secret in ("SECRET", gate.url, "127.0.0.1"):
        assert secret not in row["error_detail"]


@pytest.mark.parametrize(("code", "kind"), [(401, "denied"), (403, "denied"), (404, "not_found")])
def test_what_does_not_pass_is_not_tried_again(
    way: Way, small: OwnSeries, code: int, kind: str
) -> None:
    gate, cloud, source = way
    gate.faults.append(conftest.status(code))
    rows = read_all(planned_of(small, cloud), source)
    assert [row["error"] for row in rows if row["status"] == "error"] == [kind]
    assert (rows[0]["requests"], rows[0]["retryable"], rows[0]["bytes_read"]) == (1, False, 0)
    assert [row["status"] for row in rows[1:]] == ["ok", "ok"]


def replaced(lab: Lab, series: OwnSeries, tmp_path: Path, header: int) -> OwnSeries:
    """Replace a series' first object by one of another header length."""
    path = conftest.write_dicom(
        tmp_path / "replacement" / series.paths[0].name, series.uid, header=header
    )
    shutil.copy(path, series.paths[0])
    conftest.put(lab, series.bucket, {series.keys[0]: path})
    return series


def test_an_object_that_changes_while_it_is_read_is_begun_again(
    way: Way, lab: Lab, tmp_path: Path
) -> None:
    gate, cloud, source = way
    series = conftest.own_series(lab, tmp_path, 1, header=60_000)
    (planned,) = planned_of(series, cloud)

    def change(number: int) -> None:
        if number == 1:
            replaced(lab, series, tmp_path, 65_000)

    gate.on_request = change
    (row,) = read_all([planned], source)
    assert row["status"] == "ok"
    assert row["size"] == series.paths[0].stat().st_size != planned.size
    assert row["header_bytes"] > 65_000
    # the refused continuation, and both ranges of the new object
    assert row["requests"] == len(gate.seen) == 4


def test_an_object_that_never_stays_the_same_is_changed(way: Way, lab: Lab, tmp_path: Path) -> None:
    gate, cloud, source = way
    series = conftest.own_series(lab, tmp_path, 1, header=60_000)

    def change(number: int) -> None:
        if number % 2:
            replaced(lab, series, tmp_path, 60_000 + 2 * number)

    gate.on_request = change
    (row,) = read_all(planned_of(series, cloud), source)
    assert (row["status"], row["error"], row["retryable"]) == ("error", "changed", True)
    assert row["requests"] == len(gate.seen) == 6


def test_a_412_is_changed(way: Way, large: OwnSeries) -> None:
    gate, cloud, source = way
    gate.faults.extend([lambda answer: answer, conftest.status(412)])
    (row,) = read_all(planned_of(large, cloud)[:1], source)
    assert row["status"] == "ok"
    assert row["requests"] == 4


def test_missing_empty_and_denied_objects_are_rows(lab: Lab, small: OwnSeries) -> None:
    broken = {
        each.attributes["SeriesDescription"]: each
        for each in lab.series
        if each.collection_id == "lab_broken"
    }
    empty = broken["empty.dcm"]
    for transport in ("obstore", "sdk"):
        urls = {
            "not_found": f"s3://{small.bucket}/{small.uuid}/none.dcm",
            "denied": f"s3://{servers.PRIVATE_BUCKET}/some.dcm",
            "not_dicom": f"s3://{empty.aws_bucket}/{empty.key(empty.instances[0])}",
        }
        source = conftest.source_of(lab, transport=transport)
        planned = [Planned(url, None, None) for url in urls.values()]
        rows = read_all(planned, source)
        assert [row["error"] for row in rows] == list(urls), transport
        assert [row["retryable"] for row in rows] == [False] * 3
        assert [row["requests"] for row in rows] == [1, 1, 1]
        assert [row["bytes_read"] for row in rows] == [0, 0, 0]


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_denied_only_without_credentials(
    lab: Lab, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = conftest.series_of(lab, "CT axial")
    url = f"s3://{servers.PRIVATE_BUCKET}/{series.key(series.instances[0])}"
    planned = [Planned(url, None, None, series_instance_uid=series.series_instance_uid)]
    source = conftest.source_of(lab, transport=transport)
    assert read_all(planned, source)[0]["error"] == "denied"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    # credentials in the environment alone change nothing
    assert read_all(planned, source)[0]["error"] == "denied"
    source |= {"anonymous": False, "region": "us-east-1"}
    assert read_all(planned, source)[0]["status"] == "ok"


def test_the_deadline_of_an_object(lab: Lab, s3_gate: Gate, small: OwnSeries) -> None:
    s3_gate.always = conftest.status(503)
    s3_gate.only = small.keys[0]
    source = {"endpoint": s3_gate.url}
    row, _ = read_all(planned_of(small)[:2], source, retries=10_000, object_seconds=0.3)
    assert (row["error"], row["retryable"]) == ("too_slow", True)
    assert row["requests"] == len(s3_gate.of(small.keys[0]))


def test_a_header_that_is_too_large(lab: Lab, s3_gate: Gate, large: OwnSeries) -> None:
    limits = HeaderLimits(header_bytes=10_000)
    rows = read_all(planned_of(large)[:1], {"endpoint": s3_gate.url}, limits=limits)
    assert (rows[0]["error"], rows[0]["retryable"]) == ("too_large", False)
    assert len(s3_gate.seen) == 1
    check_traffic(rows, s3_gate)


def test_another_series_than_planned(lab: Lab, small: OwnSeries, large: OwnSeries) -> None:
    planned = Planned(planned_of(small)[0].url, 1, None, large.uuid, None, large.uid)
    (row,) = read_all([planned], conftest.source_of(lab))
    assert (row["status"], row["error"]) == ("error", "wrong_object")
    assert small.uid not in row["error_detail"]
    assert row.get("SeriesInstanceUID") is None


def test_a_bug_of_ours_is_one_row(
    lab: Lab, small: OwnSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("SECRET-PATIENT")

    monkeypatch.setattr("harvest.worker.reading.ok_row", broken)
    rows = read_all(planned_of(small), conftest.source_of(lab))
    assert [(row["error"], row["retryable"]) for row in rows] == [("internal", True)] * 3
    # where the next engineer looks, and no text that may hold a tag value
    assert all(
        re.fullmatch(r"RuntimeError at reading\.py:\d+", row["error_detail"]) for row in rows
    )


def test_an_earlier_readings_traffic_is_counted(way: Way, small: OwnSeries) -> None:
    gate, cloud, source = way
    (planned, *_) = planned_of(small, cloud)
    row = read_row(reader_of(source), planned, Traffic(bytes_read=1000, requests=7))
    assert (row["status"], row["requests"]) == ("ok", 8)
    assert row["bytes_read"] == 1000 + gate.seen[0].body_bytes


def test_everything_is_kept_where_it_is_asked_for(lab: Lab, small: OwnSeries) -> None:
    (planned, *_) = planned_of(small)
    kept = []
    for everything in (False, True):
        reader = reader_of(conftest.source_of(lab), whole=everything)
        found = read_alone(reader, planned).result()
        kept.append(set(found.own.dataset))
    assert kept[0] < kept[1]


# --- frames ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slides(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    """The lab's slide without an offset table, on both clouds, in a series that tests change."""
    found = conftest.series_of(lab, "SM empty offset table")
    path = max(found.instances, key=lambda each: each.size).path
    folder = str(uuid.uuid4())
    key = f"{folder}/{uuid.uuid4()}.dcm"
    conftest.put(lab, "idc-open-data", {key: path})
    return OwnSeries(found.series_instance_uid, folder, "idc-open-data", (key,), (path,))


def frames_row(row: Row) -> Any:
    assert row["status"] == "ok", row["error_detail"]
    return row["frames"]


@pytest.mark.parametrize("frames", ["table", "scan"])
def test_frames_are_located_in_the_same_reading(way: Way, slides: OwnSeries, frames: Any) -> None:
    gate, cloud, source = way
    (planned,) = planned_of(slides, cloud)
    (plain,) = read_all([planned], source)
    gate.seen.clear()
    (row,) = read_all([planned], source, frames=frames)
    check_traffic([row], gate)
    assert {**row, "requests": 0, "bytes_read": 0, "frames": None} == {
        **plain,
        "requests": 0,
        "bytes_read": 0,
        "frames": None,
    }
    found = frames_row(row)
    if frames == "table":
        assert (found["frames"], found["reason"]) == (2601, "no offset table")
        assert row["requests"] == plain["requests"]
        return
    assert (found["source"], len(found["offsets"])) == ("scan", 2601)
    # no byte twice
    assert row["bytes_read"] <= row["size"]
    assert row["requests"] <= 6


def test_a_scan_is_asked_for_again_where_that_may_help(way: Way, slides: OwnSeries) -> None:
    gate, cloud, source = way
    (planned,) = planned_of(slides, cloud)
    gate.schedule = lambda _, number: conftest.status(503) if number in (2, 4) else None
    (disturbed,) = read_all([planned], source, frames="scan")
    assert disturbed["requests"] == len(gate.seen)
    gate.schedule = None
    (undisturbed,) = read_all([planned], source, frames="scan")
    assert frames_row(disturbed) == frames_row(undisturbed)
    assert disturbed["requests"] == undisturbed["requests"] + 2


def test_what_cannot_be_scanned_is_an_error_row(way: Way, slides: OwnSeries) -> None:
    gate, cloud, source = way
    gate.schedule = lambda _, number: conftest.status(503) if number > 2 else None
    (row,) = read_all(planned_of(slides, cloud), source, frames="scan")
    assert (row["status"], row["error"], row["retryable"]) == ("error", "unavailable", True)
    assert row.get("frames") is None


def test_an_object_that_changes_in_a_scan_is_begun_again(
    way: Way, lab: Lab, slides: OwnSeries, tmp_path: Path
) -> None:
    gate, cloud, source = way
    (key,) = slides.keys
    other = tmp_path / "slide.dcm"
    content = slides.paths[0].read_bytes()

    def replaced(_: str, number: int) -> None:
        if number == 2:
            # of other length: an element behind the pixels
            other.write_bytes(content + b"\xfc\xff\xfc\xffOB\0\0" + bytes(4))
            conftest.put(lab, slides.bucket, {key: other})

    gate.schedule = replaced
    try:
        (row,) = read_all(planned_of(slides, cloud), source, frames="scan")
    finally:
        conftest.put(lab, slides.bucket, {key: slides.paths[0]})
    assert row["size"] == len(content) + 12
    assert len(frames_row(row)["offsets"]) == 2601
