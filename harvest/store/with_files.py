"""Local files, behind the same protocol."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NoReturn

from ..errors import ErrorKind, ObjectError
from . import faults
from .protocol import EmptyObject, Listed, Ranged, Version

PAGE = 1000


class FileStore:
    """The local file system; keys are absolute paths."""

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `Readable.get`."""
        try:
            # a pipe or a device would keep the reader waiting
            descriptor = os.open(key, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise _translated(error) from None
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise faults.not_found()
            if not stat.S_ISREG(status.st_mode):
                raise ObjectError(ErrorKind.NOT_DICOM, "it is no regular file")
            found = Version(_etag(status))
            if version is not None and version != found:
                raise faults.changed()
            if status.st_size == 0:
                raise EmptyObject
            data = os.pread(descriptor, stop - start, start)
        except OSError as error:
            raise _translated(error) from None
        finally:
            os.close(descriptor)
        faults.check_range(start, stop, status.st_size, start, len(data))
        return Ranged(data, status.st_size, found)

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List files below a folder, or the one file that `prefix` is; see `Listable.list`."""
        if os.path.isfile(prefix):
            yield [_listed(prefix)]
            return
        if not os.path.isdir(prefix):
            raise faults.not_found()
        found = [
            _listed(os.path.join(folder, name))
            for folder, _, names in os.walk(prefix, onerror=_refuse)
            for name in names
            if after is None or os.path.join(folder, name) > after
        ]
        found.sort(key=lambda entry: entry.key)
        for start in range(0, len(found), PAGE):
            yield found[start : start + PAGE]


def _listed(path: str) -> Listed:
    try:
        status = os.stat(path)
    except OSError:  # a broken link, say: it is listed, and its row will tell
        return Listed(path, None, None)
    return Listed(path, status.st_size, _etag(status))


def _refuse(error: OSError) -> NoReturn:
    """Refuse a folder that cannot be listed: what is in it would be missed silently."""
    raise _translated(error)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _translated(error: OSError) -> Exception:
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return faults.not_found()
    if isinstance(error, PermissionError):
        return faults.denied()
    return faults.unavailable(f"the file cannot be read ({error.strerror})")
