"""Making a plan: listing the cohort, cutting partitions, storing both.

Series of the index stream: neither their rows nor those of their instances are ever all in
memory. A prefix, or a manifest of single objects, is held whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Final

import pyarrow as pa

from ..cohort.resolve import (
    COMPRESSED,
    Cohort,
    PrefixCohort,
    SeriesCohort,
    UrlCohort,
    resolve_cohort,
)
from ..config import Config, ReadConfig
from ..errors import CohortError, HarvestError
from ..output import FORMAT_VERSION, PARTS, PLAN, Output
from ..output.documents import write_json
from ..store.protocol import Listed
from ..table.arrow import PLAN_ROW, SERIES_PLAN, partition_name, write_arrow
from ..table.parquet import ROWS_PER_FILE, ROWS_PER_LONG_FILE
from .estimate import Estimate, estimate_cohort, expected_instances, frames_cost, object_cost
from .listing import ListedSeries, ListingTask, list_prefix, plan_row, sampled
from .listing_tasks import SERIES_PER_TASK, Mapper, list_requests, list_series
from .sizing import expected_workers
from .stored import PLAN_FILE, Difference, Partition, Plan, asked

MOST_PARTITION_ROWS: Final = 2_000
LEAST_PARTITION_ROWS: Final = 64
PARTITIONS_PER_WORKER: Final = 4
SHOWN_DIFFERENCES: Final = 100


def dry_run(config: Config) -> Estimate:
    """Estimate a harvest without network, and without touching its output.

    Raises
    ------
    CohortError
        The cohort is not one of the index's series, or needs a table that is not cached.
    """
    cohort = resolve_cohort(config.cohort, config.source, offline=True)
    if not isinstance(cohort, SeriesCohort):
        raise CohortError(
            "a dry run counts series of the index; this cohort must be listed: "
            "use `harvest plan` without --dry-run"
        )
    return estimate_cohort(cohort.totals(), list_requests(cohort.buckets()), config)


def make_plan(
    config: Config,
    output: Output,
    cohort: Cohort | None = None,
    mapper: Mapper[ListingTask, ListedSeries] = map,
    check: Callable[[], None] = lambda: None,
) -> Plan:
    """List the cohort and store its plan.

    Parameters
    ----------
    config
        Of the harvest.
    output
        Where the plan is stored.
    cohort
        If it was resolved already.
    mapper
        Where to list: here, or on workers.
    check
        Called before each write; raises `OutputBusy` where the output is no longer ours.

    Raises
    ------
    HarvestError
        The cohort is empty, or its buckets cannot be listed; nothing is stored.
    """
    cohort = cohort or resolve_cohort(config.cohort, config.source)
    check()
    output.remove(PARTS)
    output.remove(PLAN)
    planner = _Planner(output, check, config.read)
    try:
        _fill(planner, cohort, config, mapper)
        check()
    except BaseException:
        check()  # what is there may be another harvest's by now: then this raises again
        output.remove(PLAN)
        raise
    plan = planner.finish(config)
    write_json(output, PLAN_FILE, asdict(plan))
    return plan


def _partition_rows(instances: int, config: Config) -> int:
    """Choose the rows of a partition: a few for each worker, none too long, or as configured."""
    if config.limits.partition_rows is not None:
        return config.limits.partition_rows
    share = instances // (PARTITIONS_PER_WORKER * expected_workers(config.cluster))
    return max(LEAST_PARTITION_ROWS, min(MOST_PARTITION_ROWS, share))


def _fill(
    planner: _Planner,
    cohort: Cohort,
    config: Config,
    mapper: Mapper[ListingTask, ListedSeries],
) -> None:
    """List the cohort into partitions; raises `HarvestError` where it has no objects."""
    if isinstance(cohort, SeriesCohort):
        expected = expected_instances(cohort.totals(), config.cohort.sample)
        planner.partition_cost = _partition_rows(expected, config)
        planner.add_series(cohort.schema(), list_series(cohort, config, mapper))
        hint = (
            "its series were found in the index, but nothing under their prefixes; "
            "check source.endpoint and source.cloud"
        )
    else:
        _add_objects(planner, cohort, config)
        hint = "check cohort.prefix or cohort.manifest"
    planner.cut()
    if not planner.rows:
        raise HarvestError(f"the cohort has no objects: {hint}")


def _add_objects(planner: _Planner, cohort: UrlCohort | PrefixCohort, config: Config) -> None:
    """Add single objects, or those below a prefix, with what the index knows of them."""
    planner.add_series(cohort.known.schema(), _unlisted(cohort.known))
    if isinstance(cohort, UrlCohort):
        rows = [plan_row(url) for url in cohort.urls]
    else:
        rows = _prefix_rows(cohort, config)
    planner.partition_cost = _partition_rows(len(rows), config)
    batch = pa.RecordBatch.from_pylist(rows, schema=PLAN_ROW)
    sizes = batch.column("size").to_pylist()
    costs = [1.0 + frames_cost(size, config.read.frames) for size in sizes]
    planner.add_rows(batch, [(len(list(group)), cost) for cost, group in groupby(costs)])


def _prefix_rows(cohort: PrefixCohort, config: Config) -> list[dict[str, object]]:
    entries = list_prefix(cohort.prefix, config.source)
    if config.cohort.sample is not None:
        folders: dict[str, list[Listed]] = {}
        for entry in entries:
            folders.setdefault(entry.key.rpartition("/")[0], []).append(entry)
        entries = [e for found in folders.values() for e in sampled(found, config.cohort.sample)]
    rows = [plan_row(cohort.prefix.with_key(entry.key), entry) for entry in entries]
    return sorted(rows, key=lambda row: str(row["url"]))


def _unlisted(known: SeriesCohort) -> Iterator[tuple[pa.RecordBatch, None]]:
    # a cohort without any would cost a look through the whole index
    for batch, _ in known.batches(SERIES_PER_TASK) if known.count() else ():
        yield batch, None


def _costs(batch: pa.RecordBatch, read: ReadConfig) -> list[float]:
    """Weigh an object of each series of the index."""
    names = batch.column("Modality").to_pylist()
    costs = [object_cost(name, whole=read.with_json) for name in names]
    if not read.with_frames:
        return costs
    columns = ("TransferSyntaxUID", "series_size_MB", "instanceCount")
    known = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    for number, (syntaxes, megabytes, count) in enumerate(known):
        if syntaxes is None or re.search(COMPRESSED, syntaxes):
            size = 1e6 * (megabytes or 0) / (count or 1)
            costs[number] += frames_cost(size, read.frames)
    return costs


class _Planner:
    """Takes rows in URL order, cuts partitions and stores them."""

    def __init__(self, output: Output, check: Callable[[], None], read: ReadConfig) -> None:
        self._output = output
        self._read = read
        long = read.with_json or read.with_frames
        self._rows_per_file = ROWS_PER_LONG_FILE if long else ROWS_PER_FILE
        self._check = check
        self.partition_cost = float(LEAST_PARTITION_ROWS)
        """At which a partition is cut; an object whose header fits the first range costs 1."""
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._cost = 0.0
        self._file_rows = 0
        self._digest = hashlib.sha256()
        self._partitions: list[Partition] = []
        self._differences: list[Difference] = []
        self._missing = 0
        self._surplus = 0
        self._series = 0
        self._bytes = 0
        self.rows = 0

    def add_series(
        self,
        schema: pa.Schema,
        listings: Iterable[tuple[pa.RecordBatch, ListedSeries | None]],
    ) -> None:
        """Store the index's rows of the cohort's series; add the rows listed for them."""
        stored = schema.append(pa.field("instances_listed", pa.int64()))

        def batches() -> Iterator[pa.RecordBatch]:
            for batch, listed in listings:
                self._series += batch.num_rows
                counts = listed.listed if listed else [None] * batch.num_rows
                if listed:
                    self._compare(batch, listed)
                    costs = _costs(batch, self._read)
                    self.add_rows(listed.rows, list(zip(listed.planned, costs, strict=True)))
                column = pa.array(counts, pa.int64())
                yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=stored)

        write_arrow(self._output, SERIES_PLAN, batches(), stored)

    def _compare(self, batch: pa.RecordBatch, listed: ListedSeries) -> None:
        expected = batch.column("instanceCount").to_pylist()
        uuids = batch.column("crdc_series_uuid").to_pylist()
        for uuid, count, found in zip(uuids, expected, listed.listed, strict=True):
            if count is None or count == found:  # the index has no counts of prior versions
                continue
            self._missing += max(0, count - found)
            self._surplus += max(0, found - count)
            if len(self._differences) < SHOWN_DIFFERENCES:
                self._differences.append(Difference(uuid, count, found))

    def add_rows(self, batch: pa.RecordBatch, runs: Sequence[tuple[int, float]]) -> None:
        """Add rows of the plan.

        Parameters
        ----------
        batch
            Of `PLAN_ROW`.
        runs
            (rows, cost of each) of the series that the batch consists of, in its order.
        """
        columns = [batch.column(name).to_pylist() for name in ("url", "size", "etag")]
        lines = [f"{url}\t{size}\t{etag}\n" for url, size, etag in zip(*columns, strict=True)]
        self._digest.update("".join(lines).encode())
        self._bytes += sum(size or 0 for size in columns[1])
        start = 0
        for rows, cost in runs:
            left = rows
            while left:
                room = max(1, int((self.partition_cost - self._cost) / cost))
                taken = min(left, room, self._rows_per_file - self._file_rows)
                self._take(batch.slice(start, taken), taken * cost)
                start += taken
                left -= taken

    def _take(self, rows: pa.RecordBatch, cost: float) -> None:
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._file_rows += rows.num_rows
        self._cost += cost
        if self._cost >= self.partition_cost or self._file_rows == self._rows_per_file:
            self.cut()

    def cut(self) -> None:
        """Store the rows that wait as a partition."""
        if not self._waiting_rows:
            return
        number = len(self._partitions)
        self._check()
        write_arrow(self._output, partition_name(number), self._waiting, PLAN_ROW)
        # every file but the last is full, so that this is the number of the current one
        file = self.rows // self._rows_per_file
        self._partitions.append(Partition(number, self._waiting_rows, file))
        self.rows += self._waiting_rows
        self._waiting, self._waiting_rows, self._cost = [], 0, 0.0
        self._file_rows %= self._rows_per_file

    def finish(self, config: Config) -> Plan:
        """Return the plan; all rows were cut into partitions."""
        what = asked(config)
        made = [FORMAT_VERSION, what["columns"], what["header"], what["frames"]]
        self._digest.update(json.dumps(made).encode())
        return Plan(
            identity=self._digest.hexdigest(),
            asked=what,
            series=self._series,
            rows=self.rows,
            bytes=self._bytes,
            partitions=tuple(self._partitions),
            missing=self._missing,
            surplus=self._surplus,
            differences=tuple(self._differences),
        )
