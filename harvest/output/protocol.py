"""What an output can do; everything above knows no more of it than this."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

FORMAT_VERSION: Final = 1
"""Of an output's layout and meaning; another one is never resumed, and a newer one not read."""
WORK: Final = "_harvest"
"""Folder of unfinished work; nothing in it is named .parquet."""
PLAN: Final = f"{WORK}/plan"
PARTS: Final = f"{WORK}/parts"
MANIFEST: Final = "manifest.json"
"""The commit: written last."""
TABLES: Final = ("instances", "frames", "series")
"""Folders of final files."""


class Output(Protocol):
    """Named files, each written whole or not at all.

    Names are relative and use slashes. Every method raises `OutputError` where the folder or the
    bucket refuses, and `StoreUnavailable` where a bucket does not answer; texts name cause and
    next step.
    """

    @property
    def location(self) -> str:
        """For messages: the folder, or the bucket's URL."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether a complete file has this name."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        FileNotFoundError
            There is none of this name.
        """
        ...

    def opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a large file for reading, seekable; raises as `read`."""
        ...

    def names(self, folder: str) -> list[str]:
        """List the complete files of a folder and none below, sorted."""
        ...

    def folders(self) -> list[str]:
        """List the folders of the output itself, sorted; the work folder is none of them."""
        ...

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a local temporary path; what is written there gets its name when the block ends."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, whatever had its name before."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and what is in it."""
        ...

    def strangers(self) -> list[str]:
        """List what an output that holds no plan must not hold: anything but a work folder."""
        ...

    def versioned(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and what names this state of it, None where it is absent."""
        ...

    def replace(self, name: str, data: bytes, version: str | None) -> bool:
        """Write a whole file only where nobody else has meanwhile.

        Parameters
        ----------
        name
            Of the file.
        data
            Its new content.
        version
            The state, by `versioned`, that it must still be in; None where it must be absent.

        Returns
        -------
        bool
            False where it is in another state, and was left so. Writers that race for the same
            state see one True among them, as far as `honours_conditions`.
        """
        ...

    def bytes_of(self, folder: str) -> int:
        """Return how many bytes the files of a folder have."""
        ...

    def tidy(self) -> None:
        """Remove what writers that were killed have left; nobody may be writing."""
        ...

    def free_bytes(self) -> int | None:
        """Return how much can still be written; None where a store has no limit."""
        ...

    def honours_conditions(self) -> bool:
        """Tell whether `replace` can be relied on here; tried out on the first call."""
        ...
