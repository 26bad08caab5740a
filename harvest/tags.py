"""Names of attributes: what a profile may ask for, and what its column is called.

Three ways to write a step of a path, as in ``Sequence.Keyword``:

- a keyword of the DICOM dictionary (PS3.6): ``PatientID``;
- a keyword of a repeating group with its group: ``OverlayRows_6000``;
- a private element: ``(gggg,creator,ee)``, never without its creator (PS3.5 section 7.8.1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from pydicom import datadict
from pydicom._dicom_dict import RepeatersDictionary

BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW"})
"""VRs that never become a column: bulk data, or bytes of unknown meaning."""


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

    @property
    def column(self) -> str:
        """Name of its column, ``private_gggg_CREATOR_ee``."""
        creator = re.sub(r"[^0-9A-Za-z]", "_", self.creator)
        return f"private_{self.group:04X}_{creator}_{self.element:02X}"


Key = int | PrivateTag
"""What an element is found by: its tag as one number, ``0xGGGGEEEE``, or a private name."""


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


class UnknownTag(ValueError):
    """A tag that is in no dictionary, or that cannot be a column."""


_PRIVATE = re.compile(r"\(([0-9A-Fa-f]{4}),(.+?),([0-9A-Fa-f]{2})\)")
_STEP = re.compile(_PRIVATE.pattern + r"|[^.()]+")
_REPEATER = re.compile(r"(\w+)_([0-9A-Fa-f]{4})")


def parse_path(text: str) -> tuple[Attribute, ...]:
    """Resolve a path such as ``Sequence.Keyword`` step by step.

    Parameters
    ----------
    text
        One entry of a profile.

    Returns
    -------
    tuple of Attribute
        One for each step, outermost first, none of them with members yet.

    Raises
    ------
    UnknownTag
        A step is in no dictionary, or the path cannot become a column; the text says why.
    """
    steps = [match.group(0) for match in _STEP.finditer(text)]
    if not steps or ".".join(steps) != text:
        raise UnknownTag(f"{text!r} is not a keyword, Sequence.Keyword or (gggg,creator,ee)")
    path: tuple[Attribute, ...] = ()
    for step in steps:
        path += (_attribute(step, ".".join([*(a.path for a in path[-1:]), step])),)
    _check_shape(text, path)
    return path


def _check_shape(text: str, path: tuple[Attribute, ...]) -> None:
    for parent in path[:-1]:
        if parent.vr != "SQ":
            raise UnknownTag(f"{text!r}: {parent.name} is no sequence (its VR is {parent.vr})")
    leaf = path[-1]
    if leaf.vr == "SQ":
        raise UnknownTag(f"{text!r} is a sequence: name its members, as in {leaf.name}.CodeValue")
    if leaf.vr in BINARY_VRS:
        raise UnknownTag(f"{text!r} holds binary data ({leaf.vr}), which never becomes a column")


def _attribute(step: str, path: str) -> Attribute:
    private = _PRIVATE.fullmatch(step)
    if private:
        tag = PrivateTag(int(private[1], 16), private[2], int(private[3], 16))
        return _private_attribute(tag, path)
    number = datadict.tag_for_keyword(step)
    if number is None:
        number = _repeating_group(step)
    if number is None or number >> 16 in (0x0000, 0xFFFE):  # commands, items: not in data sets
        raise UnknownTag(f"{step!r} is in no dictionary{_suggestion(step)}")
    return Attribute(
        key=number,
        name=step,
        path=path,
        vr=datadict.dictionary_VR(number),
        vm=datadict.dictionary_VM(number),
        description=datadict.dictionary_description(number),
    )


def _private_attribute(tag: PrivateTag, path: str) -> Attribute:
    # 0x10 is as good as any block: the dictionary looks at the last two digits only
    number = tag.group << 16 | 0x1000 | tag.element
    try:
        vr, vm, description, _ = datadict.get_private_entry(number, tag.creator)
    except KeyError:
        raise UnknownTag(
            f"{tag} is not in pydicom's private dictionary, so that its type is unknown"
        ) from None
    return Attribute(key=tag, name=tag.column, path=path, vr=vr, vm=vm, description=description)


@cache
def _repeaters() -> dict[str, str]:
    return {entry[4]: mask for mask, entry in RepeatersDictionary.items() if entry[4]}


def _repeating_group(step: str) -> int | None:
    match = _REPEATER.fullmatch(step)
    if match is None or match[1] not in _repeaters():
        return None
    mask = _repeaters()[match[1]]
    group = match[2].lower()
    same = all(
        wanted in (found, "x") for found, wanted in zip(group, mask[:4].lower(), strict=True)
    )
    standard = int(group, 16) % 2 == 0
    return int(group + mask[4:], 16) if same and standard and "x" not in mask[4:] else None


def _suggestion(step: str) -> str:
    near = difflib.get_close_matches(step, datadict.keyword_dict, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def keyword_of(key: Key) -> str:
    """Name an element as ``issues.path`` does: its keyword, or the tag where there is none.

    Parameters
    ----------
    key
        Tag as one number, or a private name.
    """
    if isinstance(key, PrivateTag):
        return str(key)
    return datadict.keyword_for_tag(key) or f"({key >> 16:04X},{key & 0xFFFF:04X})"


def merge_paths(paths: Iterable[tuple[Attribute, ...]]) -> tuple[Attribute, ...]:
    """Merge the paths of a profile: one attribute for each sequence, with all its members.

    Parameters
    ----------
    paths
        As `parse_path` gives them; repeated ones count once.

    Returns
    -------
    tuple of Attribute
        In the order of first appearance, the members of sequences in tag order.
    """
    heads: dict[Key, Attribute] = {}
    tails: dict[Key, list[tuple[Attribute, ...]]] = {}
    for path in paths:
        heads.setdefault(path[0].key, path[0])
        tails.setdefault(path[0].key, [])
        if path[1:]:
            tails[path[0].key].append(path[1:])
    return tuple(_with_members(head, tails[key]) for key, head in heads.items())


def _with_members(head: Attribute, tails: list[tuple[Attribute, ...]]) -> Attribute:
    members = sorted(merge_paths(tails), key=_tag_order)
    return Attribute(
        head.key, head.name, head.path, head.vr, head.vm, head.description, tuple(members)
    )


def _tag_order(attribute: Attribute) -> tuple[int, str]:
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
