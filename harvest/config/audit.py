"""The config's ``audit:`` section, and the files of rules that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
)

from .ready import read_named
from .section import Location, Section, check_one_of

_NAME = r"[a-z][a-z0-9_]*"

Keyword = Annotated[str, Field(pattern=r"[A-Za-z_]\w*")]
Scope = Literal["series", "study", "patient"]
ValueType = Literal["integer", "number", "date", "time", "uid"]
Bound = float | None


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

    not_null: Keywords | None = Field(None, examples=["KVP"])
    """It has a value; a list names several."""
    one_of: Annotated[dict[Keyword, list[str | int | float]], Field(min_length=1)] | None = Field(
        None, examples=[{"PatientSex": ["F", "M"]}]
    )
    """Each value is one of these."""
    range: Annotated[dict[Keyword, tuple[Bound, Bound]], Field(min_length=1)] | None = Field(
        None, examples=[{"KVP": [70, 150]}]
    )
    """Each value is a number, or a date as 20200131, from the first to the second, both allowed;
    `null` for an open end."""
    unique: Keywords | None = Field(None, examples=["SOPInstanceUID"])
    """No two objects have the same; a list is one key."""
    constant_within: Annotated[dict[Scope, Keywords], Field(min_length=1)] | None = Field(
        None, examples=[{"series": ["Rows", "Columns"]}]
    )
    """All objects of a `series`, `study` or `patient` have the same, or none."""
    matches: Annotated[dict[Keyword, str], Field(min_length=1)] | None = Field(
        None, examples=[{"PatientID": "P[0-9]+"}]
    )
    """The whole value matches this regular expression of RE2."""
    type: Annotated[dict[Keyword, ValueType], Field(min_length=1)] | None = Field(
        None, examples=[{"StudyID": "integer"}]
    )
    """The text can be read as `integer`, `number`, `date`, `time` or `uid`, and fitted its VR."""
    where: str | None = None
    """A condition in SQL: only objects of which it is true are looked at."""

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that there is one condition."""
        check_one_of(given, tuple(name for name in cls.model_fields if name != "where"))


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

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that the rule says what breaks it, or what must hold."""
        check_one_of(given, ("sql", "require"))


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
