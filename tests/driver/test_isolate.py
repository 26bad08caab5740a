"""Objects that kill the worker that reads them: found, told, and nobody else is harmed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pyarrow as pa
import pytest
from distributed import LocalCluster

from harvest.config import Config, OutputConfig, SourceConfig
from harvest.config.profile import resolve_wanted
from harvest.dicom.walk import HeaderLimits
from harvest.driver import isolate
from harvest.driver.isolate import PIECES, known_suspects, read_in_pieces
from harvest.driver.record import RECORD
from harvest.driver.runner import run
from harvest.driver.status import read_status
from harvest.errors import ExitCode, RunAgain
from harvest.output import LocalOutput
from harvest.table.arrow import PLAN_ROW, partition_name, write_arrow
from harvest.table.parts import Part, part_of, read_part, take_part
from harvest.table.schema import instances_schema
from harvest.table.union import TableColumns
from harvest.worker.partition import ReadTask, read_partition
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support.clusters import BLAMED_AT_ONCE
from tests.support.stopping import Stop

WANTED = resolve_wanted(("core",), ())
SCHEMA = instances_schema(WANTED.attributes)
COLUMNS = TableColumns(WANTED, header=False)
TRAFFIC = ("requests", "bytes_read", "error_detail")

# --- which pieces are read -------------------------------------------------------------------


class Suspect:
    """A partition of small files, some of which are fatal, and a count of what is read."""

    def __init__(self, folder: Path, rows: int, fatal: set[int]) -> None:
        urls = []
        for number in range(rows):
            path = folder / "in" / f"{number:04d}.dcm"
            urls.append(f"file://{conftest.write_dicom(path, '1.2', instance=str(number + 1))}")
        self.output = LocalOutput(folder / "out")
        batch = pa.RecordBatch.from_pylist([{"url": url} for url in urls], schema=PLAN_ROW)
        write_arrow(self.output, partition_name(0), [batch], PLAN_ROW)
        self.part = part_of("plan", 0)
        self.rows = rows
        self.fatal = fatal
        self.tried: list[tuple[int, ...]] = []

    def read(self, part: Part) -> bool:
        """Read a piece as a worker would, unless it would be its death."""
        assert part.rows is not None
        self.tried.append(part.rows)
        if self.fatal & set(part.rows):
            return False
        read_partition(
            ReadTask(
                part=part,
                output=OutputConfig(url=str(self.output.folder)),
                source=SourceConfig(),
                wanted=WANTED,
                header=False,
                frames="none",
                limits=HeaderLimits(),
                object_seconds=60,
                retries=0,
                threads=2,
                requests_per_second=None,
            )
        )
        return True

    def result(self, part: Part | None = None) -> list[dict[str, Any]]:
        part = part or self.part
        table = read_in_pieces(part, self.rows, self.output, COLUMNS, self.read)
        assert table.equals(read_part(self.output, part, SCHEMA))
        return list(table.to_pylist())


def check(rows: list[dict[str, Any]], fatal: set[int]) -> None:
    killed = {number for number, row in enumerate(rows) if row["status"] == "error"}
    assert killed == fatal
    for number in fatal:
        assert (rows[number]["error"], rows[number]["retryable"]) == ("killed_worker", True)


@pytest.mark.parametrize(
    ("rows", "fatal"),
    [
        (1, {0}),
        (2, {0}),
        (2, {1}),
        (16, {0}),
        (17, {16}),
        (40, {0}),
        (40, {39}),
        (40, {19, 20}),
        (40, {3, 4, 30}),
        (5, set(range(5))),
        (300, {1, 299}),
        (40, set()),
    ],
)
def test_every_fatal_row_is_found(tmp_path: Path, rows: int, fatal: set[int]) -> None:
    suspect = Suspect(tmp_path, rows, fatal)
    check(suspect.result(), fatal)
    # nothing is read twice but with what is fatal, and never the whole again
    for number in set(range(rows)) - fatal:
        read = [piece for piece in suspect.tried if number in piece and not fatal & set(piece)]
        assert len(read) == 1
    assert rows == 1 or max(map(len, suspect.tried)) <= -(-rows // PIECES)


def test_nothing_is_left_but_the_part(tmp_path: Path) -> None:
    suspect = Suspect(tmp_path, 40, {3, 39})
    suspect.result()
    assert set(conftest.tree(suspect.output.folder)) == {partition_name(0), suspect.part.name}


def test_only_some_rows_of_a_partition(tmp_path: Path) -> None:
    """As a retry reads them."""
    suspect = Suspect(tmp_path, 40, {30})
    some = Part("plan", 0, "_harvest/retries/x/000000.arrow", (3, 30, 31))
    rows = suspect.result(some)
    assert [row["url"][-8:-4] for row in rows] == ["0003", "0030", "0031"]
    check(rows, {1})


@pytest.mark.parametrize("at", range(1, 8))
def test_an_interrupted_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    fatal = {3, 39}
    suspect = Suspect(tmp_path, 40, fatal)
    assert known_suspects([suspect.part], suspect.output) == set()

    def stopping(*arguments: Any) -> pa.Table:
        if len(suspect.tried) >= at:
            raise Stop
        return take_part(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(isolate, "take_part", stopping)
        with pytest.raises(Stop):
            suspect.result()
    assert known_suspects([suspect.part], suspect.output) == {suspect.part.name}
    first = list(suspect.tried)
    suspect.tried.clear()
    check(suspect.result(), fatal)
    assert not set(first) & set(suspect.tried)
    assert known_suspects([suspect.part], suspect.output) == set()


def test_a_damaged_piece_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect = Suspect(tmp_path, 40, {39})
    monkeypatch.setattr(isolate, "write_part", _stop)
    with pytest.raises(Stop):
        suspect.result()
    monkeypatch.undo()
    (folder,) = suspect.output.path("_harvest/parts/plan/pieces").iterdir()
    piece = min(path for path in folder.iterdir() if path.is_file())
    piece.write_bytes(b"torn")
    with pytest.raises(RunAgain, match=piece.name):
        suspect.result()
    suspect.tried.clear()
    check(suspect.result(), {39})
    assert suspect.tried[0] == (0, 1, 2)


def _stop(*_: Any) -> None:
    raise Stop


# --- workers that really die -----------------------------------------------------------------


@pytest.fixture(scope="module")
def one_worker() -> Iterator[Any]:
    """A cluster of one worker process, which is replaced when it dies."""
    servers.bypass_proxies()
    with (
        dask.config.set(BLAMED_AT_ONCE),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


OBJECTS = 20
FATAL = (7, 19)


@pytest.fixture
def series(lab: Lab, tmp_path: Path) -> OwnSeries:
    return conftest.own_series(lab, tmp_path, OBJECTS)


@pytest.fixture
def deaths(s3_gate: Gate, one_worker: Any, series: OwnSeries) -> list[str]:
    """Let the worker die that asks for one of two objects; lists what it died of."""
    fatal = {series.keys[number] for number in FATAL}
    died: list[str] = []

    def kill(number: int) -> None:
        (key,) = {key for key in series.keys if key in s3_gate.seen[number].path} or {""}
        if key in fatal:
            (worker,) = one_worker.workers.values()
            died.append(key)
            os.kill(worker.pid, signal.SIGKILL)

    s3_gate.on_request = kill
    return died


def config_of(lab: Lab, folder: Path, series: OwnSeries, endpoint: str, scheduler: str) -> Config:
    folder.mkdir(exist_ok=True)
    index = conftest.index_of(lab, folder / "index.parquet", [(series, OBJECTS)])
    return conftest.config_of(
        folder / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
        {"endpoint": endpoint},
        scheduler=scheduler,
        # one object after the other, so that it is certain what a death interrupts
        limits={"concurrency": 1},
    )


def without_traffic(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TRAFFIC} for row in rows]


def test_objects_that_kill_their_workers_are_rows(
    lab: Lab,
    s3_gate: Gate,
    one_worker: Any,
    series: OwnSeries,
    deaths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver is interrupted in the middle of the search, and goes on."""
    address = one_worker.scheduler_address
    config = config_of(lab, tmp_path, series, s3_gate.url, address)
    taken: list[tuple[int, ...] | None] = []

    def stopping(output: LocalOutput, part: Part, schema: pa.Schema) -> pa.Table:
        taken.append(part.rows)
        table = take_part(output, part, schema)
        if part.rows == (8, 9):
            raise Stop
        return table

    with monkeypatch.context() as patch:
        patch.setattr(isolate, "take_part", stopping)
        with pytest.raises(Stop):
            run(config)
    assert taken == [(0, 1), (2, 3), (4, 5), (6,), (7,), (8, 9)]
    # of the partition, of a piece, of the object alone, and once more for certainty
    assert deaths == [series.keys[7]] * 4
    seen = len(s3_gate.seen)
    ended = run(config)
    assert deaths[4:] == [series.keys[19]] * 3
    again = {each.path.rpartition("/")[2] for each in s3_gate.seen[seen:]}
    assert again == {key.rpartition("/")[2] for key in series.keys[10:]}
    assert (ended.ok, ended.errors) == (OBJECTS - 2, {"killed_worker": 2})
    assert ended.exit_code == ExitCode.TOO_MANY_ERRORS
    told = read_status(ended.output).run
    assert told is not None
    # what the pieces took is told, and where
    assert [slow.host for slow in told.slowest] == [socket.gethostname()]
    assert 0 < told.slowest[0].seconds == told.worker_seconds
    assert told.cpu_seconds > 0
    assert told.peak_bytes > 0

    s3_gate.on_request = None
    other = config_of(lab, tmp_path / "in", series, s3_gate.url, address)
    assert run(other).errors == {}
    rows = without_traffic(conftest.instances(tmp_path / "out"))
    expected = without_traffic(conftest.instances(tmp_path / "in" / "out"))
    for number, (row, wanted) in enumerate(zip(rows, expected, strict=True)):
        if number in FATAL:
            assert (row["url"], row["error"]) == (wanted["url"], "killed_worker")
            assert row["retryable"] is True
        else:
            assert row == wanted
    left = {name for name in conftest.tree(tmp_path / "out") if name.startswith("_harvest/")}
    assert all(name.startswith(("_harvest/plan/", RECORD)) for name in left)
    # whatever it was has passed: now they can be read
    assert run(config, retry_errors=True).errors == {}
    sizes = {row["url"]: row["size"] for row in expected}
    assert {row["url"]: row["size"] for row in conftest.instances(tmp_path / "out")} == sizes
