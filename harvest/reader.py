"""Reading one partition on one worker: threads, blocking ranged requests, rows.

`read_partition` is what goes to a worker. It is idempotent: it reads its part of the plan from
the output, reads the objects, and writes its part of the result under a fixed name.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from .config import Config, SourceConfig
from .elements import Selection
from .errors import ErrorKind, HarvestError, ObjectError, OutputError, StoreUnavailable
from .header import Header, read_header
from .offsets import Pixels, locate_pixels
from .output import LocalOutput, open_output
from .patience import Patience, RateLimit
from .plan import Plan, attributes_of
from .rows import Planned, Row, Traffic, error_row, number_of_frames, ok_row
from .schema import instances_schema
from .store import open_store
from .store.protocol import EmptyObject, ObjectStore, Ranged, Version, unquoted
from .store.urls import ObjectUrl, parse_url
from .table import part_name, partition_name, read_plan_rows, write_part
from .tags import Attribute
from .walk import HeaderLimits
from .window import FIRST_RANGE_BYTES, NeedMore, Window

PIXEL_AREA_BYTES: Final = 64
"""Read behind a header, for the first bytes of the pixel area."""
RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""
OUTAGE_OBJECTS: Final = 32
"""After so many objects without an answer in a row the store itself is asked."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """One partition to read; small, since it travels to a worker."""

    plan: str
    """Identity of the plan."""
    partition: int
    output: str
    """Absolute: workers have their own working directory."""
    source: SourceConfig
    attributes: tuple[Attribute, ...]
    limits: HeaderLimits
    object_seconds: float
    retries: int
    threads: int
    requests_per_second: float | None
    """Of this worker."""


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


def read_task(config: Config, plan: Plan, output: LocalOutput, workers: int) -> ReadTask:
    """Build the task of a plan's first partition; those of the others differ by its number.

    Parameters
    ----------
    config
        Of the harvest.
    plan
        Of the harvest.
    output
        That holds the plan.
    workers
        That share the rate of requests.
    """
    rate = config.limits.requests_per_second
    return ReadTask(
        plan=plan.identity,
        partition=0,
        output=str(output.folder),
        source=config.source,
        attributes=attributes_of(config),
        limits=HeaderLimits(header_bytes=int(config.limits.header_bytes)),
        object_seconds=config.limits.object_seconds,
        retries=config.limits.retries,
        threads=config.limits.concurrency,
        requests_per_second=rate / workers if rate else None,
    )


def read_partition(task: ReadTask) -> PartitionRead:
    """Read the objects of one partition and write its part of the ``instances`` table.

    Raises
    ------
    StoreUnavailable
        Object after object was unavailable: the store is, and no row is written.
    """
    begun = time.monotonic()
    output = open_output(task.output)
    if not output.exists(partition_name(task.partition)):
        raise OutputError(
            f"a worker does not find the plan in {task.output}: the output must be a folder that "
            "all workers share"
        )
    planned = read_plan_rows(output, task.partition)
    rows = read_objects(planned, task)
    name = part_name(task.plan, task.partition)
    write_part(output, name, rows, instances_schema(task.attributes))
    errors = Counter(row["error"] for row in rows if row["status"] == "error")
    return PartitionRead(
        partition=task.partition,
        rows=len(rows),
        ok=len(rows) - errors.total(),
        errors=dict(errors),
        bytes_read=sum(row["bytes_read"] for row in rows),
        requests=sum(row["requests"] for row in rows),
        seconds=time.monotonic() - begun,
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
    outage = _Outage(task)
    rows = []
    # closing ends what has not begun when the store turns out to be away
    results = _threads(task.threads, os.getpid()).map(reader.row, planned)
    with closing(cast("Generator[Row, None, None]", results)) as found:
        for entry, row in zip(planned, found, strict=True):
            outage.seen(entry, row)
            rows.append(row)
    outage.end()
    return rows


@lru_cache(maxsize=1)
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Return this worker's threads, which all its partitions share."""
    return ThreadPoolExecutor(count, thread_name_prefix="harvest")


class _Outage:
    """Tells objects that do not answer from a store that does not.

    After many silent objects in a row, and at the end of a partition that has any, the store is
    asked for a listing: if it answers, whatever it says, the rows stay as they are.

    Parameters
    ----------
    task
        Of the partition.
    """

    def __init__(self, task: ReadTask) -> None:
        self._task = task
        self._in_a_row = 0
        self._silent: Planned | None = None

    def seen(self, planned: Planned, row: Row) -> None:
        """Take note of a row.

        Raises
        ------
        StoreUnavailable
            It is one silent object too many, and the store does not answer.
        """
        if row.get("error") not in (ErrorKind.UNAVAILABLE, ErrorKind.TOO_SLOW):
            self._in_a_row = 0
            return
        self._silent = planned
        self._in_a_row += 1
        if self._in_a_row == OUTAGE_OBJECTS:
            self.end()
            self._in_a_row = 0

    def end(self) -> None:
        """Ask the store, if any object was silent; raises as `seen`."""
        if self._silent is not None:
            self._ask(parse_url(self._silent.url))

    def _ask(self, url: ObjectUrl) -> None:
        folder = url.key.rpartition("/")[0] + "/"
        store = open_store(url, self._task.source)
        patience = Patience(self._task.retries, self._task.object_seconds)
        try:
            patience.call(lambda: next(store.list(folder), None))
        except ObjectError as error:
            if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.TOO_SLOW):
                raise StoreUnavailable(
                    f"the store does not answer ({error.detail}): check the network and "
                    "source.endpoint, then run the same command again"
                ) from None


class ObjectReader:
    """Reads headers; safe to use from many threads.

    Parameters
    ----------
    source
        Where the objects lie.
    attributes
        What becomes columns.
    limits
        How much one object may ask.
    retries
        Tries again after a fault that may pass.
    object_seconds
        Longest time for one object.
    rate
        Limit on requests.
    everything
        Keep every element of a header, whatever the columns.
    """

    def __init__(
        self,
        source: SourceConfig,
        attributes: tuple[Attribute, ...],
        limits: HeaderLimits,
        *,
        retries: int,
        object_seconds: float,
        rate: RateLimit,
        everything: bool = False,
    ) -> None:
        self._source = source
        self._attributes = attributes
        self._selection = Selection(attributes, everything=everything)
        self._limits = limits
        self._retries = retries
        self._object_seconds = object_seconds
        self._rate = rate
        self._first_ranges: dict[str | None, int] = {}

    def row(self, planned: Planned) -> Row:
        """Read one object; whatever happens to it, its row."""
        traffic = Traffic()
        try:
            header, pixels = self.header(planned, traffic)
            return ok_row(planned, traffic, header, pixels, self._attributes)
        except ObjectError as error:
            return error_row(planned, traffic, error)
        except HarvestError:
            # of the whole run, such as credentials that are not there
            raise
        except Exception as error:
            # a bug of ours is one error row and not the night's run; the text of a foreign
            # exception may hold a tag value, so only its class is kept
            bug = ObjectError(ErrorKind.INTERNAL, f"{type(error).__name__} in harvest")
            return error_row(planned, traffic, bug)

    def header(self, planned: Planned, traffic: Traffic) -> tuple[Header, Pixels]:
        """Read the header of one object and find its pixels.

        Parameters
        ----------
        planned
            The object.
        traffic
            Is filled in.

        Raises
        ------
        ObjectError
            Whatever is wrong with it.
        """
        url = parse_url(planned.url)
        store = open_store(url, self._source)
        patience = Patience(self._retries, self._object_seconds)
        for restart in range(RESTARTS + 1):
            fetch = _Fetch(store, url.key, patience, self._rate, traffic)
            try:
                return self._walk(fetch, planned.crdc_series_uuid)
            except ObjectError as error:
                if error.kind != ErrorKind.CHANGED or restart == RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def _walk(self, fetch: _Fetch, series: str | None) -> tuple[Header, Pixels]:
        first = self._first_ranges.get(series, FIRST_RANGE_BYTES)
        window = fetch.begin(first)
        grown = first
        while True:
            found = read_header(window, self._selection, self._limits)
            if not isinstance(found, NeedMore):
                located = locate_pixels(window, found, number_of_frames(found))
                if isinstance(located, Pixels):
                    self._learn(series, found)
                    return found, located
                found = located
            grown *= 2
            fetch.more(window, found, min(grown, self._room(window, found)))

    def _room(self, window: Window, need: NeedMore) -> int:
        """Return how many bytes may still be read of an object."""
        room = self._limits.header_bytes - window.held
        if need.stop - need.start > room:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"the header is over {self._limits.header_bytes} bytes"
            )
        return room

    def _learn(self, series: str | None, header: Header) -> None:
        # without a series there is nothing to learn from
        if series is not None:
            longest = max(self._first_ranges.get(series, 0), header.end + PIXEL_AREA_BYTES)
            self._first_ranges[series] = min(longest, 2**20)


class _Fetch:
    """The requests for one state of one object."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        patience: Patience,
        rate: RateLimit,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._key = key
        self._patience = patience
        self._rate = rate
        self._traffic = traffic
        self._version: Version | None = None

    def begin(self, length: int) -> Window:
        """Read the object's first bytes."""
        try:
            answer = self._get(0, length)
        except EmptyObject:
            raise ObjectError(ErrorKind.NOT_DICOM, "the object has no bytes") from None
        self._version = answer.version
        self._traffic.size = answer.size
        self._traffic.etag = unquoted(answer.version.etag)
        window = Window(answer.size)
        window.add(0, answer.data)
        return window

    def more(self, window: Window, need: NeedMore, length: int) -> None:
        """Read what a walk needs, and up to `length` bytes if the object has them."""
        stop = min(max(need.stop, need.start + length), window.size)
        window.add(need.start, self._get(need.start, stop).data)

    def _get(self, start: int, stop: int) -> Ranged:
        def request() -> Ranged:
            self._rate.wait()
            self._traffic.requests += 1
            return self._store.get(self._key, start, stop, self._version)

        answer = self._patience.call(request)
        self._traffic.bytes_read += len(answer.data)
        return answer
