"""The workers, looked after: who works, who came, who is missing, and who must not work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from distributed import Client
from distributed.versions import get_versions

from ..config import ClusterConfig
from ..errors import ClusterLost, HarvestError
from ..hosts import is_hidden
from ..plan.sizing import LEAST_WORKER_BYTES
from .jobs import Jobs
from .versions import SCHEDULER_PACKAGES, WORKER_PACKAGES, Versions, version_differences

SECONDS_FOR_WORKERS: Final = 60.0
"""How long to wait for the first worker."""
SECONDS_WITHOUT_WORKERS: Final = 120.0
"""How long a run bears that no worker works."""
SECONDS_IN_QUEUE: Final = 3600.0
"""Both, where a cluster class starts the workers: a batch system may let them wait."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at the workers."""
ANSWER_SECONDS: Final = 60.0
"""How long the scheduler may take to say who works."""
MOST_DIFFERENCES: Final = 6
"""Of versions, that a message names."""


class Workers:
    """Looks after the workers, now and then.

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
            raise scheduler_lost() from None
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
        found = list(version_differences(own, scheduler, SCHEDULER_PACKAGES))
        found += version_differences(own, theirs, WORKER_PACKAGES)
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
        except OSError:
            raise scheduler_lost() from None

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
            raise scheduler_lost()
        return scheduler


def scheduler_lost() -> ClusterLost:
    """Return what is raised where the scheduler does not answer."""
    return ClusterLost(
        "the scheduler was lost: start it, then run the same command again; finished partitions "
        "are not read again"
    )
