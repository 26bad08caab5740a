"""Listing the objects of series: by series, by shards of a bucket, or below a prefix.

`list_task` may run on workers: it takes one small task and returns rows of the plan with the
number of objects found for each series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ..config import SourceConfig
from ..errors import ErrorKind, HarvestError, ObjectError
from ..store import open_store
from ..store.faults import store_unavailable
from ..store.patience import LISTING, Patience
from ..store.protocol import Listed
from ..table.arrow import PLAN_ROW
from ..urls import ObjectUrl, idc_uuids

LISTING_THREADS: Final = 32


@dataclass(frozen=True, slots=True)
class SeriesPrefix:
    """One series to list."""

    url: ObjectUrl
    """Of its prefix, ending on a slash."""
    crdc_series_uuid: str
    series_instance_uid: str
    expected: int | None = None
    """Objects, by the index; None where it does not say."""
    kind: str | None = None
    """Collection and modality, by the index."""


@dataclass(frozen=True, slots=True)
class ListingTask:
    """Some series of one cohort, in URL order."""

    series: tuple[SeriesPrefix, ...]
    source: SourceConfig
    sample: int | None
    """Keep only the k largest objects of each series."""
    shard: str | None = None
    """First characters of all the series' keys, where the bucket is listed through."""


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """What a listing found."""

    rows: pa.RecordBatch
    """Of `PLAN_ROW`, in URL order."""
    listed: tuple[int, ...]
    """Objects found for each series of the task."""
    planned: tuple[int, ...]
    """Rows of each series of the task: fewer where the cohort is a sample."""


def list_task(task: ListingTask) -> ListedSeries:
    """List the series of a task.

    Raises
    ------
    StoreUnavailable
        The store does not answer.
    HarvestError
        The bucket does not exist, or denies listing.
    """
    found = _by_shard(task) if task.shard is not None else _by_series(task)
    checked = [
        _complete(series, each, task) for series, each in zip(task.series, found, strict=True)
    ]
    return _collected(task, checked)


def _complete(series: SeriesPrefix, found: list[Listed], task: ListingTask) -> list[Listed]:
    """List a series once more that has fewer objects than the index says.

    A page of a proxy that happens to be XML reads as a listing that ends early.
    """
    if series.expected is None or len(found) >= series.expected:
        return found
    again = list_prefix(series.url, task.source)
    return again if len(again) > len(found) else found


def _by_series(task: ListingTask) -> list[list[Listed]]:
    """List each series' prefix, many at a time."""

    def found(series: SeriesPrefix) -> list[Listed]:
        return list_prefix(series.url, task.source)

    with ThreadPoolExecutor(min(LISTING_THREADS, len(task.series))) as pool:
        return list(pool.map(found, task.series))  # a failure cancels what has not begun


def _by_shard(task: ListingTask) -> list[list[Listed]]:
    """List a part of a bucket through, and keep the objects of the task's series.

    Other series' objects, prior versions among them, are passed over.
    """
    found: dict[str, list[Listed]] = {series.url.key: [] for series in task.series}
    for page in _pages(task):
        for entry in page:
            series = found.get(entry.key.partition("/")[0] + "/")
            if series is not None:
                series.append(entry)
    return list(found.values())


def list_prefix(prefix: ObjectUrl, source: SourceConfig) -> list[Listed]:
    """List everything below a prefix, in key order; raises as `list_task`."""
    try:
        found = Patience(*LISTING).call(
            lambda: [
                entry for page in open_store(prefix, source).list(prefix.key) for entry in page
            ]
        )
    except ObjectError as error:
        raise _explained(error, prefix) from None
    # servers and file systems that keep folders order them otherwise than S3 does
    found.sort(key=lambda entry: entry.key)
    return [entry for entry in found if not (entry.key.endswith("/") and entry.size == 0)]


def _pages(task: ListingTask) -> Iterator[list[Listed]]:
    """Yield the pages of a shard; after a fault that may pass, go on behind the last key."""
    assert task.shard is not None
    bucket = task.series[0].url.with_key("")
    store = open_store(bucket, task.source)
    patience = Patience(*LISTING)
    after = task.shard
    try:
        pages = store.list("", after)
        while True:
            try:
                page = next(pages, None)
            except ObjectError as error:
                patience.bear(error)
                pages = store.list("", after)
                continue
            if page is None:
                return
            if not page:  # GCS may send empty ones
                continue
            yield page
            after = max(after, page[-1].key)
            # an emulator may begin before the shard: only what lies behind it ends the listing
            if page[-1].key[: len(task.shard)] > task.shard:
                return
    except ObjectError as error:
        raise _explained(error, bucket) from None


def _explained(error: ObjectError, url: ObjectUrl) -> HarvestError:
    """Say what a failed listing means for the whole run."""
    where = url.place
    if error.kind == ErrorKind.NOT_FOUND:
        what = "folder" if url.scheme == "file" else "bucket"
        return HarvestError(f"the {what} {where} does not exist: check its name and source.cloud")
    if error.kind == ErrorKind.DENIED:
        return HarvestError(
            f"{where} denies listing ({error.detail}), or does not exist: check its name; to use "
            "credentials set source.anonymous: false; without the right to list, name the objects "
            "in a manifest"
        )
    if not error.kind.retryable:
        return HarvestError(f"{url} cannot be listed: {error.detail}")
    return store_unavailable(where, error, "source.endpoint")


def _collected(task: ListingTask, found: Sequence[list[Listed]]) -> ListedSeries:
    kept = [sampled(entries, task.sample) for entries in found]
    rows = [
        plan_row(series.url.with_key(entry.key), entry, series)
        for series, entries in zip(task.series, kept, strict=True)
        for entry in entries
    ]
    return ListedSeries(
        pa.RecordBatch.from_pylist(rows, schema=PLAN_ROW),
        listed=tuple(len(entries) for entries in found),
        planned=tuple(len(entries) for entries in kept),
    )


def sampled(entries: list[Listed], sample: int | None) -> list[Listed]:
    """Keep the `sample` largest objects, in key order; of equal ones the first by key."""
    if sample is None or len(entries) <= sample:
        return entries
    largest = sorted(entries, key=lambda entry: (-(entry.size or 0), entry.key))[:sample]
    return sorted(largest, key=lambda entry: entry.key)


def plan_row(
    url: ObjectUrl, entry: Listed | None = None, series: SeriesPrefix | None = None
) -> dict[str, object]:
    """Build a row of `PLAN_ROW`.

    Parameters
    ----------
    url
        Of the object.
    entry
        Of the listing; None where nothing was listed.
    series
        What the index knows; None where the object may be of any series.
    """
    series_uuid, instance_uuid = idc_uuids(url.key)
    return {
        "url": str(url),
        "size": entry.size if entry else None,
        "etag": entry.etag if entry else None,
        "crdc_series_uuid": series.crdc_series_uuid if series else series_uuid,
        "crdc_instance_uuid": instance_uuid,
        "series_instance_uid": series.series_instance_uid if series else None,
        "kind": series.kind if series else None,
    }
