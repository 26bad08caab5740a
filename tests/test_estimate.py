"""Estimates: they follow the config, and never say less than must be asked."""

from __future__ import annotations

from typing import Any

import pytest

from harvest.cohort import ModalityTotal
from harvest.config import Config
from harvest.estimate import EXPECTED_HEADER_BYTES, Estimate, estimate_cohort, object_cost
from harvest.ranges import FIRST_RANGE_BYTES, PIXEL_AREA_BYTES

TOTALS = [ModalityTotal("CT", 10, 5000, 10**9), ModalityTotal("RTSTRUCT", 3, 3, 10**6)]


def estimated(**sections: Any) -> Estimate:
    content = {"cohort": {"sql": "x"}, "output": "out", "cluster": {"workers": 2}, **sections}
    return estimate_cohort(TOTALS, 20, Config.model_validate(content))


def test_counts() -> None:
    found = estimated()
    assert (found.series, found.instances, found.object_bytes) == (13, 5003, 10**9 + 10**6)
    assert found.list_requests == 20
    # a header past the first range takes a second request, if it is the first of its series
    assert found.read_requests == 5000 + 2 * 3
    firsts = 10 * FIRST_RANGE_BYTES + 3 * EXPECTED_HEADER_BYTES["RTSTRUCT"]
    assert found.bytes_read == firsts + 4990 * (EXPECTED_HEADER_BYTES["CT"] + PIXEL_AREA_BYTES)
    assert found.workers == 2
    assert found.seconds >= 1


def test_sample() -> None:
    found = estimated(cohort={"sql": "x", "sample": 2})
    assert found.instances == 10 * 2 + 3
    assert found.series == 13


def test_workers_and_rate() -> None:
    assert estimated(cluster={"workers": 8}).seconds < estimated(cluster={"workers": 1}).seconds
    limited = estimated(limits={"requests_per_second": 10})
    assert limited.seconds == pytest.approx(limited.read_requests / 10, abs=1)


def test_nothing() -> None:
    config = Config.model_validate({"cohort": {"sql": "x"}, "output": "out"})
    found = estimate_cohort([], 0, config)
    assert (found.series, found.instances, found.read_requests, found.bytes_read) == (0, 0, 0, 0)


def test_costs() -> None:
    assert object_cost("CT") == 1
    assert object_cost("RTSTRUCT") > object_cost("SEG") > 1
    assert object_cost("RTSTRUCT", whole=True) == object_cost("RTSTRUCT") ** 2
    assert object_cost(None) >= 1
    assert object_cost("no such modality") == object_cost(None)
    assert all(object_cost(modality) >= 1 for modality in EXPECTED_HEADER_BYTES)
