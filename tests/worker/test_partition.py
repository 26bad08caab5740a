"""Reading one partition: the order of its rows, and readings that agree to the byte."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harvest.config import Config, OutputConfig
from harvest.errors import OutputError
from harvest.output import PARTS, LocalOutput, Output, open_output
from harvest.plan.planner import make_plan
from harvest.plan.stored import load_plan
from harvest.table.arrow import read_arrow
from harvest.table.rows import Planned
from harvest.worker import partition as reader
from harvest.worker.partition import PartitionRead, read_objects, read_partition, read_task
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab import Lab
from tests.support.reading import task_of


def test_rows_are_in_the_order_of_the_plan(lab: Lab) -> None:
    series = conftest.series_of(lab, "CT many")
    planned = [
        Planned(f"s3://{series.aws_bucket}/{series.key(each)}", each.size, None)
        for each in series.instances[:200]
    ]
    rows, _ = read_objects(planned, task_of(conftest.source_of(lab), threads=32))
    assert [row["url"] for row in rows] == [each.url for each in planned]


def test_so_many_objects_are_read_at_once(s3_gate: Gate, lab: Lab, tmp_path: Path) -> None:
    """Exactly as many requests are in flight as there are threads."""
    series = conftest.own_series(lab, tmp_path, 12)
    planned = [Planned(f"s3://{series.bucket}/{key}", None, None) for key in series.keys]
    read_objects(planned[:1], task_of({"endpoint": s3_gate.url}))  # nothing is left to learn
    together = threading.Barrier(4)

    def wait(_: int) -> None:
        together.wait(30)

    s3_gate.on_request = wait
    rows, _ = read_objects(planned, task_of({"endpoint": s3_gate.url}, threads=4))
    assert [row["requests"] for row in rows] == [1] * 12
    assert not together.broken


def test_nothing_to_read(lab: Lab) -> None:
    assert read_objects([], task_of(conftest.source_of(lab)))[0] == []


# --- one plan, read again and again ----------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """All partitions of the lab's plan, read into an output of their own."""

    reads: list[PartitionRead]
    output: Output
    parts: dict[str, bytes]


@pytest.fixture(scope="module")
def plan_of_all(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Plan some objects of every series, the broken ones included."""
    config = conftest.config_of(
        tmp_path_factory.mktemp("plan") / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(lab.index), "sample": 5},
        conftest.source_of(lab),
    )
    make_plan(config, open_output(config.output))
    return config


def read_plan(config: Config, folder: Path, concurrency: int) -> Reading:
    shutil.copytree(config.output.url, folder)
    content = config.model_dump() | {"output": str(folder), "limits": {"concurrency": concurrency}}
    mine = Config.model_validate(content)
    output = open_output(mine.output)
    plan = load_plan(output)
    assert plan is not None
    reader._first_ranges.cache_clear()
    tasks = [read_task(mine, output, plan.part(each.number)) for each in plan.partitions]
    reads = [read_partition(task) for task in tasks]
    return Reading(reads, output, conftest.tree(folder / PARTS))


@pytest.fixture(scope="module")
def one_by_one(plan_of_all: Config, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return read_plan(plan_of_all, tmp_path_factory.mktemp("one") / "out", 1)


def test_two_readings_of_a_plan_are_the_same_bytes(
    plan_of_all: Config, one_by_one: Reading, tmp_path: Path
) -> None:
    again = read_plan(plan_of_all, tmp_path / "out", 1)
    assert len(again.parts) == len(again.reads) > 1
    assert again.parts == one_by_one.parts
    assert any(read.errors for read in again.reads)
    for one, other in zip(one_by_one.reads, again.reads, strict=True):
        same = [
            replace(read, worker_seconds=0, cpu_seconds=0, peak_bytes=0) for read in (one, other)
        ]
        assert same[0] == same[1]


def test_threads_change_nothing_but_the_traffic(
    plan_of_all: Config, one_by_one: Reading, tmp_path: Path
) -> None:
    threaded = read_plan(plan_of_all, tmp_path / "out", 32)
    free = ["requests", "bytes_read", "error_detail"]
    for name in one_by_one.parts:
        tables = [read_arrow(each.output, f"{PARTS}/{name}") for each in (one_by_one, threaded)]
        assert tables[0].drop_columns(free).equals(tables[1].drop_columns(free))
        for key in (b"harvest.plan", b"harvest.partition"):
            assert tables[0].schema.metadata[key] == tables[1].schema.metadata[key]


def test_partitions_side_by_side_share_what_their_process_spends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of several threads: what all partitions tell adds up to what there was."""
    conftest.write_dicom(tmp_path / "in" / "0.dcm", "1.2.3")
    config = conftest.config_of(tmp_path / "out", {"prefix": str(tmp_path / "in")})
    output = open_output(config.output)
    task = read_task(config, output, make_plan(config, output).part(0))
    together = threading.Barrier(2)
    retries: list[int] = []
    original = reader.read_objects

    def read(*given: Any) -> Any:
        together.wait(30)
        retries.extend([0] * 3)
        together.wait(30)
        return original(*given)

    monkeypatch.setattr(reader, "read_objects", read)
    monkeypatch.setattr(reader, "process_retries", lambda: len(retries))
    begun = time.process_time()
    with ThreadPoolExecutor(2) as threads:
        reads = list(threads.map(read_partition, [task, task]))
    assert sum(each.retries for each in reads) == len(retries) == 6
    assert 0 < sum(each.cpu_seconds for each in reads) <= time.process_time() - begun


def test_a_worker_that_does_not_see_the_plan(lab: Lab, tmp_path: Path) -> None:
    task = task_of(conftest.source_of(lab), output=OutputConfig(url=str(tmp_path / "nowhere")))
    with pytest.raises(OutputError, match="must be a folder that all workers share"):
        read_partition(task)
    assert not LocalOutput(tmp_path / "nowhere").folder.exists()


def test_memory_is_a_workers_own_and_not_its_parents() -> None:
    code = "from harvest.worker import partition; print(partition._peak_bytes())"
    ballast = b"x" * (600 * 2**20)  # of this process, when it starts the other
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 20 * 2**20 < int(ended.stdout) < len(ballast) // 2
