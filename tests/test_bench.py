"""The benchmark measures what it says: its relay, its sets, its ways and its arithmetic."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.bench import audit as audits
from tests.bench import idc, peers, reading, results, sets, ways
from tests.bench.paired import Cost, Pairs, environment_of
from tests.bench.relay import HOST, Meter, relay
from tests.bench.results import Results, SetResults, Way, Wire, add_round, goals, ratio
from tests.bench.sets import NAMES, RECIPES, Filled, ObjectSet, Target
from tests.conftest import OwnSeries, own_series
from tests.lab import Lab
from tests.lab.index import write_index

# --- the relay -------------------------------------------------------------------------------


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answer whatever comes over any number of connections."""
    listening = socket.create_server((HOST, 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(2**16):
                connection.sendall(answer(data))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def connect(url: str) -> socket.socket:
    return socket.create_connection((HOST, int(url.rpartition(":")[2])), timeout=30)


def received(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := connection.recv(2**16)):
        found += data
    return found


@pytest.mark.parametrize("latency", [0.0, 0.002])
def test_relay_passes_all_bytes_in_order(latency: float) -> None:
    sent = random.Random(1).randbytes(3_000_000)
    with server(bytes) as echo, relay(echo) as passing:
        # bytes that are no HTTP are not to be counted
        passing.delay(latency)
        with connect(passing.url) as connection:
            thread = threading.Thread(target=connection.sendall, args=(sent,))
            thread.start()
            assert received(connection, len(sent)) == sent
            thread.join()


def test_relay_delays_what_passes_it() -> None:
    came: list[bytes] = []

    def answer(data: bytes) -> bytes:
        came.append(data)
        return data

    with server(answer) as echo, relay(echo) as slow, relay(echo) as fast:
        slow.delay(2.0)
        fast.delay(0.0)
        with connect(slow.url) as first, connect(fast.url) as second:
            first.sendall(b"first")
            second.sendall(b"second")
            assert received(second, 6) == b"second"
            assert received(first, 5) == b"first"
    assert came == [b"second", b"first"]


def test_relay_gives_the_server_its_own_name() -> None:
    request = b"GET /o HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
    with server(bytes) as echo, relay(echo, rename=True) as passing:
        passing.delay(0.0)
        own, other = (int(url.rpartition(":")[2]) for url in (passing.url, echo))
        with connect(passing.url) as connection:
            connection.sendall(request % own)
            wanted = request % other
            assert received(connection, len(wanted)) == wanted


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_meter_counts_requests_and_bodies(step: int) -> None:
    asked = (
        b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
        b"HEAD /b/k HTTP/1.1\r\n\r\n"
        b"GET /b?list-type=2&prefix=s HTTP/1.1\r\n\r\n"
        b"POST /b/k HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "
        b"GET /b/k HTTP/1.1\r\n\r\n"
    )
    answers = [
        b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ]
    bodies = [
        b"12345",
        b"",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"",
        b"a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n",
    ]
    meter = Meter(Counter())
    for place in range(0, len(asked), step):
        meter.request(asked[place : place + step])
    answered = b"".join(head + body for head, body in zip(answers, bodies, strict=True))
    for place in range(0, len(answered), step):
        meter.answer(answered[place : place + step])
    assert meter.counts == Counter(
        requests=4,
        listings=1,
        body_bytes=5 + 11,
        head_bytes=sum(len(answers[number]) for number in (0, 1, 3, 4)),
        listing_body_bytes=3,
        listing_head_bytes=len(answers[2]),
    )


# --- the sets --------------------------------------------------------------------------------


def filled(name: str) -> list[Filled]:
    return list(RECIPES[name].fill(True))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mixed"])
def test_set_is_dicom_and_what_its_index_says(name: str, tmp_path: Path) -> None:
    made = filled(name)
    for series, bodies in made:
        for instance, body in zip(series.instances, bodies, strict=True):
            content = body.header + body.pixels
            image = pydicom.dcmread(BytesIO(content))
            assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID
            assert image.SOPInstanceUID == instance.sop_instance_uid == body.sop_instance_uid
            assert image.SeriesInstanceUID == series.series_instance_uid
            assert image.Modality == series.attributes["Modality"]
            assert image.SOPClassUID == series.attributes["SOPClassUID"]
            assert image.file_meta.TransferSyntaxUID == series.attributes["TransferSyntaxUID"]
            # the value begins behind the tag, the VR and the length
            assert image["PixelData"].file_tell == body.header_bytes + 12
            assert len(body.header) == body.header_bytes
            assert instance.size == len(content)
    write_index((series for series, _ in made), tmp_path / "index.parquet")
    rows = pq.read_table(tmp_path / "index.parquet").to_pylist()
    told = {row["SeriesInstanceUID"]: row for row in rows}
    assert len(told) == len(made)
    for series, bodies in made:
        row = told[series.series_instance_uid]
        assert row["instanceCount"] == len(bodies)
        assert row["collection_id"] == f"bench_{name}"
        megabytes = sum(len(body.header) + len(body.pixels) for body in bodies) / 1e6
        assert row["series_size_MB"] == pytest.approx(megabytes)


def images(name: str) -> list[Dataset]:
    return [
        pydicom.dcmread(BytesIO(body.header + body.pixels))
        for _, bodies in filled(name)
        for body in bodies
    ]


def test_ct_headers_are_as_scanners_write_them() -> None:
    lengths = {body.header_bytes for _, bodies in filled("ct") for body in bodies}
    assert min(lengths) >= 4_000
    assert max(lengths) <= 6_000
    assert len(lengths) > 10
    for image in images("ct")[::50]:
        assert len(image) >= 110
        assert sum(element.VR == "SQ" for element in image) >= 4
        assert sum(element.tag.is_private for element in image) >= 60
        assert len(image.pixel_array.shape) == 2


def test_slices_differ() -> None:
    for name in ("ct", "mr"):
        found = images(name)
        for keyword in ("SOPInstanceUID", "SliceLocation", "AcquisitionTime"):
            assert len({str(image[keyword].value) for image in found}) > len(found) // 3
        assert len({len(str(image.SOPInstanceUID)) for image in found}) > 5


def test_mr_headers_hold_private_headers() -> None:
    found = images("mr")
    assert all(len(image[0x0029, 0x1020].value) > 100_000 for image in found)
    assert len({image[0x0029, 0x1010].value for image in found}) == len(found)


def test_slides_and_segmentations_describe_each_frame() -> None:
    found = images("slides")
    sparse = [each for each in found if each.DimensionOrganizationType == "TILED_SPARSE"]
    assert 0 < len(sparse) < len(found)
    for each in [*sparse, *images("seg")]:
        assert len(each.PerFrameFunctionalGroupsSequence) == each.NumberOfFrames
    with_table = 0
    for each in found:
        offsets, frames = pydicom.encaps.parse_basic_offsets(each.PixelData), each.NumberOfFrames
        assert len(offsets) in (0, frames)
        assert len(list(pydicom.encaps.generate_frames(each.PixelData, number_of_frames=frames)))
        with_table += bool(offsets)
    assert 0 < with_table < len(found)


def object_set(**more: object) -> ObjectSet:
    series, lengths = [], {}
    for each, bodies in filled("seg"):
        series.append(each)
        for instance, body in zip(each.instances, bodies, strict=True):
            lengths[each.key(instance)] = body.header_bytes
    given = {"small": 1, "on_gcs": 2, "many_items": False, **more}
    return ObjectSet("seg", ["seg"], tuple(series), header_bytes=lengths, **given)  # type: ignore[arg-type]


def test_targets_and_cohorts() -> None:
    made = object_set()
    assert [each.header_bytes for each in made.targets()] == list(made.header_bytes.values())
    assert made.targets(small=True) == made.targets()[:1]
    assert len(made.targets(gcs=True)) == 2
    assert made.series[0].series_instance_uid in made.cohort(small=True)
    assert made.series[1].series_instance_uid not in made.cohort(small=True)


def test_an_object_of_many_items_costs_by_its_bytes() -> None:
    made = object_set(many_items=True)
    targets = made.targets()
    assert made.per_object(3.0, targets) == pytest.approx(1.0)
    # whichever are read, what is told is of one of mean length
    bytes_of_one = targets[0].header_bytes
    mean = sum(each.header_bytes for each in targets) / len(targets)
    assert made.per_object(bytes_of_one * 1e-6, targets[:1]) == pytest.approx(mean * 1e-6)
    assert object_set().per_object(3.0, targets[:1]) == 3.0


# --- the ways --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_headers(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    """Five objects whose headers go beyond the first range."""
    return own_series(lab, tmp_path_factory.mktemp("ways"), 5, header=20_000)


def targets_of(series: OwnSeries) -> list[Target]:
    found = []
    for key, path in zip(series.keys, series.paths, strict=True):
        content = path.read_bytes()
        header = content.index(bytes.fromhex("e07f1000"))
        found.append(Target(series.bucket, key, len(content), header))
    return found


@pytest.mark.parametrize("way", ways.WAYS)
def test_way_finds_what_is_there(way: str, lab: Lab, long_headers: OwnSeries) -> None:
    targets = targets_of(long_headers)
    told = [str(pydicom.dcmread(path).SOPInstanceUID) for path in long_headers.paths]
    gcs = way == "gcs_open"
    if way in ("smart_open", "s5cmd") and not peers.ENVIRONMENT.exists():
        pytest.skip(f"{way} is in the benchmark's own environment alone: run make bench once")
    server = lab.gcs if gcs else lab.s3
    with relay(server.endpoint, rename=gcs) as passing:
        found = peers.read(way, targets, passing.url, cold=True)
        counts = passing.counts()
    assert found.found == ([each.key for each in targets] if way == "floor" else told)
    least = sum(each.header_bytes for each in targets)
    assert counts["body_bytes"] >= least
    if way == "floor":
        assert counts["body_bytes"] == least
        assert counts["requests"] == len(targets)
    if way in ("boto3_range", "obstore_range"):
        # 16 KiB, and then the rest
        assert counts["requests"] == 2 * len(targets)


# --- audits ----------------------------------------------------------------------------------


def test_audits_list_every_series_and_read_only_what_is_new(tmp_path: Path) -> None:
    first, nothing_new, some_new = audits.measured(40 * audits.IN_A_SERIES, tmp_path)
    assert [each.listing_requests for each in (first, nothing_new, some_new)] == [40, 40, 40]
    assert [each.object_requests for each in (first, nothing_new, some_new)] == [0, 0, 0]
    assert (first.carried, nothing_new.carried) == (0, 5_000)
    assert some_new.carried == 39 * audits.IN_A_SERIES
    assert {"list", "carry over", "publish", "diff"} <= set(nothing_new.steps)


# --- arithmetic ------------------------------------------------------------------------------


def test_rounds_are_compared_with_their_own_floor() -> None:
    measured: dict[str, Way] = {}
    add_round(measured, {"ours": 3.0, "floor": 1.0, "boto3_range": 30.0})
    add_round(measured, {"ours": 8.0, "floor": 2.0, "boto3_range": 40.0})
    add_round(measured, {"ours": 2.0, "floor": 1.0, "boto3_range": 24.0})
    assert measured["ours"].to_floor == [3.0, 4.0, 2.0]
    assert ratio(measured, "ours", "floor") == 3.0
    assert ratio(measured, "boto3_range", "ours") == 10.0
    assert ratio(measured, "s5cmd", "ours") is None


def wire(objects: int, requests: int, body_bytes: int, header_bytes: int) -> Wire:
    return Wire(objects, requests, body_bytes, 0, header_bytes, 1, 1, 1)


def test_goals() -> None:
    found = Results(quick=True, rounds=1, machine={})
    assert {goal.met for goal in goals(found)} == {None}
    ct: dict[str, Way] = {}
    slow = {"gcs_open": 10.0, "boto3_whole": 9.5, "smart_open": 40.0, "s5cmd": 12.0}
    add_round(ct, {"ours": 1.0, "floor": 0.8, "boto3_range": 11.0, **slow})
    add_round(ct, {"ours_json": 2.0, "boto3_range_json": 20.0})
    ct["ours"].wire = wire(100, 101, 1_300, 1_000)
    found.sets["ct"] = SetResults(100, 10.0, 100.0, ct)
    found.peak_worker_bytes["mr"] = 500_000_000
    found.one_worker = results.OneWorker(wall_ms=1.0, sequential_ms=41.0, busy=0.9)
    stand = {goal.name: (goal.figure, goal.met) for goal in goals(found)}
    assert stand["CPU of an object, ct profile, over the floor (g)"] == (1.25, True)
    assert stand["(c) over ours, CPU"] == (11.0, False)
    assert stand["the best of (a)-(e) over ours, CPU"] == (9.5, True)
    assert stand["(c) with to_json_dict over ours with header: json, CPU"] == (10.0, True)
    assert stand["requests of an object, CT"] == (1.01, True)
    assert stand["bytes over header bytes, CT"] == (1.3, False)
    assert stand["bytes over header bytes, MR"] == (None, None)
    assert stand["wall of (a) over ours with one worker, 20 ms away"] == (41.0, True)
    assert stand["peak memory of a worker, MB"] == (500.0, False)


def test_all_of_idc() -> None:
    group = idc.Group("ct", series=10, instances=3_600_000, terabytes=1.0)
    cost = idc.cost(group, idc.Measured(requests=1.5, body_bytes=5_000, cpu_ms=2.0))
    assert cost.requests == 1.5 * 3_600_000 + 3_600
    assert cost.terabytes_read == pytest.approx(0.018)
    assert cost.core_hours == pytest.approx(2.0)
    shown = idc.markdown([group, group], {"ct": idc.Measured(1.5, 5_000, 2.0)})
    assert shown.splitlines()[-1].startswith("| all of IDC |  | 7,200,000 | 2.0 |")


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    options = reading.Options(
        sets=("seg",),
        ways=("ours", "obstore_range", "floor"),
        rounds=1,
        quick=True,
        latency=False,
        keep=False,
    )
    found = reading.measure(options)
    measured = found.sets["seg"].ways
    assert list(measured) == ["ours", "obstore_range", "floor"]
    assert all(len(way.cpu_ms) == len(way.to_floor) == 1 for way in measured.values())
    ours = measured["ours"]
    assert ours.wire is not None
    assert ours.told is not None
    # what the table says is what crossed the wire
    assert ours.told.requests == ours.wire.requests
    assert ours.told.bytes_read == ours.wire.body_bytes
    assert ours.told.header_bytes == ours.wire.header_bytes
    assert ours.told.objects == found.sets["seg"].objects == 3
    found.save(tmp_path / "results.json")
    assert results.load(tmp_path / "results.json")["sets"]["seg"]["objects"] == 3


def test_the_sets_have_names() -> None:
    assert tuple(RECIPES) == sets.NAMES


def test_two_checkouts_are_told_apart_from_noise() -> None:
    pairs = Pairs()
    for before, now, again in ((2.0, 3.0, 4.0), (1.0, 3.0, 2.0)):
        costs = [Cost(cpu, 2 * cpu, requests=7, bytes_read=100) for cpu in (before, now, again)]
        pairs.rounds.append((costs[0], costs[1], costs[2]))
    cpu = "2.25 | 3.00 | 1.50 (1.00 to 2.00) | 2.00 (2.00 to 2.00)"
    wall = "4.50 | 6.00 | 1.50 (1.00 to 2.00) | 2.00 (2.00 to 2.00)"
    assert pairs.line("x") == f"| x | {cpu} | {wall} | the same |"


def test_a_checkout_runs_its_own_code(tmp_path: Path) -> None:
    package = tmp_path / "harvest"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("print('another checkout')")
    ended = subprocess.run(
        [sys.executable, "-m", "harvest"],
        env={**os.environ, **environment_of(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "another checkout\n"
