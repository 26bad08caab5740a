"""Names of attributes, and what is wanted of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrivateTag:
    """A private element, named so that it does not depend on where its block was reserved."""

    group: int
    """Odd group number."""
    creator: str
    """Private creator, the text that reserves the block."""
    element: int
    """The last two hexadecimal digits, 0x00 to 0xFF."""

    def __str__(self) -> str:
        return f"({self.group:04X},{self.creator},{self.element:02X})"


Key = int | PrivateTag
"""What an element is found by: its tag as one number, ``0xGGGGEEEE``, or a private name."""


_PUBLIC = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")
# a creator may hold anything
_PRIVATE = re.compile(r"\(([0-9A-Fa-f]{4}),(.+),([0-9A-Fa-f]{2})\)", re.DOTALL)


def tag_text(key: Key) -> str:
    """Write a key as ``(GGGG,EEEE)``, or as ``(GGGG,creator,EE)``."""
    return str(key) if isinstance(key, PrivateTag) else f"({key >> 16:04X},{key & 0xFFFF:04X})"


def key_of(text: str) -> Key:
    """Read what `tag_text` writes.

    Raises
    ------
    ValueError
        It is no tag.
    """
    public = _PUBLIC.fullmatch(text)
    if public:
        return int(public[1] + public[2], 16)
    private = _PRIVATE.fullmatch(text)
    if private is None:
        raise ValueError(f"{text!r} is no tag")
    return PrivateTag(int(private[1], 16), private[2], int(private[3], 16))


def is_creator(tag: int) -> bool:
    """Tell whether an element is a private creator: it reserves a block (PS3.5 section 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that someone wants: a column, or a member of a sequence's items."""

    key: Key
    """Where it is in a data set."""
    name: str
    """Name of the column or struct member."""
    path: str
    """As a profile writes it, keywords joined by dots."""
    vr: str
    """Value representation by the dictionary; ``US or SS`` and its like where it depends."""
    vm: str
    """Value multiplicity by the dictionary, such as ``1``, ``1-n``, ``2``."""
    description: str
    """The dictionary's name of it."""
    members: tuple[Attribute, ...] = ()
    """Of a sequence: what is wanted of its items, in tag order."""
    open: bool = False
    """Of a sequence: whether every other member that appears is wanted, too."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What becomes columns."""

    attributes: tuple[Attribute, ...] = ()
    """Those that are named."""
    everything: bool = False
    """Whether every other attribute that appears is wanted, too."""
    skipped: frozenset[str] = frozenset()
    """Paths of attributes that are not wanted where others need no name."""

    @property
    def open(self) -> bool:
        """Whether the columns are known only when everything has been read."""
        return self.everything or any(True for _ in open_paths(self.attributes))


def open_paths(attributes: Iterable[Attribute]) -> Iterator[str]:
    """Yield the paths of the sequences of which every member that appears is wanted."""
    for attribute in attributes:
        if attribute.open:
            yield attribute.path
        yield from open_paths(attribute.members)


def tag_order(attribute: Attribute) -> tuple[int, str]:
    """Order attributes by their tags, private ones by their creators then."""
    key = attribute.key
    if isinstance(key, PrivateTag):
        return key.group << 16 | key.element, key.creator
    return key, ""


def leaves(attributes: Iterable[Attribute]) -> Iterator[Attribute]:
    """Yield every attribute that holds values, those inside sequences included."""
    for attribute in attributes:
        if attribute.members:
            yield from leaves(attribute.members)
        else:
            yield attribute
