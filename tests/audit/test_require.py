"""What must hold: every condition is kept by a sound cohort, and broken by one value."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from harvest.audit.rules import RuleOutcome, State
from harvest.config.audit import AuditConfig
from tests.support.rule_cohorts import Cohort, outcomes, own, sound


@pytest.mark.parametrize(
    ("require", "broken"),
    [
        ({"not_null": "PatientSex"}, {"PatientSex": None}),
        ({"not_null": ["PatientSex", "ImageType"]}, {"ImageType": None}),
        ({"one_of": {"PatientSex": ["F", "M"]}}, {"PatientSex": "X"}),
        ({"one_of": {"Rows": [4, 8]}}, {"Rows": 5}),
        ({"one_of": {"Rows": ["4", 4.4]}}, {"Rows": 5}),
        ({"one_of": {"SliceThickness": [2.5, 5]}}, {"SliceThickness": 2.6}),
        ({"one_of": {"StudyDate": [20200131, "2020-02-01"]}}, {"StudyDate": "2020-02-02"}),
        ({"one_of": {"ImageType": ["ORIGINAL", "PRIMARY"]}}, {"ImageType": ["ORIGINAL", "MIP"]}),
        ({"range": {"SliceThickness": [0.5, 5]}}, {"SliceThickness": 6.0}),
        ({"range": {"SliceThickness": [0.5, None]}}, {"SliceThickness": -1.0}),
        # a small number is written 1e-05
        ({"range": {"SliceThickness": [0.5, None]}}, {"SliceThickness": 0.00001}),
        ({"range": {"StudyID": [None, 20300101]}}, {"StudyID": "2020-01-31"}),
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
        ({"type": {"StudyID": "integer"}}, {"StudyID": "1.5"}),
        ({"type": {"StudyID": "integer"}}, {"StudyID": "2e1"}),
        ({"type": {"StudyID": "number"}}, {"StudyID": "nan"}),
        ({"type": {"StudyID": "number"}}, {"StudyID": "inf"}),
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


@pytest.mark.parametrize(
    ("require", "value"),
    [
        ({"range": {"SliceThickness": [0, 2.5]}}, {"SliceThickness": 0.00001}),
        ({"one_of": {"StudyDate": [20200131]}}, {"StudyDate": "2020-01-31"}),
        ({"type": {"StudyID": "integer"}}, {"StudyID": " +12. "}),
        ({"type": {"StudyID": "number"}}, {"StudyID": "-1.5e3"}),
        # a leap second (PS3.5 section 6.2)
        ({"type": {"StudyID": "time"}}, {"StudyID": "235960.5"}),
    ],
)
def test_require_keeps(require: dict[str, Any], value: dict[str, Any]) -> None:
    cohort = sound()
    for row in cohort.instances:
        row |= {"StudyDate": None, "StudyID": None}
    assert _date_typed(cohort, value, own(require=require)).state == State.KEPT


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
