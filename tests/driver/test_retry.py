"""Retryable error rows of a complete output, read again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harvest.config import Config
from harvest.driver.retry import RETRIES
from harvest.driver.runner import Outcome, run
from harvest.errors import ExitCode, RunAgain
from harvest.output import MANIFEST, open_output
from harvest.plan import planner as planning
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults.proxy import Fault, Gate
from tests.lab import Lab
from tests.support.stopping import Stop, check_manifest, stop_everywhere, stopping

OBJECTS = 17
ROWS_PER_FILE = 5
SILENT = (1, 2, 13)
"""Rows that are retryable errors at first: of the first and the third of four files."""
GONE = 6
REWRITTEN, KEPT = (
    [f"{table}/{number:05d}.parquet" for table in ("instances", "frames") for number in numbers]
    for numbers in ((0, 2), (1, 3))
)


@pytest.fixture(scope="module")
def series(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    return conftest.own_series(lab, tmp_path_factory.mktemp("series"), OBJECTS)


@pytest.fixture(scope="module")
def store(lab: Lab, series: OwnSeries) -> Iterator[Gate]:
    """A gate through which all outputs here are read."""
    with conftest.gate(lab.s3.endpoint) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _honest(store: Gate) -> None:
    store.schedule = None
    store.seen.clear()


def failing(series: OwnSeries, rows: dict[int, Fault]) -> Callable[[str, int], Fault | None]:
    faults = {f"{series.bucket}/{series.keys[row]}": fault for row, fault in rows.items()}
    return lambda name, _: faults.get(name)


@pytest.fixture(scope="module")
def failed(
    lab: Lab,
    store: Gate,
    series: OwnSeries,
    scheduler: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Config:
    """A complete output with some error rows."""
    folder = tmp_path_factory.mktemp("failed")
    index = conftest.index_of(lab, folder / "index.parquet", [(series, OBJECTS)])
    config = conftest.config_of(
        folder / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
        {"endpoint": store.url},
        scheduler=scheduler,
        limits={"retries": 0},
        read={"frames": "table"},
    )
    silent = dict.fromkeys(SILENT, conftest.status(503))
    store.schedule = failing(series, {**silent, GONE: conftest.status(404)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "ROWS_PER_LONG_FILE", ROWS_PER_FILE)
        ended = run(config)
    assert ended.errors == {"unavailable": len(SILENT), "not_found": 1}
    return config


Copy = Callable[[], Config]


@pytest.fixture
def copy(failed: Config, tmp_path: Path) -> Copy:
    """Makes a fresh copy of that output, in the place of the last one."""

    def made() -> Config:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(failed.output.url, tmp_path / "out")
        return failed.model_copy(
            update={"output": failed.output.model_copy(update={"url": str(tmp_path / "out")})}
        )

    return made


def retried(config: Config) -> Outcome:
    return run(config, retry_errors=True)


def tree(config: Config) -> dict[str, bytes]:
    return conftest.tree(Path(config.output.url))


def rows(config: Config) -> list[dict[str, Any]]:
    return conftest.instances(Path(config.output.url))


def requested(store: Gate) -> list[str]:
    return sorted(seen.path.partition("?")[0].rpartition("/")[2] for seen in store.seen)


def names(series: OwnSeries, numbers: tuple[int, ...]) -> list[str]:
    return sorted(series.keys[number].rpartition("/")[2] for number in numbers)


def test_only_retryable_rows_are_requested(copy: Copy, store: Gate, series: OwnSeries) -> None:
    config = copy()
    before, files = rows(config), tree(config)
    ended = retried(config)
    assert requested(store) == names(series, SILENT)
    assert (ended.ok, ended.errors) == (OBJECTS - 1, {"not_found": 1})
    assert ended.exit_code == ExitCode.TOO_MANY_ERRORS
    after = rows(config)
    assert len(after) == OBJECTS
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number in SILENT:
            assert (old["status"], new["status"], new["retryable"]) == ("error", "ok", False)
            assert (new["url"], new["PatientID"]) == (old["url"], "SECRET-PATIENT")
            assert new["size"] == series.paths[number].stat().st_size
        else:
            assert new == old
    indexed = conftest.table(f"SELECT * FROM '{config.output.url}/frames/*.parquet'")
    assert [row["url"] for row in indexed] == [r["url"] for r in after if r["status"] == "ok"]
    assert all(
        row["first_offset"] == instance["pixel_data_offset"]
        for row, instance in zip(indexed, (r for r in after if r["status"] == "ok"), strict=True)
    )
    now = tree(config)
    assert {name for name in files if now[name] != files[name]} == {
        *REWRITTEN,
        "series/00000.parquet",
        MANIFEST,
    }
    assert set(now) == set(files)


def test_kept_files_are_not_even_written(copy: Copy) -> None:
    config = copy()
    output = Path(config.output.url)
    before = {name: (output / name).stat().st_ino for name in (*KEPT, *REWRITTEN)}
    retried(config)
    same = {name for name, inode in before.items() if (output / name).stat().st_ino == inode}
    assert same == set(KEPT)


def test_manifest_and_series_say_what_is_there_now(copy: Copy, series: OwnSeries) -> None:
    config = copy()
    output = Path(config.output.url)
    check_manifest(output)
    retried(config)
    manifest = check_manifest(output)
    (sums,) = conftest.table(
        "SELECT count(*) AS rows, count(*) FILTER (status = 'ok') AS ok, "
        "sum(requests)::BIGINT AS requests, sum(bytes_read)::BIGINT AS bytes_read, "
        "sum(header_bytes)::BIGINT AS header_bytes "
        f"FROM '{output}/instances/*.parquet'"
    )
    assert {name: manifest[name] for name in sums} == sums
    assert manifest["errors"] == {"not_found": 1}
    (counts,) = conftest.table(f"SELECT * FROM '{output}/series/*.parquet'")
    assert counts["crdc_series_uuid"] == series.uuid
    found = [counts[f"instances_{name}"] for name in ("planned", "listed", "ok", "error")]
    assert found == [OBJECTS, OBJECTS, OBJECTS - 1, 1]


def test_what_fails_again_stays_an_error_row(copy: Copy, store: Gate, series: OwnSeries) -> None:
    config = copy()
    store.schedule = failing(series, {SILENT[0]: conftest.status(503)})
    ended = retried(config)
    assert ended.errors == {"unavailable": 1, "not_found": 1}
    row = rows(config)[SILENT[0]]
    assert (row["status"], row["error"], row["retryable"]) == ("error", "unavailable", True)
    check_manifest(Path(config.output.url))
    # and can be read again
    store.schedule = None
    store.seen.clear()
    assert retried(config).errors == {"not_found": 1}
    assert requested(store) == names(series, SILENT[:1])


def test_nothing_to_retry(copy: Copy, store: Gate) -> None:
    config = copy()
    first = retried(config)
    before = tree(config)
    store.seen.clear()
    assert retried(config) == first
    assert store.seen == []
    assert tree(config) == before


def test_without_the_flag_nothing_is_sent(copy: Copy, store: Gate) -> None:
    config = copy()
    before = tree(config)
    assert run(config).errors == {"unavailable": len(SILENT), "not_found": 1}
    assert store.seen == []
    assert tree(config) == before


def test_a_harvest_and_its_retry_in_one(
    failed: Config, store: Gate, series: OwnSeries, tmp_path: Path
) -> None:
    """The flag on an output that is not complete yet."""
    url = str(tmp_path / "out")
    config = failed.model_copy(update={"output": failed.output.model_copy(update={"url": url})})
    bad = f"{series.bucket}/{series.keys[0]}"
    # silent in both readings of its partition
    store.schedule = lambda name, _: (
        conftest.status(503) if name == bad and len(store.of(series.keys[0])) <= 2 else None
    )
    ended = retried(config)
    assert (ended.ok, ended.errors) == (OBJECTS, {})
    assert len(store.of(series.keys[0])) == 3
    assert all(len(store.of(key)) == 1 for key in series.keys[1:])


def test_stopped_at_every_step(copy: Copy, store: Gate) -> None:
    config = copy()
    retried(config)
    undisturbed = tree(config)
    expected = rows(config)

    def check(stopped: Config) -> None:
        # each row is there once at any time
        assert [row["url"] for row in rows(stopped)] == [row["url"] for row in expected]
        retried(stopped)
        assert tree(stopped) == undisturbed

    steps = stop_everywhere(copy, retried, check)
    for name in (*REWRITTEN, "series/00000.parquet", MANIFEST):
        assert {f"begin {name}", f"name {name}"} <= set(steps)
    assert f"remove {RETRIES}" in steps


def stopped_at_the_manifest(config: Config) -> None:
    with stopping(10_000) as steps:
        take = steps.take

        def until(what: str, name: str) -> None:
            take(what, name)
            if name == MANIFEST:
                raise Stop

        steps.take = until  # type: ignore[method-assign]
        with pytest.raises(Stop):
            retried(config)


def test_what_was_read_again_is_not_read_a_third_time(copy: Copy, store: Gate) -> None:
    config = copy()
    stopped_at_the_manifest(config)
    store.seen.clear()
    assert retried(config).errors == {"not_found": 1}
    assert store.seen == []


def test_a_damaged_result_is_removed_and_read_again(
    copy: Copy, store: Gate, series: OwnSeries
) -> None:
    config = copy()
    stopped_at_the_manifest(config)
    output = open_output(config.output)
    (folder,) = (Path(config.output.url) / RETRIES).iterdir()
    damaged, *_ = output.names(f"{RETRIES}/{folder.name}")
    assert damaged.endswith(".arrow")
    output.write(damaged, b"torn")
    with pytest.raises(RunAgain, match=damaged):
        retried(config)
    store.seen.clear()
    assert retried(config).errors == {"not_found": 1}
    assert requested(store) == names(series, SILENT[:2])
    assert json.loads(output.read(MANIFEST))["ok"] == OBJECTS - 1
