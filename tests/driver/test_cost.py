"""What a run costs, by list prices."""

from __future__ import annotations

import pytest

from harvest.driver.cost import DOLLARS_PER_CPU_HOUR, cost_of


def test_cost() -> None:
    assert cost_of(3600 * 10, 10**6).workers == pytest.approx(10 * DOLLARS_PER_CPU_HOUR)
    assert cost_of(3600 * 10, 10**6).requests == pytest.approx(0.4)
    # what is small is something, too, and adds up
    assert 0 < 10**6 * cost_of(0, 1).requests == pytest.approx(0.4)
