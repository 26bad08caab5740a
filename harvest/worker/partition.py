"""Reading one partition on one worker: threads, blocking ranged requests, rows.

`read_partition` is what goes to a worker. It is idempotent: it reads its part of the plan from
the output, reads the objects, and writes its part of the result under a fixed name.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

import pyarrow as pa

from ..config import Config, FramesWanted, OutputConfig, SourceConfig
from ..dicom.first_ranges import FirstRanges
from ..dicom.tags import Attribute, Wanted
from ..dicom.walk import HeaderLimits
from ..errors import OutputError
from ..output import Output, open_output
from ..store.fetch import Traffic
from ..store.patience import RateLimit, process_retries
from ..table.arrow import partition_name, read_plan_rows
from ..table.parts import Part, table_of, write_part
from ..table.rows import Planned, Row
from ..table.schema import instances_schema
from .object_reader import ObjectReader
from .outage import Outage
from .reading import Reading
from .turns import Pace, take_turns

COLLECTION_OBJECTS: Final = 200_000
"""New containers between two looks for garbage; a row takes some twenty while it is made."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Rows of one partition to read; small, since it travels to a worker."""

    part: Part
    """What to read, and where the result goes."""
    output: OutputConfig
    """A folder's path is absolute: workers have their own working directory."""
    source: SourceConfig
    wanted: Wanted
    header: bool
    """Whether the whole header becomes a column."""
    frames: FramesWanted
    limits: HeaderLimits
    object_seconds: float
    retries: int
    threads: int
    requests_per_second: float | None
    """Of this worker; None for no limit."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What reading has come to; of several partitions it adds up."""

    ok: int = 0
    """Rows without an error."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Rows by kind of error."""
    requests: int = 0
    """For objects; listings are not among them."""
    bytes_read: int = 0
    retries: int = 0
    """Requests of the workers' processes that were made again after a fault."""
    cpu_seconds: float = 0.0
    """Of the workers' processes; partitions that are read side by side share what theirs takes."""
    worker_seconds: float = 0.0
    """Wall time of the workers' threads."""
    peak_bytes: int = 0
    """Most memory that one worker's process has had so far, resident."""

    def __add__(self, other: Totals) -> Totals:
        """Add up two, whatever else they tell."""
        return Totals(
            ok=self.ok + other.ok,
            errors=dict(Counter(self.errors) + Counter(other.errors)),
            requests=self.requests + other.requests,
            bytes_read=self.bytes_read + other.bytes_read,
            retries=self.retries + other.retries,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            worker_seconds=self.worker_seconds + other.worker_seconds,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


@dataclass(frozen=True, kw_only=True)
class PartitionRead(Totals):
    """What came of a partition; small, since it travels back."""

    partition: int
    rows: int
    host: str = ""
    """Of the worker."""


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
        wanted=config.read.wanted,
        header=config.read.with_json,
        frames=config.read.frames,
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
    with _PROCESS:
        return _read_partition(task)


def _read_partition(task: ReadTask) -> PartitionRead:
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
    rows, attributes = read_objects(wanted, task)
    frames = task.frames != "none"
    table = table_of(rows, instances_schema(attributes, header=task.header, frames=frames))
    write_part(output, part, table)
    cpu_seconds, retries = _PROCESS.spent()
    return replace(
        partition_read(part.partition, table, time.monotonic() - begun),
        cpu_seconds=cpu_seconds,
        retries=retries,
        peak_bytes=_peak_bytes(),
        host=socket.gethostname(),
    )


def _peak_bytes() -> int:
    """Return the most memory that this process has had, resident."""
    with suppress(OSError):
        # what the system's own call tells a child is its parent's as well, from before it began
        told = Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2]
        if told:
            return int(told.split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, where there is no /proc


class _Process:
    """What the partitions share that are read in this process at once: its garbage, and its sums.

    Python looks for garbage less often meanwhile: rows pile up, and no cycles are among them.
    Otherwise a fifth of a worker's time goes into looking at all that Dask has in memory.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._partitions = 0
        self._usual = gc.get_threshold()
        self._told = (0.0, 0)

    def __enter__(self) -> None:
        with self._lock:
            if not self._partitions:
                self._usual = gc.get_threshold()
                gc.set_threshold(COLLECTION_OBJECTS, *self._usual[1:])
                self._told = time.process_time(), process_retries()
            self._partitions += 1

    def spent(self) -> tuple[float, int]:
        """Return CPU seconds and retries of the process since a partition was last told them."""
        with self._lock:
            before, self._told = self._told, (time.process_time(), process_retries())
            return self._told[0] - before[0], self._told[1] - before[1]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._partitions -= 1
            if not self._partitions:
                gc.set_threshold(*self._usual)


_PROCESS: Final = _Process()


def partition_read(partition: int, table: pa.Table, seconds: float) -> PartitionRead:
    """Sum up the rows of a partition."""
    errors = Counter(table["error"].drop_null().to_pylist())
    return PartitionRead(
        partition=partition,
        rows=table.num_rows,
        ok=table.num_rows - errors.total(),
        errors=dict(errors),
        bytes_read=sum(table["bytes_read"].to_pylist()),
        requests=sum(table["requests"].to_pylist()),
        worker_seconds=seconds,
    )


def read_objects(
    planned: Sequence[Planned], task: ReadTask
) -> tuple[list[Row], tuple[Attribute, ...]]:
    """Read objects with a pool of threads.

    Returns
    -------
    tuple of list of Row and tuple of Attribute
        The rows, in the order of `planned`; and the attributes of their columns, of which some
        may be known only now.
    """
    reader = ObjectReader(
        task.source,
        task.wanted,
        task.limits,
        retries=task.retries,
        object_seconds=task.object_seconds,
        rate=RateLimit(task.requests_per_second),
        ranges=_first_ranges(task.output.url, os.getpid()),
        whole=task.header,
        frames=task.frames,
    )
    outage = Outage(task.source, task.retries, task.object_seconds)
    rows: dict[int, Row] = {}

    def done(number: int, row: Row) -> None:
        rows[number] = row
        outage.seen(number, row)

    def read(numbers: Iterable[int]) -> None:
        # nobody but the turns holds them: what one has read is let go when it is done
        jobs = (
            _Job(number, Reading(reader, planned[number], _traffic(rows.get(number))), done)
            for number in numbers
        )
        take_turns(jobs, *_threads(task.threads, os.getpid()))

    for wave in _waves(planned, reader.ranges):
        read(wave)
    # the store may have been away, however shortly; what is silent twice stays so
    read(outage.end())
    outage.end()
    return [rows[number] for number in range(len(planned))], reader.converter.attributes()


@dataclass(slots=True)
class _Job:
    """The reading of one object, which ends in its row."""

    number: int
    reading: Reading
    done: Callable[[int, Row], None]

    def wait(self) -> None:
        """Wait for a request."""
        self.reading.wait()

    def work(self) -> bool:
        """Work on its answer."""
        if not self.reading.work():
            return False
        self.done(self.number, self.reading.row())
        return True


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


def _traffic(row: Row | None) -> Traffic:
    if row is None:
        return Traffic()
    return Traffic(bytes_read=row["bytes_read"], requests=row["requests"])


@lru_cache(maxsize=4)
def _first_ranges(harvest: str, process: int) -> FirstRanges:
    """Return what this worker has learnt in a harvest, which serves all partitions of it."""
    return FirstRanges()


@lru_cache(maxsize=1)
def _threads(count: int, process: int) -> tuple[ThreadPoolExecutor, Pace]:
    """Return this worker's threads, which all its partitions share, and how many pay."""
    return ThreadPoolExecutor(count, thread_name_prefix="harvest"), Pace(count)
