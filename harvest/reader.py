"""Reading one partition on one worker: threads, blocking ranged requests, rows.

`read_partition` is what goes to a worker. It is idempotent: it reads its part of the plan from
the output, reads the objects, and writes its part of the result under a fixed name.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .config import Config, OutputConfig, SourceConfig
from .errors import OutputError
from .object_reader import ObjectReader
from .outage import Outage
from .output import Output, open_output
from .patience import RateLimit
from .plan import attributes_of
from .ranges import FirstRanges
from .rows import Planned, Row, Traffic
from .schema import instances_schema
from .table import Part, partition_name, read_plan_rows, table_of, write_part
from .tags import Attribute
from .walk import HeaderLimits

FIRST_THREADS: Final = 4
PULSE_SECONDS: Final = 0.02
"""After so long a worker that left its CPU idle gets twice the threads."""
BUSY: Final = 0.8
"""Of a core: then more threads would only wait for each other."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Rows of one partition to read; small, since it travels to a worker."""

    part: Part
    """What to read, and where the result goes."""
    output: OutputConfig
    """A folder's path is absolute: workers have their own working directory."""
    source: SourceConfig
    attributes: tuple[Attribute, ...]
    header: bool
    """Whether the whole header becomes a column."""
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
        header=config.read.with_json,
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
    schema = instances_schema(task.attributes, header=task.header)
    write_part(output, part, table_of(rows, schema))
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
    ranges = _first_ranges(os.getpid())
    reader = ObjectReader(
        task.source,
        task.attributes,
        task.limits,
        retries=task.retries,
        object_seconds=task.object_seconds,
        rate=RateLimit(task.requests_per_second),
        ranges=ranges,
        everything=task.header,
    )
    outage = Outage(task.source, task.retries, task.object_seconds)
    rows: dict[int, Row] = {}

    def read(number: int) -> None:
        row = reader.row(planned[number], _traffic(rows.get(number)))
        rows[number] = row
        outage.seen(number, row)

    for wave in _waves(planned, ranges):
        _for_each(read, wave, task.threads)
    # the store may have been away, however shortly; what is silent twice stays so
    _for_each(read, outage.end(), task.threads)
    outage.end()
    return [rows[number] for number in range(len(planned))]


def _waves(planned: Sequence[Planned], ranges: FirstRanges) -> tuple[list[int], list[int]]:
    """Order objects so that what is learnt of a few serves all others.

    One object of whatever nothing is known of goes before all others: that costs one round trip,
    and saves the others a wrong first range. Then the first of each series, then the rest.
    """
    firsts: dict[str, int] = {}
    for number, each in enumerate(planned):
        firsts.setdefault(each.folder, number)
    scouts: dict[str, int] = {}
    if len(firsts) < len(planned):
        for folder, number in firsts.items():
            if not ranges.knows(planned[number].subject):
                scouts.setdefault(planned[number].kind or folder, number)
    first = list(scouts.values())
    begun = set(first)
    second = [number for number in firsts.values() if number not in begun]
    begun.update(second)
    return first, second + [number for number in range(len(planned)) if number not in begun]


def _for_each(call: Callable[[int], None], numbers: Iterable[int], threads: int) -> None:
    """Call a function for each number, from up to so many threads; the first exception ends all.

    Threads take numbers as they are free: a future for each would cost half a request. There are
    few at first, since they cost each other time, and more as long as they leave the CPU idle.
    """
    waiting = deque(numbers)

    def work() -> None:
        try:
            while waiting:
                try:
                    number = waiting.popleft()
                except IndexError:  # another thread took the last
                    return
                call(number)
        finally:
            waiting.clear()

    pool = _threads(threads, os.getpid())
    futures = [pool.submit(work) for _ in range(min(FIRST_THREADS, threads, len(waiting)))]
    while len(futures) < threads:
        cpu, clock = time.process_time(), time.monotonic()
        if not wait(futures, PULSE_SECONDS).not_done:
            break
        idle = time.process_time() - cpu < BUSY * (time.monotonic() - clock)
        more = min(len(futures), threads - len(futures), len(waiting)) if idle else 0
        futures += [pool.submit(work) for _ in range(more)]
    for future in futures:
        future.result()


def _traffic(row: Row | None) -> Traffic:
    if row is None:
        return Traffic()
    return Traffic(bytes_read=row["bytes_read"], requests=row["requests"])


@lru_cache(maxsize=1)
def _first_ranges(process: int) -> FirstRanges:
    """Return what this worker has learnt, which serves all its partitions."""
    return FirstRanges()


@lru_cache(maxsize=1)
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Return this worker's threads, which all its partitions share."""
    return ThreadPoolExecutor(count, thread_name_prefix="harvest")
