"""The config's ``audit:`` section, and the files of rules that it names."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from .ready import read_named
from .section import Location, Section

_NAME = r"[a-z][a-z0-9_]*"

Keyword = Annotated[str, Field(pattern=r"[A-Za-z_]\w*")]
Scope = Literal["series", "study", "patient"]
ValueType = Literal["integer", "number", "date", "time", "uid"]
Bound = float | None
CONDITIONS = ("not_null", "one_of", "range", "unique", "constant_within", "matches", "type")


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


Keywords = Annotated[
    list[Keyword],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=Keyword | list[Keyword]),
]
"""One or several."""


class RequireConfig(Section):
    """What must hold of objects that were read: exactly one condition, of one or more columns.

    Absent values break `not_null` alone; of a column with several values each one counts.
    """

    not_null: Keywords | None = None
    """These have a value."""
    one_of: Annotated[dict[Keyword, list[str | int | float]], Field(min_length=1)] | None = None
    """The column has one of these values."""
    range: Annotated[dict[Keyword, tuple[Bound, Bound]], Field(min_length=1)] | None = None
    """The column is a number, or a date as YYYYMMDD, from the first to the second, both allowed."""
    unique: Keywords | None = None
    """No two objects have the same values in all of these."""
    constant_within: Annotated[dict[Scope, Keywords], Field(min_length=1)] | None = None
    """All objects of a series, study or patient have the same value, or none."""
    matches: Annotated[dict[Keyword, str], Field(min_length=1)] | None = None
    """The whole value matches this regular expression of RE2."""
    type: Annotated[dict[Keyword, ValueType], Field(min_length=1)] | None = None
    """The text can be read as this, and fitted its VR."""
    where: str | None = None
    """A condition in SQL: only objects of which it is true are looked at."""

    @model_validator(mode="after")
    def _one_condition(self) -> RequireConfig:
        _check_one(self, CONDITIONS)
        return self


def _check_one(section: Section, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"needs exactly one of {listed}, found {' and '.join(given) or 'none'}")


class Severity(StrEnum):
    """How much it matters that a rule is broken, worst first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class RuleConfig(Section):
    """A rule: a query that returns what breaks it."""

    name: Annotated[str, Field(pattern=rf"^{_NAME}$")]
    """Lower case, digits and underscores."""
    severity: Severity
    """A broken rule of severity error makes the audit's exit code 2."""
    description: Annotated[str, Field(min_length=1)]
    """What is wrong with the rows that it returns."""
    sql: str | None = None
    """Exactly one SELECT over instances, series and the other tables."""
    require: RequireConfig | None = None
    """Instead of SQL: what must hold."""
    needs: list[str] = Field(default_factory=list)
    """Profiles without which the rule is skipped; `header` for read.header: json."""

    @model_validator(mode="after")
    def _sql_or_require(self) -> RuleConfig:
        _check_one(self, ("sql", "require"))
        return self


class RuleSetFile(Section):
    """A file of rules."""

    description: str
    needs: list[str] = Field(default_factory=list)
    """Profiles without which the set is refused, `listings` for the listings of both clouds: told
    to people, and found out from its rules."""
    rules: Annotated[list[RuleConfig], Field(min_length=1)]


class OtherCloud(Section):
    """How the cloud that the config does not read is reached; null for the public one."""

    endpoint: str | None = None
    """URL of an S3-compatible server or GCS emulator."""
    region: str | None = None
    """Region of the S3 bucket."""
    allow_http: bool = False
    """Allow plain http outside loopback, and link-local addresses."""
    anonymous: bool = True
    """Send no credentials; otherwise those of the environment."""


class AuditConfig(Section):
    """What an audit checks, and what becomes of its snapshots."""

    rule_sets: list[str] = Field(default_factory=list)
    """Names of ready sets, or paths of files like them."""
    rules: list[RuleConfig] = Field(default_factory=list)
    """Rules of this config's own."""
    keep: PositiveInt | None = None
    """How many snapshots to keep; all if null."""
    hook: Annotated[list[str], Field(min_length=1)] | None = None
    """A command and its arguments, run after every audit with the report's JSON on stdin."""
    other_cloud: OtherCloud = Field(default_factory=OtherCloud)
    """For rules that compare both clouds."""
    rule_seconds: PositiveFloat = 120
    """Longest time of one rule."""
    rule_memory: ByteSize = ByteSize(2 * 2**30)
    """Of DuckDB while rules run; beyond it, it uses the disk."""

    @cached_property
    def sets(self) -> dict[str, RuleSetFile]:
        """Return the rule sets as they are named; raises `ValueError` for the first wrong one."""
        return {name: _rule_set(name) for name in self.rule_sets}


def audit_mistakes(audit: Any) -> Iterator[tuple[Location, str]]:
    """Check the files that an ``audit:`` section names, and that no rule's name is there twice."""
    given = audit if isinstance(audit, dict) else {}
    seen: dict[str, str] = {}
    named = given.get("rule_sets")
    for number, name in enumerate(named if isinstance(named, list) else []):
        location: Location = ("audit", "rule_sets", number)
        if not isinstance(name, str):
            continue  # told by the type of the list
        try:
            rules = _rule_set(name).rules
        except ValueError as error:
            yield location, str(error)
            continue
        for text in _named_twice([rule.name for rule in rules], f"rule set {name}", seen):
            yield location, text
    own = given.get("rules")
    for number, rule in enumerate(own if isinstance(own, list) else []):
        if isinstance(rule, dict) and isinstance(rule.get("name"), str):
            for text in _named_twice([rule["name"]], "audit.rules", seen):
                yield ("audit", "rules", number), text


def _named_twice(names: list[str], where: str, seen: dict[str, str]) -> Iterator[str]:
    for name in names:
        if name in seen:
            yield f"{where}: there is a rule {name} in {seen[name]} already"
        seen[name] = where


@lru_cache(maxsize=64)
def _rule_set(name: str) -> RuleSetFile:
    """Read a rule set.

    Raises
    ------
    ValueError
        It is not there, or is none; the text says what is wrong with it.
    """
    _, content = read_named("rules", name)
    try:
        return RuleSetFile.model_validate(content)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, found['loc']))}: {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors()
        )
        raise ValueError(f"rule set {name}: {told}") from None
