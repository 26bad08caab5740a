"""Reading one partition on one worker: threads, blocking ranged requests, rows.

`read_partition` is what goes to a worker. It is idempotent: it reads its part of the plan from
the output, reads the objects, and writes its part of the result under a fixed name.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from .config import Config, OutputConfig, SourceConfig
from .errors import OutputError
from .object_reader import ObjectReader
from .outage import Outage
from .output import Output, open_output
from .patience import RateLimit
from .plan import attributes_of
from .rows import Planned, Row, Traffic
from .schema import instances_schema
from .table import Part, partition_name, read_plan_rows, table_of, write_part
from .tags import Attribute
from .walk import HeaderLimits


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Rows of one partition to read; small, since it travels to a worker."""

    part: Part
    """What to read, and where the result goes."""
    output: OutputConfig
    """A folder's path is absolute: workers have their own working directory."""
    source: SourceConfig
    attributes: tuple[Attribute, ...]
    limits: HeaderLimits
    object_seconds: float
    retries: int
    threads: int
    requests_per_second: float | None
    """Of this worker; None for no limit."""


@dataclass(frozen=True, slots=True)
class PartitionRead:
    """What came of a partition; small, since it travels back."""

    partition: int
    rows: int
    ok: int
    errors: dict[str, int]
    bytes_read: int
    requests: int
    seconds: float
    """Wall time on the worker."""


def read_task(config: Config, output: Output, part: Part) -> ReadTask:
    """Build the task of a part; those of others differ by the part and the rate of requests.

    Parameters
    ----------
    config
        Of the harvest.
    output
        That holds the plan.
    part
        What to read.
    """
    limits = config.limits
    return ReadTask(
        part=part,
        output=config.output.model_copy(update={"url": output.location}),
        source=config.source,
        attributes=attributes_of(config),
        limits=HeaderLimits(header_bytes=int(limits.header_bytes)),
        object_seconds=limits.object_seconds,
        retries=limits.retries,
        threads=limits.concurrency,
        requests_per_second=None,
    )


def read_partition(task: ReadTask) -> PartitionRead:
    """Read objects of one partition and write their part of the ``instances`` table.

    Raises
    ------
    StoreUnavailable
        Object after object was unavailable: the store is, and no row is written.
    OutputError
        The plan is not where the worker looks for it, or the part cannot be written.
    """
    begun = time.monotonic()
    output = open_output(task.output)
    part = task.part
    if not output.exists(partition_name(part.partition)):
        raise OutputError(
            f"a worker does not find the plan in {task.output.url}: the output must be a folder "
            "that all workers share, or a bucket"
        )
    planned = read_plan_rows(output, part.partition)
    wanted = planned if part.rows is None else [planned[number] for number in part.rows]
    rows = read_objects(wanted, task)
    write_part(output, part, table_of(rows, instances_schema(task.attributes)))
    return partition_read(part.partition, rows, time.monotonic() - begun)


def partition_read(partition: int, rows: Sequence[Row], seconds: float) -> PartitionRead:
    """Sum up the rows of a partition."""
    errors = Counter(row["error"] for row in rows if row["status"] == "error")
    return PartitionRead(
        partition=partition,
        rows=len(rows),
        ok=len(rows) - errors.total(),
        errors=dict(errors),
        bytes_read=sum(row["bytes_read"] for row in rows),
        requests=sum(row["requests"] for row in rows),
        seconds=seconds,
    )


def read_objects(planned: Sequence[Planned], task: ReadTask) -> list[Row]:
    """Read objects with a pool of threads; rows are in the order of `planned`."""
    reader = ObjectReader(
        task.source,
        task.attributes,
        task.limits,
        retries=task.retries,
        object_seconds=task.object_seconds,
        rate=RateLimit(task.requests_per_second),
    )
    outage = Outage(task.source, task.retries, task.object_seconds)
    threads = _threads(task.threads, os.getpid())
    rows: dict[int, Row] = {}

    def read(numbers: Sequence[int], spent: Iterable[Traffic]) -> list[int]:
        """Read some objects; return those that do not answer although the store does."""
        asked = [planned[number] for number in numbers]
        found = cast("Generator[Row, None, None]", threads.map(reader.row, asked, spent))
        # closing ends what has not begun when the store turns out to be away
        with closing(found):
            for number, row in zip(numbers, found, strict=True):
                rows[number] = row
                outage.seen(number, row)
        return outage.end()

    everything = range(len(planned))
    silent = read(everything, [Traffic() for _ in everything])
    # the store may have been away, however shortly; what is silent twice stays so
    read(silent, [_traffic(rows[number]) for number in silent])
    return [rows[number] for number in everything]


def _traffic(row: Row) -> Traffic:
    return Traffic(bytes_read=row["bytes_read"], requests=row["requests"])


@lru_cache(maxsize=1)
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Return this worker's threads, which all its partitions share."""
    return ThreadPoolExecutor(count, thread_name_prefix="harvest")
