"""Profiles: which attributes become columns. Ready ones lie in ``configs/profiles/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import datadict

from ..dicom.dictionary import UnknownTag
from ..dicom.paths import merge_paths, parse_path, skip_path
from ..dicom.tags import Attribute, Wanted
from ..errors import ConfigError
from .ready import read_named, ready_files
from .section import Location

Mistake = tuple[Location, str]
"""Where in the section, and what is wrong."""

ALL = "all"
"""Names no file, but every attribute that appears."""

_PROFILE: Location = ("profile",)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What profiles and tags come to."""

    wanted: Wanted
    """Attributes in the order of first mention."""
    mistakes: tuple[Mistake, ...]
    """Everything that is wrong, with where in the config's ``read:`` section."""


def resolve(profiles: Sequence[str], tags: Sequence[str], skip: Sequence[str] = ()) -> Resolved:
    """Resolve profiles and single tags to the attributes that become columns.

    Parameters
    ----------
    profiles
        Names of ready profiles, or paths of profile files; the union is taken. ``all`` is every
        attribute that appears.
    tags
        Further tags: ``Keyword``, ``Sequence.Keyword``, ``(gggg,creator,ee)``; of a sequence that
        is named alone every member that appears.
    skip
        Tags of those that need not be named, to leave out.
    """
    mistakes: list[Mistake] = []
    named: list[tuple[Location, str, str]] = []
    for name in profiles:
        if name != ALL:
            named += [(_PROFILE, f"profile {name}: ", tag) for tag in _profile_tags(name, mistakes)]
    named += [(("tags", number), "read.tags: ", tag) for number, tag in enumerate(tags)]
    paths = _paths(named, mistakes)
    skipped = _skipped(skip, {path[-1].path for path in paths}, mistakes)
    wanted = Wanted(merge_paths(paths), ALL in profiles, skipped)
    if skipped and not wanted.open:
        text = "read.skip: every column is named, so that there is nothing to skip"
        mistakes.append((("skip",), text))
    return Resolved(wanted, tuple(mistakes))


def how_to_get(column: str) -> str:
    """Say how a harvest gets a column; nothing of a name that is no keyword."""
    if column == "header":
        return "there is no column header: set read.header: json"
    profiles = _profiles_with(column)
    if profiles:
        return (
            f"the harvest has no {column}: add profile {' or '.join(profiles)} to read.profile, "
            f"or {column} to read.tags"
        )
    known = column in datadict.keyword_dict
    return f"the harvest has no {column}: add it to read.tags" if known else ""


def _profiles_with(tag: str) -> list[str]:
    """Name the ready profiles that have a tag, or one of that name in a sequence."""
    return [
        name
        for name in ready_files("profiles")
        if any(tag in named.split(".") for named in _profile_tags(name, []))
    ]


def _skipped(skip: Sequence[str], named: set[str], mistakes: list[Mistake]) -> frozenset[str]:
    paths = set()
    for number, tag in enumerate(skip):
        location: Location = ("skip", number)
        try:
            path = skip_path(tag)
        except UnknownTag as unknown:
            mistakes.append((location, f"read.skip: {unknown}"))
            continue
        if path in named:
            mistakes.append((location, f"read.skip: {path} is named in the profile or the tags"))
        paths.add(path)
    return frozenset(paths)


def _paths(
    named: Sequence[tuple[Location, str, str]], mistakes: list[Mistake]
) -> list[tuple[Attribute, ...]]:
    paths = []
    for location, where, tag in named:
        try:
            paths.append(parse_path(tag))
        except UnknownTag as unknown:
            mistakes.append((location, f"{where}{unknown}"))
    return paths


def resolve_wanted(
    profiles: Sequence[str], tags: Sequence[str], skip: Sequence[str] = ()
) -> Wanted:
    """Resolve as `resolve` does, and insist.

    Raises
    ------
    ConfigError
        A profile is not there or is no profile, or tags are unknown; all mistakes at once.
    """
    resolved = resolve(profiles, tags, skip)
    if resolved.mistakes:
        raise ConfigError("\n".join(text for _, text in resolved.mistakes))
    return resolved.wanted


def _profile_tags(name: str, mistakes: list[Mistake]) -> Sequence[str]:
    try:
        path, content = read_named("profiles", name)
    except ValueError as error:
        mistakes.append((_PROFILE, str(error)))
        return []
    tags = content.get("tags") if isinstance(content, dict) else None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        mistakes.append(
            (_PROFILE, f"profile {path} has no list of tags (see configs/profiles/core.yaml)")
        )
        return []
    return tags
