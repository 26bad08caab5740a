"""Scheduled audits of a cohort: a dated snapshot, what changed, which rules are broken, a report.

The state is in the folder of the snapshots alone. A snapshot is complete when it has its
`report.json`, which is written last: an audit that was interrupted leaves the last one as it was,
and the next run goes on where it ended.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pyarrow as pa

from ..cohort.resolve import SeriesCohort, resolve_cohort
from ..config import Config, load_config
from ..config.audit import AuditConfig
from ..driver.carry import CARRIED
from ..driver.progress import Progress
from ..driver.runner import Outcome, run
from ..errors import ConfigError, ExitCode, OutputError
from ..output import MANIFEST, Output, open_output
from ..output.documents import json_bytes, read_json
from ..output.lease import Lease, hold
from ..output.snapshots import (
    PAGE,
    REPORT,
    complete_names,
    new_name,
    remove_old,
    snapshot_config,
    snapshot_names,
)
from ..plan.stored import check_output
from ..table.schema import SERIES_COUNTS, instances_schema
from .diff import Diff, diff
from .listings import LISTINGS_FILE, check_listings, write_listings
from .report import (
    Point,
    Report,
    broken_by_severity,
    report_html,
    report_json,
    trend_of,
)
from .rules import (
    PREVIOUS,
    Askable,
    Rule,
    RuleOutcome,
    check_rules,
    needs_listings,
    run_rules,
    selected_rules,
)
from .sandbox import MAIN, Sandbox, SandboxLimits, sandboxed

_STDERR: Final = 2
"""Its file descriptor."""
_BREAKDOWN: Final = 50
"""Modalities that are told apart."""


@dataclass(frozen=True, slots=True)
class Audited:
    """How an audit ended."""

    report: Report
    removed: tuple[str, ...]
    """Snapshots that were removed, by `keep`."""
    hook_failure: str | None
    """What became of the hook, if it failed."""

    @property
    def exit_code(self) -> ExitCode:
        """2 if rules are broken or too many objects could not be read; 1 if the hook failed."""
        if self.report.exit_code == ExitCode.COMPLETE and self.hook_failure is not None:
            return ExitCode.WRONG_USE
        return self.report.exit_code


def audit(config: Config | str | Path, progress: Progress | None = None) -> Audited:
    """Audit a cohort, or finish an audit that was begun.

    Parameters
    ----------
    config
        With a section ``audit``, or the path of its file.
    progress
        Is told what happens; silent if None.

    Returns
    -------
    Audited
        The report, which is in the new snapshot as ``report.json`` and ``report.html``, too.

    Raises
    ------
    HarvestError
        Something the user can mend; the last snapshot stays as it was.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    progress = progress or Progress()
    section = _section(config)
    rules = selected_rules(section)
    skipped = check_rules(rules, _tables(config))
    if needs_listings(rules):
        check_listings(config)
    folder = open_output(config.output)
    _check_folder(folder)
    with hold(folder, progress.message) as lease:
        audits = _Audit(config, section, folder, lease, progress)
        report = audits.report(rules, skipped)
        removed = remove_old(config.output, section.keep)
    return Audited(report, tuple(removed), _hook_failure(section, report))


def _section(config: Config) -> AuditConfig:
    if config.audit is None:
        raise ConfigError(
            "the config has no section audit: add `audit: {rule_sets: [completeness]}`; output is "
            "then the folder of the snapshots"
        )
    return config.audit


def _tables(config: Config) -> Askable:
    """Tell what the tables of a snapshot will be; raises as `resolve_cohort`."""
    cohort = resolve_cohort(config.cohort, config.source)
    series = (cohort if isinstance(cohort, SeriesCohort) else cohort.known).schema()
    counts = [pa.field(name, pa.int64()) for name, _ in SERIES_COUNTS]
    wanted = config.read.wanted
    return Askable(
        instances_schema(wanted.attributes, header=config.read.with_json),
        pa.schema([*series, *counts]),
        config.read.profiles,
        wanted.open,
    )


def _check_folder(folder: Output) -> None:
    if folder.exists(MANIFEST):
        raise OutputError(
            f"output {folder.location} is a harvest: name another folder for the snapshots"
        )


class _Audit:
    """One audit, of a folder that it holds.

    Parameters
    ----------
    config, section
        Of the audit.
    folder
        Of the snapshots.
    lease
        Of the folder.
    progress
        Is told what happens.
    """

    def __init__(
        self,
        config: Config,
        section: AuditConfig,
        folder: Output,
        lease: Lease,
        progress: Progress,
    ) -> None:
        self._given = config
        self._section = section
        self._lease = lease
        self._progress = progress
        names = snapshot_names(folder)
        complete = complete_names(folder, names)
        self._previous_name = complete[-1] if complete else None
        self._previous = snapshot_config(config.output, complete[-1]) if complete else None
        self._name = _begun(config, names, complete) or new_name(names)
        self._config = _of_snapshot(config, self._name)

    def report(self, rules: Sequence[Rule], skipped: Mapping[str, str]) -> Report:
        """Finish the snapshot, and its report."""
        progress, config = self._progress, self._config
        progress.message(f"snapshot {self._name}")
        outcome = run(config, progress, carry_from=self._previous)
        snapshot = open_output(config.output)
        listed = needs_listings(rules)
        if listed and not snapshot.exists(LISTINGS_FILE):
            progress.message("listing both clouds")
            write_listings(self._given, snapshot, self._lease.check)
        changes = self._diff(snapshot)
        with self._sandbox(listed=listed) as sandbox:
            progress.message("checking the rules")
            found = tuple(run_rules(rules, skipped, sandbox))
            report = self._composed(outcome, snapshot, changes, found, sandbox)
        self._lease.check()
        snapshot.write(PAGE, report_html(report).encode())
        snapshot.write(REPORT, json_bytes(report_json(report)))
        return report

    def _diff(self, snapshot: Output) -> Diff | None:
        if self._previous is None:
            return None
        self._progress.message("comparing it with the snapshot before")
        return diff(self._previous, self._config.output, snapshot, self._limits())

    def _limits(self, seconds: float | None = None) -> SandboxLimits:
        return SandboxLimits(memory_bytes=int(self._section.rule_memory), seconds=seconds)

    def _sandbox(self, *, listed: bool) -> AbstractContextManager[Sandbox]:
        outputs = {MAIN: self._config.output}
        if self._previous is not None:
            outputs[PREVIOUS] = self._previous
        return sandboxed(
            outputs,
            self._limits(self._section.rule_seconds),
            more={"listings": LISTINGS_FILE} if listed else None,
            absent=() if self._previous is not None else (PREVIOUS,),
        )

    def _composed(
        self,
        outcome: Outcome,
        snapshot: Output,
        changes: Diff | None,
        rules: tuple[RuleOutcome, ...],
        sandbox: Sandbox,
    ) -> Report:
        manifest = read_json(snapshot, MANIFEST)
        failing = any(rule.fails_the_audit for rule in rules)
        point = Point(
            snapshot=self._name,
            series=manifest["series"],
            instances=outcome.rows,
            errors=sum(outcome.errors.values()),
            object_bytes=manifest["object_bytes"],
            requests=outcome.requests,
            broken=broken_by_severity(rules),
        )
        return Report(
            snapshot=self._name,
            location=snapshot.location,
            previous=self._previous_name,
            cohort=_named(self._config),
            series=point.series,
            rows=outcome.rows,
            object_bytes=point.object_bytes,
            missing=manifest["missing"],
            surplus=manifest["surplus"],
            errors=outcome.errors,
            carried=sandbox.rows(f"SELECT count(*) FROM instances WHERE {CARRIED}")[0][0],
            requests=outcome.requests,
            bytes_read=outcome.bytes_read,
            modalities=dict(_counted(sandbox, "Modality")),
            offset_tables=dict(_counted(sandbox, "offset_table")),
            diff=changes,
            rules=rules,
            trend=(*self._trend(), point),
            versions={**manifest["versions"], "harvest": version("harvest")},
            exit_code=ExitCode.TOO_MANY_ERRORS if failing else outcome.exit_code,
        )

    def _trend(self) -> tuple[Point, ...]:
        if self._previous is None:
            return ()
        return trend_of(read_json(open_output(self._previous), REPORT))


def _of_snapshot(config: Config, name: str) -> Config:
    output = snapshot_config(config.output, name)
    return config.model_copy(update={"output": output, "audit": None})


def _begun(config: Config, names: Sequence[str], complete: Sequence[str]) -> str | None:
    """Find the snapshot of an audit that was interrupted, and was one of this config."""
    name = names[-1] if names else None
    if name is None or name in complete:
        return None
    try:
        check_output(open_output(snapshot_config(config.output, name)), config)
    except OutputError:
        return None  # it is left alone, and removed when there is a newer one
    return name


def _named(config: Config) -> str:
    cohort = config.cohort
    return " ".join((cohort.sql or cohort.manifest or cohort.prefix or "").split())


def _counted(sandbox: Sandbox, column: str) -> Iterator[tuple[str, int]]:
    """Count the instances that were read by a column, if there is one."""
    if column in sandbox.columns("instances"):
        rows = sandbox.rows(
            f"SELECT coalesce({column}, '(none)'), count(*) FROM instances WHERE status = 'ok'"
            f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_BREAKDOWN}"
        )
        yield from ((str(value), int(count)) for value, count in rows)


def _hook_failure(section: AuditConfig, report: Report) -> str | None:
    """Give the report to the user's command; tell how it failed, if it did."""
    if section.hook is None:
        return None
    content = json.dumps(report_json(report), ensure_ascii=False).encode()
    try:
        # the user's own command, from the user's own config, and no shell; what it prints is no
        # result of ours
        done = subprocess.run(section.hook, input=content, stdout=_STDERR, check=False)  # noqa: S603
    except OSError as error:
        return f"{section.hook[0]} cannot be run ({error.strerror})"
    return f"{section.hook[0]} ended with {done.returncode}" if done.returncode else None
