"""What partitions tell, added up."""

from __future__ import annotations

import time

import pytest

from harvest.driver.meter import Meter
from harvest.worker.partition import PartitionRead, Totals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def part(rows: int, **errors: int) -> PartitionRead:
    ok = rows - sum(errors.values())
    return PartitionRead(
        partition=0,
        rows=rows,
        ok=ok,
        errors=errors,
        bytes_read=1000 * rows,
        requests=2 * rows,
        worker_seconds=4.0,
        cpu_seconds=0.5,
        retries=1,
        peak_bytes=rows,
    )


def test_partitions_add_up() -> None:
    meter = Meter(rows=100, done=10)
    meter.add(part(20, truncated=1))
    meter.add(part(30, truncated=2, denied=1))
    assert meter.done == 60
    assert meter.totals == Totals(
        ok=46,
        errors={"truncated": 3, "denied": 1},
        requests=100,
        bytes_read=50_000,
        retries=2,
        worker_seconds=8.0,
        cpu_seconds=1.0,
        peak_bytes=30,
    )


def test_the_rate_is_of_what_was_read_now(clock: list[float]) -> None:
    meter = Meter(rows=100, done=40)
    assert (meter.rate, meter.seconds_left) == (None, None)
    clock[0] += 5
    assert (meter.seconds, meter.rate, meter.seconds_left) == (5, None, None)
    meter.add(part(20))
    assert (meter.rate, meter.seconds_left) == (4, 10)
    clock[0] += 5
    assert (meter.rate, meter.seconds_left) == (2, 20)
