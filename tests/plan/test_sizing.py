"""How many workers a machine bears."""

from __future__ import annotations

import os

import pytest

from harvest.plan.sizing import WORKER_BYTES, workers_for, workers_here


@pytest.mark.parametrize(
    ("cpus", "memory", "expected"),
    [
        (1, 16 * 10**9, 1),
        (2, 4 * 10**9, 2),
        (64, 256 * 10**9, 64),
        (64, 4 * WORKER_BYTES, 4),
        (8, 10**8, 1),
    ],
)
def test_workers_by_cpus_and_memory(cpus: int, memory: int, expected: int) -> None:
    assert workers_for(cpus, memory) == expected


def test_this_machine() -> None:
    assert 1 <= workers_here() <= (os.cpu_count() or 1)
