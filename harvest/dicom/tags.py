"""Names of attributes: what a profile may ask for, and what its column is called.

Three ways to write a step of a path, as in ``Sequence.Keyword``:

- a keyword of the DICOM dictionary (PS3.6): ``PatientID``;
- a keyword of a repeating group with its group: ``OverlayRows_6000``;
- a private element: ``(gggg,creator,ee)``, never without its creator (PS3.5 section 7.8.1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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


def top_tags(paths: Iterable[str]) -> frozenset[int]:
    """Return the tags of those paths that lead to no item and to no private element."""
    found = []
    for path in paths:
        try:
            found.append(_attribute(path, "").key)
        except UnknownTag:
            continue  # a path into items, or what no dictionary knows: not to be told by its tag
    return frozenset(key for key in found if isinstance(key, int))


def open_paths(attributes: Iterable[Attribute]) -> Iterator[str]:
    """Yield the paths of the sequences of which every member that appears is wanted."""
    for attribute in attributes:
        if attribute.open:
            yield attribute.path
        yield from open_paths(attribute.members)


class UnknownTag(ValueError):
    """A tag that is in no dictionary, or that cannot be a column."""


_PRIVATE = re.compile(r"\(([0-9A-Fa-f]{4}),(.+?),([0-9A-Fa-f]{2})\)")
_TAG = re.compile(r"\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)")
_STEP = re.compile(rf"{_PRIVATE.pattern}|{_TAG.pattern}|[^.()]+")
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
        path += (_attribute(step, path[-1].path if path else ""),)
    _check_shape(text, path)
    return path


def _check_shape(text: str, path: tuple[Attribute, ...]) -> None:
    for parent in path[:-1]:
        if parent.vr != "SQ":
            raise UnknownTag(f"{text!r}: {parent.name} is no sequence (its VR is {parent.vr})")
    leaf = path[-1]
    if leaf.vr in BINARY_VRS:
        raise UnknownTag(f"{text!r} holds binary data ({leaf.vr}), which never becomes a column")


def skip_path(text: str) -> str:
    """Write the path of what is to be skipped as columns are known by; its type need not be known.

    Parameters
    ----------
    text
        As for `parse_path`; besides any private element, and ``(gggg,eeee)``.

    Raises
    ------
    UnknownTag
        A keyword is in no dictionary.
    """
    path = ""
    steps = [match.group(0) for match in _STEP.finditer(text)]
    if not steps or ".".join(steps) != text:
        raise UnknownTag(f"{text!r} is not a keyword, Sequence.Keyword or (gggg,creator,ee)")
    for step in steps:
        private = _PRIVATE.fullmatch(step)
        if private:
            path = _joined(path, str(_private_tag(private)))
        elif _TAG.fullmatch(step):
            path = _joined(path, _step(int(step[1:5] + step[6:10], 16)))
        else:
            path = _attribute(step, path).path
    return path


def _private_tag(match: re.Match[str]) -> PrivateTag:
    return PrivateTag(int(match[1], 16), match[2], int(match[3], 16))


def _joined(parent: str, step: str) -> str:
    return f"{parent}.{step}" if parent else step


def _attribute(step: str, parent: str) -> Attribute:
    private = _PRIVATE.fullmatch(step)
    if private:
        tag = _private_tag(private)
        return _private_attribute(tag, _joined(parent, str(tag)))
    if _TAG.fullmatch(step):
        raise UnknownTag(f"{step!r} is not a keyword: write the one that PS3.6 has for it")
    number = datadict.tag_for_keyword(step)
    if number is None:
        number = _repeating_group(step)
    if number is None or number >> 16 in (0x0000, 0xFFFE):  # commands, items: not in data sets
        raise UnknownTag(f"{step!r} is in no dictionary{_suggestion(step)}")
    name = _step(number)
    return Attribute(
        key=number,
        name=name,
        path=_joined(parent, name),
        vr=datadict.dictionary_VR(number),
        vm=datadict.dictionary_VM(number),
        description=datadict.dictionary_description(number),
    )


def _private_attribute(tag: PrivateTag, path: str) -> Attribute:
    known = _private_entry(tag)
    if known is None:
        raise UnknownTag(
            f"{tag} is not in pydicom's private dictionary, so that its type is unknown"
        )
    vr, vm, description = known
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


def appeared(key: Key, parent: str, *, items: bool) -> Attribute | None:
    """Describe an attribute that a data set was found to hold.

    Parameters
    ----------
    key
        Tag as one number, or a private name; a private tag as one number has no creator.
    parent
        Path of the sequence that holds the data set; empty for the main one.
    items
        Whether it holds items; counts only where no dictionary knows the attribute.

    Returns
    -------
    Attribute or None
        Named by its path's last step, which is unique; None where it never becomes a column: bulk
        data, group lengths and private creators. What no dictionary knows has the VR ``UN``, and
        becomes texts.
    """
    if isinstance(key, PrivateTag):
        step, known = str(key), _private_entry(key)
        if known is not None and (known[0] in BINARY_VRS or known[0] == "OB_OW"):
            known = None  # the file may know better
    else:
        step, known = _step(key), _entry(key)
        if key >> 16 == 0 or key & 0xFFFF == 0 or is_creator(key):
            return None
    path = _joined(parent, step)
    if known is None:
        vr, name = ("SQ", f"{step} items") if items else ("UN", step)
        return Attribute(key, name, path, vr, "1" if items else "1-n", "")
    vr, vm, description = known
    return None if vr in BINARY_VRS else Attribute(key, step, path, vr, vm, description)


def _step(number: int) -> str:
    """Write a tag as a step of a path: by its keyword, if that names no other tag."""
    keyword = datadict.keyword_for_tag(number)
    if keyword and number in datadict.DicomDictionary:
        return keyword
    if not keyword or "x" in _repeaters()[keyword][4:]:
        return f"({number >> 16:04X},{number & 0xFFFF:04X})"
    return f"{keyword}_{number >> 16:04X}"


def _entry(number: int) -> tuple[str, str, str] | None:
    try:
        vr, vm, description, _, _ = datadict.get_entry(number)
    except KeyError:
        return None
    return vr, vm, description


def _private_entry(tag: PrivateTag) -> tuple[str, str, str] | None:
    # 0x10 is as good as any block: the dictionary looks at the last two digits only
    number = tag.group << 16 | 0x1000 | tag.element
    try:
        vr, vm, description, _ = datadict.get_private_entry(number, tag.creator)
    except KeyError:
        return None
    return vr, vm, description


def column_names(attributes: Sequence[Attribute]) -> list[str]:
    """Name the columns of attributes, each unlike the others in any case of letters.

    Parameters
    ----------
    attributes
        Beside each other, in tag order.
    """
    names = [_column_name(attribute.key) for attribute in attributes]
    # keywords are unlike each other, and keep their names
    taken = {name.casefold() for name in names if name in datadict.keyword_dict}
    for number, name in enumerate(names):
        unique, count = name, 1
        if name in datadict.keyword_dict:
            continue
        while unique.casefold() in taken:
            count += 1
            unique = f"{name}_{count}"
        names[number] = unique
        taken.add(unique.casefold())
    return names


def _column_name(key: Key) -> str:
    if isinstance(key, PrivateTag):
        return key.column
    step = _step(key)
    return f"Tag_{key:08X}" if step.startswith("(") else step


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
        tails.setdefault(path[0].key, []).append(path[1:])
    return tuple(_with_members(head, tails[key]) for key, head in heads.items())


def _with_members(head: Attribute, tails: list[tuple[Attribute, ...]]) -> Attribute:
    members = sorted(merge_paths(filter(None, tails)), key=tag_order)
    # a sequence that is named alone, beside its members or not, takes all that appear
    return replace(head, members=tuple(members), open=head.vr == "SQ" and () in tails)


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
