"""Rules: each ready one fires on what it is for and is silent otherwise; SQL cannot get out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.audit_config import AuditConfig, RuleConfig, rules_folder
from harvest.config import output_config
from harvest.errors import ConfigError
from harvest.listings import LISTINGS
from harvest.profile import resolve_attributes
from harvest.rules import (
    PREVIOUS,
    SHOWN_ROWS,
    RuleOutcome,
    State,
    Tables,
    check_rules,
    needs_listings,
    run_rules,
    selected_rules,
)
from harvest.sandbox import MAIN, Sandbox, SandboxLimits, sandboxed
from harvest.schema import instances_schema
from tests.rule_cohorts import BREAKS, PROFILES, Cohort, sound
from tests.snapshots import instance, made_output, series_schema

SETS = sorted(path.stem for path in rules_folder().glob("*.yaml"))
SCHEMA = instances_schema(resolve_attributes(PROFILES, []), header=True)
TABLES = Tables(SCHEMA, series_schema(), PROFILES)


def in_memory(cohort: Cohort) -> dict[str, pa.Table]:
    return {
        "instances": pa.Table.from_pylist(cohort.instances, SCHEMA),
        "series": pa.Table.from_pylist(cohort.series, series_schema()),
        "listings": pa.Table.from_pylist(cohort.listings, LISTINGS),
    }


def outcomes(audit: AuditConfig, cohort: Cohort, only: str = "") -> dict[str, RuleOutcome]:
    rules = [rule for rule in selected_rules(audit) if rule.name == (only or rule.name)]
    skipped = check_rules(rules, TABLES)
    with sandboxed({}, tables=in_memory(cohort)) as sandbox:
        return {outcome.name: outcome for outcome in run_rules(rules, skipped, sandbox)}


def own(**rule: Any) -> AuditConfig:
    """Return a section with one rule."""
    given = {"name": "mine", "severity": "error", "description": "mine", **rule}
    return AuditConfig(rules=[RuleConfig.model_validate(given)])


# --- the ready sets ----------------------------------------------------------------------------


def test_every_ready_rule_has_something_that_breaks_it() -> None:
    sets = {name: AuditConfig(rule_sets=[name]).sets[name] for name in SETS}
    assert {name: [rule.name for rule in found.rules] for name, found in sets.items()} == {
        name: list(breaks) for name, breaks in sorted(BREAKS.items())
    }
    assert sum(len(found.rules) for found in sets.values()) == 69


@pytest.mark.parametrize("name", SETS)
def test_a_sound_cohort_breaks_none(name: str) -> None:
    found = outcomes(AuditConfig(rule_sets=[name]), sound())
    assert {rule: outcome.first for rule, outcome in found.items() if outcome.rows} == {}
    assert {outcome.state for outcome in found.values()} == {State.KEPT}


@pytest.mark.parametrize("name", SETS)
def test_each_rule_fires_on_what_it_is_for(name: str) -> None:
    audit = AuditConfig(rule_sets=[name])
    for rule, breaks in BREAKS[name].items():
        cohort = sound()
        breaks(cohort)
        broken = outcomes(audit, cohort, rule)[rule]
        assert broken.state == State.BROKEN, rule
        assert len(broken.first) == broken.rows > 0
        assert broken.fails_the_audit == (broken.severity == "error")


@pytest.mark.parametrize("name", SETS)
def test_one_cohort_breaks_every_rule_of_a_set(name: str) -> None:
    """Violations are put on copies of the cohort that lie beside each other."""
    whole = Cohort([], [], [])
    for number, breaks in enumerate(BREAKS[name].values()):
        cohort = sound()
        breaks(cohort)
        for table in ("instances", "series", "listings"):
            rows = getattr(cohort, table)
            getattr(whole, table).extend(_apart(row, number) for row in rows)
    found = outcomes(AuditConfig(rule_sets=[name]), whole)
    assert {rule for rule, outcome in found.items() if outcome.state == State.BROKEN} == set(
        BREAKS[name]
    )


def _apart(row: dict[str, Any], number: int) -> dict[str, Any]:
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    named = {name: f"{row[name]}.{number}" for name in uids if row.get(name)}
    uuids = ("crdc_series_uuid", "crdc_instance_uuid", "url")
    return {**row, **named, **{name: f"{row[name]}-{number}" for name in uuids if row.get(name)}}


# --- require -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("require", "broken"),
    [
        ({"not_null": "PatientSex"}, {"PatientSex": None}),
        ({"not_null": ["PatientSex", "ImageType"]}, {"ImageType": None}),
        ({"one_of": {"PatientSex": ["F", "M"]}}, {"PatientSex": "X"}),
        ({"one_of": {"Rows": [4, 8]}}, {"Rows": 5}),
        ({"one_of": {"ImageType": ["ORIGINAL", "PRIMARY"]}}, {"ImageType": ["ORIGINAL", "MIP"]}),
        ({"range": {"SliceThickness": [0.5, 5]}}, {"SliceThickness": 6.0}),
        ({"range": {"SliceThickness": [0.5, None]}}, {"SliceThickness": -1.0}),
        ({"range": {"PixelSpacing": [0.1, 2]}}, {"PixelSpacing": [0.5, 3.0]}),
        ({"range": {"PatientAge": [0, 9]}}, {"PatientAge": "040Y"}),
        ({"range": {"StudyDate": [20000101, 20301231]}}, {"StudyDate": "1999-01-01"}),
        ({"unique": "InstanceNumber"}, {"InstanceNumber": 2}),
        ({"unique": ["SeriesInstanceUID", "InstanceNumber"]}, {"InstanceNumber": 2}),
        ({"constant_within": {"series": ["Rows", "Manufacturer"]}}, {"Manufacturer": None}),
        ({"constant_within": {"study": "PatientSex", "patient": "Rows"}}, {"Rows": 9}),
        ({"matches": {"PatientID": r"P\d"}}, {"PatientID": "P1x"}),
        ({"matches": {"ImageType": "[A-Z]+"}}, {"ImageType": ["original"]}),
        ({"type": {"PatientID": "uid", "Rows": "integer"}}, {"PatientID": "1.2.03"}),
        ({"type": {"StudyID": "integer"}}, {"StudyID": "one"}),
        ({"type": {"StudyID": "date"}}, {"StudyID": "20201345"}),
        ({"type": {"StudyID": "time"}}, {"StudyID": "2561"}),
        (
            {"type": {"StudyID": "number"}},
            {"issues": [{"path": "StudyID", "problem": "no_number", "raw": b"x"}]},
        ),
    ],
)
def test_require(require: dict[str, Any], broken: dict[str, Any]) -> None:
    cohort = sound()
    cohort.instances = [row for row in cohort.instances if row["Modality"] == "CT"]
    for row in cohort.instances:
        row |= {
            "StudyDate": None,
            "StudyID": None,
            "PatientID": "1.2" if "uid" in str(require) else "P1",
        }
    audit = own(require=require)
    assert _date_typed(cohort, {}, audit).state == State.KEPT
    found = _date_typed(cohort, broken, audit)
    assert (found.state, found.rows) == (State.BROKEN, 1), found.sql


def _date_typed(cohort: Cohort, change: dict[str, Any], audit: AuditConfig) -> RuleOutcome:
    values = dict(change)
    if "StudyDate" in values:
        values["StudyDate"] = datetime.date.fromisoformat(values["StudyDate"])
    cohort.instances[0] |= values
    return outcomes(audit, cohort)["mine"]


def test_require_where() -> None:
    cohort = sound()
    found = outcomes(
        own(require={"not_null": "EchoTime", "where": "Modality = 'MR' -- only"}), cohort
    )
    assert found["mine"].state == State.KEPT
    assert outcomes(own(require={"not_null": "EchoTime"}), cohort)["mine"].rows == 10


def test_an_object_that_could_not_be_read_breaks_no_requirement() -> None:
    cohort = sound()
    cohort.instances[0] |= {"status": "error", "PatientID": None}
    assert outcomes(own(require={"not_null": "PatientID"}), cohort)["mine"].state == State.KEPT


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"sql": "SELECT kvp2 FROM instances"}, "there is no column kvp2"),
        ({"sql": "SELECT XRayTubeCurrent FROM instances"}, "add profile ct or mg"),
        (
            {"require": {"not_null": "XRayTubeCurrent"}},
            "XRayTubeCurrent to read.tags",
        ),
        ({"sql": "SELECT 1; SELECT 2"}, "is 2 statements"),
        ({"sql": "COPY instances TO 'x'"}, "is COPY"),
        ({"sql": "ATTACH 'x.db'"}, "is ATTACH"),
        ({"sql": "INSTALL httpfs"}, "must be exactly one SELECT"),
        ({"sql": "SELEC 1"}, "it is no SQL"),
        ({"sql": "SELECT * FROM other"}, "Table with name other does not exist"),
        ({"sql": "SELECT * FROM read_csv('/etc/passwd')"}, "disabled by configuration"),
        ({"sql": "SELECT * FROM glob('/etc/*')"}, "disabled by configuration"),
        ({"sql": "SELECT * FROM query('COPY instances TO ''x''')"}, "single SELECT"),
        (
            {"require": {"not_null": "Rows", "where": "1=1); COPY instances TO 'x'; SELECT (1"}},
            "is",
        ),
    ],
)
def test_mistakes_are_told_before_the_harvest(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="1 rule") as raised:
        check_rules(selected_rules(own(**rule)), TABLES)
    assert message in str(raised.value)
    assert "rule mine: " in str(raised.value)


def test_all_mistakes_are_told_at_once() -> None:
    rules = [
        {"name": f"r{n}", "severity": "info", "description": "x", "sql": f"SELECT c{n} FROM series"}
        for n in range(3)
    ]
    with pytest.raises(ConfigError, match=r"3 rule\(s\)") as raised:
        check_rules(selected_rules(AuditConfig.model_validate({"rules": rules})), TABLES)
    assert [f"r{n}" in str(raised.value) for n in range(3)] == [True] * 3


def test_rules_of_other_profiles_are_skipped_and_named() -> None:
    core = Tables(instances_schema(resolve_attributes(["core"], [])), series_schema(), ("core",))
    skipped = check_rules(selected_rules(AuditConfig(rule_sets=["geometry"])), core)
    assert skipped["tile_count"] == "needs profile sm"
    assert "geometry_missing" not in skipped
    with pytest.raises(ConfigError, match="add profile deid"):
        check_rules(selected_rules(AuditConfig(rule_sets=["deidentification"])), core)


def test_where_every_attribute_is_harvested_a_missing_column_is_no_mistake() -> None:
    tables = Tables(instances_schema(()), series_schema(), ("all",), is_open=True)
    rules = selected_rules(own(sql="SELECT KVP FROM instances"))
    assert check_rules(rules, tables) == {}
    bare = {"instances": tables.instances.empty_table()}
    with sandboxed({}, tables=bare) as sandbox:
        (outcome,) = run_rules(rules, {}, sandbox)
    assert (outcome.state, outcome.fails_the_audit) == (State.FAILED, True)


def test_listings_are_made_only_where_a_rule_asks() -> None:
    assert needs_listings(AuditConfig(rule_sets=["both_clouds"]))
    assert needs_listings(own(sql="SELECT url FROM listings"))
    assert not needs_listings(AuditConfig(rule_sets=["completeness"]))


# --- the sandbox -------------------------------------------------------------------------------


@contextmanager
def snapshot(tmp_path: Path, limits: SandboxLimits | None = None) -> Iterator[Sandbox]:
    url = output_config(made_output(tmp_path / "out", [instance(n) for n in range(50)]))
    with sandboxed({MAIN: url}, limits) as sandbox:
        yield sandbox


def run_one(sandbox: Sandbox, sql: str) -> RuleOutcome:
    (outcome,) = run_rules(selected_rules(own(sql=sql)), {}, sandbox)
    return outcome


def test_the_first_rows_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    with snapshot(tmp_path) as sandbox:
        found = run_one(sandbox, "SELECT url, size, issues FROM instances ORDER BY size DESC")
    assert (found.state, found.rows, len(found.first)) == (State.BROKEN, 50, SHOWN_ROWS)
    assert found.columns == ("url", "size", "issues")
    assert found.first[0][1:] == ("1049", None)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY instances TO '{file}'",
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM read_text('{other}')",
        "ATTACH '{folder}/x.db'",
        "SELECT * FROM glob('{folder}/*')",
        "SET memory_limit = '100GB'",
        "LOAD httpfs",
        "EXPORT DATABASE '{folder}/x'",
        "SELECT * FROM other_table",
    ],
)
def test_sql_cannot_get_out(tmp_path: Path, sql: str) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    other_table = pa.table({"a": [1]})  # DuckDB would find it by its name
    with snapshot(tmp_path) as sandbox:
        file = tmp_path / "out" / "instances" / "00000.parquet"
        before = file.read_bytes()
        found = run_one(sandbox, sql.format(file=file, folder=tmp_path, other=other))
    assert found.state == State.FAILED
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.parquet", "out"]
    assert other_table.num_rows == 1


def test_a_rule_that_takes_too_long_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    with snapshot(tmp_path, SandboxLimits(seconds=0.3)) as sandbox:
        endless = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b"
        found = run_one(sandbox, endless)
        assert (found.state, found.reason) == (State.FAILED, "it took longer than 0.3 s")
        assert run_one(sandbox, "SELECT url FROM instances").rows == 50


def test_a_rule_that_needs_too_much_memory_fails(tmp_path: Path) -> None:
    limits = SandboxLimits(memory_bytes=50 * 2**20, disk_bytes=2**20)
    with snapshot(tmp_path, limits) as sandbox:
        found = run_one(sandbox, "SELECT list(x) FROM range(100000000) r(x)")
        assert found.state == State.FAILED
        assert "Out of Memory" in str(found.reason)
        assert run_one(sandbox, "SELECT url FROM instances").rows == 50


def test_a_snapshot_before_can_be_asked(tmp_path: Path) -> None:
    old = output_config(made_output(tmp_path / "old", [instance(1), instance(2)]))
    new = output_config(made_output(tmp_path / "new", [instance(2)]))
    with sandboxed({MAIN: new, PREVIOUS: old}) as sandbox:
        gone = "SELECT url FROM previous.instances WHERE url NOT IN (SELECT url FROM instances)"
        assert run_one(sandbox, gone).first == ((instance(1)["url"],),)
