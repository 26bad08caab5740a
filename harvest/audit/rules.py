"""Rules of a cohort: queries that return what breaks them.

All that can be wrong with a rule is said before anything is requested: that it is more than one
SELECT, or asks of columns that the harvest will not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ..config.audit import AuditConfig, RuleConfig, Severity
from ..config.profile import how_to_get
from ..errors import ConfigError, HarvestError
from ..locked import one_select
from ..sql import missing_column
from .listings import LISTINGS_SCHEMA
from .require import NoSuchColumn, required_sql
from .sandbox import QueryFails, Sandbox, sandboxed

OWN: Final = "audit.rules"
"""Set of the rules that stand in the config itself."""
SHOWN_ROWS: Final = 20
_SHOWN_CHARACTERS: Final = 300
"""Of a value."""
PREVIOUS: Final = "previous"
"""Schema of the tables of the snapshot before; they are empty where there is none."""

_LISTINGS: Final = re.compile(r"\blistings\b", re.IGNORECASE)


class State(StrEnum):
    """What became of a rule."""

    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is run."""

    rule_set: str
    """Name of its file, or `OWN`."""
    config: RuleConfig

    @property
    def name(self) -> str:
        """Its name, of which there is one in an audit."""
        return self.config.name


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What a rule found."""

    name: str
    rule_set: str
    severity: Severity
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
        return self.severity == Severity.ERROR and self.state in (State.BROKEN, State.FAILED)


@dataclass(frozen=True, slots=True)
class Askable:
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
        Rule(Path(name).stem, rule)
        for name, rule_set in audit.sets.items()
        for rule in rule_set.rules
    ]
    return (*rules, *(Rule(OWN, rule) for rule in audit.rules))


def needs_listings(rules: Sequence[Rule]) -> bool:
    """Tell whether any rule asks of the listings of both clouds."""
    return any(_LISTINGS.search(_sql_of_others(rule.config)) for rule in rules)


def _sql_of_others(rule: RuleConfig) -> str:
    return rule.sql or (rule.require and rule.require.where) or ""


# --- before the harvest ------------------------------------------------------------------------


def check_rules(rules: Sequence[Rule], tables: Askable) -> dict[str, str]:
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
            except NoSuchColumn as lack:
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


def _empty(tables: Askable) -> AbstractContextManager[Sandbox]:
    given = {"instances": tables.instances.empty_table(), "series": tables.series.empty_table()}
    return sandboxed(
        {}, tables={**given, **_before(given), "listings": LISTINGS_SCHEMA.empty_table()}
    )


def _before(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    return {f"{PREVIOUS}.{name}": table for name, table in tables.items()}


def _check(rule: Rule, sandbox: Sandbox, columns: Mapping[str, str]) -> None:
    """Have a rule read no rows; raises `NoSuchColumn` and `HarvestError`."""
    sql = sql_of(rule, columns)
    try:
        sandbox.columns(f"(\n{sql}\n)")
    except QueryFails as error:
        column = missing_column(error)
        if column is not None:
            raise NoSuchColumn(column) from None
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
    if rule.config.require is not None:
        return one_select(required_sql(rule.config.require, columns))
    assert rule.config.sql is not None
    return one_select(rule.config.sql)


def _lacking(rule: Rule, tables: Askable) -> list[str]:
    """Name what a rule needs and the harvest does not have."""
    with_header = "header" in tables.instances.names
    return [
        "read.header: json" if need == "header" else f"profile {need}"
        for need in rule.config.needs
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
        if rule.name in skipped:
            yield _outcome(rule, State.SKIPPED, reason=skipped[rule.name])
        else:
            yield _run(rule, columns, sandbox)


def _run(rule: Rule, columns: Mapping[str, str], sandbox: Sandbox) -> RuleOutcome:
    sql = None
    try:
        sql = sql_of(rule, columns)
        rows, names, first = sandbox.read(sql, _taken)
    except NoSuchColumn as lack:
        return _outcome(rule, State.FAILED, reason=f"no object has {lack}")
    except (HarvestError, QueryFails) as error:
        return _outcome(rule, State.FAILED, sql, reason=str(error))
    state = State.BROKEN if rows else State.KEPT
    return _outcome(rule, state, sql, rows=rows, columns=names, first=first)


def _outcome(rule: Rule, state: State, sql: str | None = None, **found: Any) -> RuleOutcome:
    config = rule.config
    told = (config.name, rule.rule_set, config.severity, config.description)
    return RuleOutcome(*told, state, sql or config.sql or "", **found)


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
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
