"""What a harvest will take, from what the index knows: requests, bytes, time.

Header lengths are medians and means of 1,612 real files by modality; an object of an unknown
modality counts as the mean of all. Estimates, and printed as such.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..cohort.resolve import ModalityTotal
from ..config import Config, FramesWanted
from ..dicom.first_ranges import FIRST_RANGE_BYTES, PIXEL_AREA_BYTES
from .sizing import expected_workers

EXPECTED_HEADER_BYTES: Final = {
    "ANN": 60_000,
    "CR": 4_000,
    "CT": 5_000,
    "DX": 6_000,
    "MG": 9_000,
    "MR": 40_000,
    "PT": 8_000,
    "RTSTRUCT": 320_000,
    "SEG": 60_000,
    "SM": 6_000,
    "SR": 20_000,
    "US": 5_000,
}
_ANY_HEADER_BYTES: Final = 30_000
SECONDS_OF_CPU_PER_OBJECT: Final = 0.0005
"""From listing to Parquet, on one core, as `make bench` measures it, rounded up."""
_BYTES_PER_HEADER: Final[dict[FramesWanted, float]] = {
    "none": math.inf,
    "table": 64 * 2**20,
    "scan": 4 * 2**20,
}
"""Of pixels that take as long as a header; a quarter of a gigabyte of tiles has a table of
hundreds of kilobytes."""
TABLE_REQUESTS: Final = 2
"""For a compressed object of several frames: its table, and the items that confirm it."""
TABLE_SHARE: Final = 0.001
"""Of an object's bytes: a table has 4 to 16 bytes for a frame of some ten thousand."""
SECONDS_OF_LATENCY: Final = 0.05
"""Of one request to a public bucket from outside its region."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one cohort under one config."""

    series: int
    instances: int
    object_bytes: int
    """Bytes of the objects themselves, which are not downloaded."""
    list_requests: int
    read_requests: int
    bytes_read: int
    scan_bytes: int | None
    """Further bytes at most, if all compressed objects had to be scanned; None without scans."""
    workers: int
    seconds: float


def expected_header_bytes(modality: str | None) -> int:
    """Return how long a header of this modality is expected to be, in bytes."""
    return EXPECTED_HEADER_BYTES.get(modality or "", _ANY_HEADER_BYTES)


def object_cost(modality: str | None, *, whole: bool = False) -> float:
    """Weigh the header of an object of this modality; one that fits the first range weighs 1.

    Parameters
    ----------
    modality
        By the index.
    whole
        Whether all of its header becomes a column, so that its length counts in full.
    """
    length = max(1.0, expected_header_bytes(modality) / FIRST_RANGE_BYTES)
    return length if whole else math.sqrt(length)


def frames_cost(size: float | None, frames: FramesWanted) -> float:
    """Weigh the pixels of a compressed object whose frames are located, in headers.

    Parameters
    ----------
    size
        Bytes of the object; None where they are not known.
    frames
        A table grows with the object, and a scan may read all of it.
    """
    return (size or 0) / _BYTES_PER_HEADER[frames]


def expected_instances(totals: Iterable[ModalityTotal], sample: int | None) -> int:
    """Return how many objects of a cohort are read, by the index.

    Parameters
    ----------
    totals
        Of the cohort.
    sample
        The most of each series; None for all.
    """
    return sum(_read_of(total, sample) for total in totals)


def _read_of(total: ModalityTotal, sample: int | None) -> int:
    return total.instances if sample is None else min(total.instances, total.series * sample)


def estimate_cohort(
    totals: Iterable[ModalityTotal], list_requests: int, config: Config
) -> Estimate:
    """Estimate a harvest of series from the index's totals by modality.

    Parameters
    ----------
    totals
        Of the cohort.
    list_requests
        For its listing.
    config
        Sampling, workers and limits are taken from it.
    """
    sample = config.cohort.sample
    series = instances = object_bytes = read_requests = bytes_read = compressed_bytes = 0
    for total in totals:
        read = _read_of(total, sample)
        header = expected_header_bytes(total.modality)
        series += total.series
        instances += read
        object_bytes += total.bytes
        # of the first object of a series the reader learns how much to ask of the others
        firsts = min(total.series, read)
        read_requests += read + (firsts if header > FIRST_RANGE_BYTES else 0)
        bytes_read += firsts * max(FIRST_RANGE_BYTES, header)
        bytes_read += (read - firsts) * (header + PIXEL_AREA_BYTES)
        compressed_bytes += total.compressed_bytes
        if config.read.with_frames:
            read_requests += TABLE_REQUESTS * min(read, total.compressed_instances)
            bytes_read += int(TABLE_SHARE * total.compressed_bytes)
    workers = expected_workers(config.cluster)
    in_flight = workers * config.limits.concurrency
    waiting = (list_requests + read_requests) * SECONDS_OF_LATENCY / in_flight
    computing = instances * SECONDS_OF_CPU_PER_OBJECT / workers
    rate = config.limits.requests_per_second
    limited = read_requests / rate if rate else 0.0
    return Estimate(
        series=series,
        instances=instances,
        object_bytes=object_bytes,
        list_requests=list_requests,
        read_requests=read_requests,
        bytes_read=bytes_read,
        scan_bytes=compressed_bytes if config.read.frames == "scan" else None,
        workers=workers,
        seconds=float(math.ceil(max(waiting, computing, limited))),
    )
