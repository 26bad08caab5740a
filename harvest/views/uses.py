"""How queries use attributes: which they read, and whether each is one value or a list of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from pydicom import datadict


@dataclass(slots=True)
class Use:
    """How queries use one attribute."""

    name: str
    """Its keyword; any other name is a column that no header has."""
    as_list: bool = False
    """It is indexed, unnested, measured or joined to a text."""
    as_value: bool = False
    """It is compared, cast or aggregated as it is."""
    members: dict[str, Use] = field(default_factory=dict)
    """What is read of the items of a sequence, by keyword."""

    @property
    def repeated(self) -> bool | None:
        """Whether it is a list; None where nothing tells."""
        # taken for a text by mistake, the first value of a list would be a letter
        return True if self.as_list else False if self.as_value else None

    @property
    def is_attribute(self) -> bool:
        """Whether the dictionary has it."""
        return self.name in datadict.keyword_dict

    def member(self, name: str) -> Use:
        """Return the use of a member."""
        return self.members.setdefault(keyword(name), Use(keyword(name)))

    def add(self, other: Use) -> None:
        """Add what another query does with the same attribute."""
        self.as_list |= other.as_list
        self.as_value |= other.as_value
        for name in other.members:
            self.member(name).add(other.members[name])

    def paths(self) -> Iterable[tuple[Use, ...]]:
        """Yield the way to each attribute that has no items, or of whose items nothing is read."""
        # the parts of a name are no attributes
        members = [each for each in self.members.values() if each.is_attribute]
        if not members or sequence_tag(self.name) is None:
            yield (self,)
            return
        for member in members:
            for rest in member.paths():
                yield (self, *rest)


@cache
def _keywords() -> dict[str, str]:
    return {name.lower(): name for name in datadict.keyword_dict}


def keyword(name: str) -> str:
    """Write a name as the dictionary does: SQL has no upper and lower case."""
    return _keywords().get(name.lower(), name)


def sequence_tag(name: str) -> int | None:
    """Return the tag of a sequence; None for any other name."""
    tag = datadict.tag_for_keyword(name)
    return tag if tag is not None and datadict.dictionary_VR(tag) == "SQ" else None
