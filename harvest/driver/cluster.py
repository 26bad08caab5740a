"""Tasks for workers: submitted, drawn as there is room, answered for.

The driver's side of Dask is this and, below it, `workers`, `jobs`, `clients` and `dask_report`.
Tasks are idempotent and leave their results in the output; what comes back is small. A few for
each worker are in flight. Whatever happens to workers and scheduler ends in one of three ways:
a result, a task that killed the workers that tried it, or `ClusterLost`.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from uuid import uuid4

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.scheduler import NoWorkerError

from ..config import ClusterConfig
from ..errors import ClusterLost
from . import workers
from .clients import WithoutProfiler, connected, quiet
from .dask_report import reported
from .workers import Workers, scheduler_lost

IN_FLIGHT_PER_SLOT: Final = 2
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
        Of their scheduler.
    workers
        That are looked after.
    expected
        How many a cluster class was asked for at most.
    """

    def __init__(self, client: Client, workers: Workers, expected: int = 0) -> None:
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

    def reported(self, file: Path | None) -> AbstractContextManager[None]:
        """Have Dask report what is done in this block: see `dask_report`."""
        return reported(self._client, file)

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
            raise scheduler_lost() from None

    def _next(
        self, done: queue.SimpleQueue[Future[Any]], since: float, longest_seconds: float
    ) -> Future[Any]:
        """Wait for a task to end, looking after the workers meanwhile."""
        while True:
            self._workers.look()
            try:
                return done.get(timeout=workers.LOOK_SECONDS)
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
                    return future.result(timeout=workers.LOOK_SECONDS)
                except TimeoutError:
                    if future.status == "error":
                        return future.result()
        except FutureCancelledError:
            raise scheduler_lost() from None
        except NoWorkerError:
            raise ClusterLost(
                "no worker has come for a partition within distributed.scheduler.no-workers-timeout"
                ": start some, then run the same command again"
            ) from None
        finally:
            # a result that is held is computed again when its worker dies
            future.release()


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
    with quiet(), connected(config) as (client, jobs):
        team = Workers(client, config, jobs)
        team.wait()
        try:
            client.register_plugin(WithoutProfiler())
        except OSError:
            raise scheduler_lost() from None
        yield Cluster(client, team, config.scale.most if config.scale else 0)
