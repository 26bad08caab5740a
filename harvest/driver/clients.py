"""Clients of schedulers: of one in this process, one that a class starts, or one that is there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin
from distributed.versions import VersionMismatchWarning

from ..config import ClusterConfig
from ..errors import ClusterLost
from ..plan.sizing import workers_here
from .jobs import Jobs, security_of, started

CONNECT_SECONDS: Final = 30.0
_LOCAL_FAILURES: Final = 1
"""Deaths of local workers, beyond the first, before a task is blamed: nobody preempts them."""
_OWN: Final = {
    # a cluster looks once, so long after a death, and gives a worker up for good that is not
    # there at that moment, because it has died again perhaps
    "distributed.deploy.lost-worker-timeout": "1000 days",
}
"""Dask's settings where the scheduler is in this process."""
_LOCAL: Final = {
    **_OWN,
    "distributed.scheduler.allowed-failures": _LOCAL_FAILURES,
    # a terminal sends Ctrl-C to the workers too: it is the driver who ends them
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
}


@contextmanager
def connected(config: ClusterConfig) -> Iterator[tuple[Client, Jobs | None]]:
    """Yield a client of the configured scheduler, and the jobs of a cluster class."""
    if config.cluster_class is not None:
        with dask.config.set(_OWN), started(config) as jobs, _client(jobs.cluster) as client:
            yield client, jobs
    else:
        opened = _local_client if config.address is None else _remote_client
        with opened(config) as client:
            yield client, None


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


@contextmanager
def quiet() -> Iterator[None]:
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


class WithoutProfiler(WorkerPlugin):
    """Stops Dask's profiler in every worker, those that come later included.

    It looks at all threads' stacks every 10 ms. When that starts a garbage collection while
    another thread begins, CPython 3.11 locks up for good: the look and the thread's birth wait
    for each other's lock.
    """

    name = "harvest-without-profiler"

    def setup(self, worker: Worker) -> None:
        """Stop it, on this worker."""
        for name in ("profile", "profile-cycle"):
            callback = worker.periodic_callbacks.pop(name, None)
            if callback is not None:
                callback.stop()
