"""The tasks that list the series of a cohort: by their prefixes, or by shards of a bucket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

import pyarrow as pa

from ..cohort.resolve import BucketShare, SeriesCohort
from ..config import Config
from ..urls import ObjectUrl
from .listing import ListedSeries, ListingTask, SeriesPrefix, list_task

KEYS_PER_LIST: Final = 1_000
SERIES_PER_TASK: Final = 500
SHARD_CHARACTERS: Final = 2
"""Of a key: a bucket that is listed through is listed in 256 shards."""
LEAST_SERIES_FOR_SHARDS: Final = 10_000
SHARE_FOR_SHARDS: Final = 0.5
"""Listing a whole bucket costs less than its series' prefixes from about this share on."""

Task = TypeVar("Task")
Result = TypeVar("Result")
Mapper = Callable[[Callable[[Task], Result], Iterable[Task]], Iterator[Result]]
"""Applies a function to tasks, here or on workers; results come in the order of the tasks."""

Shard = tuple[str, str]
"""A bucket as the index names it, and the first characters of the keys."""
Piece = tuple[Shard | None, pa.RecordBatch, list[ObjectUrl]]
"""Series of one shard, or of no shard: rows of the index, and their prefixes."""


def list_requests(shares: Iterable[BucketShare]) -> int:
    """Return how many requests the listing of a cohort takes."""
    return sum(
        16**SHARD_CHARACTERS + share.current_instances // KEYS_PER_LIST
        if _is_listed_through(share)
        else share.series + share.instances // KEYS_PER_LIST
        for share in shares
    )


def _is_listed_through(share: BucketShare) -> bool:
    """Decide whether a bucket is listed through, and not by the cohort's series."""
    large = share.current_series >= LEAST_SERIES_FOR_SHARDS
    return large and share.series > SHARE_FOR_SHARDS * share.current_series


def list_series(
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


def _listing_tasks(
    cohort: SeriesCohort, config: Config
) -> Iterator[tuple[pa.RecordBatch, ListingTask]]:
    """Cut the series into tasks: some hundred prefixes each, or one shard of a bucket."""
    through = {share.aws_bucket for share in cohort.buckets() if _is_listed_through(share)}
    for pieces in _together(_pieces(cohort, through)):
        shard = pieces[0][0]
        batch = pa.Table.from_batches([batch for _, batch, _ in pieces]).combine_chunks()
        urls = [url for _, _, found in pieces for url in found]
        task = ListingTask(
            _series_prefixes(batch, urls),
            config.source,
            config.cohort.sample,
            shard[1] if shard else None,
        )
        yield batch.to_batches()[0], task


def _together(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Put the pieces of one shard together; those of no shard stay alone."""
    waiting: list[Piece] = []
    for piece in pieces:
        if waiting and (piece[0] is None or piece[0] != waiting[0][0]):
            yield waiting
            waiting = []
        waiting.append(piece)
    if waiting:
        yield waiting


def _pieces(cohort: SeriesCohort, through: set[str]) -> Iterator[Piece]:
    """Cut the cohort's batches where a bucket, or a shard of one, ends."""
    for batch, urls in cohort.batches(SERIES_PER_TASK):
        buckets = batch.column("aws_bucket").to_pylist()
        shards = [
            (bucket, url.key[:SHARD_CHARACTERS]) if bucket in through else None
            for bucket, url in zip(buckets, urls, strict=True)
        ]
        start = 0
        for shard, group in groupby(shards):
            stop = start + len(list(group))
            yield shard, batch.slice(start, stop - start), urls[start:stop]
            start = stop


def _series_prefixes(batch: pa.Table, urls: Sequence[ObjectUrl]) -> tuple[SeriesPrefix, ...]:
    uuids = batch.column("crdc_series_uuid").to_pylist()
    uids = batch.column("SeriesInstanceUID").to_pylist()
    counts = batch.column("instanceCount").to_pylist()
    return tuple(map(SeriesPrefix, urls, uuids, uids, counts, _kinds(batch)))


def _kinds(batch: pa.Table) -> list[str | None]:
    """Name collection and modality of each series; None where an index does not tell both."""
    if "collection_id" not in batch.column_names:
        return [None] * batch.num_rows
    known = zip(
        batch.column("collection_id").to_pylist(),
        batch.column("Modality").to_pylist(),
        strict=True,
    )
    return [
        f"{collection} {modality}" if collection and modality else None
        for collection, modality in known
    ]
