"""The benchmark of regions, small: harvest's own ways, counted on the wire."""

from __future__ import annotations

import pytest

from tests.bench.regions.__main__ import show
from tests.bench.regions.measure import Case, cases, measure


@pytest.fixture(scope="module")
def ours() -> list[Case]:
    return [
        case
        for case in cases()
        if (case.ours or case.way == "floor") and case.cloud == "s3" and case.table == "none"
    ]


def test_a_region_is_one_request_for_each_row_of_tiles(
    ours: list[Case], capsys: pytest.CaptureFixture[str]
) -> None:
    found = measure(24, 1, latency=0, chosen=ours)
    for case, measured in found.cases:
        assert (measured.failure, measured.difference) == (None, 0), case
        (region,) = measured.region
        if case.way in ("harvest_region", "floor"):
            assert (region.requests, region.bytes) == (3, found.tile_bytes), case
        elif case.indexed:  # the first row teaches how many tiles are wanted of the others
            assert region.requests == 4
            assert region.bytes <= found.tile_bytes + 4 * 8
    assert found.located["tiff"].requests <= 5
    for name, located in found.located.items():
        assert located.bytes <= located.size
        assert "MiB" not in name or located.bytes < 0.01 * located.size
    show(found)
    assert "frame index" in capsys.readouterr().out
