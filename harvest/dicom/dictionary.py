"""What pydicom's dictionaries know of attributes: PS3.6, and the private ones of vendors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache

from pydicom import datadict
from pydicom._dicom_dict import RepeatersDictionary

from .tags import Attribute, Key, PrivateTag, is_creator, tag_text
from .vrs import BINARY_VRS

_REPEATER = re.compile(r"(\w+)_([0-9A-Fa-f]{4})")


class UnknownTag(ValueError):
    """A tag that is in no dictionary, or that cannot be a column."""


def tag_of(keyword: str) -> int:
    """Return the tag of a keyword, or of a keyword of a repeating group with its group.

    Raises
    ------
    UnknownTag
        It is in no dictionary, or of no element of a data set.
    """
    number = datadict.tag_for_keyword(keyword)
    if number is None:
        number = _repeating_group(keyword)
    if number is None or number >> 16 in (0x0000, 0xFFFE):  # commands, items: not in data sets
        raise UnknownTag(f"{keyword!r} is in no dictionary{_suggestion(keyword)}")
    return number


def known(key: Key, parent: str) -> Attribute:
    """Describe an attribute as the dictionaries know it.

    Parameters
    ----------
    key
        Tag as one number, which is in the dictionary, or a private name.
    parent
        Path of the sequence that holds it; empty for the main data set.

    Raises
    ------
    UnknownTag
        A private name is in no dictionary.
    """
    step, entry = step_of(key), _entry(key)
    if entry is None:
        raise UnknownTag(
            f"{step} is not in pydicom's private dictionary, so that its type is unknown"
        )
    return Attribute(key, column_name(key), joined(parent, step), *entry)


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
    if isinstance(key, int) and (key >> 16 == 0 or key & 0xFFFF == 0 or is_creator(key)):
        return None
    step, entry = step_of(key), _entry(key)
    path = joined(parent, step)
    binary = entry is not None and (entry[0] in BINARY_VRS or entry[0] == "OB_OW")
    # of a private element the file may know better
    if entry is None or (binary and isinstance(key, PrivateTag)):
        vr, name = ("SQ", f"{step} items") if items else ("UN", step)
        return Attribute(key, name, path, vr, "1" if items else "1-n", "")
    return None if binary else Attribute(key, step, path, *entry)


def joined(parent: str, step: str) -> str:
    """Write the path of what a sequence holds; no parent is the main data set."""
    return f"{parent}.{step}" if parent else step


def step_of(key: Key) -> str:
    """Write a key as a step of a path: by its keyword, if that names no other tag."""
    keyword = datadict.keyword_for_tag(key) if isinstance(key, int) else ""
    if keyword and key in datadict.DicomDictionary:
        return keyword
    if isinstance(key, PrivateTag) or not keyword or "x" in _repeaters()[keyword][4:]:
        return tag_text(key)
    return f"{keyword}_{key >> 16:04X}"


def keyword_of(key: Key) -> str:
    """Name an element as ``issues.path`` does: its keyword, or the tag where there is none.

    Parameters
    ----------
    key
        Tag as one number, or a private name.
    """
    keyword = datadict.keyword_for_tag(key) if isinstance(key, int) else ""
    return keyword or tag_text(key)


def column_names(attributes: Sequence[Attribute]) -> list[str]:
    """Name the columns of attributes, each unlike the others in any case of letters.

    Parameters
    ----------
    attributes
        Beside each other, in tag order.
    """
    names = [column_name(attribute.key) for attribute in attributes]
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


def column_name(key: Key) -> str:
    """Name the column of an attribute: by its keyword, ``Tag_GGGGEEEE``, or its private name.

    Parameters
    ----------
    key
        Tag as one number, or a private name, which becomes ``private_gggg_CREATOR_ee``.
    """
    if isinstance(key, PrivateTag):
        creator = re.sub(r"[^0-9A-Za-z]", "_", key.creator)
        return f"private_{key.group:04X}_{creator}_{key.element:02X}"
    step = step_of(key)
    return f"Tag_{key:08X}" if step.startswith("(") else step


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


def _entry(key: Key) -> tuple[str, str, str] | None:
    """Return VR, VM and name."""
    try:
        if isinstance(key, PrivateTag):
            # 0x10 is as good as any block: the dictionary looks at the last two digits only
            number = key.group << 16 | 0x1000 | key.element
            vr, vm, description, _ = datadict.get_private_entry(number, key.creator)
        else:
            vr, vm, description, _, _ = datadict.get_entry(key)
    except KeyError:
        return None
    return vr, vm, description
