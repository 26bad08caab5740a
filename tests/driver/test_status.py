"""How far a harvest is, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.driver.runner import run
from harvest.driver.status import read_status
from harvest.errors import OutputError
from harvest.output import open_output
from harvest.plan.planner import make_plan
from harvest.worker.partition import read_partition, read_task
from tests import conftest


def test_every_state(tmp_path: Path, scheduler: str) -> None:
    for number in range(70):
        conftest.write_dicom(tmp_path / "in" / f"{number:02d}.dcm", "1.2.3")
    (tmp_path / "in" / "x.txt").write_text("x")
    out = str(tmp_path / "out")
    config = conftest.config_of(
        out, {"prefix": str(tmp_path / "in"), "sample": 80}, scheduler=scheduler
    )
    with pytest.raises(OutputError, match="harvest run CONFIG"):
        read_status(out)
    plan = make_plan(config, open_output(out))
    assert len(plan.partitions) == 2
    found = read_status(out)
    assert (found.state, found.rows, found.done, found.ok) == ("planned", 71, 0, None)
    read_partition(read_task(config, open_output(out), plan.part(0)))
    found = read_status(out)
    assert (found.state, found.done) == ("unfinished", plan.partitions[0].rows)
    run(config)
    found = read_status(out)
    assert (found.state, found.rows, found.done, found.ok) == ("complete", 71, 71, 70)
    assert found.errors == {"not_dicom": 1}
    assert found.sample == 80
    assert (found.missing, found.surplus) == (0, 0)
