"""The plan: one row per instance, cut into partitions, with an identity.

A plan is stored in the output as it is made and never listed again. It streams: neither the
rows nor the series of a large cohort are ever all in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import groupby
from typing import Any, Final, TypeVar

import pyarrow as pa

from .cohort import Cohort, PrefixCohort, SeriesCohort, UrlCohort, resolve_cohort
from .config import Config
from .errors import HarvestError, OutputError
from .estimate import estimate_cohort, object_cost
from .listing import (
    ListedSeries,
    ListingTask,
    SeriesPrefix,
    list_prefix,
    list_task,
    plan_row,
    sampled,
)
from .output import MANIFEST, LocalOutput
from .profile import resolve_attributes
from .schema import FORMAT_VERSION
from .table import (
    PLAN,
    PLAN_ROW,
    ROWS_PER_FILE,
    SERIES_PLAN,
    partition_name,
    read_json,
    write_arrow,
    write_json,
)
from .tags import Attribute

PLAN_FILE: Final = f"{PLAN}/plan.json"
SERIES_PER_TASK: Final = 500
MOST_PARTITION_ROWS: Final = 2_000
LEAST_PARTITION_ROWS: Final = 64
PARTITIONS_PER_WORKER: Final = 4
LEAST_SERIES_FOR_SHARDS: Final = 10_000
SHARE_FOR_SHARDS: Final = 0.5
"""Listing a whole bucket costs less than its series' prefixes from about this share on."""
SHOWN_DIFFERENCES: Final = 100

Task = TypeVar("Task")
Result = TypeVar("Result")
Mapper = Callable[[Callable[[Task], Result], Iterable[Task]], Iterator[Result]]
"""Applies a function to tasks, here or on workers; results come in the order of the tasks."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Consecutive rows of the plan, read by one task."""

    number: int
    rows: int
    file: int
    """Number of the final file that holds its rows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A series whose objects are not as many as the index says."""

    crdc_series_uuid: str
    expected: int
    listed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will read; stored in the output."""

    identity: str
    """Hash of the rows and of everything that decides what the tables hold."""
    asked: dict[str, Any]
    """What of the config makes the plan: cohort, cloud, profile, tags, header, frames."""
    series: int
    rows: int
    bytes: int
    """Of the objects, where they were listed."""
    partitions: tuple[Partition, ...]
    missing: int = 0
    """Objects that the index counts and the listing lacks."""
    surplus: int = 0
    """Objects that the listing has beyond the index's counts."""
    differences: tuple[Difference, ...] = field(default=())
    """The first series with missing or surplus objects."""
    format_version: int = FORMAT_VERSION
    harvest_version: str = version("harvest")


def asked(config: Config) -> dict[str, Any]:
    """Return what of a config makes a plan; two configs that differ elsewhere share it."""
    cohort = config.cohort.model_dump(exclude_none=True)
    return {
        "cohort": cohort,
        "cloud": config.source.cloud,
        "profile": list(config.read.profiles),
        "tags": list(config.read.tags),
        "header": config.read.header,
        "frames": config.read.frames,
    }


def attributes_of(config: Config) -> tuple[Attribute, ...]:
    """Resolve the attributes that become columns; raises `ConfigError`."""
    return resolve_attributes(config.read.profiles, config.read.tags)


def load_plan(output: LocalOutput) -> Plan | None:
    """Return the stored plan, None if there is none."""
    if not output.exists(PLAN_FILE):
        return None
    content = read_json(output, PLAN_FILE)
    return Plan(
        **{
            **content,
            "partitions": tuple(Partition(**entry) for entry in content["partitions"]),
            "differences": tuple(Difference(**entry) for entry in content["differences"]),
        }
    )


def check_output(output: LocalOutput, config: Config) -> Plan | None:
    """Return the stored plan if it is this config's, None if the output is still empty.

    Raises
    ------
    OutputError
        The output holds something else, another plan, or another format.
    """
    plan = load_plan(output)
    if plan is None:
        strangers = output.strangers()
        if strangers or output.exists(MANIFEST):
            raise OutputError(
                f"output {output.folder} holds something else "
                f"({', '.join(strangers[:3]) or MANIFEST}): name an empty folder"
            )
        return None
    if plan.format_version != FORMAT_VERSION:
        raise OutputError(
            f"output {output.folder} has format {plan.format_version} of harvest "
            f"{plan.harvest_version}, this is format {FORMAT_VERSION}: name another output"
        )
    now = asked(config)
    differing = [name for name in now if now[name] != plan.asked.get(name)]
    if differing:
        changes = "; ".join(f"{n}: {plan.asked.get(n)!r}, now {now[n]!r}" for n in differing)
        raise OutputError(
            f"output {output.folder} belongs to another plan ({changes}): "
            "name another output, or restore the config"
        )
    return plan


def make_plan(
    config: Config,
    output: LocalOutput,
    cohort: Cohort | None = None,
    mapper: Mapper[ListingTask, ListedSeries] = map,
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

    Raises
    ------
    HarvestError
        The cohort is empty, or its buckets cannot be listed; nothing is stored.
    """
    attributes = attributes_of(config)
    cohort = cohort or resolve_cohort(config.cohort, config.source)
    output.remove(PLAN)
    planner = _Planner(output, _partition_rows(config, cohort))
    try:
        _list_cohort(planner, cohort, config, mapper)
        planner.cut()
        if not planner.rows:
            raise HarvestError(
                "the cohort has no objects: its series were found in the index, but nothing "
                "under their prefixes; check source.endpoint and source.cloud"
                if isinstance(cohort, SeriesCohort)
                else "the cohort has no objects: check cohort.prefix or cohort.manifest"
            )
    except BaseException:
        output.remove(PLAN)
        raise
    plan = planner.finish(config, attributes)
    write_json(output, PLAN_FILE, asdict(plan))
    return plan


def _partition_rows(config: Config, cohort: Cohort) -> int:
    """Choose the rows of a partition: a few for each worker, none too long."""
    if isinstance(cohort, SeriesCohort):
        expected = estimate_cohort(cohort.totals(), config).instances
    else:
        expected = len(cohort.urls) if isinstance(cohort, UrlCohort) else 0
    share = expected // (PARTITIONS_PER_WORKER * (config.cluster.workers or 8))
    return max(LEAST_PARTITION_ROWS, min(MOST_PARTITION_ROWS, share))


def _list_cohort(
    planner: _Planner,
    cohort: Cohort,
    config: Config,
    mapper: Mapper[ListingTask, ListedSeries],
) -> None:
    if isinstance(cohort, SeriesCohort):
        planner.add_series(cohort.schema(), _listings(cohort, config, mapper))
        return
    planner.add_series(cohort.known.schema(), _unlisted(cohort.known))
    if isinstance(cohort, UrlCohort):
        rows = [plan_row(url) for url in cohort.urls]
    else:
        rows = _prefix_rows(cohort, config)
    planner.add_rows(pa.RecordBatch.from_pylist(rows, schema=PLAN_ROW), [(len(rows), 1.0)])


def _listings(
    cohort: SeriesCohort, config: Config, mapper: Mapper[ListingTask, ListedSeries]
) -> Iterator[tuple[pa.RecordBatch, ListedSeries]]:
    """List the series of a cohort; yield the index's rows with what was found of them."""
    in_flight: deque[pa.RecordBatch] = deque()

    def tasks() -> Iterator[ListingTask]:
        for batch, task in _listing_tasks(cohort, config):
            in_flight.append(batch)
            yield task

    for listed in mapper(list_task, tasks()):
        yield in_flight.popleft(), listed


def _unlisted(known: SeriesCohort) -> Iterator[tuple[pa.RecordBatch, None]]:
    for batch in known.batches(SERIES_PER_TASK):
        yield batch, None


def _listing_tasks(
    cohort: SeriesCohort, config: Config
) -> Iterator[tuple[pa.RecordBatch, ListingTask]]:
    shares = cohort.share_of_buckets()
    by_shard = {
        bucket
        for bucket, (picked, current) in shares.items()
        if current >= LEAST_SERIES_FOR_SHARDS and picked > SHARE_FOR_SHARDS * current
    }
    for batch in cohort.batches(SERIES_PER_TASK):
        buckets, uuids, uids = (
            batch.column(name).to_pylist()
            for name in ("aws_bucket", "crdc_series_uuid", "SeriesInstanceUID")
        )
        series = [
            SeriesPrefix(cohort.url(bucket, uuid), uuid, uid)
            for bucket, uuid, uid in zip(buckets, uuids, uids, strict=True)
        ]
        start = 0
        for (_, shard), group in groupby(
            zip(buckets, uuids, strict=True),
            key=lambda pair: (pair[0], pair[1][:2] if pair[0] in by_shard else None),
        ):
            stop = start + len(list(group))
            task = ListingTask(
                tuple(series[start:stop]), config.source, config.cohort.sample, shard
            )
            yield batch.slice(start, stop - start), task
            start = stop


def _prefix_rows(cohort: PrefixCohort, config: Config) -> list[dict[str, object]]:
    entries = list_prefix(cohort.prefix, config.source)
    if config.cohort.sample is not None:
        folders: dict[str, list[Any]] = {}
        for entry in entries:
            folders.setdefault(entry.key.rpartition("/")[0], []).append(entry)
        entries = [e for found in folders.values() for e in sampled(found, config.cohort.sample)]
    rows = [plan_row(cohort.prefix.with_key(entry.key), entry) for entry in entries]
    return sorted(rows, key=lambda row: str(row["url"]))


class _Planner:
    """Takes rows in URL order, cuts partitions and stores them."""

    def __init__(self, output: LocalOutput, partition_rows: int) -> None:
        self._output = output
        self._partition_cost = float(partition_rows)
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
                    costs = [object_cost(name) for name in batch.column("Modality").to_pylist()]
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
        for url, size, etag in zip(
            *(batch.column(name).to_pylist() for name in ("url", "size", "etag")), strict=True
        ):
            self._digest.update(f"{url}\t{size}\t{etag}\n".encode())
        self._bytes += sum(size or 0 for size in batch.column("size").to_pylist())
        start = 0
        for rows, cost in runs:
            left = rows
            while left:
                room = max(1, int((self._partition_cost - self._cost) / cost))
                taken = min(left, room, ROWS_PER_FILE - self._file_rows)
                self._take(batch.slice(start, taken), taken * cost)
                start += taken
                left -= taken

    def _take(self, rows: pa.RecordBatch, cost: float) -> None:
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._file_rows += rows.num_rows
        self._cost += cost
        if self._cost >= self._partition_cost or self._file_rows == ROWS_PER_FILE:
            self.cut()

    def cut(self) -> None:
        """Store the rows that wait as a partition."""
        if not self._waiting_rows:
            return
        number = len(self._partitions)
        write_arrow(self._output, partition_name(number), self._waiting, PLAN_ROW)
        # every file but the last is full, so that this is the number of the current one
        self._partitions.append(Partition(number, self._waiting_rows, self.rows // ROWS_PER_FILE))
        self.rows += self._waiting_rows
        self._waiting, self._waiting_rows, self._cost = [], 0, 0.0
        self._file_rows %= ROWS_PER_FILE

    def finish(self, config: Config, attributes: Sequence[Attribute]) -> Plan:
        """Return the plan; all rows were cut into partitions."""
        what = [FORMAT_VERSION, config.read.header, config.read.frames, repr(attributes)]
        self._digest.update(json.dumps(what).encode())
        return Plan(
            identity=self._digest.hexdigest(),
            asked=asked(config),
            series=self._series,
            rows=self.rows,
            bytes=self._bytes,
            partitions=tuple(self._partitions),
            missing=self._missing,
            surplus=self._surplus,
            differences=tuple(self._differences),
        )
