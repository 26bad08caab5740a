"""Estimates: they follow the config, and never say less than must be asked."""

from __future__ import annotations

from typing import Any

import pytest

from harvest.cohort.resolve import ModalityTotal
from harvest.config import Config
from harvest.dicom.first_ranges import FIRST_RANGE_BYTES, PIXEL_AREA_BYTES
from harvest.plan.estimate import (
    EXPECTED_HEADER_BYTES,
    TABLE_REQUESTS,
    Estimate,
    estimate_cohort,
    frames_cost,
    object_cost,
)

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


SLIDES = ModalityTotal("SM", 4, 20, 10**10, compressed_instances=16, compressed_bytes=9 * 10**9)


def test_frames_cost_requests_and_scans_bytes_at_most() -> None:
    config = {"cohort": {"sql": "x"}, "output": "out"}
    none, table, scan = (
        estimate_cohort(
            [TOTALS[0], SLIDES], 0, Config.model_validate({**config, "read": {"frames": frames}})
        )
        for frames in ("none", "table", "scan")
    )
    assert none.scan_bytes is table.scan_bytes is None
    assert scan.scan_bytes == 9 * 10**9
    more = table.read_requests - none.read_requests
    assert more == scan.read_requests - none.read_requests == 16 * TABLE_REQUESTS
    assert 0 < table.bytes_read - none.bytes_read < 10**8


def test_pixels_weigh_more_the_more_of_them_is_read() -> None:
    assert frames_cost(10**9, "none") == 0
    assert frames_cost(None, "scan") == 0
    assert 0 < frames_cost(10**9, "table") < frames_cost(10**9, "scan")
    assert frames_cost(2 * 10**9, "scan") == 2 * frames_cost(10**9, "scan")
