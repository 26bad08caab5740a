"""Paths of attributes: what a profile may ask for.

Three ways to write a step of a path, as in ``Sequence.Keyword``:

- a keyword of the DICOM dictionary (PS3.6): ``PatientID``;
- a keyword of a repeating group with its group: ``OverlayRows_6000``;
- a private element: ``(gggg,creator,ee)``, never without its creator (PS3.5 section 7.8.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from .dictionary import UnknownTag, joined, known, step_of, tag_of
from .tags import Attribute, Key, key_of, tag_order
from .vrs import BINARY_VRS

_STEP = re.compile(
    r"\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)|\([0-9A-Fa-f]{4},.+?,[0-9A-Fa-f]{2}\)|[^.()]+", re.DOTALL
)


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
    path: tuple[Attribute, ...] = ()
    for step in _steps(text):
        path += (_attribute(step, path[-1].path if path else ""),)
    _check_shape(text, path)
    return path


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
    for step in _steps(text):
        path = joined(path, step_of(_key(step)))
    return path


def _steps(text: str) -> list[str]:
    steps = _STEP.findall(text)
    if not steps or ".".join(steps) != text:
        raise UnknownTag(f"{text!r} is not a keyword, Sequence.Keyword or (gggg,creator,ee)")
    return steps


def _key(step: str) -> Key:
    return key_of(step) if step.startswith("(") else tag_of(step)


def _attribute(step: str, parent: str) -> Attribute:
    key = _key(step)
    if step.startswith("(") and isinstance(key, int):
        raise UnknownTag(f"{step!r} is not a keyword: write the one that PS3.6 has for it")
    return known(key, parent)


def _check_shape(text: str, path: tuple[Attribute, ...]) -> None:
    for parent in path[:-1]:
        if parent.vr != "SQ":
            raise UnknownTag(f"{text!r}: {parent.name} is no sequence (its VR is {parent.vr})")
    leaf = path[-1]
    if leaf.vr in BINARY_VRS:
        raise UnknownTag(f"{text!r} holds binary data ({leaf.vr}), which never becomes a column")


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


def top_tags(paths: Iterable[str]) -> frozenset[int]:
    """Return the tags of those paths that lead to no item and to no private element."""
    found = []
    for path in paths:
        try:
            found.append(_attribute(path, "").key)
        except UnknownTag:
            continue  # a path into items, or what no dictionary knows: not to be told by its tag
    return frozenset(key for key in found if isinstance(key, int))
