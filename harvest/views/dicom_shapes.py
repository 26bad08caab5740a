"""Which attributes the views in BigQuery's shape have, of which type, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from pydicom import datadict

from ..dicom.tags import Attribute, PrivateTag
from ..dicom.values import column_kind
from ..dicom.vrs import BINARY_VRS
from .uses import Use

KIND_TYPES: Final = {
    "any": "VARCHAR",
    "text": "VARCHAR",
    "int": "BIGINT",
    "uint": "UBIGINT",
    "float": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
}
NAME_PARTS: Final = ("Alphabetic", "Ideographic", "Phonetic")
VR_TYPES: Final = {
    "AT": "BIGINT",
    "DS": "VARCHAR",
    "DT": "TIMESTAMP",
    "IS": "VARCHAR",
    "PN": "STRUCT(" + ", ".join(f'"{part}" VARCHAR' for part in NAME_PARTS) + ")",
}


class Origin(StrEnum):
    """Where the values of an attribute come from."""

    COLUMN = "column"
    """Of ``instances``."""
    HEADER = "header"
    """The whole header, of an output that has it."""
    ABSENT = "absent"
    """Nowhere: the harvest did not ask for it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An attribute as the views have it."""

    name: str
    tag: int
    vr: str
    repeated: bool
    members: tuple[Shape, ...] = ()
    """Of a sequence: all that is known of its items."""
    stored: Attribute | None = None
    """As ``instances`` has it."""

    @property
    def single_type(self) -> str:
        """DuckDB's type of one value, or one item."""
        if self.vr != "SQ":
            return VR_TYPES.get(self.vr) or KIND_TYPES[column_kind(self.vr)]
        if not self.members:
            return "JSON"
        return "STRUCT(" + ", ".join(f'"{m.name}" {m.type}' for m in self.members) + ")"

    @property
    def type(self) -> str:
        """DuckDB's type."""
        return self.single_type + "[]" * self.repeated

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Shape]]:
        """Yield it and all that is inside, with their paths."""
        path = prefix + self.name
        yield path, self
        for member in self.members:
            yield from member.walk(f"{path}.")


def shapes(
    stored: Sequence[Attribute], uses: Mapping[str, Use], *, has_header: bool
) -> Iterator[Shape]:
    """Yield what has columns, what IDC's queries read, and what headers may hold."""
    rest = {name: use for name, use in uses.items() if use.is_attribute}
    for attribute in stored:
        if not isinstance(attribute.key, PrivateTag):
            yield _shape(attribute.name, attribute.key, attribute, rest.pop(attribute.name, None))
    for name, use in rest.items():
        yield _shape(name, datadict.keyword_dict[name], None, use)
    if has_header:
        known = {attribute.name for attribute in stored} | set(rest)
        for tag, name in _dictionary():
            if name not in known:
                yield _shape(name, tag, None, None)


@cache
def _dictionary() -> tuple[tuple[int, str], ...]:
    """List the attributes that a header may hold outside items and that are not binary."""
    return tuple(
        (tag, name)
        for name, tag in datadict.keyword_dict.items()
        if name and tag >> 16 not in (0x0000, 0xFFFE) and _vr(tag) not in BINARY_VRS | {"NONE"}
    )


def _vr(tag: int) -> str:
    return datadict.dictionary_VR(tag)


def _shape(name: str, tag: int, stored: Attribute | None, use: Use | None) -> Shape:
    vr = stored.vr if stored else _vr(tag)
    if vr == "SQ":
        return Shape(name, tag, vr, True, _members(stored, use), stored)
    vm = stored.vm if stored else datadict.dictionary_VM(tag)
    told = use.repeated if use else None
    return Shape(name, tag, vr, vm != "1" if told is None else told, (), stored)


def _members(stored: Attribute | None, use: Use | None) -> tuple[Shape, ...]:
    # BigQuery has private elements outside sequences only
    here = {m.name: m for m in stored.members if isinstance(m.key, int)} if stored else {}
    read = {name: each for name, each in use.members.items() if each.is_attribute} if use else {}
    tags = {name: m.key for name, m in here.items() if isinstance(m.key, int)}
    tags |= {name: datadict.keyword_dict[name] for name in read}
    return tuple(
        _shape(name, tag, here.get(name), read.get(name))
        for name, tag in sorted(tags.items(), key=lambda pair: pair[1])
    )


def origin_of(shape: Shape, *, has_header: bool) -> Origin:
    """Choose where an attribute outside items comes from: a sequence comes as a whole."""
    if not has_header:
        return Origin.COLUMN if shape.stored else Origin.ABSENT
    parts = [part for _, part in shape.walk()]
    has_all = all(part.stored and (part.members or part.vr != "SQ") for part in parts)
    return (
        Origin.COLUMN
        if has_all and not any(part.vr in ("DS", "IS") for part in parts)
        else Origin.HEADER
    )


def part_origin(part: Shape, origin: Origin) -> Origin:
    """Tell where a member comes from, by where the whole sequence does."""
    # a column of a sequence has the members that were asked for, and no others
    return Origin.ABSENT if origin is Origin.COLUMN and part.stored is None else origin
