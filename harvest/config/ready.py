"""Ready files that a config names: profiles and rule sets, in a checkout or in a package."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml

Kind = Literal["profiles", "rules"]

_PACKAGE = Path(__file__).parents[1]
_CALLED = {"profiles": "profile", "rules": "rule set"}


def ready_files(kind: Kind) -> dict[str, Path]:
    """Return the ready files of a kind by their names, in the order of these."""
    packaged = _PACKAGE / "configs" / kind
    folder = packaged if packaged.is_dir() else _PACKAGE.parent / "configs" / kind
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def read_named(kind: Kind, name: str) -> tuple[Path, Any]:
    """Read the YAML of a ready file, or of one that is named by its path.

    Returns
    -------
    tuple of Path and object
        Where it lies, and what it holds.

    Raises
    ------
    ValueError
        There is no such file, or it cannot be read.
    """
    ready = ready_files(kind)
    path = ready.get(name, Path(name))
    if not path.is_file():
        near = difflib.get_close_matches(name, ready, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"ready are {', '.join(ready)}"
        raise ValueError(f"{_CALLED[kind]} {name!r} is neither a ready one nor a file; {hint}")
    try:
        return path, yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = type(error).__name__
        raise ValueError(f"{_CALLED[kind]} {path} cannot be read: {reason}") from None
