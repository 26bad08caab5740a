"""The workers that a cluster class starts: asked for, scaled, and asked for again when they die.

A job queue's own class submits each job once. Neither with a fixed number of workers nor with an
adaptive one does it notice that a job was preempted, cancelled, or refused: this does.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from distributed.core import Status
from distributed.deploy.spec import SpecCluster
from distributed.security import Security

from ..config import ClusterConfig, ScaleConfig
from ..config.cluster_class import import_class, options_of
from ..errors import HarvestError
from ..hosts import is_hidden

LOST_SECONDS: Final = 10.0
"""How long a worker may be away before its job counts as dead; a nanny may start it again."""
OVERTAKEN_SECONDS: Final = 300.0
"""How long the workers of a job may be away when those of a later one are there: a job that died
before its workers had ever come looks like one that waits in its queue."""

_REFUSALS: Final = (OSError, RuntimeError, TypeError, ValueError)
"""What cluster classes raise where they, or the batch system behind them, refuse."""


@dataclass(slots=True)
class _Job:
    """What was seen of a job; times are seconds of this process's clock."""

    asked: float
    came: float | None = None
    """When its workers were first there."""
    away: float | None = None
    """Since when they are missing again."""


class Jobs:
    """Workers of a cluster class; see `started`.

    Parameters
    ----------
    cluster
        A `distributed.deploy.Cluster` that has just been made, and has no workers.
    scale
        How many it shall have.
    """

    def __init__(self, cluster: Any, scale: ScaleConfig) -> None:
        self.cluster = cluster
        self.refusal: str | None = None
        """What the batch system said when it last refused something; None where it did not."""
        self._scale = scale
        # by the cluster's own objects: a name is given again, and then to another
        self._jobs: WeakKeyDictionary[Any, _Job] = WeakKeyDictionary()

    @property
    def may_be_none(self) -> bool:
        """Whether there are no workers while there is no work."""
        return self._scale.workers is None and self._scale.minimum == 0

    def begin(self) -> None:
        """Ask for the workers.

        Raises
        ------
        HarvestError
            The class, or the batch system behind it, refuses the first jobs.
        """
        try:
            if self._scale.workers is not None:
                self.cluster.scale(self._scale.workers)
            else:
                self.cluster.adapt(minimum=self._scale.minimum, maximum=self._scale.maximum)
        except _REFUSALS as error:
            self.refusal = last_line(error)
        else:
            self.renew()
        if self.refusal is not None:
            raise HarvestError(
                f"{type(self.cluster).__name__} gets no workers ({self.refusal}): correct "
                "cluster.options; if the batch system was away, run the same command again"
            )

    def renew(self) -> None:
        """Ask again for workers whose jobs died or were refused.

        Classes without a specification of each worker, such as those of a Kubernetes operator,
        see to that themselves.
        """
        if isinstance(self.cluster, SpecCluster):
            self.cluster.sync(self._renew)

    async def _renew(self) -> None:
        try:
            for name in self._dead():
                await self._end(name)
            # not public: it opens what is specified and not there
            await self.cluster._correct_state()
            if self._drop_refused():
                await self.cluster._correct_state()
        except _REFUSALS as error:
            self.refusal = last_line(error)
        else:
            self.refusal = None
        finally:
            self._drop_refused()

    async def _end(self, name: Hashable) -> None:
        """End what may be left of a dead job, and make room for its successor."""
        job = self.cluster.workers.pop(name, None)
        if job is None:
            return  # an adaptive cluster has let it go meanwhile
        try:
            # one that only seems dead, or was requeued, must not come back beside its successor
            await job.close()
        finally:
            # a cluster that closes insists that every job has ended one way or another
            job.status = Status.closed

    def _drop_refused(self) -> bool:
        """Forget the jobs that the batch system did not take; tell whether there were any."""
        workers = self.cluster.workers
        refused = [name for name, job in workers.items() if job.status == Status.created]
        for name in refused:
            workers.pop(name).status = Status.failed
        return bool(refused)

    def _dead(self) -> list[Hashable]:
        """Name the jobs that have failed, or whose workers have been away for long."""
        observed, now = self.cluster.observed, time.monotonic()
        dead = []
        for name, process in self.cluster.workers.items():
            if name not in self.cluster.worker_spec:
                continue  # it is going, as it should
            job = self._jobs.setdefault(process, _Job(now))
            if _members(name, self.cluster.worker_spec[name]) & observed:
                job.came, job.away = now if job.came is None else job.came, None
            elif process.status == Status.failed or self._is_lost(job, now):
                dead.append(name)
        return dead

    def _is_lost(self, job: _Job, now: float) -> bool:
        if job.came is not None:
            job.away = now if job.away is None else job.away
            return now - job.away > LOST_SECONDS
        return any(
            each.asked >= job.asked
            and each.came is not None
            and now - each.came > OVERTAKEN_SECONDS
            for each in self._jobs.values()
        )


def _members(name: Hashable, spec: dict[str, Any]) -> set[Hashable]:
    """Return the names of the workers of one job."""
    return {f"{name}{suffix}" for suffix in spec["group"]} if "group" in spec else {name}


@contextmanager
def started(config: ClusterConfig) -> Iterator[Jobs]:
    """Yield the workers of the configured class, which come as they can.

    Raises
    ------
    HarvestError
        The class refuses its options, or would let others reach the scheduler unencrypted.
    """
    assert config.scale is not None
    with _made(config) as cluster:
        _check_hidden(cluster, config)
        jobs = Jobs(cluster, config.scale)
        jobs.begin()
        yield jobs


def _made(config: ClusterConfig) -> Any:
    """Make the cluster; what it refuses is told after its remains are gone."""
    made = import_class(str(config.cluster_class))
    options = options_of(made, config.options, exposed=config.exposed)
    if config.tls is not None:
        options["security"] = security_of(config)
    try:
        return made(**options)
    except _REFUSALS as error:
        reason = last_line(error)
    raise HarvestError(
        f"cluster.class {config.cluster_class} cannot be started ({reason}): correct "
        "cluster.options"
    )


def _check_hidden(cluster: Any, config: ClusterConfig) -> None:
    """Refuse a scheduler that others reach unencrypted, whatever options have made it so."""
    if config.allow_insecure:
        return
    # of a class that starts its scheduler elsewhere, only the address is known
    listeners = getattr(getattr(cluster, "scheduler", None), "listeners", ())
    addresses = [cluster.scheduler_address, *(each.listen_address for each in listeners)]
    shown = [address for address in addresses if not is_hidden(address)]
    if shown:
        raise HarvestError(
            f"{config.cluster_class} has put its scheduler at {shown[-1]}, where others reach it "
            "unencrypted, and it runs whatever it is sent: bind it to 127.0.0.1, give "
            "cluster.tls, or set cluster.allow_insecure: true if the network is yours alone"
        )


def security_of(config: ClusterConfig) -> Security | None:
    """Return the certificates of driver, scheduler and workers; None where there are none."""
    if config.tls is None:
        return None
    files = {
        f"tls_{role}_{name}": str(path)
        for role in ("client", "scheduler", "worker")
        for name, path in (("cert", config.tls.cert), ("key", config.tls.key))
    }
    return Security(tls_ca_file=str(config.tls.ca_file), require_encryption=True, **files)


def last_line(error: BaseException) -> str:
    """Return the last line of an exception's text: of a command that failed, what it said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
