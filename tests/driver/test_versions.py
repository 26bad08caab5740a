"""Which differences of software are told."""

from __future__ import annotations

import pytest

from harvest.driver.versions import (
    SCHEDULER_PACKAGES,
    WORKER_PACKAGES,
    Versions,
    version_differences,
)

DRIVER: Versions = {
    "python": "3.11.9.final.0",
    **dict.fromkeys(WORKER_PACKAGES, "1.0"),
    "harvest": "0.1.0",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"python": "3.11.2.final.0", "numpy": "9"}, []),
        ({"python": "3.12.9.final.0"}, ["Python 3.12 on w1 (here 3.11)"]),
        ({"harvest": "0.2.0"}, ["harvest 0.2.0 on w1 (here 0.1.0)"]),
        ({"pydicom": None}, ["pydicom absent on w1 (here 1.0)"]),
    ],
)
def test_a_workers_differences(change: Versions, expected: list[str]) -> None:
    assert (
        list(version_differences(DRIVER, {"w1": {**DRIVER, **change}}, WORKER_PACKAGES)) == expected
    )


def test_a_scheduler_needs_no_harvest() -> None:
    scheduler = {"the scheduler": {**DRIVER, "harvest": None, "obstore": None}}
    assert not list(version_differences(DRIVER, scheduler, SCHEDULER_PACKAGES))
    assert len(list(version_differences(DRIVER, scheduler, WORKER_PACKAGES))) == 2


def test_nothing_known_is_a_difference() -> None:
    found = list(version_differences(DRIVER, {"w1": {}}, ["dask"]))
    assert found == ["Python ? on w1 (here 3.11)", "dask absent on w1 (here 1.0)"]
