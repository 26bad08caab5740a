"""Reports for tests: one with everything that a report can hold."""

from __future__ import annotations

from typing import Any

from harvest.audit.diff import (
    AttributeChange,
    ColumnChange,
    Diff,
    InstanceCounts,
    OffsetTableCounts,
    SeriesCounts,
    ValuePair,
)
from harvest.audit.report import Point, Report
from harvest.audit.rules import RuleOutcome, State
from harvest.errors import ExitCode


def point(day: int, **values: Any) -> Point:
    """Return a point of the trend."""
    name = f"202601{day:02}T060000Z"
    counts = {"error": 1, "warning": 2, "info": 0}
    given: dict[str, Any] = {
        "series": 10,
        "instances": 1000 + day,
        "errors": 2,
        "object_bytes": 10**9,
        "requests": 30,
        "broken": counts,
    }
    return Point(name, **{**given, **values})


def outcome(state: State = State.BROKEN, **values: Any) -> RuleOutcome:
    """Return the outcome of a rule."""
    given: dict[str, Any] = {
        "name": "kvp",
        "rule_set": "audit.rules",
        "severity": "error",
        "description": "KVP is 120",
        "state": state,
        "sql": "SELECT url FROM instances",
        "rows": 2,
        "columns": ("url",),
        "first": (("s3://a/b",), (None,)),
    }
    return RuleOutcome(**{**given, **values})


def changes(value: str = "new") -> Diff:
    """Return a diff of which every part holds something."""
    return Diff(
        "old",
        "new",
        SeriesCounts(1, 2, 3, 4),
        InstanceCounts(5, 6, 7, 8, 9, 10),
        (
            AttributeChange("instances", value, 3, (ValuePair("old", value, 2),)),
            AttributeChange("instances", "header", 1, ()),
        ),
        (ColumnChange("instances", value, "added", None, "VARCHAR"),),
        OffsetTableCounts(11, 12, 13),
    )


def report(value: str = "plain", **values: Any) -> Report:
    """Return a report that shows a value wherever it shows one that is not ours."""
    rules = (
        outcome(columns=(value, "b"), first=((value, None), (None, value)), sql=value),
        outcome(name="slow", state=State.FAILED, reason=value, rows=0, columns=(), first=()),
        outcome(name="fine", state=State.KEPT, description=value),
        outcome(name="later", state=State.SKIPPED, reason=value, rule_set=value),
    )
    given: dict[str, Any] = {
        "snapshot": "20260102T060000Z",
        "location": value,
        "previous": "20260101T060000Z",
        "cohort": value,
        "series": 10,
        "rows": 1002,
        "object_bytes": 10**9,
        "missing": 1,
        "surplus": 0,
        "errors": {"truncated": 2},
        "carried": 972,
        "requests": 30,
        "bytes_read": 10**6,
        "modalities": {"CT": 1000, value: 2},
        "offset_tables": {"native": 1000, "basic": 2},
        "diff": changes(value),
        "rules": rules,
        "trend": (point(1), point(2)),
        "versions": {"harvest": "0.1.0"},
        "exit_code": ExitCode.TOO_MANY_ERRORS,
    }
    return Report(**{**given, **values})
