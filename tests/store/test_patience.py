"""Retries, deadlines and the rate of requests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from harvest.errors import ErrorKind, ObjectError
from harvest.store.patience import Patience, RateLimit


class Failing:
    """Fails some times with a kind of error, then succeeds."""

    def __init__(self, times: int, kind: ErrorKind = ErrorKind.UNAVAILABLE) -> None:
        self.times = times
        self.kind = kind
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise ObjectError(self.kind, f"call {self.calls}")
        return "done"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep how long was slept, and sleep not."""
    kept: list[float] = []
    monkeypatch.setattr(time, "sleep", kept.append)
    return kept


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_fault_that_passes(naps: list[float], times: int) -> None:
    request = Failing(times)
    assert Patience(3, 1000).call(request) == "done"
    assert request.calls == times + 1
    assert len(naps) == times


def test_a_fault_that_stays(naps: list[float]) -> None:
    request = Failing(100)
    with pytest.raises(ObjectError) as found:
        Patience(3, 1000).call(request)
    assert (found.value.kind, found.value.detail) == (ErrorKind.UNAVAILABLE, "call 4")
    assert request.calls == 4
    assert len(naps) == 3


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind != ErrorKind.UNAVAILABLE])
def test_other_errors_are_final(naps: list[float], kind: ErrorKind) -> None:
    request = Failing(1, kind)
    with pytest.raises(ObjectError):
        Patience(3, 1000).call(request)
    assert request.calls == 1
    assert naps == []


def test_backoff_grows_to_its_cap_with_full_jitter(
    naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    with pytest.raises(ObjectError):
        Patience(12, 1000).call(Failing(100))
    assert [low for low, _ in asked] == [0] * 12
    highs = [high for _, high in asked]
    assert highs[:3] == pytest.approx([0.2, 0.4, 0.8])
    assert highs == sorted(highs)
    assert max(highs) == 30


def test_a_deadline_that_has_passed() -> None:
    request = Failing(0)
    with pytest.raises(ObjectError) as found:
        Patience(3, -1).call(request)
    assert found.value.kind == ErrorKind.TOO_SLOW
    assert request.calls == 0


def test_a_backoff_never_sleeps_past_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    with pytest.raises(ObjectError):
        Patience(50, 100).call(Failing(100))
    assert clock[0] <= 1101


def run_at(rate: RateLimit, calls: int, threads: int) -> float:
    begun = time.monotonic()
    waits: list[Callable[[], float]] = [rate.wait] * calls
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(wait) for wait in waits]:
            done.result()
    return time.monotonic() - begun


@pytest.mark.parametrize("threads", [1, 8])
def test_the_rate_is_shared_by_threads(threads: int) -> None:
    assert run_at(RateLimit(200), 41, threads) >= 40 / 200


def test_no_limit() -> None:
    assert run_at(RateLimit(None), 1000, 1) < 1


def test_a_wait_for_the_rate_is_no_fault_of_the_object() -> None:
    rate = RateLimit(50)
    waited = sum(rate.wait() for _ in range(6))
    assert waited == pytest.approx(0.1, abs=0.05)
    patience = Patience(retries=0, seconds=0.0)
    with pytest.raises(ObjectError, match="too_slow"):
        patience.check()
    patience.excuse(60)
    patience.check()
