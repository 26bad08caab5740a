"""The workers: the only module that knows Dask.

Tasks are idempotent and leave their results in the output; what comes back is small. A few for
each worker are in flight. Whatever happens to workers and scheduler ends in one of three ways:
a result, a task that killed the workers that tried it, or `ClusterLost`.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.scheduler import NoWorkerError
from distributed.security import Security

from .config import ClusterConfig
from .errors import ClusterLost

IN_FLIGHT_PER_SLOT: Final = 2
SECONDS_FOR_WORKERS: Final = 60.0
"""How long to wait for the first worker."""
SECONDS_WITHOUT_WORKERS: Final = 120.0
"""How long a run bears that no worker works."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at the workers."""
ANSWER_SECONDS: Final = 60.0
"""How long the scheduler may take to say who works."""
_LOCAL_DEATHS: Final = 1
"""Deaths of local workers, beyond the first, before a task is blamed: nobody preempts them."""
_LOCAL: Final = {
    "distributed.scheduler.allowed-failures": _LOCAL_DEATHS,
    # a local cluster looks once, so long after a death, and gives a worker up for good that is
    # not there at that moment, because it has died again perhaps
    "distributed.deploy.lost-worker-timeout": "1000 days",
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


class Cluster:
    """Workers that are ready to work; see `open_cluster`.

    Parameters
    ----------
    client
        Of a scheduler with at least one worker.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._slots = 1
        self._seen_working = time.monotonic()
        self._looked = -LOOK_SECONDS
        self._look()

    @property
    def slots(self) -> int:
        """How many tasks the workers do at once, as of some seconds ago."""
        return self._slots

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
                if len(in_flight) >= IN_FLIGHT_PER_SLOT * self._slots:
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
            room = 1 if alone else IN_FLIGHT_PER_SLOT * self._slots
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
            future = self._next(done, ended + longest_seconds)
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

    def _next(self, done: queue.SimpleQueue[Future[Any]], deadline: float) -> Future[Any]:
        """Wait for a task to end, looking after the workers meanwhile."""
        while True:
            self._look()
            try:
                return done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise ClusterLost(
                        "the workers have finished nothing for longer than any task may take: "
                        "look at their logs, then run the same command again"
                    ) from None

    def _result(self, future: Future[Any]) -> Any:
        """Wait for what a task returns, looking after the workers meanwhile."""
        try:
            while True:
                self._look()
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

    def _look(self) -> None:
        """Count the workers that work; raises `ClusterLost` when there were none for long."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        slots = self._working()
        if slots:
            self._slots, self._seen_working = slots, now
        elif now - self._seen_working > SECONDS_WITHOUT_WORKERS:
            raise ClusterLost(
                f"no worker has been working for {SECONDS_WITHOUT_WORKERS:.0f} seconds (all are "
                "gone, or paused for want of memory): start some, then run the same command again"
            )

    def _working(self) -> int:
        """Count the threads of the workers that take tasks."""
        try:
            answer = self._client.sync(self._identity, callback_timeout=ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise _scheduler_lost() from None
        workers = answer["workers"].values()
        return sum(each["nthreads"] for each in workers if each["status"] == "running")

    async def _identity(self) -> Any:
        scheduler = self._client.scheduler
        if scheduler is None:
            raise TimeoutError
        return await scheduler.identity(n_workers=-1)


def _scheduler_lost() -> ClusterLost:
    return ClusterLost(
        "the scheduler was lost: start it, then run the same command again; finished partitions "
        "are not read again"
    )


@contextmanager
def open_cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """Yield the configured cluster, with at least one worker.

    Raises
    ------
    ClusterLost
        The scheduler does not answer, or no worker comes.
    """
    opened = _local_client if config.address is None else _remote_client
    with _quiet(), opened(config) as client:
        try:
            client.register_plugin(_WithoutProfiler())
        except OSError:
            raise _scheduler_lost() from None
        yield Cluster(client)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask in this process: what it logs of a loss, our own message says."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _local_client(config: ClusterConfig) -> Iterator[Client]:
    # one thread each: the threads that wait for the network are the reader's own
    with (
        dask.config.set(_LOCAL),
        LocalCluster(
            n_workers=config.workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _remote_client(config: ClusterConfig) -> Iterator[Client]:
    address = config.address
    try:
        client = Client(address, security=_security(config), set_as_default=False, timeout=30)
    except OSError:
        raise ClusterLost(
            f"the scheduler {address} does not answer: start it, or correct cluster.address, "
            "then run the same command again"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except TimeoutError:
            raise ClusterLost(
                f"the scheduler {address} has no workers: start some, then run the same command "
                "again"
            ) from None
        except OSError:
            raise _scheduler_lost() from None
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


def _security(cluster: ClusterConfig) -> Security | None:
    if cluster.tls is None:
        return None
    return Security(
        tls_ca_file=str(cluster.tls.ca_file),
        tls_client_cert=str(cluster.tls.cert),
        tls_client_key=str(cluster.tls.key),
        require_encryption=True,
    )
