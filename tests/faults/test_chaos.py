"""Some short runs under chaos; ``python -m tests.faults.chaos`` makes long ones."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults import chaos
from tests.faults.chaos import LONG, SHORT, Report, tell
from tests.lab import Lab

SEEDS = (12, 7)
"""S3, a folder and a cluster of its own; GCS, a bucket and an external cluster."""


@pytest.fixture(scope="module")
def report(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("chaos") / "run"
    print(f"python -m tests.faults.chaos --short --only {request.param}")
    told = chaos.perform(lab, request.param, folder, SHORT)
    print(told)
    return told, folder


@pytest.mark.parametrize("report", SEEDS, indirect=True)
def test_the_tables_are_those_of_an_undisturbed_run(report: tuple[Report, Path]) -> None:
    told, _ = report
    assert told.findings == []
    assert told.codes[-1] == 2
    assert told.done
    assert told.dealt


# --- what would be found ---------------------------------------------------------------------


def _leave_a_part(output: Path) -> None:
    left = output / "_harvest" / "parts" / "000000.arrow"
    left.parent.mkdir()
    left.write_bytes(b"")


def _write_rows_twice(output: Path) -> None:
    shutil.copy(output / "instances" / "00000.parquet", output / "instances" / "00001.parquet")


def _change_a_value(output: Path) -> None:
    path = output / "instances" / "00000.parquet"
    table = pq.read_table(path)
    values = table["PatientID"].to_pylist()
    place = table.schema.get_field_index("PatientID")
    pq.write_table(table.set_column(place, "PatientID", pa.array([*values[:-1], "other"])), path)


@pytest.mark.parametrize("report", SEEDS[:1], indirect=True)
@pytest.mark.parametrize(
    ("tamper", "finding"),
    [
        (_leave_a_part, "000000.arrow is left"),
        (_write_rows_twice, "are not those of the"),
        (_change_a_value, "the manifest is wrong of instances/00000.parquet"),
        (_change_a_value, "PatientID"),
    ],
)
def test_a_difference_is_found(
    report: tuple[Report, Path], tmp_path: Path, tamper: Callable[[Path], None], finding: str
) -> None:
    told, folder = report
    calm = folder / "calm" / "out"
    objects = chaos.Objects(folder, told.urls, {})
    assert chaos.examine(calm, objects) == chaos.differences(calm, calm) == []
    shutil.copytree(calm, tmp_path / "out")
    tamper(tmp_path / "out")
    found = chaos.examine(tmp_path / "out", objects) + chaos.differences(calm, tmp_path / "out")
    assert finding in "; ".join(found)


# --- seeds -----------------------------------------------------------------------------------


def test_a_seed_decides_everything(lab: Lab) -> None:
    stories = [tell(seed, lab, LONG) for seed in range(40)]
    assert stories == [tell(seed, lab, LONG) for seed in range(40)]
    assert len(set(stories)) == len({replace(story, seed=0) for story in stories}) == 40
    kinds = Counter(blow.what for story in stories for blow in story.blows)
    assert set(kinds) == {
        *("kill driver", "end driver", "stop driver", "kill worker", "stop worker"),
        *("kill scheduler", "store away"),
    }
    for choice in ("cloud", "transport", "in_bucket", "external", "publishing"):
        assert len({getattr(story, choice) for story in stories}) > 1, choice
    assert {what for story in stories for what in story.lasting} == set(chaos.LASTING)
