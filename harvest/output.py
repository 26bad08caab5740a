"""The output: a folder of named files, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .errors import OutputError
from .store.urls import parse_url

WORK: Final = "_harvest"
"""Folder of unfinished work; nothing in it is named .parquet."""
MANIFEST: Final = "manifest.json"


def open_output(location: str) -> LocalOutput:
    """Open the output that a config or a user names.

    Parameters
    ----------
    location
        A local path or file:// URL.
    """
    return LocalOutput(Path(parse_url(location).key))


class LocalOutput:
    """An output in a local folder.

    Names are relative and use slashes. A file appears under its name when it is complete, by a
    rename on the same file system, and survives a loss of power.

    Parameters
    ----------
    folder
        Need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self.folder / name

    def exists(self, name: str) -> bool:
        """Tell whether a complete file has this name."""
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return self.path(name).read_bytes()

    def names(self, folder: str) -> list[str]:
        """List the complete files of a folder, sorted."""
        if not self.path(folder).is_dir():
            return []
        return sorted(
            f"{folder}/{entry.name}"
            for entry in self.path(folder).iterdir()
            if entry.is_file() and not entry.name.endswith(".tmp")
        )

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path; what is written there gets its name when the block ends."""
        target = self.path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / WORK).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"output {self.folder} cannot be written ({error.strerror}): name another folder"
            ) from None
        # under the work folder, so that no glob over the tables sees an unfinished file
        temporary = self.folder / WORK / f"{name.replace('/', '-')}.{os.getpid()}.tmp"
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, target)
            _sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        with self.writing(name) as path:
            path.write_bytes(data)

    def remove(self, folder: str) -> None:
        """Remove a folder, what is in it, and the folders around it that are then empty."""
        gone = self.path(folder)
        shutil.rmtree(gone, ignore_errors=True)
        while gone != self.folder:
            gone = gone.parent
            if not gone.is_dir() or any(gone.iterdir()):
                return
            gone.rmdir()

    def strangers(self) -> list[str]:
        """List what an output that holds no plan must not hold: anything but a work folder."""
        if self.folder.exists() and not self.folder.is_dir():
            return [self.folder.name]
        present = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(entry.name for entry in present if entry.name != WORK)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
