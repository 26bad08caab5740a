"""Plans of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harvest.config import Config
from harvest.output import Output, open_output
from harvest.plan.planner import make_plan
from harvest.plan.stored import Plan
from harvest.table.arrow import read_plan_rows
from harvest.table.rows import Planned
from tests import conftest
from tests.lab import Lab
from tests.support.cohorts import EVERYTHING


def planned(config: Config, **options: Any) -> tuple[Plan, list[Planned]]:
    output = open_output(config.output.url)
    made = make_plan(config, output, **options)
    return made, rows_of(made, output)


def rows_of(made: Plan, output: Output) -> list[Planned]:
    return [row for part in made.partitions for row in read_plan_rows(output, part.number)]


def lab_config(
    lab: Lab, output: Path, cloud: str = "aws", sql: str = EVERYTHING, **source: Any
) -> Config:
    cohort = {"sql": sql, "index": str(lab.index)}
    return conftest.config_of(output, cohort, conftest.source_of(lab, cloud, **source))
