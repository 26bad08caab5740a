"""What a run tells of itself in its output, while it goes on and in the end."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harvest.config import Config
from harvest.driver import record
from harvest.driver.progress import Progress
from harvest.driver.record import RECORD, SLOWEST, Recorder, read_record, settings_of
from harvest.driver.runner import run
from harvest.driver.status import read_status
from harvest.errors import OutputBusy, OutputError
from harvest.output import LocalOutput, open_output
from harvest.worker.partition import PartitionRead
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab import Lab
from tests.support.clusters import QUEUE


def part(number: int, **more: Any) -> PartitionRead:
    content = {
        "partition": number,
        "rows": 10,
        "ok": 9,
        "errors": {"denied": 1},
        "bytes_read": 100,
        "requests": 12,
        "worker_seconds": 1.0 + number,
        "cpu_seconds": 0.5,
        "retries": 2,
        "host": "n1",
    }
    return PartitionRead(**{**content, **more})


def held() -> None:
    """Hold the output's lease."""


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def test_a_run_that_goes_on(output: LocalOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECORD_SECONDS", -1.0)
    recorder = Recorder(Progress(), output, "p", held)
    assert read_record(output, "p") is None
    recorder.begin(100, 20)
    told = read_record(output, "p")
    assert told is not None
    assert (told.rows, told.done, told.rate, told.seconds_left) == (100, 20, None, None)
    recorder.workers(4)
    recorder.partition(part(0))
    recorder.workers(3)
    recorder.partition(part(1))
    told = read_record(output, "p")
    assert told is not None
    assert (told.done, told.ok, told.errors) == (40, 18, {"denied": 2})
    assert (told.requests, told.bytes_read, told.retries) == (24, 200, 4)
    assert (told.workers, told.most_workers, told.runs) == (3, 4, 1)
    assert (told.cpu_seconds, told.worker_seconds) == (1.0, 3.0)
    assert told.rate is not None
    assert told.seconds_left == pytest.approx(60 / told.rate, rel=0.1)
    assert [slow.partition for slow in told.slowest] == [1, 0]
    assert told.ended is None


def test_it_is_written_now_and_then(output: LocalOutput) -> None:
    recorder = Recorder(Progress(), output, "p", held)
    recorder.begin(100, 0)
    before = output.read(RECORD)
    recorder.partition(part(0))
    assert output.read(RECORD) == before
    recorder.end()
    told = read_record(output, "p")
    assert told is not None
    assert told.done == 10


def test_runs_add_up(output: LocalOutput) -> None:
    for _ in range(3):
        recorder = Recorder(Progress(), output, "p", held)
        recorder.begin(100, 0)
        for number in range(SLOWEST + 5):
            recorder.partition(part(number))
        recorder.end()
    told = read_record(output, "p")
    assert told is not None
    assert told.runs == 3
    assert told.requests == 3 * 12 * (SLOWEST + 5)
    assert [slow.partition for slow in told.slowest] == list(range(SLOWEST + 4, 4, -1))
    assert read_record(output, "another") is None


def test_what_nobody_can_write_ends_nothing(output: LocalOutput) -> None:
    class Full(LocalOutput):
        def write(self, name: str, data: bytes) -> None:
            raise OutputError("the disk is full")

    recorder = Recorder(Progress(), Full(output.folder), "p", held)
    recorder.begin(10, 0)
    recorder.partition(part(0))
    recorder.end()


def test_nothing_is_written_into_another_drivers_output(output: LocalOutput) -> None:
    def lost() -> None:
        raise OutputBusy("another harvest has taken it over")

    recorder = Recorder(Progress(), output, "p", lost)
    recorder.begin(10, 0)
    recorder.end()
    assert not output.exists(RECORD)


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ({"workers": 3}, "here"),
        ({"address": "tcp://127.0.0.1:1/SECRET"}, "address"),
        (
            {
                "class": QUEUE,
                "scale": {"workers": 1},
                "options": {"job_extra_directives": ["--account=SECRET"]},
                "no_workers_seconds": 9,
            },
            QUEUE,
        ),
    ],
)
def test_how_a_run_was_asked(output: LocalOutput, cluster: dict[str, Any], told: str) -> None:
    """What explains its numbers is kept, by a list of names, and nothing that may be secret."""
    config = Config.model_validate(
        {
            "cohort": {"prefix": "s3://SECRET/", "sample": 7},
            "source": {"endpoint": "https://SECRET.example.org", "region": "SECRET"},
            "read": {"profile": "core"},
            "limits": {"concurrency": 5, "requests_per_second": 9.5},
            "output": {"url": "s3://SECRET/out", "endpoint": "https://SECRET.example.org"},
            "cluster": cluster,
        }
    )
    Recorder(Progress(), output, "p", held, settings_of(config)).begin(10, 0)
    content = output.read(RECORD)
    assert b"SECRET" not in content
    assert json.loads(content)["settings"] == {
        "transport": "obstore",
        "cloud": "aws",
        "concurrency": 5,
        "retries": 5,
        "object_seconds": 120,
        "requests_per_second": 9.5,
        "partition_rows": None,
        "cluster": told,
        "harvest": version("harvest"),
        "python": platform.python_version(),
    }
    found = read_record(output, "p")
    assert found is not None
    assert found.settings["cluster"] == told


def test_a_whole_run(lab: Lab, tmp_path: Path, scheduler: str, s3_gate: Gate) -> None:
    """Retries are counted by the gate, and what the tables hold by the tables."""
    s3_gate.faults.extend([conftest.status(503), conftest.status(503)])
    s3_gate.only = ".dcm"
    config = conftest.config_of(
        tmp_path / "out",
        {"sql": conftest.SQL_GENERATED + " AND Modality = 'MR'", "index": str(lab.index)},
        {"endpoint": s3_gate.url},
        scheduler=scheduler,
    )
    ended = run(config)
    found = read_status(str(tmp_path / "out"))
    assert found.state == "complete"
    told = found.run
    assert told is not None
    assert (told.rows, told.done, told.ok) == (ended.rows, ended.rows, ended.ok)
    asked = len(s3_gate.of(".dcm"))
    assert told.requests == ended.requests == asked
    assert told.retries == 2
    assert told.bytes_read == ended.bytes_read
    assert told.ended is not None
    assert told.runs == 1
    assert told.most_workers == 2
    assert told.cpu_seconds > 0
    assert told.wall_seconds > 0
    assert told.slowest[0].host
    content = json.loads((tmp_path / "out" / RECORD).read_text())
    assert "secret" not in str(content).lower()
    # a complete harvest is not begun again
    before = (tmp_path / "out" / RECORD).read_bytes()
    assert run(config) == ended
    assert (tmp_path / "out" / RECORD).read_bytes() == before


def test_status_while_a_run_goes_on(lab: Lab, tmp_path: Path, scheduler: str) -> None:
    """Asked for between two partitions, from nothing but the output."""
    seen = []

    class Looking(Progress):
        def partition(self, part: PartitionRead) -> None:
            seen.append(read_status(str(tmp_path / "out")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "RECORD_SECONDS", -1.0)
        config = conftest.config_of(
            tmp_path / "out",
            {"sql": conftest.SQL_GENERATED, "index": str(lab.index), "sample": 40},
            conftest.source_of(lab),
            scheduler=scheduler,
            limits={"partition_rows": 20},
        )
        ended = run(config, Looking())
    assert len(seen) > 3
    assert {each.state for each in seen} == {"running"}
    for each in seen:
        assert each.run is not None
        # parts are counted in the output: others may be there that the driver has not seen yet
        assert each.done >= each.run.done > 0
        assert each.rows == ended.rows
        assert each.run.workers == 2
    assert seen[-1].done == ended.rows
    assert open_output(str(tmp_path / "out")).exists(RECORD)
