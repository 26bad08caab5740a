"""Attributes of single frames: functional groups of their own, or shared by all of them.

Pure. PS3.3 section C.7.6.16.1 puts a group either into the Shared Functional Groups Sequence or,
for each frame, into an item of the Per-Frame Functional Groups Sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import ErrorKind, ObjectError

SHARED: Final = "SharedFunctionalGroupsSequence"
PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"

Values = Mapping[str, Any]
"""By keyword; sequences are lists of such values, what is absent is missing or None."""


def of_frames(path: str) -> tuple[str, str]:
    """Return where an attribute of frames may be, for a profile or a `FrameReader`.

    Parameters
    ----------
    path
        Inside the functional groups, such as ``PlanePositionSequence.ImagePositionPatient``.
    """
    return f"{SHARED}.{path}", f"{PER_FRAME}.{path}"


def first_of(values: Values, path: str) -> Any:
    """Return the attribute that a path leads to through the first items; None where it is absent.

    Parameters
    ----------
    values
        Of a data set.
    path
        Keywords joined by dots.
    """
    *sequences, keyword = path.split(".")
    for sequence in sequences:
        items = values.get(sequence)
        if not items:
            return None
        values = items[0]
    return values.get(keyword)


def each_frame(values: Values, frames: int, path: str) -> list[Any]:
    """Return an attribute of each frame, None for those that have none.

    Parameters
    ----------
    values
        Of the object; read with `of_frames`.
    frames
        Number of Frames.
    path
        Inside the functional groups.

    Raises
    ------
    ObjectError
        ``malformed``: there are groups for another number of frames.
    """
    shared = first_of(values, f"{SHARED}.{path}")
    return [shared if own is None else own for own in _own(values, frames, path)]


def _own(values: Values, frames: int, path: str) -> list[Any]:
    groups = values.get(PER_FRAME) or []
    if not groups:
        return [None] * frames
    if len(groups) != frames:
        raise ObjectError(
            ErrorKind.MALFORMED, f"functional groups of {len(groups)} frames, where {frames} are"
        )
    return [first_of(group, path) for group in groups]
