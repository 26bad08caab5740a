"""Duplicates made series of their own, by patching one UID into a copy of their bytes."""

import hashlib
import os
import tempfile
from collections.abc import Container
from pathlib import Path
from typing import Final

_TRIES: Final = 1000


def free_uid(original: str, instance: str, taken: Container[str]) -> str | None:
    """Derive a UID of the same length as another, the same on every machine.

    Parameters
    ----------
    original
        SeriesInstanceUID to replace.
    instance
        SOPInstanceUID of the duplicate; a second duplicate gets the next UID.
    taken
        UIDs that are in use.

    Returns
    -------
    str or None
        None if the original is too short to have that many others.
    """
    candidates = (_derived(original, f"{original}/{instance}/{each}") for each in range(_TRIES))
    return next((candidate for candidate in candidates if candidate not in taken), None)


def write_variant(source: Path, offset: int, original: str, replacement: str, folder: Path) -> Path:
    """Write a copy of a file that differs in one UID only.

    Parameters
    ----------
    source
        File to copy.
    offset
        Where the value of the UID begins in it.
    original
        UID that stands there.
    replacement
        UID of the same length to put there.
    folder
        Where to keep the copy, named by its contents; other labs may use it at once.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    ValueError
        Something else stands at `offset`, or the lengths differ.
    """
    content = source.read_bytes()
    end = offset + len(original)
    if content[offset:end] != original.encode() or len(original) != len(replacement):
        raise ValueError(f"cannot replace the UID at {offset} of {source.name}")
    patched = b"".join((content[:offset], replacement.encode(), content[end:]))
    target = folder / f"{source.stem}-{hashlib.sha256(patched).hexdigest()[:16]}.dcm"
    if not target.exists():
        _write_whole(target, patched)
    return target


def _derived(original: str, seed: str) -> str:
    """Replace the digits of the second half by others; dots and the issuer's root stay."""
    kept = len(original) // 2
    noise = hashlib.shake_256(seed.encode()).digest(len(original))
    # Never a zero: a component of a UID must not begin with one.
    rest = (
        str(1 + byte % 9) if character.isdecimal() else character
        for character, byte in zip(original[kept:], noise, strict=False)
    )
    return original[:kept] + "".join(rest)


def _write_whole(target: Path, content: bytes) -> None:
    """Let a file appear under its name only when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix="partial-", dir=target.parent)
    try:
        with open(descriptor, "wb") as output:
            output.write(content)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
