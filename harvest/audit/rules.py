"""Rules of a cohort: queries that return what breaks them.

All that can be wrong with a rule is said before anything is requested: that it is more than one
SELECT, or asks of columns that the harvest will not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ..config.audit import AuditConfig, RequireConfig, RuleConfig
from ..config.profile import how_to_get
from ..errors import ConfigError, HarvestError
from ..sql import missing_column
from .listings import LISTINGS
from .require import NoSuchColumn, required_sql
from .sandbox import QueryFails, Sandbox, one_select, sandboxed

OWN: Final = "audit.rules"
"""Set of the rules that stand in the config itself."""
SHOWN_ROWS: Final = 20
SHOWN_CHARACTERS: Final = 300
"""Of a value."""
PREVIOUS: Final = "previous"
"""Schema of the tables of the snapshot before; they are empty where there is none."""


class State(StrEnum):
    """What became of a rule."""

    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is run."""

    name: str
    rule_set: str
    """Name of its file, or `OWN`."""
    severity: str
    """error, warning or info."""
    description: str
    sql: str | None
    require: RequireConfig | None
    needs: tuple[str, ...]
    """Profiles without which it is skipped."""


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What a rule found."""

    name: str
    rule_set: str
    severity: str
    description: str
    state: State
    sql: str
    """The query that finds all rows."""
    rows: int = 0
    columns: tuple[str, ...] = ()
    first: tuple[tuple[str | None, ...], ...] = ()
    """Of the first rows, the values as text, long ones cut."""
    reason: str | None = None
    """Why it was skipped, or failed."""

    @property
    def fails_the_audit(self) -> bool:
        """Whether the exit code says so: an error was found, or cannot be excluded."""
        return self.severity == "error" and self.state in (State.BROKEN, State.FAILED)


@dataclass(frozen=True, slots=True)
class Tables:
    """What rules can ask of a harvest."""

    instances: pa.Schema
    series: pa.Schema
    profiles: tuple[str, ...]
    """That were asked for."""
    is_open: bool = False
    """Whether there may be more columns of ``instances``, which only the files tell."""


def selected_rules(audit: AuditConfig) -> tuple[Rule, ...]:
    """Return the rules of an audit: those of its sets, in their order, then its own."""
    rules = [
        _rule(rule, Path(name).stem)
        for name, rule_set in audit.sets.items()
        for rule in rule_set.rules
    ]
    return (*rules, *(_rule(rule, OWN) for rule in audit.rules))


def _rule(config: RuleConfig, rule_set: str) -> Rule:
    return Rule(
        config.name,
        rule_set,
        config.severity,
        config.description,
        config.sql,
        config.require,
        tuple(config.needs),
    )


def needs_listings(audit: AuditConfig) -> bool:
    """Tell whether any rule asks of the listings of both clouds."""
    return any("listings" in rule_set.needs for rule_set in audit.sets.values()) or any(
        "listings" in (rule.sql or "") for rule in audit.rules
    )


# --- before the harvest ------------------------------------------------------------------------


def check_rules(rules: Sequence[Rule], tables: Tables) -> dict[str, str]:
    """Check rules against the columns that a harvest will have.

    Parameters
    ----------
    rules
        To be run.
    tables
        What there will be.

    Returns
    -------
    dict of str to str
        Why rules are skipped, by name: those whose `needs` the harvest does not have.

    Raises
    ------
    ConfigError
        Rules are wrong; all of them are listed.
    """
    skipped: dict[str, str] = {}
    mistakes: list[str] = []
    with _empty(tables) as sandbox:
        columns = sandbox.columns("instances")
        for rule in rules:
            try:
                _check(rule, sandbox, columns)
            except _LacksColumn as lack:
                lacking = _lacking(rule, tables)
                if lacking:
                    skipped[rule.name] = f"needs {' and '.join(lacking)}"
                elif not tables.is_open:
                    mistakes.append(f"rule {rule.name}: {_hint(str(lack))}")
            except HarvestError as error:
                mistakes.append(f"rule {rule.name}: {error}")
    if mistakes:
        listed = "\n".join(f"  {text}" for text in mistakes)
        raise ConfigError(f"{len(mistakes)} rule(s) cannot be checked:\n{listed}")
    return skipped


def _empty(tables: Tables) -> Any:
    given = {"instances": tables.instances.empty_table(), "series": tables.series.empty_table()}
    return sandboxed({}, tables={**given, **_before(given), "listings": LISTINGS.empty_table()})


def _before(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    return {f"{PREVIOUS}.{name}": table for name, table in tables.items()}


class _LacksColumn(Exception):
    """A rule asks of a column that is not there; the text is its name."""


def _check(rule: Rule, sandbox: Sandbox, columns: Mapping[str, str]) -> None:
    """Have a rule read no rows; raises `_LacksColumn` and `HarvestError`."""
    try:
        sql = sql_of(rule, columns)
    except NoSuchColumn as lack:
        raise _LacksColumn(str(lack)) from None
    try:
        sandbox.columns(f"(\n{sql}\n)")
    except QueryFails as error:
        column = missing_column(error)
        if column is not None:
            raise _LacksColumn(column) from None
        raise HarvestError(f"{error}") from None


def sql_of(rule: Rule, columns: Mapping[str, str]) -> str:
    """Return the one SELECT of a rule.

    Raises
    ------
    HarvestError
        It is something else.
    NoSuchColumn
        Its `require` asks of a column that is not there.
    """
    if rule.require is not None:
        return one_select(required_sql(rule.require, columns))
    assert rule.sql is not None
    return one_select(rule.sql)


def _lacking(rule: Rule, tables: Tables) -> list[str]:
    """Name what a rule needs and the harvest does not have."""
    with_header = "header" in tables.instances.names
    return [
        "read.header: json" if need == "header" else f"profile {need}"
        for need in rule.needs
        if need not in tables.profiles and not (need == "header" and with_header)
    ]


def _hint(column: str) -> str:
    """Say how to get a column that is missing."""
    return how_to_get(column) or (
        f"there is no column {column}: correct the rule, or add the tag to read.tags"
    )


# --- on a snapshot -----------------------------------------------------------------------------


def run_rules(
    rules: Sequence[Rule], skipped: Mapping[str, str], sandbox: Sandbox
) -> Iterator[RuleOutcome]:
    """Run rules on a snapshot, one after the other.

    Parameters
    ----------
    rules
        To be run.
    skipped
        Why some are not, by name.
    sandbox
        With the tables of the snapshot, those of the one before in the schema `PREVIOUS`, and
        ``listings``.
    """
    columns = sandbox.columns("instances")
    for rule in rules:
        told = (rule.name, rule.rule_set, rule.severity, rule.description)
        if rule.name in skipped:
            sql = rule.sql or ""
            yield RuleOutcome(*told, State.SKIPPED, sql, reason=skipped[rule.name])
            continue
        try:
            sql = sql_of(rule, columns)
        except (HarvestError, NoSuchColumn) as error:
            reason = f"no object has {error}" if isinstance(error, NoSuchColumn) else str(error)
            yield RuleOutcome(*told, State.FAILED, rule.sql or "", reason=reason)
            continue
        yield _outcome(told, sql, sandbox)


def _outcome(told: tuple[str, str, str, str], sql: str, sandbox: Sandbox) -> RuleOutcome:
    try:
        rows, names, first = sandbox.read(sql, _taken)
    except QueryFails as error:
        return RuleOutcome(*told, State.FAILED, sql, reason=str(error))
    state = State.BROKEN if rows else State.KEPT
    return RuleOutcome(*told, state, sql, rows, names, first)


def _taken(
    reader: pa.RecordBatchReader,
) -> tuple[int, tuple[str, ...], tuple[tuple[str | None, ...], ...]]:
    """Count rows, and keep the first: a rule that all rows break costs no memory."""
    rows = 0
    first: list[tuple[str | None, ...]] = []
    for batch in reader:
        wanted = batch.slice(0, max(0, SHOWN_ROWS - rows))
        values = [map(_text, column.to_pylist()) for column in wanted.columns]
        first += zip(*values, strict=True)
        rows += batch.num_rows
    return rows, tuple(reader.schema.names), tuple(first)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
