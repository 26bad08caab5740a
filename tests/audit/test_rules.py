"""Rules: each ready one fires on what it is for and is silent otherwise; SQL cannot get out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harvest.audit.rules import (
    PREVIOUS,
    SHOWN_ROWS,
    Askable,
    RuleOutcome,
    State,
    check_rules,
    needs_listings,
    run_rules,
    selected_rules,
)
from harvest.audit.sandbox import MAIN, Sandbox, sandboxed
from harvest.config import output_config
from harvest.config.audit import AuditConfig
from harvest.config.ready import ready_files
from harvest.errors import ConfigError
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes
from tests.support.rule_cohorts import BREAKS, TABLES, Cohort, outcomes, own, sound
from tests.support.snapshots import instance, made_output, series_schema

SETS = list(ready_files("rules"))
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


@pytest.mark.parametrize("value", [None, [None], [None] * 3, [None] * 6, [0.0] * 6])
@pytest.mark.parametrize("name", SETS)
def test_no_rule_fails_on_what_headers_may_lack(
    name: str, value: list[float | None] | None
) -> None:
    """Every attribute is null, but those of the geometry may have elements that are."""
    cohort = sound()
    kept = {"url", "status", "retryable", "size", "SOPClassUID", "SeriesInstanceUID"}
    for row in cohort.instances:
        for attribute in set(row) - kept:
            row[attribute] = None
        row |= dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"), value)
        row["SharedFunctionalGroupsSequence"] = None if value is None else [None]
    found = outcomes(AuditConfig(rule_sets=[name]), cohort)
    assert State.FAILED not in {outcome.state for outcome in found.values()}


def _apart(row: dict[str, Any], number: int) -> dict[str, Any]:
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    named = {name: f"{row[name]}.{number}" for name in uids if row.get(name)}
    uuids = ("crdc_series_uuid", "crdc_instance_uuid", "url")
    return {**row, **named, **{name: f"{row[name]}-{number}" for name in uuids if row.get(name)}}


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
        ({"require": {"one_of": {"Rows": [4, "A"]}}}, "'A' is no number, and Rows is one"),
        ({"require": {"one_of": {"SliceThickness": ["nan"]}}}, "'nan' is no number"),
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
    core = Askable(instances_schema(resolve_attributes(["core"], [])), series_schema(), ("core",))
    skipped = check_rules(selected_rules(AuditConfig(rule_sets=["geometry"])), core)
    assert skipped["tile_count"] == "needs profile sm"
    assert "geometry_missing" not in skipped
    with pytest.raises(ConfigError, match="add profile deid"):
        check_rules(selected_rules(AuditConfig(rule_sets=["deidentification"])), core)


def test_where_every_attribute_is_harvested_a_missing_column_is_no_mistake() -> None:
    tables = Askable(instances_schema(()), series_schema(), ("all",), is_open=True)
    rules = selected_rules(own(sql="SELECT KVP FROM instances"))
    assert check_rules(rules, tables) == {}
    bare = {"instances": tables.instances.empty_table()}
    with sandboxed({}, tables=bare) as sandbox:
        (outcome,) = run_rules(rules, {}, sandbox)
    assert (outcome.state, outcome.fails_the_audit) == (State.FAILED, True)


def test_listings_are_made_only_where_a_rule_asks(tmp_path: Path) -> None:
    # a set of the user's own, that does not say what it needs
    own_set = tmp_path / "ours.yaml"
    rule = "{name: gone, severity: error, description: x, sql: SELECT url FROM Listings}"
    own_set.write_text(f"description: ours\nrules:\n  - {rule}\n")
    where = {"not_null": "url", "where": "url NOT IN (SELECT url FROM listings)"}
    for asking in (
        AuditConfig(rule_sets=["both_clouds"]),
        AuditConfig(rule_sets=[str(own_set)]),
        own(sql="SELECT url FROM listings"),
        own(require=where),
    ):
        assert needs_listings(selected_rules(asking))
    for silent in (AuditConfig(rule_sets=["completeness"]), own(sql="SELECT 1 AS listings_ok")):
        assert not needs_listings(selected_rules(silent))


# --- on a snapshot -----------------------------------------------------------------------------


def run_one(sandbox: Sandbox, sql: str) -> RuleOutcome:
    (outcome,) = run_rules(selected_rules(own(sql=sql)), {}, sandbox)
    return outcome


def test_the_first_rows_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    url = output_config(made_output(tmp_path / "out", [instance(n) for n in range(50)]))
    with sandboxed({MAIN: url}) as sandbox:
        found = run_one(sandbox, "SELECT url, size, issues FROM instances ORDER BY size DESC")
    assert (found.state, found.rows, len(found.first)) == (State.BROKEN, 50, SHOWN_ROWS)
    assert found.columns == ("url", "size", "issues")
    assert found.first[0][1:] == ("1049", None)


def test_a_snapshot_before_can_be_asked(tmp_path: Path) -> None:
    old = output_config(made_output(tmp_path / "old", [instance(1), instance(2)]))
    new = output_config(made_output(tmp_path / "new", [instance(2)]))
    with sandboxed({MAIN: new, PREVIOUS: old}) as sandbox:
        gone = "SELECT url FROM previous.instances WHERE url NOT IN (SELECT url FROM instances)"
        assert run_one(sandbox, gone).first == ((instance(1)["url"],),)
