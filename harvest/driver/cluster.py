"""The workers: the only module that knows Dask.

Tasks are idempotent and leave their results in the output; what comes back is small. A few for
each worker are in flight. Whatever happens to workers and scheduler ends in one of three ways:
a result, a task that killed the workers that tried it, or `ClusterLost`.
"""

from __future__ import annotations

import logging
import queue
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

import dask
from distributed import (
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    WorkerPlugin,
    performance_report,
)
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.scheduler import NoWorkerError
from distributed.versions import VersionMismatchWarning, get_versions

from ..config import ClusterConfig
from ..errors import ClusterLost, HarvestError
from ..hosts import is_hidden
from ..meaning import install
from ..output.destination import local_file, written_whole
from ..plan.sizing import LEAST_WORKER_BYTES, workers_here
from .jobs import Jobs, security_of, started
from .versions import SCHEDULER_PACKAGES, WORKER_PACKAGES, Versions, differences

IN_FLIGHT_PER_SLOT: Final = 2
SECONDS_FOR_WORKERS: Final = 60.0
"""How long to wait for the first worker."""
SECONDS_WITHOUT_WORKERS: Final = 120.0
"""How long a run bears that no worker works."""
SECONDS_IN_QUEUE: Final = 3600.0
"""Both, where a cluster class starts the workers: a batch system may let them wait."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at the workers."""
CONNECT_SECONDS: Final = 30.0
MOST_DIFFERENCES: Final = 6
"""Of versions, that a message names."""
ANSWER_SECONDS: Final = 60.0
"""How long the scheduler may take to say who works."""
_LOCAL_DEATHS: Final = 1
"""Deaths of local workers, beyond the first, before a task is blamed: nobody preempts them."""
_OWN: Final = {
    # a cluster looks once, so long after a death, and gives a worker up for good that is not
    # there at that moment, because it has died again perhaps
    "distributed.deploy.lost-worker-timeout": "1000 days",
}
"""Dask's settings where the scheduler is in this process."""
_LOCAL: Final = {
    **_OWN,
    "distributed.scheduler.allowed-failures": _LOCAL_DEATHS,
    # a terminal sends Ctrl-C to the workers too: it is the driver who ends them
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
}

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Killed(Generic[Task]):
    """A task whose workers died while they had it."""

    task: Task
    """Perhaps innocent: another task of the same worker may have been the cause."""


class _Workers:
    """Looks after the workers, now and then: who works, who came, and who is missing.

    Parameters
    ----------
    client
        Of their scheduler.
    config
        Of the cluster.
    jobs
        Of a cluster class; None where others start the workers.
    """

    def __init__(self, client: Client, config: ClusterConfig, jobs: Jobs | None) -> None:
        self._client = client
        self._config = config
        self._jobs = jobs
        self._seconds_without = config.no_workers_seconds or (
            SECONDS_IN_QUEUE if jobs else SECONDS_WITHOUT_WORKERS
        )
        self._known: set[str] = set()
        self._looked = -LOOK_SECONDS
        self.slots = 1
        """Threads of the workers that take tasks; of none, what there was last."""
        self.seen_working = self.seen_idle = time.monotonic()
        """When there was last a worker that works, and when there was last none."""

    def wait(self) -> None:
        """Wait for the first worker, if one comes without work; raises `ClusterLost`."""
        if self._jobs is not None and self._jobs.may_be_none:
            self.look()
            return
        seconds = self._config.no_workers_seconds or (
            SECONDS_IN_QUEUE if self._jobs else SECONDS_FOR_WORKERS
        )
        deadline = time.monotonic() + seconds
        while not self._came(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic()))):
            self.seen_working = time.monotonic()  # patience with the first is this loop's own
            self.look()
            if time.monotonic() > deadline:
                raise ClusterLost(
                    f"the scheduler {self._scheduler().address} has no workers after "
                    f"{seconds:.0f} seconds{self._refusal()}: start some, then run the same "
                    "command again"
                )
        # one that has just come may not be working yet
        self.seen_working = time.monotonic()
        self._looked = -LOOK_SECONDS
        self.look()

    def _came(self, seconds: float) -> bool:
        """Wait so long for a worker; tell whether there is one."""
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            return False
        except OSError:
            raise _scheduler_lost() from None
        return True

    def look(self) -> None:
        """Count those that work, unless that was just done.

        Raises
        ------
        ClusterLost
            There were none for long, or the scheduler does not answer.
        HarvestError
            One of them must not work for this driver.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        workers = self._ask(self._identity)["workers"]
        self._meet({name: each for name, each in workers.items() if name not in self._known})
        if self._jobs is not None:
            self._jobs.renew()
        slots = sum(each["nthreads"] for each in workers.values() if each["status"] == "running")
        if slots:
            self.slots, self.seen_working = slots, now
            return
        self.seen_idle = now
        if now - self.seen_working > self._seconds_without:
            raise ClusterLost(
                f"no worker has been working for {self._seconds_without:.0f} seconds (all are "
                f"gone, or paused for want of memory){self._refusal()}: start some, then run the "
                "same command again"
            )

    def _refusal(self) -> str:
        refusal = self._jobs and self._jobs.refusal
        return f"; the batch system last said: {refusal}" if refusal else ""

    def _meet(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Make sure that new workers can be trusted, are large enough, and run what we run."""
        if not workers:
            return
        if self._jobs is not None and not self._config.allow_insecure:
            shown = sorted(address for address in workers if not is_hidden(address))
            if shown:
                raise HarvestError(
                    f"others reach the worker {shown[0]} unencrypted, and it runs whatever it is "
                    "sent: bind workers to 127.0.0.1, give cluster.tls, or set "
                    "cluster.allow_insecure: true if the network is yours alone"
                )
        for address, worker in workers.items():
            share = worker["memory_limit"] // max(1, worker["nthreads"])  # 0 is no limit
            if 0 < share < LEAST_WORKER_BYTES:
                raise HarvestError(
                    f"the worker {address} has {share / 1e6:,.0f} MB for each of its threads and "
                    f"needs {LEAST_WORKER_BYTES / 1e6:,.0f}: it would be killed, and the objects "
                    "that it reads blamed; give it more memory, or fewer threads"
                )
        scheduler, theirs = self._ask(lambda: self._versions(sorted(workers)))
        own: Versions = get_versions(packages=WORKER_PACKAGES)["packages"]
        found = list(differences(own, scheduler, SCHEDULER_PACKAGES))
        found += differences(own, theirs, WORKER_PACKAGES)
        if found:
            raise HarvestError(
                "driver and workers run different software: "
                f"{'; '.join(found[:MOST_DIFFERENCES])}; install the same on both, from "
                "requirements.lock or one image"
            )
        self._known |= workers.keys()

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return self._client.sync(question, callback_timeout=ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise _scheduler_lost() from None

    async def _identity(self) -> Any:
        return await self._scheduler().identity(n_workers=-1)

    async def _versions(self, addresses: list[str]) -> Any:
        """Return the versions of the scheduler, and of workers; of those that are gone, nothing."""
        scheduler = await self._scheduler().versions(packages=WORKER_PACKAGES)
        workers = await self._scheduler().broadcast(
            msg={"op": "versions", "packages": WORKER_PACKAGES},
            workers=addresses,
            on_error="ignore",
        )
        return (
            {"the scheduler": scheduler["packages"]},
            {name: found["packages"] for name, found in workers.items()},
        )

    def _scheduler(self) -> Any:
        scheduler = self._client.scheduler
        if scheduler is None:
            raise TimeoutError
        return scheduler


class Cluster:
    """Workers that are ready to work; see `open_cluster`.

    Parameters
    ----------
    client
        Of their scheduler.
    workers
        That are looked after.
    expected
        How many a cluster class was asked for at most.
    """

    def __init__(self, client: Client, workers: _Workers, expected: int = 0) -> None:
        self._client = client
        self._workers = workers
        self._expected = expected

    @property
    def working(self) -> int:
        """How many tasks the workers do at once, as of some seconds ago."""
        return self._workers.slots

    @property
    def slots(self) -> int:
        """The same, when all have come that a cluster class was asked for."""
        return max(self._workers.slots, self._expected)

    @contextmanager
    def reported(self, file: Path | None) -> Iterator[None]:
        """Have Dask report what is done in this block, as HTML, if it ends well.

        Raises
        ------
        HarvestError
            The scheduler is elsewhere, and has no bokeh, or the file cannot be written.
        """
        if file is None:
            yield
            return
        with written_whole(file) as unfinished:
            report = performance_report(filename=str(unfinished), mode="inline")
            with self._client.as_current(), _report_refused():
                report.__enter__()
            yield
            with self._client.as_current(), _report_refused():
                report.__exit__(None, None, None)

    def ordered(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Apply a function to tasks; results come in the order of the tasks.

        Raises
        ------
        ClusterLost
            The scheduler does not answer, no worker works, or a task's workers died.
        """
        in_flight: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                in_flight.append(self._submit(function, task))
                if len(in_flight) >= IN_FLIGHT_PER_SLOT * self.slots:
                    yield self._result(in_flight.popleft())
            while in_flight:
                yield self._result(in_flight.popleft())
        except KilledWorker:
            raise ClusterLost(
                "the workers died again and again, for memory perhaps: look at their logs, then "
                "run the same command again"
            ) from None

    def unordered(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        *,
        longest_seconds: float,
        alone: bool = False,
    ) -> Iterator[Result | Killed[Task]]:
        """Apply a function to tasks; results come as they are there.

        Parameters
        ----------
        function
            At the top of a module, idempotent.
        tasks
            Drawn when there is room for one, so that they may depend on `slots`.
        longest_seconds
            That one task may take; if nothing ends for so long, the cluster is lost.
        alone
            One task at a time, so that a dead worker's blame is exact.

        Raises
        ------
        ClusterLost
            The scheduler does not answer, no worker works, or none gets anything done.
        """
        done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        in_flight: dict[str, tuple[Task, Future[Any]]] = {}
        waiting = iter(tasks)
        # a scheduler may serve other runs, and forgets no key while somebody holds its result
        attempt = uuid4().hex[:12]
        submitted = 0
        ended = time.monotonic()
        while True:
            room = 1 if alone else IN_FLIGHT_PER_SLOT * self.slots
            while len(in_flight) < room:
                try:
                    task = next(waiting)
                except StopIteration:
                    break
                key = f"harvest-{attempt}-{submitted:06d}"
                submitted += 1
                future = self._submit(function, task, key=key, retries=0)
                future.add_done_callback(done.put)
                in_flight[key] = task, future
            if not in_flight:
                return
            future = self._next(done, ended, longest_seconds)
            ended = time.monotonic()
            task, _ = in_flight.pop(str(future.key))
            try:
                yield self._result(future)
            except KilledWorker:
                yield Killed(task)

    def _submit(self, function: Callable[[Task], Result], task: Task, **how: Any) -> Future[Any]:
        try:
            return self._client.submit(function, task, pure=False, **how)
        except ClosedClientError:
            raise _scheduler_lost() from None

    def _next(
        self, done: queue.SimpleQueue[Future[Any]], since: float, longest_seconds: float
    ) -> Future[Any]:
        """Wait for a task to end, looking after the workers meanwhile."""
        while True:
            self._workers.look()
            try:
                return done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                # where there is nobody to work, nothing can be overdue
                begun = max(since, self._workers.seen_idle)
                if time.monotonic() > begun + longest_seconds:
                    raise ClusterLost(
                        "the workers have finished nothing for longer than any task may take: "
                        "look at their logs, then run the same command again"
                    ) from None

    def _result(self, future: Future[Any]) -> Any:
        """Wait for what a task returns, looking after the workers meanwhile."""
        try:
            while True:
                self._workers.look()
                try:
                    # also of a task that has ended: its worker may take the result with it
                    return future.result(timeout=LOOK_SECONDS)
                except TimeoutError:
                    if future.status == "error":
                        return future.result()
        except FutureCancelledError:
            raise _scheduler_lost() from None
        except NoWorkerError:
            raise ClusterLost(
                "no worker has come for a partition within distributed.scheduler.no-workers-timeout"
                ": start some, then run the same command again"
            ) from None
        finally:
            # a result that is held is computed again when its worker dies
            future.release()


def check_report(file: str | Path) -> Path:
    """Make sure that a report can be made here, before anything is read; raises `HarvestError`."""
    if find_spec("bokeh") is None:
        raise HarvestError(f"a performance report needs bokeh: {install('report')}")
    return local_file(file)


@contextmanager
def _report_refused() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise HarvestError(
            f"the scheduler cannot make a performance report ({error}): install bokeh there, or "
            "run the same command without it; nothing is read again"
        ) from None
    except OSError:
        raise _scheduler_lost() from None


def _scheduler_lost() -> ClusterLost:
    return ClusterLost(
        "the scheduler was lost: start it, then run the same command again; finished partitions "
        "are not read again"
    )


@contextmanager
def open_cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """Yield the configured cluster, with at least one worker unless they only come for work.

    Raises
    ------
    ClusterLost
        The scheduler does not answer, or no worker comes.
    HarvestError
        A cluster class cannot be started, or workers must not work for this driver.
    """
    with _quiet(), _opened(config) as (client, jobs):
        workers = _Workers(client, config, jobs)
        workers.wait()
        try:
            client.register_plugin(_WithoutProfiler())
        except OSError:
            raise _scheduler_lost() from None
        yield Cluster(client, workers, config.scale.most if config.scale else 0)


@contextmanager
def _opened(config: ClusterConfig) -> Iterator[tuple[Client, Jobs | None]]:
    """Yield a client of the configured scheduler, and the jobs of a cluster class."""
    if config.cluster_class is not None:
        with dask.config.set(_OWN), started(config) as jobs, _client(jobs.cluster) as client:
            yield client, jobs
    else:
        opened = _local_client if config.address is None else _remote_client
        with opened(config) as client:
            yield client, None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask in this process: what it logs of a loss, our own message says."""
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # versions that matter are compared by ourselves, and those of late workers too
            warnings.simplefilter("ignore", VersionMismatchWarning)
            # a class that refuses its options leaves a cluster that was never opened
            warnings.filterwarnings("ignore", "unclosed cluster", ResourceWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _client(where: Any, **how: Any) -> Client:
    return Client(where, set_as_default=False, **how)


@contextmanager
def _local_client(config: ClusterConfig) -> Iterator[Client]:
    # one thread each: the threads that wait for the network are the reader's own
    with (
        dask.config.set(_LOCAL),
        LocalCluster(
            n_workers=config.workers or workers_here(),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as local,
        _client(local) as client,
    ):
        yield client


@contextmanager
def _remote_client(config: ClusterConfig) -> Iterator[Client]:
    address = config.address
    try:
        client = _client(address, security=security_of(config), timeout=CONNECT_SECONDS)
    except OSError:
        raise ClusterLost(
            f"the scheduler {address} does not answer: start it, or correct cluster.address and "
            "cluster.tls, then run the same command again"
        ) from None
    with client:
        yield client


class _WithoutProfiler(WorkerPlugin):
    """Stops Dask's profiler in every worker, those that come later included.

    It looks at all threads' stacks every 10 ms. When that starts a garbage collection while
    another thread begins, CPython 3.11 locks up for good: the look and the thread's birth wait
    for each other's lock.
    """

    name = "harvest-without-profiler"

    def setup(self, worker: Worker) -> None:
        for name in ("profile", "profile-cycle"):
            callback = worker.periodic_callbacks.pop(name, None)
            if callback is not None:
                callback.stop()
