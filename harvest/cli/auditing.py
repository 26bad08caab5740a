"""Commands that compare and check: audit, diff."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .group import end_on_signals, errors_text, main, progress_shown, reporting
from .options import json_option, output_options

if TYPE_CHECKING:
    from ..audit.auditor import Audited
    from ..audit.diff import Diff, ValuePair
    from ..audit.report import Report


@main.command()
@click.argument("config", type=click.Path())
@json_option
@reporting
def audit(config: str, as_json: bool) -> int | None:
    """Take a snapshot of a cohort; tell what changed and which rules it breaks.

    Only what is new or has changed since the last snapshot is read. The new one holds
    report.html and report.json. The exit code is 2 where a rule of severity error is broken.

    \b
    Examples:
      harvest audit configs/audit.yaml
      harvest audit configs/audit.yaml --json
    """
    from ..audit.auditor import audit as audited
    from ..audit.report import report_json, verdict
    from ..config import load_config
    from ..show import told

    loaded = load_config(config)
    end_on_signals()
    ended = audited(loaded, progress_shown())
    told(ended, as_json, _print_audit, lambda ended: report_json(ended.report))
    click.echo(f"harvest: {verdict(ended.report).text}", err=True)
    for name in ended.removed:
        click.echo(f"harvest: removed the snapshot {name}, as audit.keep says", err=True)
    if ended.hook_failure is not None:
        click.echo(
            f"harvest: the audit is complete, but its hook failed: {ended.hook_failure}; correct "
            "audit.hook",
            err=True,
        )
    return ended.exit_code


def _print_audit(ended: Audited) -> None:
    from ..output.snapshots import PAGE
    from ..show import print_pairs, print_table, size_text

    report = ended.report
    print_pairs(
        {
            "snapshot": report.location,
            "instances": f"{report.rows:,}",
            "carried over": f"{report.carried:,}",
            "read": f"{report.read:,}",
            "requests": f"{report.requests:,}",
            "bytes read": size_text(report.bytes_read),
            "errors": errors_text(report.errors),
            "missing objects": f"{report.missing:,}",
            "changed": _changes_text(report),
            "report": f"{report.location}/{PAGE}",
        }
    )
    rows = [
        (rule.severity, rule.name, state, f"{rule.rows:,}" if rule.rows else "", rule.reason)
        for state in ("broken", "failed", "skipped")
        for rule in report.rules
        if rule.state == state
    ]
    if rows:
        print_table(["severity", "rule", "state", "rows", "reason"], rows)
    click.echo(f"{sum(rule.state == 'kept' for rule in report.rules)} rule(s) hold")


def _changes_text(report: Report) -> str:
    if report.diff is None:
        return "this is the first snapshot"
    counts = asdict(report.diff.instances).items()
    told = [f"{count:,} {name}" for name, count in counts if count and name != "unchanged"]
    return f"instances: {', '.join(told)}" if told else "no instance"


@main.command()
@click.argument("old")
@click.argument("new")
@click.option("--dest", metavar="DIR", help="Write all of it as tables, DIR/*.parquet.")
@output_options
@json_option
@reporting
def diff(
    old: str,
    new: str,
    dest: str | None,
    bucket: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Tell what changed from the harvest in OLD to the one in NEW.

    Series and instances that came, went or were revised; attributes with other
    values; columns; offset tables gained and lost.

    \b
    Examples:
      harvest diff out/lung_v24 out/lung_v25
      harvest diff out/lung_v24 out/lung_v25 --dest out/changes
      harvest diff s3://bucket/audits/20260105T060000Z s3://bucket/audits/20260112T060000Z --json
    """
    from ..audit.diff import diff as compared
    from ..config import output_config
    from ..show import told

    configs = [output_config(url, **bucket) for url in (old, new)]
    end_on_signals()
    told(compared(configs[0], configs[1], dest), as_json, _print_diff)
    return None


def _print_diff(found: Diff) -> None:
    from ..show import print_pairs, print_table, printable

    kinds = ("series", "instances", "offset_tables")
    print_pairs(
        {
            f"{kind.replace('_', ' ')} {name}": f"{count:,}"
            for kind in kinds
            for name, count in asdict(getattr(found, kind)).items()
        }
    )
    if found.columns:
        print_table(
            ["table", "column", "change", "old type", "new type"],
            [(c.table, c.column, c.change, c.old_type, c.new_type) for c in found.columns],
        )
    rows = [
        (change.table, change.attribute, f"{change.rows:,}", *pair)
        for change in found.attributes
        for pair in _pairs_text(change.examples, printable)
    ]
    if rows:
        print_table(["table", "attribute", "rows", "old", "new", "of these"], rows)


def _pairs_text(
    pairs: Sequence[ValuePair], printable: Callable[[str], str]
) -> list[tuple[str | None, str | None, str]]:
    """Return pairs of values for people: none of the header, which is too long."""
    shown = [
        (pair.old and printable(pair.old), pair.new and printable(pair.new), f"{pair.rows:,}")
        for pair in pairs
    ]
    return shown or [(None, None, "")]
