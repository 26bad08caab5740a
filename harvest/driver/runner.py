"""The run: plan, read what has no part yet, publish; each step begins where the last run ended.

All state that matters is in the output. A lease keeps a second driver from the same output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..cohort.resolve import Cohort, SeriesCohort, resolve_cohort
from ..config import Config, OutputConfig, load_config
from ..errors import ConfigError, ExitCode
from ..output import MANIFEST, Output, open_output
from ..output.documents import read_json
from ..output.lease import Lease, hold
from ..plan.planner import MOST_PARTITION_ROWS, make_plan
from ..plan.stored import Plan, check_output
from ..table.parts import Part, parts_folder
from ..table.union import TableColumns
from ..worker.partition import (
    PartitionRead,
    ReadTask,
    Totals,
    partition_read,
    read_partition,
    read_task,
)
from .carry import Mixed, carry_over, carryable, join_rows
from .cluster import Cluster, Killed, open_cluster
from .dask_report import check_report
from .isolate import known_suspects, read_in_pieces
from .progress import Progress
from .publish import clear, publish
from .record import Recorder, settings_of
from .retry import find_retry, publish_retry

SERIES_FOR_WORKERS: Final = 20_000
"""Cohorts of more series are listed by the workers."""
MOST_REQUESTS: Final = 10
"""For an object on average, retries included: so long a partition may wait for its rate."""
SPARE_SECONDS: Final = 600.0
"""Beyond what a partition's objects may take, before a silent cluster is given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    output: str
    rows: int
    ok: int
    errors: dict[str, int]
    """Rows by kind of error."""
    retryable: int
    """Error rows that reading again may end otherwise."""
    requests: int
    """For objects; listings are not among them."""
    bytes_read: int
    exit_code: ExitCode


def plan(config: Config, progress: Progress | None = None) -> Plan:
    """Return the plan of a config's output, made and stored if there is none.

    Raises
    ------
    HarvestError
        The output holds something else, or the cohort cannot be listed.
    """
    _check_no_audit(config)
    output = open_output(config.output)
    progress = progress or Progress()
    stored = check_output(output, config)
    if stored is not None:
        return stored
    with hold(output, progress.message) as lease:
        return _planned(config, output, lease, progress)


def run(
    config: Config | str | Path,
    progress: Progress | None = None,
    *,
    retry_errors: bool = False,
    carry_from: OutputConfig | None = None,
    performance_report: str | Path | None = None,
) -> Outcome:
    """Harvest a cohort, or finish a harvest that was begun.

    Parameters
    ----------
    config
        Or the path of its file.
    progress
        Is told what happens; silent if None.
    retry_errors
        Read the retryable error rows of a complete output again.
    carry_from
        A finished harvest: what it tells of unchanged objects is not read again.
    performance_report
        File for Dask's own report on the reading, as HTML; none if nothing is read.

    Raises
    ------
    HarvestError
        Something the user can mend; what was read stays and is not read again.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    _check_no_audit(config)
    progress = progress or Progress()
    report = None if performance_report is None else check_report(performance_report)
    output = open_output(config.output)
    stored = check_output(output, config)
    complete = stored is not None and output.exists(MANIFEST)
    if not complete or retry_errors or _has_parts(stored, output):
        with hold(output, progress.message) as lease:
            _Run(config, output, lease, progress, report).finish(retry_errors, carry_from)
    return outcome(output, config.limits.max_error_rate)


def _check_no_audit(config: Config) -> None:
    if config.audit is not None:
        raise ConfigError(
            "the config has a section audit, so that its output is a folder of snapshots: use "
            "`harvest audit`, or leave the section out"
        )


def _planned(config: Config, output: Output, lease: Lease, progress: Progress) -> Plan:
    # the output is looked at again: another harvest may have held it until now
    stored = check_output(output, config)
    if stored is not None:
        return stored
    cohort = resolve_cohort(config.cohort, config.source)
    progress.message("listing the cohort")
    if not _is_large(cohort):
        return make_plan(config, output, cohort, check=lease.check)
    with open_cluster(config.cluster) as cluster:
        return make_plan(config, output, cohort, cluster.ordered, lease.check)


def _has_parts(stored: Plan | None, output: Output) -> bool:
    """Tell whether a driver was killed after its commit, before it had cleared its work."""
    return stored is not None and bool(output.names(parts_folder(stored.identity)))


def _is_large(cohort: Cohort) -> bool:
    return isinstance(cohort, SeriesCohort) and cohort.count() > SERIES_FOR_WORKERS


class _Run:
    """One driver's work on an output that it holds.

    Parameters
    ----------
    config
        Of the harvest.
    output
        Of the harvest.
    lease
        Of the output.
    progress
        Is told what happens.
    report
        File for Dask's report; None for none.
    """

    def __init__(
        self,
        config: Config,
        output: Output,
        lease: Lease,
        progress: Progress,
        report: Path | None = None,
    ) -> None:
        self._config = config
        self._output = output
        self._lease = lease
        self._report = report
        self._plan = _planned(config, output, lease, progress)
        self._progress = Recorder(
            progress, output, self._plan.identity, lease.check, settings_of(config)
        )
        read = config.read
        self._columns = TableColumns(read.wanted, header=read.with_json, frames=read.with_frames)

    def finish(self, retry_errors: bool, carry_from: OutputConfig | None = None) -> None:
        """Do what is left to do."""
        if not self._output.exists(MANIFEST):
            self._output.tidy()
            self._read_all(carry_from)
            self._progress.message("writing the tables")
            publish(self._plan, self._output, self._columns, self._lease)
        clear(self._output)
        if retry_errors:
            retry = find_retry(self._plan, self._output)
            self._read(retry.parts)
            publish_retry(retry, self._plan, self._output, self._columns, self._lease)
        self._lease.check()
        self._progress.finish(read_json(self._output, MANIFEST))

    def _read_all(self, carry_from: OutputConfig | None) -> None:
        """Read every partition, as far as an earlier harvest does not tell it."""
        beside = self._carried(open_output(carry_from)) if carry_from is not None else ()
        pieces = {each.whole.name: each.read for each in beside}
        parts = [self._plan.part(each.number) for each in self._plan.partitions]
        self._read([pieces.get(part.name, part) for part in parts])
        for each in beside:
            self._lease.check()
            join_rows(each, self._output, self._columns)

    def _carried(self, previous: Output) -> tuple[Mixed, ...]:
        earlier = carryable(self._plan, previous)
        if earlier is None:
            self._progress.message("the snapshot before was made otherwise: all objects are read")
            return ()
        self._progress.message("carrying over what has not changed")
        return carry_over(self._plan, self._output, earlier, self._columns, self._lease)

    def _rows(self, part: Part) -> int:
        return self._plan.partitions[part.partition].rows if part.rows is None else len(part.rows)

    def _read(self, parts: Sequence[Part]) -> None:
        """Read the parts that are not there yet."""
        folders = {part.name.rpartition("/")[0] for part in parts}
        done = {name for folder in folders for name in self._output.names(folder)}
        todo = [part for part in parts if part.name not in done]
        if not todo:
            return
        self._progress.message("waiting for workers")
        with open_cluster(self._config.cluster) as cluster, cluster.reported(self._report):
            rows = sum(map(self._rows, parts))
            self._progress.begin(rows, rows - sum(map(self._rows, todo)))
            try:
                self._read_on(cluster, todo)
            finally:
                self._progress.end()

    def _read_on(self, cluster: Cluster, parts: Sequence[Part]) -> None:
        """Read parts; those whose workers die are read last, in pieces."""
        known = known_suspects(parts, self._output)
        suspects = [part for part in parts if part.name in known]
        for read in self._results(cluster, [part for part in parts if part.name not in known]):
            self._progress.workers(cluster.working)
            if isinstance(read, Killed):
                suspects.append(read.task.part)
            else:
                self._progress.partition(read)
            self._lease.check()
        for suspect in suspects:
            self._isolate(cluster, suspect)

    def _isolate(self, cluster: Cluster, part: Part) -> None:
        told: list[PartitionRead] = []

        def read(piece: Part) -> bool:
            (result,) = self._results(cluster, [piece], alone=True)
            self._lease.check()
            if isinstance(result, Killed):
                return False
            told.append(result)
            return True

        rows = self._plan.partitions[part.partition].rows
        self._progress.message(f"looking for what killed the workers of part {part.partition}")
        table = read_in_pieces(part, rows, self._output, self._columns, read)
        spent = sum(told, Totals())
        whole = replace(
            partition_read(part.partition, table, spent.worker_seconds),
            cpu_seconds=spent.cpu_seconds,
            retries=spent.retries,
            peak_bytes=spent.peak_bytes,
            host=told[-1].host if told else "",
        )
        self._progress.partition(whole)

    def _results(
        self, cluster: Cluster, parts: Sequence[Part], *, alone: bool = False
    ) -> Iterator[PartitionRead | Killed[ReadTask]]:
        limits = self._config.limits
        first = read_task(self._config, self._output, self._plan.part(0))
        rate = limits.requests_per_second
        tasks = (
            # drawn when the part is sent: the workers that share the rate come and go
            replace(first, part=part, requests_per_second=rate and rate / cluster.slots)
            for part in parts
        )
        # an outage that passes lets a partition be read twice
        rounds = -(-MOST_PARTITION_ROWS // limits.concurrency)
        longest = SPARE_SECONDS + 2 * rounds * limits.object_seconds
        if rate:
            longest += MOST_REQUESTS * MOST_PARTITION_ROWS * cluster.slots / rate
        return cluster.unordered(read_partition, tasks, longest_seconds=longest, alone=alone)


def outcome(output: Output, max_error_rate: float) -> Outcome:
    """Tell how a finished run ended, from its manifest."""
    manifest = read_json(output, MANIFEST)
    errors = Counter(manifest["errors"])
    too_many = errors.total() > max_error_rate * manifest["rows"]
    return Outcome(
        output=output.location,
        rows=manifest["rows"],
        ok=manifest["ok"],
        errors=dict(errors),
        retryable=manifest["retryable"],
        requests=manifest["requests"],
        bytes_read=manifest["bytes_read"],
        exit_code=ExitCode.TOO_MANY_ERRORS if too_many else ExitCode.COMPLETE,
    )
