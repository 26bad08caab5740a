"""Profiles: which attributes become columns. Ready ones lie in ``configs/profiles/``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError
from .tags import Attribute, UnknownTag, merge_paths, parse_path

_HERE = Path(__file__).parent


def profiles_folder() -> Path:
    """Return the folder of the ready profiles: in an installed package, or in a checkout."""
    packaged = _HERE / "configs" / "profiles"
    return packaged if packaged.is_dir() else _HERE.parent / "configs" / "profiles"


def resolve_attributes(profiles: Iterable[str], tags: Iterable[str]) -> tuple[Attribute, ...]:
    """Resolve profiles and single tags to the attributes that become columns.

    Parameters
    ----------
    profiles
        Names of ready profiles, or paths of profile files; the union is taken.
    tags
        Further tags: ``Keyword``, ``Sequence.Keyword``, ``(gggg,creator,ee)``.

    Returns
    -------
    tuple of Attribute
        In the order of first mention.

    Raises
    ------
    ConfigError
        A profile is not there or is no profile, or tags are unknown; all mistakes at once.
    """
    mistakes: list[str] = []
    paths = []
    wanted = [(f"profile {name}", _profile_tags(name, mistakes)) for name in profiles]
    for source, entries in [*wanted, ("read.tags", list(tags))]:
        for entry in entries:
            try:
                paths.append(parse_path(entry))
            except UnknownTag as unknown:
                mistakes.append(f"{source}: {unknown}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return merge_paths(paths)


def _profile_tags(name: str, mistakes: list[str]) -> Sequence[str]:
    path = _find(name)
    if path is None:
        ready = ", ".join(sorted(file.stem for file in profiles_folder().glob("*.yaml")))
        mistakes.append(f"profile {name!r} is neither a ready one ({ready}) nor a file")
        return []
    try:
        content: Any = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mistakes.append(f"profile {path} cannot be read: {type(error).__name__}")
        return []
    tags = content.get("tags") if isinstance(content, dict) else None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        mistakes.append(f"profile {path} has no list of tags (see configs/profiles/core.yaml)")
        return []
    return tags


def _find(name: str) -> Path | None:
    for path in (profiles_folder() / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    return None
