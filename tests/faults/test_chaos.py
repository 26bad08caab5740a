"""Some short runs under chaos; ``python -m tests.faults.chaos`` makes long ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests import conftest
from tests.faults import chaos
from tests.faults.chaos import LONG, SHORT, tell
from tests.lab import Lab

SEEDS = (2, 3)
"""Of either cloud."""


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tables_are_those_of_an_undisturbed_run(lab: Lab, tmp_path: Path, seed: int) -> None:
    report = chaos.perform(lab, seed, tmp_path / "run", SHORT)
    print(report)
    assert report.findings == []
    assert report.codes[-1] == 2
    assert report.done


def test_a_seed_decides_everything(lab: Lab) -> None:
    stories = [tell(seed, lab, LONG) for seed in range(40)]
    assert stories == [tell(seed, lab, LONG) for seed in range(40)]
    kinds = Counter(blow.what for story in stories for blow in story.blows)
    assert set(kinds) == {
        *("kill driver", "end driver", "stop driver", "kill worker", "stop worker"),
        *("kill scheduler", "store away"),
    }
    for choice in ("cloud", "transport", "in_bucket", "external", "publishing"):
        assert len({getattr(story, choice) for story in stories}) > 1, choice
    assert {what for story in stories for what in story.lasting} == set(chaos.LASTING)
