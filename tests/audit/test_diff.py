"""What a diff says of two harvests: every change, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harvest.audit.diff import diff
from harvest.audit.sandbox import SandboxLimits
from harvest.config import output_config
from harvest.errors import HarvestError, OutputError
from tests.support.snapshots import (
    NOTHING,
    compared,
    instance,
    made_output,
    read_table,
)


def test_the_same_harvest_twice_has_no_changes(tmp_path: Path) -> None:
    rows = [instance(number, ImageType=["ORIGINAL", None]) for number in range(5)]
    found, folder = compared(tmp_path, rows, rows)
    assert (found.series, found.offset_tables) == (NOTHING[0], NOTHING[2])
    assert found.instances == replace(NOTHING[1], unchanged=5)
    assert found.nothing
    for name in ("series", "instances", "attributes", "columns", "offset_tables"):
        assert read_table(folder / f"{name}.parquet") == []


def test_an_unfinished_harvest_is_refused(tmp_path: Path) -> None:
    old = output_config(made_output(tmp_path / "old", [instance(1)]))
    with pytest.raises(OutputError, match="holds no finished harvest"):
        diff(old, output_config(str(tmp_path / "nothing")))


def test_harvests_that_need_more_than_there_is_are_told_so(tmp_path: Path) -> None:
    rows = [{**instance(number), "crdc_instance_uuid": None} for number in range(60_000)]
    sides = [output_config(made_output(tmp_path / name, rows, [])) for name in ("old", "new")]
    limits = SandboxLimits(memory_bytes=20 * 2**20, disk_bytes=2**20)
    with pytest.raises(HarvestError, match=r"cannot be compared: .*audit\.rule_memory"):
        diff(sides[0], sides[1], limits=limits)


def test_tables_are_never_written_into_a_harvest(tmp_path: Path) -> None:
    old = output_config(made_output(tmp_path / "old", [instance(1)]))
    with pytest.raises(OutputError, match="is part of the harvest"):
        diff(old, old, tmp_path / "old" / "diff")
