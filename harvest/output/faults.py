"""What a file system refuses, as a word to the user."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import OutputError

_RUN_AGAIN: Final = "run the same command again"
_CLEAR: Final = f"free space, then {_RUN_AGAIN}"
_NEXT_STEPS: Final = {
    errno.EROFS: "{elsewhere}",
    errno.EACCES: "let this user write there, or {elsewhere}",
    errno.EPERM: "let this user write there, or {elsewhere}",
    errno.ENOTDIR: "{elsewhere}",
    errno.EEXIST: "{elsewhere}",
    errno.EIO: f"have the disk checked, then {_RUN_AGAIN}",
    errno.ESTALE: f"see that it is mounted, then {_RUN_AGAIN}",
}


@contextmanager
def explained(place: str, verb: str, elsewhere: str, *, kept: str = "") -> Iterator[None]:
    """Raise `OutputError` for what the file system refuses, with cause and next step.

    Parameters
    ----------
    place
        Such as ``output /data/out``.
    verb
        What was done to it, such as ``written``.
    elsewhere
        How the user names another place.
    kept
        What is not lost where the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk of {place} is full: {_CLEAR}{kept and f'; {kept}'}"
            ) from None
        if error.errno in (None, errno.ENOENT, errno.EBADF, errno.EINVAL):
            raise  # a file that may be absent, or a bug
        step = _NEXT_STEPS.get(error.errno, "mend that, or {elsewhere}")
        step = step.format(elsewhere=elsewhere)
        raise OutputError(f"{place} cannot be {verb} ({error.strerror}): {step}") from None
