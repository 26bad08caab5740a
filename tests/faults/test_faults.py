"""Whatever a store does, every object ends as a right row or as an error row of the right kind."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

import harvest
from harvest.config import SourceConfig
from harvest.driver.progress import Progress
from harvest.errors import ErrorKind, ObjectError, StoreUnavailable
from harvest.store import open_store
from harvest.store.protocol import ObjectStore
from harvest.urls import parse_url
from tests import conftest
from tests.faults import proxy, table
from tests.faults.proxy import FAULTS, Answer, Fault, Gate, Seeded
from tests.faults.table import CASES, LINE, WAYS, Bench, Case, Way
from tests.lab import Lab
from tests.support import oracle

BUCKETS = ("idc-open-data", "idc-open-data-two")
GROUPS = sorted({case.group for case in CASES})
PROFILE = oracle.profile_paths("core")
SEED = 20
RATES = {
    "503": 0.05,
    "429": 0.05,
    "reset": 0.05,
    "truncation": 0.05,
    "short range": 0.05,
    "wrong Content-Range": 0.05,
    "200 for a range": 0.05,
    "page": 0.05,
}


@pytest.fixture(scope="module")
def bench(lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    authority = trustme.CA()
    with table.trusted(scheduler, authority, folder), ThreadPoolExecutor(2) as pool:
        yield Bench(lab, scheduler, folder, authority, pool)


each_way = pytest.mark.parametrize("way", WAYS, ids="-".join)


# --- one object ------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
def test_how_objects_end(
    bench: Bench, case: Case, way: Way, record_property: Callable[[str, object], None]
) -> None:
    found = bench.met(way, case.group).endings(case)
    cells = [str(found.get(column, "")) for column in table.COLUMNS]
    record_property(LINE, [case.fault, *way, *cells])
    assert found == case.endings


@each_way
@pytest.mark.parametrize("group", GROUPS)
def test_the_other_objects_and_the_requests(bench: Bench, group: str, way: Way) -> None:
    met = bench.met(way, group)
    assert [met.ending(series) for series in met.neighbours] == [table.ok(2)] * table.NEIGHBOURS
    assert len(met.rows) == len(met.trials) + len(met.neighbours)
    for key, row in met.rows.items():
        assert row["requests"] == len(met.opened.of(key)), key
        if row["status"] == "error":
            assert not set(PROFILE) & {name for name, value in row.items() if value is not None}
            assert not re.search(r"SECRET|127\.0\.0\.1|sign in", row["error_detail"])


@each_way
@pytest.mark.parametrize("group", GROUPS)
def test_undisturbed_rows_are_what_pydicom_reads(bench: Bench, group: str, way: Way) -> None:
    met = bench.met(way, group)
    for series in [*(trial.series for trial in met.trials), *met.neighbours]:
        (key,), (path,) = series.keys, series.paths
        dataset = oracle.read_without_force(path)
        assert dataset is not None
        values, unreadable = oracle.expected_values(dataset, PROFILE)
        row = met.undisturbed[key]
        assert (row["status"], row["size"]) == ("ok", path.stat().st_size)
        assert {name: row[name] for name in values} == values
        assert unreadable == set()


# --- a whole store, a whole bucket -----------------------------------------------------------


def unclosed_page(answer: Answer) -> Answer:
    """Send a page that is no XML."""
    return replace(proxy.page(answer), body=b"<!doctype html><p>Please sign in<br>")


AWAY: dict[str, Fault] = {
    "503": FAULTS["503"],
    "reset": FAULTS["reset"],
    "page": FAULTS["page"],
    "page, unclosed": unclosed_page,
}


class Parts(Progress):
    """A progress that counts the partitions that have their part."""

    written = 0

    def partition(self, part: Any) -> None:
        self.written += 1


def line(what: str, way: Way, ended: StoreUnavailable) -> list[str]:
    """Return a line of the table of a run that ends."""
    return [what, *way, f"exit {int(ended.exit_code)}", "", "", ""]


def check_nothing_is_written(config: harvest.Config, parts: Parts) -> None:
    output = Path(config.output.url)
    assert parts.written == 0
    assert not (output / "manifest.json").exists()
    assert not list(output.rglob("*.parquet"))


@each_way
def test_a_store_that_is_away(
    bench: Bench, way: Way, record_property: Callable[[str, object], None]
) -> None:
    config = bench.planned(way, [bench.series() for _ in range(3)])
    parts = Parts()
    with bench.gate(way) as opened:
        for name, fault in AWAY.items():
            opened.always = fault
            with pytest.raises(StoreUnavailable, match="run the same command again") as ended:
                harvest.run(table.through(config, opened, retries=0), parts)
            record_property(LINE, line(f"store away: {name}", way, ended.value))
            assert ended.value.exit_code == 75
            check_nothing_is_written(config, parts)
        opened.always = None
        rows = bench.run(table.through(config, opened))
    assert [row["status"] for row in rows.values()] == ["ok"] * 3


@each_way
@pytest.mark.parametrize("buckets", [BUCKETS, BUCKETS[::-1]], ids="-".join)
def test_a_bucket_that_is_away(
    bench: Bench, buckets: Sequence[str], way: Way, record_property: Callable[[str, object], None]
) -> None:
    """Also where another bucket answers, and has an object that does not."""
    series = [bench.series(bucket) for bucket in buckets]
    config = bench.planned(way, series)
    away, silent = (table.name_of(one, way) for one in series)
    bucket = re.compile(rf"\b{away.partition('/')[0]}(?![\w-])")
    parts = Parts()
    with bench.gate(way) as opened:
        opened.schedule = lambda name, _: (
            FAULTS["503"] if name == silent or bucket.search(name) else None
        )
        with pytest.raises(StoreUnavailable) as ended:
            harvest.run(table.through(config, opened, retries=0), parts)
    record_property(LINE, line(f"bucket away: {away.partition('/')[0]}", way, ended.value))
    check_nothing_is_written(config, parts)


# --- stores ----------------------------------------------------------------------------------


@pytest.fixture
def series(bench: Bench) -> conftest.OwnSeries:
    return bench.series()


def store_of(opened: Gate, way: Way) -> ObjectStore:
    source = {"cloud": way.cloud, "endpoint": opened.url, "transport": way.transport}
    bucket = parse_url(f"{'s3' if way.cloud == 'aws' else 'gs'}://idc-open-data/")
    return open_store(bucket, SourceConfig.model_validate(source))


@each_way
@pytest.mark.parametrize("fault", ["page", "page, unclosed"])
def test_a_page_is_no_empty_listing(
    bench: Bench, series: conftest.OwnSeries, fault: str, way: Way
) -> None:
    with bench.gate(way) as opened:
        store = store_of(opened, way)
        opened.always = AWAY[fault]
        with pytest.raises(ObjectError) as raised:
            list(store.list(f"{series.uuid}/"))
        assert raised.value.kind == ErrorKind.UNAVAILABLE
        opened.always = None
        assert sum(len(page) for page in store.list(f"{series.uuid}/")) == 1
        assert sum(len(page) for page in store.list("no-such-series/")) == 0


def test_a_version_of_s3_is_no_pin(bench: Bench, series: conftest.OwnSeries) -> None:
    """To read by versionId takes s3:GetObjectVersion, which public buckets need not grant."""

    def versioned(answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "x-amz-version-id": "abc"})

    way = Way("aws", "obstore")
    with bench.gate(way) as opened:
        opened.always = versioned
        store = store_of(opened, way)
        version = store.get(series.keys[0], 0, 10, None).version
        store.get(series.keys[0], 10, 20, version)
    assert opened.seen[1].headers["if-match"] == version.etag
    assert "versionId" not in opened.seen[1].path


# --- faults by chance ------------------------------------------------------------------------


def test_a_seed_decides_whatever_the_order() -> None:
    requests = [(f"bucket/{number}", turn) for number in range(200) for turn in range(5)]
    drawn = {request: Seeded(SEED, RATES)(*request) for request in requests}
    assert {request: Seeded(SEED, RATES)(*request) for request in reversed(requests)} == drawn
    assert {request: Seeded(SEED + 1, RATES)(*request) for request in requests} != drawn
    for name, rate in RATES.items():
        share = sum(fault is FAULTS[name] for fault in drawn.values()) / len(requests)
        assert share == pytest.approx(rate, abs=0.03), name
    assert Seeded(SEED, {})("bucket/1", 0) is None


@pytest.mark.parametrize("rates", [{"no fault": 0.1}, {"503": 0.6, "429": 0.5}, {"503": -0.1}])
def test_rates_that_cannot_be(rates: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"fault|rates"):
        Seeded(SEED, rates)


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_faults_by_chance_leave_the_same_rows(
    lab: Lab, scheduler: str, tmp_path: Path, bench: Bench, cloud: str
) -> None:
    schedule = Seeded(SEED, RATES)
    print(schedule)
    way = Way(cloud, "obstore")
    config = conftest.config_of(
        tmp_path / "out",
        {"sql": f"{conftest.SQL_GENERATED} AND Modality IN ('MR', 'PT')", "index": str(lab.index)},
        conftest.source_of(lab, way.cloud, transport=way.transport),
        scheduler=scheduler,
        limits={"retries": 10},
    )
    undisturbed = bench.run(table.elsewhere(config))
    with bench.gate(way) as opened:
        opened.schedule = schedule
        rows = bench.run(table.through(config, opened))
    for key, row in rows.items():
        ending = table.ending_of(row, undisturbed[key])
        assert ending == table.ok(len(opened.of(key)))
    assert sum(row["requests"] for row in rows.values()) > len(rows)


def test_a_gate_in_a_process_of_its_own(lab: Lab, series: conftest.OwnSeries) -> None:
    """It outlives whoever reads through it."""
    command = [sys.executable, "-m", "tests.faults.proxy", lab.s3.endpoint]
    with subprocess.Popen(
        [*command, "--seed", str(SEED), "--rate", "503=0.5"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        endpoint, schedule = process.stdout.readline().strip(), process.stdout.readline().strip()
        try:
            report = harvest.read(f"s3://idc-open-data/{series.keys[0]}", endpoint=endpoint)
        finally:
            process.terminate()
    assert schedule == repr(Seeded(SEED, {"503": 0.5}))
    assert report.requests >= 2
