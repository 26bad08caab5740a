"""Stored plans: loaded as they were, told apart by what decides the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvest.config import Config, parse_config
from harvest.errors import OutputError
from harvest.output import LocalOutput, open_output
from harvest.plan.stored import asked, check_output, load_plan
from harvest.table.arrow import SERIES_PLAN, read_arrow
from harvest.table.parts import part_of
from harvest.worker.partition import read_task
from tests import conftest
from tests.conftest import SQL_GENERATED
from tests.faults.proxy import Gate
from tests.lab import Lab
from tests.support.plans import lab_config, planned


def test_a_plan_is_stored_and_loaded_as_it_was(lab: Lab, tmp_path: Path) -> None:
    config = lab_config(lab, tmp_path / "out", sql=SQL_GENERATED)
    made, _ = planned(config)
    output = open_output(config.output.url)
    assert load_plan(output) == made == check_output(output, config)
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"_harvest"}
    series = read_arrow(output, SERIES_PLAN)
    assert series.num_rows == made.series
    assert series.column_names == [*pq.read_schema(lab.index).names, "instances_listed"]


def test_what_does_not_decide_the_tables_does_not_decide_the_identity(
    lab: Lab, tmp_path: Path, s3_gate: Gate
) -> None:
    base = lab_config(lab, tmp_path / "0", sql=SQL_GENERATED)
    identities = {planned(base)[0].identity}
    changes: tuple[dict[str, Any], ...] = (
        {"cluster": {"workers": 7}},
        {"limits": {"concurrency": 3, "max_error_rate": 0.5, "header_bytes": "1MiB"}},
        {"source": {"endpoint": s3_gate.url, "region": "eu-west-1"}},
    )
    for number, change in enumerate(changes):
        content = {**base.model_dump(), "output": str(tmp_path / f"out{number}"), **change}
        identities.add(planned(Config.model_validate(content))[0].identity)
    assert len(identities) == 1


def test_what_decides_the_tables_decides_the_identity(lab: Lab, tmp_path: Path) -> None:
    def identity(name: str, sql: str = SQL_GENERATED, **sections: Any) -> str:
        content = lab_config(lab, tmp_path / name, sql=sql).model_dump()
        return planned(Config.model_validate({**content, **sections}))[0].identity

    identities = [
        identity("a"),
        identity("tags", read={"tags": ["PatientBirthName"]}),
        identity("profile", read={"profile": "ct"}),
        identity("rows", sql=f"{SQL_GENERATED} AND Modality = 'CT'"),
    ]
    assert len(set(identities)) == len(identities)
    assert identity("again") == identities[0]


def test_an_output_of_another_plan_is_refused_with_what_differs(lab: Lab, tmp_path: Path) -> None:
    config = lab_config(lab, tmp_path / "out", sql=SQL_GENERATED)
    planned(config)
    before = conftest.tree(tmp_path / "out")
    content = config.model_dump()
    for change, named in (
        ({"read": {"tags": ["PatientWeight"]}}, "tags"),
        ({"read": {"profile": ["core", "ct"]}}, "profile"),
        ({"cohort": {**content["cohort"], "sample": 3}}, "cohort"),
        ({"source": {**content["source"], "cloud": "gcs"}}, "cloud"),
    ):
        changed = Config.model_validate({**content, **change})
        with pytest.raises(OutputError, match=rf"another plan \({named}: .*now"):
            check_output(open_output(changed.output.url), changed)
    assert conftest.tree(tmp_path / "out") == before


def test_an_output_of_another_format_is_refused(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab_config(lab, tmp_path / "out", sql=SQL_GENERATED)
    planned(config)
    monkeypatch.setattr("harvest.plan.stored.FORMAT_VERSION", 999)
    with pytest.raises(OutputError, match="format"):
        check_output(open_output(config.output.url), config)


@pytest.mark.parametrize("stranger", ["notes.txt", "instances/old.parquet"])
def test_an_output_with_something_else_is_refused(lab: Lab, tmp_path: Path, stranger: str) -> None:
    path = tmp_path / "out" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    config = lab_config(lab, tmp_path / "out", sql=SQL_GENERATED)
    with pytest.raises(OutputError, match="holds something else"):
        check_output(open_output(config.output.url), config)
    assert path.read_text() == "mine"


def test_a_profile_that_changes_meanwhile_changes_nothing(tmp_path: Path) -> None:
    profile = tmp_path / "own.yaml"
    profile.write_text("tags: [PatientID]")
    text = f"cohort: {{sql: a}}\noutput: out\nread: {{profile: {profile}}}\n"
    config = parse_config(text)
    before = asked(config)
    profile.write_text("tags: [PatientID, Modality]")
    assert asked(config) == before
    task = read_task(config, LocalOutput(tmp_path / "out"), part_of("plan", 0))
    assert [attribute.name for attribute in task.wanted.attributes] == ["PatientID"]
    assert asked(parse_config(text)) != before
