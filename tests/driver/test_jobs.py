"""Workers of cluster classes: scaled, replaced when their jobs die, refused where others see."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import psutil
import pytest
from distributed.core import Status

from harvest.config import ClusterConfig, ScaleConfig, parse_config
from harvest.driver import jobs, workers
from harvest.driver.cluster import Cluster, open_cluster
from harvest.errors import ClusterLost, ConfigError, HarvestError
from tests.lab import servers
from tests.support.clusters import QUEUE, SOON, config_of
from tests.support.queue_cluster import QueueJob
from tests.support.waiting import LONG, wait_until

OPERATOR = "tests.support.operator_cluster.OperatorCluster"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(jobs, "LOST_SECONDS", 0.2)


def identity(number: int) -> int:
    return os.getpid()


def workers_of(cluster: Cluster) -> set[int]:
    """Return the process numbers of the workers that answer."""
    return set(cluster._client.run(os.getpid, on_error="ignore").values())


def test_a_fixed_number(tmp_path: Path) -> None:
    with open_cluster(config_of({"workers": 2}, tmp_path)) as cluster:
        results = cluster.unordered(identity, range(400), longest_seconds=LONG)
        assert len(set(results)) == 2
        running = workers_of(cluster)
    wait_until(lambda: not any(map(psutil.pid_exists, running)))


def test_as_many_as_there_is_work_for_and_none_without(tmp_path: Path) -> None:
    def slowly(number: int) -> int:
        import time

        time.sleep(0.5)
        return number

    config = config_of({"minimum": 0, "maximum": 2}, tmp_path)
    with dask.config.set(SOON), open_cluster(config) as cluster:
        assert workers_of(cluster) == set()
        most = 0
        found = []
        for result in cluster.unordered(slowly, range(30), longest_seconds=LONG):
            most = max(most, cluster.working)
            found.append(result)
        assert sorted(found) == list(range(30))  # type: ignore[type-var]
        assert most == 2
        wait_until(lambda: not workers_of(cluster))


def test_a_job_that_dies_is_submitted_again(tmp_path: Path) -> None:
    """And its task is done by another, though nothing else would have started one."""

    def dying(task: str) -> int:
        tries = Path(task)
        with tries.open("a") as file:
            file.write("x")
        if len(tries.read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(tries.read_text())

    with open_cluster(config_of({"workers": 1}, tmp_path)) as cluster:
        (before,) = workers_of(cluster)
        tasks = [str(tmp_path / "tries")]
        assert list(cluster.unordered(dying, tasks, longest_seconds=LONG)) == [2]
        (after,) = workers_of(cluster)
        assert before != after


def test_a_job_that_dies_before_its_worker_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like one that waits, until others that were asked for later have long been there."""
    mark = tmp_path / "first"
    first_dies = f"mkdir {mark} 2>/dev/null && exit 0"
    options = {"job_script_prologue": [first_dies]}
    with open_cluster(config_of({"workers": 2}, tmp_path, options=options)) as cluster:
        for _ in range(5):
            cluster._workers.look()
        assert len(workers_of(cluster)) == 1
        monkeypatch.setattr(jobs, "OVERTAKEN_SECONDS", 0.2)

        def tasks() -> Iterator[int]:
            while len(workers_of(cluster)) < 2:
                yield 1

        list(cluster.unordered(identity, tasks(), longest_seconds=LONG))


def test_a_job_of_several_workers_counts_as_dead_when_all_are(tmp_path: Path) -> None:
    options = {"cores": 2, "processes": 2, "nanny": True}

    def tasks(cluster: Cluster) -> Iterator[int]:
        before = workers_of(cluster)
        (starter,) = {psutil.Process(pid).parent() for pid in before}
        assert starter is not None
        yield 0
        starter.kill()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        while not (workers_of(cluster) and workers_of(cluster).isdisjoint(before)):
            yield 1

    with open_cluster(config_of({"workers": 2}, tmp_path, options=options)) as cluster:
        wait_until(lambda: len(workers_of(cluster)) == 2)
        list(cluster.unordered(identity, tasks(cluster), longest_seconds=LONG))
        wait_until(lambda: len(workers_of(cluster)) == 2)


class Process:
    """What a cluster keeps of a job."""

    status = Status.running


def test_a_name_that_is_used_again_is_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that waits in its queue is not measured by one that came under its name before."""
    clock = [0.0]
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    first, again = Process(), Process()
    cluster = SimpleNamespace(worker_spec={"h-0": {}}, workers={"h-0": first}, observed={"h-0"})
    found = jobs.Jobs(cluster, ScaleConfig(maximum=1))
    assert found._dead() == []
    # it is scaled down, and asked for anew between two looks
    cluster.workers, cluster.observed = {"h-0": again}, set()
    for clock[0] in (600.0, 611.0, 900.0):
        assert found._dead() == []
    cluster.observed = {"h-0"}
    assert found._dead() == []
    cluster.observed = set()
    for clock[0], dead in ((901.0, []), (920.0, ["h-0"])):
        assert found._dead() == dead


def test_a_job_that_cannot_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the batch system refuses while a dead job is cleared away ends nothing."""
    with open_cluster(config_of({"workers": 1}, tmp_path)) as cluster:
        (worker,) = workers_of(cluster)
        found = cluster._workers._jobs
        assert found is not None
        with monkeypatch.context() as patch:
            patch.setattr(QueueJob, "cancel_command", "/no/such/scancel")
            os.kill(worker, signal.SIGKILL)
            while found.refusal is None:
                cluster._workers.look()
        assert "/no/such/scancel" in found.refusal
        assert len(list(cluster.unordered(identity, [1], longest_seconds=LONG))) == 1
        assert found.refusal is None


def test_a_refused_submission_is_made_again(tmp_path: Path) -> None:
    """The queue is closed when a job dies, and opens again."""
    with open_cluster(config_of({"workers": 1}, tmp_path)) as cluster:
        (worker,) = workers_of(cluster)
        found = cluster._workers._jobs
        assert found is not None
        prologue = found.cluster._job_kwargs["job_script_prologue"] = ["# REFUSED"]
        os.kill(worker, signal.SIGKILL)
        while found.refusal is None:
            cluster._workers.look()
        assert found.refusal == "submit: error: the queue is closed"
        prologue.clear()
        assert len(list(cluster.unordered(identity, [1], longest_seconds=LONG))) == 1
        assert found.refusal is None


def test_a_queue_that_refuses_the_first_job(tmp_path: Path) -> None:
    options = {"job_script_prologue": ["# REFUSED"]}
    with (
        pytest.raises(
            HarvestError, match=r"gets no workers \(submit: error: the queue is closed\)"
        ),
        open_cluster(config_of({"workers": 1}, tmp_path, options=options)),
    ):
        pass


def test_options_that_the_class_refuses(tmp_path: Path) -> None:
    for options, expected in (({"coers": 1}, "coers"), ({"memory": "much"}, "much")):
        with (
            pytest.raises(HarvestError, match=expected) as found,
            open_cluster(config_of({"workers": 1}, tmp_path, options=options)),
        ):
            pass
        assert "cannot be started" in str(found.value)


def test_nobody_waits_for_ever_in_a_queue(tmp_path: Path) -> None:
    """Jobs that are accepted and never begin, as in a queue that is full."""
    options = {"job_script_prologue": ["exit 0"]}
    limited = config_of({"workers": 1}, tmp_path, options=options, no_workers_seconds=0.5)
    with pytest.raises(ClusterLost, match="has no workers after 0 seconds"), open_cluster(limited):
        pass
    adaptive = config_of({"maximum": 1}, tmp_path, options=options, no_workers_seconds=0.5)
    with open_cluster(adaptive) as cluster, pytest.raises(ClusterLost, match="no worker has been"):
        list(cluster.unordered(identity, [1], longest_seconds=0.3))


def test_workers_that_others_reach_are_refused(tmp_path: Path) -> None:
    """The class itself binds to loopback, and tells its workers to listen everywhere."""
    address = f"tcp://0.0.0.0:{servers.free_port()}"
    options = {"worker_extra_args": ["--listen-address", address, "--contact-address", address]}
    with (
        pytest.raises(HarvestError, match=rf"the worker {address} unencrypted"),
        open_cluster(config_of({"workers": 1}, tmp_path, options=options)),
    ):
        pass


def test_a_scheduler_that_others_reach_is_refused() -> None:
    """Options that the config cannot understand may put it anywhere."""
    scheduler = {"host": "0.0.0.0", "dashboard_address": "127.0.0.1:0"}
    options = {
        "scheduler": {"cls": "distributed.Scheduler", "options": scheduler},
        "worker": {"cls": "distributed.Nanny", "options": {}},
    }
    config = {"class": "distributed.SpecCluster", "options": options, "scale": {"workers": 1}}
    with (
        pytest.raises(HarvestError, match=r"its scheduler at tcp://0\.0\.0\.0:\d+, where others"),
        open_cluster(ClusterConfig.model_validate(config)),
    ):
        pass


def test_a_class_that_looks_after_its_own() -> None:
    options = {"threads_per_worker": 1, "silence_logs": 50}
    config = {"class": "distributed.LocalCluster", "options": options, "scale": {"workers": 1}}
    with open_cluster(ClusterConfig.model_validate(config)) as cluster:
        assert len(set(cluster.unordered(identity, range(8), longest_seconds=LONG))) == 1


def operator(workers: int, **more: Any) -> ClusterConfig:
    return ClusterConfig.model_validate({"class": OPERATOR, "scale": {"workers": workers}, **more})


def test_a_class_without_a_specification_of_each_worker() -> None:
    with open_cluster(operator(1)) as cluster:
        assert len(set(cluster.unordered(identity, range(8), longest_seconds=LONG))) == 1


def test_what_such_a_class_refuses() -> None:
    refused = pytest.raises(HarvestError, match=r"gets no workers \(the quota is 8 workers\)")
    with refused, open_cluster(operator(9)):
        pass


# --- what the config says --------------------------------------------------------------------

LEAST = "cohort: {sql: SELECT 1}\noutput: out\ncluster:\n"


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        ("  class: x.Y\n  scale: {workers: 1}", 4, "x cannot be imported"),
        ("  class: os.path.join\n  scale: {workers: 1}", 4, "is no Dask cluster class"),
        (f"  class: {QUEUE}", 3, "a class needs scale"),
        (f"  class: {QUEUE}\n  scale: {{}}", 5, "needs workers: n, or maximum: n"),
        (f"  class: {QUEUE}\n  scale: {{minimum: 1}}", 5, "needs workers: n, or maximum: n"),
        (f"  class: {QUEUE}\n  scale: {{workers: 1, maximum: 2}}", 5, "needs workers: n, or"),
        (f"  class: {QUEUE}\n  scale: {{minimum: 3, maximum: 2}}", 5, "minimum 3 is more than 2"),
        (f"  class: {QUEUE}\n  scale: {{worker: 1}}", 5, "cluster.scale.worker is no key"),
        (f"  class: {QUEUE}\n  workers: 1\n  scale: {{workers: 1}}", 3, "workers and class"),
        ("  scale: {workers: 1}", 3, "scale is for a class, and none is named"),
        ("  options: {cores: 1}", 3, "options is for a class, and none is named"),
        (f"  class: {QUEUE}\n  scale: {{workers: 1}}\n  options: {{loop: 1}}", 3, "leave it out"),
        ("  clas: x.Y", 4, "did you mean class?"),
    ],
)
def test_mistakes(section: str, line: int, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_config(LEAST + section + "\n")
    text = str(found.value)
    assert f"line {line}: " in text
    assert expected in text
