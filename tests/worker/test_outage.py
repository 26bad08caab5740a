"""Objects that do not answer are rows; a store that does not ends the run without a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from harvest.errors import ExitCode, StoreUnavailable
from harvest.output import open_output
from harvest.plan.planner import make_plan
from harvest.table.parts import part_of
from harvest.table.rows import Planned, Row
from harvest.worker import outage
from harvest.worker.partition import read_objects, read_partition, read_task
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults.proxy import Fault, Gate
from tests.lab import Lab
from tests.support.reading import planned_of, task_of

OBJECTS = 12
TRAFFIC = ("requests", "bytes_read", "error_detail")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(outage, "OUTAGE_OBJECTS", 4)


@pytest.fixture(scope="module")
def series(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    return conftest.own_series(lab, tmp_path_factory.mktemp("series"), OBJECTS)


@pytest.fixture
def undisturbed(lab: Lab, series: OwnSeries) -> list[dict[str, Any]]:
    rows, _ = read_objects(planned_of(series), task_of(conftest.source_of(lab)))
    return without_traffic(rows)


def without_traffic(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TRAFFIC} for row in rows]


def is_listing(name: str) -> bool:
    return "list-type" in name


def listings(gate: Gate) -> int:
    return sum(is_listing(seen.path) for seen in gate.seen)


def test_a_store_that_is_away_ends_the_partition(s3_gate: Gate) -> None:
    s3_gate.always = conftest.status(503)
    planned = [Planned(f"s3://idc-open-data/{number}", 1, None) for number in range(5000)]
    with pytest.raises(StoreUnavailable, match="run the same command again") as away:
        read_objects(planned, task_of({"endpoint": s3_gate.url}, retries=0))
    assert away.value.exit_code == ExitCode.RUN_AGAIN
    # asked after the first few; what had not begun by then never does
    assert listings(s3_gate) == 1
    assert len(s3_gate.seen) < 5000


def test_at_the_top_of_a_bucket_all_of_it_is_asked_for(s3_gate: Gate) -> None:
    s3_gate.schedule = lambda name, _: None if is_listing(name) else conftest.status(503)
    source = {"endpoint": s3_gate.url, "transport": "sdk"}
    read_objects([Planned("s3://idc-open-data/x", 1, None)], task_of(source, retries=0))
    assert {
        parse_qs(urlsplit(seen.path).query, keep_blank_values=True)["prefix"][0]
        for seen in s3_gate.seen
        if is_listing(seen.path)
    } == {""}


@pytest.mark.parametrize("begin", [0, 3, OBJECTS - 1])
def test_a_store_that_goes_away_leaves_no_part(
    lab: Lab, s3_gate: Gate, series: OwnSeries, tmp_path: Path, begin: int
) -> None:
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(series, OBJECTS)])
    config = conftest.config_of(
        tmp_path / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
        {"endpoint": s3_gate.url},
        limits={"retries": 1, "concurrency": 1},
    )
    output = open_output(config.output)
    make_plan(config, output)
    requests = iter(range(10**9))
    s3_gate.schedule = lambda *_: conftest.status(503) if next(requests) >= begin else None
    with pytest.raises(StoreUnavailable):
        read_partition(read_task(config, output, part_of("plan", 0)))
    assert not output.exists(part_of("plan", 0).name)
    s3_gate.schedule = None
    read = read_partition(read_task(config, output, part_of("plan", 0)))
    assert (read.ok, read.errors) == (OBJECTS, {})


@pytest.mark.parametrize("number", [0, 5, OBJECTS - 1])
def test_one_silent_object_is_a_row(
    s3_gate: Gate, series: OwnSeries, undisturbed: list[dict[str, Any]], number: int
) -> None:
    s3_gate.always = conftest.status(500)
    s3_gate.only = series.keys[number]
    rows, _ = read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}, retries=1))
    row = rows.pop(number)
    assert (row["status"], row["error"], row["retryable"]) == ("error", "unavailable", True)
    # both readings of it are counted
    assert row["requests"] == len(s3_gate.of(series.keys[number])) == 2 * 2
    expected = [each for place, each in enumerate(undisturbed) if place != number]
    assert without_traffic(rows) == expected


def test_one_object_that_never_answers_is_a_row(s3_gate: Gate, series: OwnSeries) -> None:
    """Also where it is alone in its partition: else no run could ever finish."""
    s3_gate.always = conftest.status(500)
    s3_gate.only = series.keys[0]
    (row,), _ = read_objects(planned_of(series)[:1], task_of({"endpoint": s3_gate.url}, retries=1))
    assert (row["status"], row["error"]) == ("error", "unavailable")


def test_objects_that_are_all_silent_in_a_store_that_answers(
    s3_gate: Gate, series: OwnSeries
) -> None:
    s3_gate.schedule = lambda name, _: None if is_listing(name) else conftest.status(503)
    rows, _ = read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}, retries=0))
    assert {row["error"] for row in rows} == {"unavailable"}
    assert [row["requests"] for row in rows] == [2] * OBJECTS


@pytest.mark.parametrize(("begin", "silent"), [(0, 3), (4, 2), (1, 9), (OBJECTS - 1, 1)])
def test_an_outage_that_passes_costs_no_row(
    s3_gate: Gate,
    series: OwnSeries,
    undisturbed: list[dict[str, Any]],
    begin: int,
    silent: int,
) -> None:
    """Its silent objects are read again, and the requests of both readings are counted."""
    count = iter(range(10**9))

    def schedule(name: str, _: int) -> Fault | None:
        if is_listing(name):
            return None
        return conftest.status(503) if begin <= next(count) < begin + silent else None

    s3_gate.schedule = schedule
    rows, _ = read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}, retries=0))
    assert without_traffic(rows) == undisturbed
    for number, row in enumerate(rows):
        twice = begin <= number < begin + silent
        assert row["requests"] == len(s3_gate.of(series.keys[number])) == 1 + twice
        sent = sum(s.body_bytes for s in s3_gate.of(series.keys[number]) if s.status == 206)
        assert row["bytes_read"] == sent


def test_a_second_outage_ends_the_partition(s3_gate: Gate, series: OwnSeries) -> None:
    """While the silent objects of the first one are read again."""
    objects = iter(range(10**9))
    asked = iter(range(10**9))

    def schedule(name: str, _: int) -> Fault | None:
        if is_listing(name):
            return conftest.status(503) if next(asked) else None
        return conftest.status(503) if next(objects) >= OBJECTS - 2 else None

    s3_gate.schedule = schedule
    with pytest.raises(StoreUnavailable):
        read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}, retries=0))
    assert listings(s3_gate) == 2


def test_a_store_that_denies_a_listing_answers(s3_gate: Gate, series: OwnSeries) -> None:
    s3_gate.schedule = lambda name, _: conftest.status(403 if is_listing(name) else 503)
    unlisted = [planned_of(series)[0]._replace(etag=None)]
    (row,), _ = read_objects(unlisted, task_of({"endpoint": s3_gate.url}, retries=0))
    assert row["error"] == "unavailable"


@pytest.mark.parametrize("code", [403, 404])
def test_a_bucket_that_is_closed_after_the_plan_ends_the_partition(
    s3_gate: Gate, series: OwnSeries, code: int
) -> None:
    s3_gate.always = conftest.status(code)
    with pytest.raises(StoreUnavailable, match="what it allowed when the plan was made"):
        read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}))
    # of what a manifest names nobody was promised anything
    unlisted = [planned._replace(etag=None) for planned in planned_of(series)]
    rows, _ = read_objects(unlisted, task_of({"endpoint": s3_gate.url}))
    assert {row["error"] for row in rows} == {"denied" if code == 403 else "not_found"}


def test_an_object_that_is_refused_in_an_open_bucket_is_a_row(
    s3_gate: Gate, series: OwnSeries
) -> None:
    s3_gate.always, s3_gate.only = conftest.status(403), series.keys[0]
    (row, *others), _ = read_objects(planned_of(series), task_of({"endpoint": s3_gate.url}))
    assert (row["error"], row["requests"]) == ("denied", 1)
    assert {other["status"] for other in others} == {"ok"}
    assert listings(s3_gate) == 1
