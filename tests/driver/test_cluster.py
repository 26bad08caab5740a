"""Tasks on real workers: results, deaths and their blame, and clusters that are lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from harvest.config import ClusterConfig
from harvest.driver import clients, workers
from harvest.driver.cluster import IN_FLIGHT_PER_SLOT, Cluster, Killed, open_cluster
from harvest.errors import ClusterLost, ExitCode, HarvestError
from tests import conftest
from tests.lab import servers
from tests.support.clusters import BLAMED_AT_ONCE
from tests.support.waiting import LONG, wait_until


@dataclass
class Dask:
    """A scheduler and workers, each a process of its own."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    @property
    def scheduler(self) -> subprocess.Popen[bytes]:
        return self.processes[0]

    def start(self, **settings: str) -> None:
        file = self.folder / "scheduler.json"
        self._run("dask_scheduler", "--port=0", f"--scheduler-file={file}", env=settings)
        wait_until(lambda: self.scheduler.poll() is not None or _is_json(file))
        self.address = json.loads(file.read_text())["address"]

    def worker(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, which pauses only where a test tells it to."""
        return self._run(
            "dask_worker",
            self.address,
            "--nthreads=1",
            "--no-nanny",
            "--memory-limit=0",
            f"--local-directory={self.folder}",
            *arguments,
            env=env,
        )

    def _run(
        self, name: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.{name}",
                *arguments,
                f"--host={servers.HOST}",
                f"--dashboard-address={servers.HOST}:0",
            ],
            env=conftest.environment(**(env or {})),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            # a stopped process, too
            process.kill()
            process.wait()


def _is_json(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return bool(json.loads(path.read_text()))
    return False


@pytest.fixture
def external(tmp_path: Path) -> Iterator[Dask]:
    dask_ = Dask(tmp_path)
    try:
        dask_.start()
        yield dask_
    finally:
        dask_.end()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and lose patience soon."""
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(workers, "SECONDS_WITHOUT_WORKERS", 1.0)


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """A cluster in this process, whose scheduler can be looked into."""
    servers.bypass_proxies()
    with (
        dask.config.set(BLAMED_AT_ONCE),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


@contextlib.contextmanager
def opened(address: str) -> Iterator[Cluster]:
    with open_cluster(ClusterConfig(address=address)) as cluster:
        yield cluster


def client_of(address: str, **settings: Any) -> Client:
    return Client(address, set_as_default=False, **settings)  # type: ignore[no-untyped-call]


class Drawn:
    """Tasks that are counted when they are drawn."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self.count = 0
        self._tasks = iter(tasks)

    def __iter__(self) -> Drawn:
        return self

    def __next__(self) -> Any:
        task = next(self._tasks)
        self.count += 1
        return task


# Functions inside tests travel by value: the workers need not import the tests.

# --- what comes back -------------------------------------------------------------------------


def test_every_task_has_one_result(local: Any) -> None:
    def squared(number: int) -> int:
        return number * number

    expected = [number * number for number in range(30)]
    with opened(local.scheduler_address) as cluster:
        found = list(cluster.unordered(squared, range(30), longest_seconds=LONG))
        assert sorted(found) == expected  # type: ignore[type-var]
        assert list(cluster.ordered(squared, range(30))) == expected
        assert list(cluster.unordered(squared, [], longest_seconds=LONG)) == []
        assert list(cluster.ordered(squared, [])) == []


def test_tasks_are_drawn_when_there_is_room(local: Any) -> None:
    def same(number: int) -> int:
        return number

    with opened(local.scheduler_address) as cluster:
        assert cluster.slots == 2
        room = IN_FLIGHT_PER_SLOT * cluster.slots
        for alone, most in ((False, room), (True, 1)):
            tasks = Drawn(range(30))
            results = cluster.unordered(same, tasks, longest_seconds=LONG, alone=alone)
            waiting = [tasks.count - ended for ended, _ in enumerate(results)]
            assert max(waiting) == most
            assert tasks.count == len(waiting) == 30
        tasks = Drawn(range(30))
        waiting = [tasks.count - ended for ended, _ in enumerate(cluster.ordered(same, tasks))]
        assert max(waiting) == room


def test_a_tasks_own_exception_comes_through(local: Any) -> None:
    def failing(number: int) -> int:
        raise TimeoutError(f"of task {number}")

    with opened(local.scheduler_address) as cluster:
        for results in (
            cluster.unordered(failing, [7], longest_seconds=LONG),
            cluster.ordered(failing, [7]),
        ):
            with pytest.raises(TimeoutError, match="of task 7"):
                list(results)


def test_the_scheduler_forgets_what_has_ended(local: Any) -> None:
    def large(number: int) -> bytes:
        return bytes(2**10)

    known = []
    with opened(local.scheduler_address) as cluster:
        room = IN_FLIGHT_PER_SLOT * cluster.slots
        for _ in cluster.unordered(large, range(60), longest_seconds=LONG):
            known.append(len(local.scheduler.tasks))
        # one more than in flight: the scheduler is told a moment later
        assert max(known) <= 2 * room
        wait_until(lambda: not local.scheduler.tasks)
        for _ in cluster.ordered(large, range(60)):
            known.append(len(local.scheduler.tasks))
        assert max(known) <= 2 * room
        wait_until(lambda: not local.scheduler.tasks)


def test_what_is_abandoned_is_forgotten(local: Any) -> None:
    def same(number: int) -> int:
        return number

    with opened(local.scheduler_address) as cluster:
        results = cluster.unordered(same, range(60), longest_seconds=LONG)
        next(results)
        del results
        wait_until(lambda: not local.scheduler.tasks)


def test_slots_follow_the_workers(external: Dask, quick: None) -> None:
    external.worker()

    def same(number: int) -> int:
        return number

    with opened(external.address) as cluster:
        assert cluster.slots == 1
        first = external.processes[-1]

        def tasks() -> Iterator[int]:
            yield 0
            external.worker("--name=second", "--nthreads=3")
            while cluster.slots != 4:
                yield 1
            first.terminate()
            while cluster.slots != 3:
                yield 2

        found = set(cluster.unordered(same, tasks(), longest_seconds=LONG))
        assert found >= {0, 1}
        assert cluster.slots == 3


def test_no_worker_profiles(local: Any) -> None:
    """Dask's profiler can lock up CPython 3.11: it is stopped where partitions are read."""
    with opened(local.scheduler_address), client_of(local.scheduler_address) as client:
        running = client.run(lambda dask_worker: "profile" in dask_worker.periodic_callbacks)
        assert set(running.values()) == {False}


# --- software ---------------------------------------------------------------------------------


def other_harvest(folder: Path) -> str:
    """Make a folder that, on PYTHONPATH, makes Python say that another harvest is installed."""
    metadata = folder / "other" / "harvest-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: harvest\nVersion: 9.9\n")
    return str(folder / "other")


def test_workers_with_other_software_are_refused(external: Dask, tmp_path: Path) -> None:
    external.worker(PYTHONPATH=other_harvest(tmp_path))
    told = r"harvest 9\.9 on tcp://.* \(here 0\."
    with pytest.raises(HarvestError, match=told), opened(external.address):
        pass


def test_workers_that_are_too_small_are_refused(external: Dask) -> None:
    """They would be killed at their work, and the objects that they read blamed for it."""
    external.worker("--memory-limit=300MB")
    refused = pytest.raises(HarvestError, match=r"has 300 MB for each .* needs 375.*fewer threads")
    with refused, opened(external.address):
        pass


def test_so_are_those_that_come_later(external: Dask, quick: None, tmp_path: Path) -> None:
    external.worker()

    def tasks() -> Iterator[int]:
        external.worker(PYTHONPATH=other_harvest(tmp_path))
        while True:
            yield 1

    with opened(external.address) as cluster:
        with pytest.raises(HarvestError, match=r"different software.*install the same") as found:
            list(cluster.unordered(abs, tasks(), longest_seconds=LONG))
        assert found.value.exit_code == ExitCode.WRONG_USE


# --- workers that die ------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """A local one: its task is tried once more, whatever Dask's settings are otherwise."""

    def dying(task: str) -> int:
        tries = Path(task)
        with tries.open("a") as file:
            file.write("x")
        if len(tries.read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(tries.read_text())

    forgetful = {"distributed.deploy.lost-worker-timeout": "1ms"}
    with dask.config.set(forgetful), open_cluster(ClusterConfig(workers=1)) as cluster:
        tasks = [str(tmp_path / "tries")]
        assert list(cluster.unordered(dying, tasks, longest_seconds=LONG)) == [2]


def test_a_task_that_kills_its_workers_is_told_from_the_innocent(local: Any) -> None:
    def killing(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with opened(local.scheduler_address) as cluster:
        # what was on the same worker may be blamed as well, and nothing is lost
        found = list(cluster.unordered(killing, range(8), longest_seconds=LONG))
        blamed = sorted(each.task for each in found if isinstance(each, Killed))
        innocent = [each for each in found if not isinstance(each, Killed)]
        assert 3 in blamed
        assert sorted([*innocent, *blamed]) == list(range(8))
        again = cluster.unordered(killing, blamed, longest_seconds=LONG, alone=True)
        assert {each.task for each in again if isinstance(each, Killed)} == {3}
        alone = list(cluster.unordered(killing, [2, 3, 4], longest_seconds=LONG, alone=True))
        assert alone == [2, Killed(3), 4]
        with pytest.raises(ClusterLost, match="again and again") as lost:
            list(cluster.ordered(killing, [2, 3, 4]))
        assert lost.value.exit_code == ExitCode.RUN_AGAIN


def test_a_worker_that_hangs_is_given_up(tmp_path: Path) -> None:
    """Its task goes to another when the scheduler has not heard of it for long."""

    def hanging(task: str) -> int:
        tries = Path(task)
        with tries.open("a") as file:
            file.write("x")
        if len(tries.read_text()) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return len(tries.read_text())

    external = Dask(tmp_path)
    try:
        external.start(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="1s")
        for _ in range(2):
            external.worker()
        with opened(external.address) as cluster:
            tasks = [str(tmp_path / "tries")]
            assert list(cluster.unordered(hanging, tasks, longest_seconds=LONG)) == [2]
    finally:
        external.end()


# --- clusters that are lost ------------------------------------------------------------------


def lost(results: Iterator[Any], match: str) -> None:
    with pytest.raises(ClusterLost, match=match) as found:
        list(results)
    assert found.value.exit_code == ExitCode.RUN_AGAIN
    assert "run the same command again" in str(found.value)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_scheduler_that_is_gone_or_hangs(external: Dask, quick: None, name: str) -> None:
    external.worker()

    def tasks() -> Iterator[float]:
        yield 0.0
        external.scheduler.send_signal(signal.Signals[name])
        yield LONG

    with opened(external.address) as cluster:
        lost(cluster.unordered(time.sleep, tasks(), longest_seconds=LONG), "scheduler was lost")
        lost(cluster.ordered(time.sleep, [LONG]), "scheduler was lost")


def test_no_worker_is_left(external: Dask, quick: None) -> None:
    worker = external.worker()
    with opened(external.address) as cluster:
        worker.kill()
        worker.wait()
        lost(cluster.ordered(abs, [-1]), "no worker has been working")
        lost(cluster.unordered(abs, [-1], longest_seconds=LONG), "no worker has been working")


def test_all_workers_are_paused(external: Dask, quick: None) -> None:
    def pause(dask_worker: Any) -> None:
        from distributed.core import Status

        dask_worker.status = Status.paused

    external.worker()
    with opened(external.address) as cluster, client_of(external.address) as client:
        client.run(pause)
        lost(cluster.unordered(abs, [-1], longest_seconds=LONG), "paused")


def test_a_task_that_never_ends(external: Dask, quick: None) -> None:
    external.worker()
    with opened(external.address) as cluster:
        assert list(cluster.unordered(abs, [-1], longest_seconds=LONG)) == [1]
        lost(cluster.unordered(time.sleep, [LONG], longest_seconds=0.5), "finished nothing")


def test_a_scheduler_that_is_not_there() -> None:
    address = f"tcp://{servers.HOST}:{servers.free_port()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "CONNECT_SECONDS", 0.5)
        with pytest.raises(ClusterLost, match="does not answer"), opened(address):
            pass


def test_a_scheduler_without_workers(external: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SECONDS_FOR_WORKERS", 0.5)
    with pytest.raises(ClusterLost, match="has no workers"), opened(external.address):
        pass


def test_a_scheduler_that_goes_while_workers_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers a last time, and then there is none whose address could be told."""

    def in_vain(count: int, timeout: float) -> None:
        raise TimeoutError

    client: Any = SimpleNamespace(
        scheduler=None,
        wait_for_workers=in_vain,
        sync=lambda question, callback_timeout: {"workers": {}},
    )
    monkeypatch.setattr(workers, "SECONDS_FOR_WORKERS", 0.0)
    with pytest.raises(ClusterLost, match="scheduler was lost"):
        workers.Workers(client, ClusterConfig(), None).wait()
