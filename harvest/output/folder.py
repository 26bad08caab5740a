"""An output in a local folder, or one that a cluster shares."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

from .faults import explained
from .protocol import WORK

_LOCK: Final = f"{WORK}/lock"
# what the file system says of a lock that it does not have, as some of networks do
_NO_LOCKS: Final = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
)


class LocalOutput:
    """An output in a local folder; see `Output`.

    A file appears under its name when it is complete, by a rename on the same file system, and
    survives a loss of power.

    Parameters
    ----------
    folder
        Need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_new = not os.path.lexists(folder)

    @property
    def location(self) -> str:
        """The folder, as it was named."""
        return str(self.folder)

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self.folder / name

    def exists(self, name: str) -> bool:
        """Tell whether a complete file has this name."""
        with self._explained("read"):
            return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """Return a file's bytes; see `Output.read`."""
        with self._explained("read"):
            return self.path(name).read_bytes()

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading; see `Output.opened`."""
        with self._explained("read"), self.path(name).open("rb") as file:
            yield file

    def names(self, folder: str) -> list[str]:
        """List the complete files of a folder, sorted."""
        with self._explained("read"):
            if not self.path(folder).is_dir():
                return []
            return sorted(
                f"{folder}/{entry.name}"
                for entry in self.path(folder).iterdir()
                if entry.is_file() and not entry.name.endswith(".tmp")
            )

    def folders(self) -> list[str]:
        """List the folders; see `Output.folders`."""
        with self._explained("read"):
            present = self.folder.iterdir() if self.folder.is_dir() else ()
            return sorted(entry.name for entry in present if entry.is_dir() and entry.name != WORK)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path; see `Output.writing`."""
        target = self.path(name)
        # under the work folder, so that no glob over the tables sees an unfinished file; a name
        # of its own, since workers of other hosts may have this process's number
        unfinished = f"{name.replace('/', '-')}.{secrets.token_hex(4)}.tmp"
        temporary = self.folder / WORK / unfinished
        with self._explained("written"):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.parent.mkdir(exist_ok=True)
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

    def remove(self, name: str) -> None:
        """Remove a file, or a folder whole, and the folders around it that are then empty."""
        gone = self.path(name)
        with self._explained("cleared"):
            if gone.is_dir():
                shutil.rmtree(gone)
            else:
                gone.unlink(missing_ok=True)
            while gone != self.folder:
                gone = gone.parent
                if gone == self.folder and not self._is_new:
                    return  # an empty folder that the user has made stays
                try:
                    gone.rmdir()
                except OSError:
                    return  # it is not empty, or may not go

    def strangers(self) -> list[str]:
        """List anything but a work folder; the folder itself where it is none."""
        if self.folder.exists() and not self.folder.is_dir():
            return [self.folder.name]
        with self._explained("read"):
            present = self.folder.iterdir() if self.folder.is_dir() else ()
            return sorted(entry.name for entry in present if entry.name != WORK)

    def versioned(self, name: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and their SHA-256; see `Output.versioned`."""
        try:
            data = self.read(name)
        except FileNotFoundError:
            return None
        return data, hashlib.sha256(data).hexdigest()

    def replace(self, name: str, data: bytes, version: str | None) -> bool:
        """Replace a file under a lock; see `Output.replace`."""
        with self._locked():
            found = self.versioned(name)
            if (found and found[1]) != version:
                return False
            self.write(name, data)
            return True

    def bytes_of(self, folder: str) -> int:
        """Add up the sizes of a folder's files."""
        with self._explained("read"):
            return sum(self.path(name).stat().st_size for name in self.names(folder))

    def tidy(self) -> None:
        """Remove the temporary files of killed writers."""
        with self._explained("cleared"):
            for path in (self.folder / WORK).glob("*.tmp"):
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the free bytes of the file system that the folder is or will be on."""
        with self._explained("read"):
            present = next(p for p in (self.folder, *self.folder.parents) if p.is_dir())
            return shutil.disk_usage(present).free

    def honours_conditions(self) -> bool:
        """Tell whether the file system has locks, tried out once."""
        return self._has_locks

    @cached_property
    def _has_locks(self) -> bool:
        with self._locked() as locked:
            return locked

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the output's lock; yield False where the file system has none."""
        path = self.path(_LOCK)
        with self._explained("locked"):
            while True:
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                except FileNotFoundError:
                    continue  # another driver has just left the folder empty, and removed it
                try:
                    held = _lock(descriptor)
                    if not _is_still(path, descriptor):
                        continue  # its holder removed it meanwhile
                    try:
                        yield held
                    finally:
                        path.unlink(missing_ok=True)
                    return
                finally:
                    os.close(descriptor)

    def _explained(self, verb: str) -> AbstractContextManager[None]:
        kept = "finished partitions are not read again"
        return explained(f"output {self.folder}", verb, "name another folder", kept=kept)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
