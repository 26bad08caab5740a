"""What a run tells of itself in its output: how far it is, and at the end what it took.

`harvest status` reads it on any machine. It is one small file, which is written again and again
while the work goes on, and stays when the tables are there.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version
from typing import Any, Final

from ..config import Config
from ..errors import HarvestError
from ..output import WORK, Output
from ..output.documents import find_json, json_bytes
from ..worker.partition import PartitionRead, Totals
from .cost import Cost, cost_of
from .meter import Meter
from .progress import Passing, Progress

RECORD: Final = f"{WORK}/run.json"
RECORD_SECONDS: Final = 10.0
"""Between two writings."""
SLOWEST: Final = 10
"""Partitions that are kept by name."""


@dataclass(frozen=True, slots=True)
class SlowPartition:
    """One of the partitions that took longest."""

    partition: int
    seconds: float
    rows: int
    requests: int
    bytes_read: int
    host: str
    """Of its worker."""


@dataclass(frozen=True, kw_only=True)
class RunRecord(Totals):
    """What all runs of one plan have told so far.

    What a driver had not written when it was killed is missing in the sums. Of a finished harvest
    `ok` and `errors` are those of its tables; `requests` and `bytes_read` are at least theirs, and
    more where objects were read again.
    """

    plan: str
    """Identity."""
    begun: str
    """When the first run began to read; UTC."""
    told: str
    """When this was written; UTC."""
    ended: str | None = None
    """When the tables were complete; UTC."""
    runs: int = 0
    """That have read something: more than one where it was interrupted, or errors were retried."""
    rows: int = 0
    """To read in the run that goes on, or was the last; of a retry, what it reads again."""
    done: int = 0
    """Of these, how many are read."""
    wall_seconds: float = 0.0
    """Of the drivers, while partitions were read."""
    workers: int = 0
    """Threads of workers that took tasks, at the end of what is told here."""
    most_workers: int = 0
    rate: float | None = None
    """Rows a second in the run that goes on, or was the last."""
    seconds_left: float | None = None
    slowest: tuple[SlowPartition, ...] = ()
    """Partitions, the slowest first."""
    cost: Cost = field(default_factory=lambda: cost_of(0.0, 0))
    """Of a run like all these in a cloud."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the last run was asked to read: see `settings_of`."""


def settings_of(config: Config) -> dict[str, Any]:
    """Return what of a config, and of this machine, the numbers of a run depend on.

    Each is named here, and none is an address, a path or an option of a cluster class: what may
    hold a secret stays where it is.
    """
    source, limits, cluster = config.source, config.limits, config.cluster
    return {
        "transport": source.transport,
        "cloud": source.cloud,
        "concurrency": limits.concurrency,
        "retries": limits.retries,
        "object_seconds": limits.object_seconds,
        "requests_per_second": limits.requests_per_second,
        "partition_rows": limits.partition_rows,
        "cluster": cluster.cluster_class or ("here" if cluster.address is None else "address"),
        "harvest": version("harvest"),
        "python": python_version(),
    }


def read_record(output: Output, plan: str) -> RunRecord | None:
    """Return what was told of a plan; None where that is nothing."""
    content = find_json(output, RECORD)
    if content is None or content.get("plan") != plan:
        return None
    known = {each.name for each in fields(RunRecord)}
    told = {name: value for name, value in content.items() if name in known}
    slowest = tuple(SlowPartition(**each) for each in told["slowest"])
    return RunRecord(**{**told, "slowest": slowest, "cost": Cost(**told["cost"])})


class Recorder(Passing):
    """Passes everything on, and keeps the record in the output.

    Parameters
    ----------
    progress
        Is told what happens.
    output
        That this driver holds.
    plan
        Its identity.
    check
        Called before each writing; raises `OutputBusy` where the output is no longer ours.
    settings
        Of this run, by `settings_of`.
    """

    def __init__(
        self,
        progress: Progress,
        output: Output,
        plan: str,
        check: Callable[[], None],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(progress)
        self._output = output
        self._check = check
        self._settings = dict(settings or {})
        now = _now()
        self._before = read_record(output, plan) or RunRecord(plan=plan, begun=now, told=now)
        self._meter = Meter(0, 0)
        self._workers = self._most_workers = 0
        self._slowest = [(each.seconds, each.partition, each) for each in self._before.slowest]
        self._written = 0.0

    def begin(self, rows: int, done: int) -> None:
        """Pass it on, and write that reading begins."""
        self._meter = Meter(rows, done)
        runs = self._before.runs + 1
        self._before = replace(self._before, runs=runs, ended=None, settings=self._settings)
        super().begin(rows, done)
        self._write(self._told())

    def workers(self, count: int) -> None:
        """Pass it on, and remember it."""
        self._workers, self._most_workers = count, max(count, self._most_workers)
        super().workers(count)

    def partition(self, part: PartitionRead) -> None:
        """Pass it on, add it up, and write that now and then."""
        self._meter.add(part)
        slow = SlowPartition(
            partition=part.partition,
            seconds=part.worker_seconds,
            rows=part.rows,
            requests=part.requests,
            bytes_read=part.bytes_read,
            host=part.host,
        )
        # the number keeps equal seconds apart, and a partition that was read twice is once here
        others = [each for each in self._slowest if each[1] != part.partition]
        entry = (part.worker_seconds, part.partition, slow)
        self._slowest = heapq.nlargest(SLOWEST, [*others, entry], key=lambda each: each[:2])
        if time.monotonic() - self._written > RECORD_SECONDS:
            self._write(self._told())
        super().partition(part)

    def end(self) -> None:
        """Pass it on, and write how far it came."""
        self._before = self._told()
        self._meter = Meter(self._meter.rows, self._meter.done)
        self._write(self._before)
        super().end()

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write what the tables hold, and that they are complete."""
        now = _now()
        told = replace(
            self._before,
            told=now,
            ended=now,
            ok=manifest["ok"],
            errors=manifest["errors"],
            # a driver that was killed may have told less than it had sent
            requests=max(manifest["requests"], self._before.requests),
            bytes_read=max(manifest["bytes_read"], self._before.bytes_read),
            seconds_left=None,
        )
        self._write(replace(told, cost=cost_of(told.worker_seconds, told.requests)))

    def _told(self) -> RunRecord:
        """Add what this run has told to what the ones before had."""
        before, meter = self._before, self._meter
        totals = before + meter.totals
        return replace(
            before,
            **vars(totals),
            told=_now(),
            rows=meter.rows,
            done=meter.done,
            wall_seconds=before.wall_seconds + meter.seconds,
            workers=self._workers,
            most_workers=max(before.most_workers, self._most_workers),
            rate=meter.rate if meter.rate is not None else before.rate,
            seconds_left=meter.seconds_left,
            slowest=tuple(slow for _, _, slow in self._slowest),
            cost=cost_of(totals.worker_seconds, totals.requests),
        )

    def _write(self, record: RunRecord) -> None:
        self._written = time.monotonic()
        # an output that does not answer, or is another's now, ends the run where rows depend on
        # it, and not for a remark
        with suppress(HarvestError):
            self._check()
            self._output.write(RECORD, json_bytes(asdict(record)))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
