"""The report of an audit: one page that needs nothing else, and the same as JSON.

Everything that a header may hold is escaped where it is put into the page, which has no script
and whose policy forbids any, and every request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from ..config.audit import Severity
from ..errors import ExitCode
from ..output.snapshots import time_of
from ..show import printable, size_text
from .diff import Diff
from .plots import bars, lines
from .rules import RuleOutcome, State

_REPORT_VERSION: Final = 1
"""Of the JSON."""
_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Point:
    """One snapshot of the trend."""

    snapshot: str
    series: int
    instances: int
    errors: int
    """Rows with status error."""
    object_bytes: int
    requests: int
    """That the audit has sent for objects."""
    broken: dict[str, int]
    """Rules that were broken or could not be checked, by severity."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found."""

    snapshot: str
    """Its name: the time in UTC."""
    location: str
    """Of the snapshot."""
    previous: str | None
    """Name of the snapshot that it is compared with."""
    cohort: str
    """What the config names."""
    series: int
    rows: int
    object_bytes: int
    missing: int
    """Objects that the index counts and the listing lacked."""
    surplus: int
    errors: dict[str, int]
    """Rows by kind of error."""
    carried: int
    """Rows of the snapshot before that still hold."""
    requests: int
    """For objects, of this audit alone."""
    bytes_read: int
    modalities: dict[str, int]
    """Instances by modality; empty where the profile has none."""
    offset_tables: dict[str, int]
    """Instances by kind of offset table."""
    diff: Diff | None
    rules: tuple[RuleOutcome, ...]
    trend: tuple[Point, ...]
    """Of all audits so far, also of those whose snapshots are gone."""
    versions: dict[str, str]
    exit_code: ExitCode

    @property
    def error_rows(self) -> int:
        """Objects that could not be read."""
        return sum(self.errors.values())

    @property
    def read(self) -> int:
        """Objects that this audit has read."""
        return self.rows - self.carried

    @property
    def when(self) -> str:
        """The time of the snapshot, for people."""
        return f"{time_of(self.snapshot):%Y-%m-%d %H:%M:%S} UTC"


def broken_by_severity(rules: Sequence[RuleOutcome]) -> dict[str, int]:
    """Count the rules that were broken, or could not be checked."""
    broken = [rule.severity for rule in rules if rule.state in (State.BROKEN, State.FAILED)]
    return {severity.value: broken.count(severity) for severity in Severity}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A report in one sentence."""

    kind: str
    """error, warning or good."""
    text: str


def verdict(report: Report) -> Verdict:
    """Say in one sentence how an audit ended."""
    broken = broken_by_severity(report.rules)
    failing = sum(rule.fails_the_audit for rule in report.rules)
    if failing:
        return Verdict("error", f"{_some(failing, 'rule of severity error')} broken")
    if report.exit_code != ExitCode.COMPLETE:
        told = "More objects could not be read than limits.max_error_rate allows"
        return Verdict("error", told)
    found = [_some(broken[name], f"rule of severity {name}") for name in ("warning", "info")]
    text = " and ".join(filter(None, found))
    told = f"No error; {text} broken" if text else "All rules hold"
    return Verdict("warning" if broken["warning"] else "good", told)


def report_json(report: Report) -> dict[str, Any]:
    """Return the report as plain content."""
    return {"report_version": _REPORT_VERSION, **asdict(report)}


def trend_of(content: dict[str, Any]) -> tuple[Point, ...]:
    """Return the trend of an earlier report, or of one that a later version has written."""
    names = [field.name for field in fields(Point)]
    return tuple(Point(**{name: point[name] for name in names}) for point in content["trend"])


def report_html(report: Report) -> str:
    """Return the report as one page.

    Returns
    -------
    str
        HTML without script, that loads nothing.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"shown": _shown, "count": "{:,}".format, "size": size_text}
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    by_state = {state: [r for r in report.rules if r.state == state] for state in State}
    broken = sorted(
        by_state[State.BROKEN] + by_state[State.FAILED],
        key=lambda rule: list(Severity).index(rule.severity),
    )
    return environment.get_template("report.html").render(
        report=report,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=f"sha256-{digest}",
        verdict=verdict(report),
        breakdowns=[(title, Markup(plot)) for title, plot in _breakdowns(report)],  # noqa: S704
        trends=[(title, legend, Markup(plot)) for title, legend, plot in _trends(report)],  # noqa: S704
        column_rows=[tuple(asdict(c).values()) for c in report.diff.columns] if report.diff else [],
        broken=broken,
        kept=by_state[State.KEPT],
        skipped=by_state[State.SKIPPED],
    )


def _shown(value: object) -> str:
    """Write a value for people: what would turn text round, or hide, is visible."""
    return printable(str(value), keep="\n")


def _some(count: int, what: str) -> str:
    first, _, rest = what.partition(" ")
    return f"{count} {first}{'s' if count != 1 else ''} {rest}" if count else ""


def _breakdowns(report: Report) -> Iterator[tuple[str, str]]:
    for title, counts in (
        ("Instances by modality", report.modalities),
        ("Instances by offset table", report.offset_tables),
        ("Objects that could not be read", report.errors),
    ):
        if counts:
            yield title, bars(title, counts)


def _trends(report: Report) -> Iterator[tuple[str, tuple[str, ...], str]]:
    places = [f"{time_of(point.snapshot):%Y-%m-%d}" for point in report.trend]
    for title, values, from_zero in (
        ("Instances", [point.instances for point in report.trend], False),
        ("Objects that could not be read", [point.errors for point in report.trend], True),
    ):
        yield title, (), lines(title, places, {"plain": values}, from_zero=from_zero)
    legend = tuple(severity.value for severity in Severity)
    broken = {name: [point.broken[name] for point in report.trend] for name in legend}
    yield "Broken rules", legend, lines("Broken rules", places, broken, from_zero=True)
