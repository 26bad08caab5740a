"""An output in an S3 or GCS bucket."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from ..errors import ErrorKind, ObjectError, OutputError, StoreUnavailable
from ..store.faults import store_unavailable
from ..store.patience import WHOLE_FILE, Patience
from ..store.protocol import EmptyObject, Version, WritableBucket
from ..store.ranged_file import RangedFile
from ..urls import ObjectUrl
from .faults import explained
from .protocol import WORK

_PROBE: Final = f"{WORK}/conditions"

Result = TypeVar("Result")


class BucketOutput:
    """An output below a prefix of a bucket; see `Output`.

    Objects appear whole, so that nothing is ever written under another name first. A large file
    that a killed process leaves in parts has no name; the bucket's lifecycle rule for incomplete
    uploads clears it.

    Parameters
    ----------
    url
        Of the bucket and the prefix.
    bucket
        Of that URL.
    """

    def __init__(self, url: ObjectUrl, bucket: WritableBucket) -> None:
        self._url = url
        self._prefix = f"{folder}/" if (folder := url.key.strip("/")) else ""
        self.bucket = bucket

    @property
    def location(self) -> str:
        """The URL, without a slash at its end."""
        return str(self._url.with_key(self._prefix)).rstrip("/")

    def key(self, name: str) -> str:
        """Return the key of a file."""
        return self._prefix + name

    def exists(self, name: str) -> bool:
        """Tell whether an object has this name."""
        try:
            self.state(name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Return a file's bytes; see `Output.read`."""
        found = self.versioned(name)
        if found is None:
            raise FileNotFoundError(f"{self.location}/{name}")
        return found[0]

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open an object for reading by ranges; see `Output.opened`."""
        size, version = self.state(name)
        read = partial(self.read_range, name, version=version)
        with RangedFile(read, size) as file:
            yield cast(BinaryIO, file)

    def state(self, name: str) -> tuple[int, Version]:
        """Return an object's size in bytes, and what names this state of it to `read_range`.

        Raises
        ------
        FileNotFoundError
            There is none of this name.
        """
        try:
            first = self._patiently(
                lambda: self.bucket.get(self.key(name), 0, 1, None), absent=name
            )
        except EmptyObject:
            return 0, Version(None)
        return first.size, first.version

    def read_range(self, name: str, start: int, stop: int, version: Version) -> bytes:
        """Read bytes of an object that must still be in a state that `state` found.

        Raises
        ------
        StoreUnavailable
            It was replaced meanwhile, or the bucket does not answer.
        """
        return self._patiently(
            lambda: self.bucket.get(self.key(name), start, stop, version).data, absent=name
        )

    def names(self, folder: str) -> list[str]:
        """List the objects of a folder and none below, sorted."""
        return [
            f"{folder}/{entry}" for entry in self._entries(f"{folder}/") if not entry.endswith("/")
        ]

    def folders(self) -> list[str]:
        """List what has objects below it; see `Output.folders`."""
        found = [entry.rstrip("/") for entry in self._entries("") if entry.endswith("/")]
        # SeaweedFS lists folders that are empty for a while
        return [name for name in found if name != WORK and not self._is_empty(f"{name}/")]

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path in the temporary folder, to be uploaded; see `Output.writing`."""
        with _temporary_folder() as folder:
            # not by its own name: nothing unfinished is called .parquet
            path = folder / "unfinished"
            yield path
            with self._explained():
                self.bucket.upload(self.key(name), path)

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object."""
        with self.writing(name) as path:
            path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove an object, and those below a folder of this name."""
        keys = [self.key(name), *self._sizes(f"{name}/")]
        with self._explained():
            self.bucket.delete(keys)

    def strangers(self) -> list[str]:
        """List anything but a work folder."""
        return [
            entry.rstrip("/")
            for entry in self._entries("")
            # SeaweedFS lists folders that are empty for a while
            if entry.rstrip("/") != WORK and not (entry.endswith("/") and self._is_empty(entry))
        ]

    def _is_empty(self, folder: str) -> bool:
        return not self._patiently(lambda: any(self.bucket.list(self.key(folder))))

    def versioned(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and its ETag or generation; see `Output.versioned`."""
        return self._patiently(lambda: self.bucket.read(self.key(name)))

    def replace(self, name: str, data: bytes, version: str | None) -> bool:
        """Write an object on a condition; see `Output.replace`."""
        writer = secrets.token_hex(8)
        return self._patiently(lambda: self.bucket.put(self.key(name), data, version, writer))

    def bytes_of(self, folder: str) -> int:
        """Add up the sizes of a folder's objects."""
        return sum(self._sizes(f"{folder}/").values())

    def tidy(self) -> None:
        """Do nothing: in a bucket no writer leaves anything unfinished that has a name."""

    def free_bytes(self) -> None:
        """Return None: a bucket has no limit."""

    def honours_conditions(self) -> bool:
        """Tell whether the store heeds the conditions of a write, tried out once."""
        return self._heeds_conditions

    @cached_property
    def _heeds_conditions(self) -> bool:
        # a name of its own: another driver may be trying at the same time
        name = f"{_PROBE}-{secrets.token_hex(4)}"
        try:
            created = self.replace(name, b"1", None)
            twice = self.replace(name, b"2", None)
            found = self.versioned(name)
            if not created or twice or found is None or found[0] != b"1":
                return False
            replaced = self.replace(name, b"3", found[1])
            stale = self.replace(name, b"4", found[1])
            return replaced and not stale and self.read(name) == b"3"
        finally:
            with self._explained():
                self.bucket.delete([self.key(name)])

    def _entries(self, folder: str) -> list[str]:
        prefix = self.key(folder)
        pages = self._patiently(lambda: list(self.bucket.entries(prefix)))
        # consoles make a folder by an object of its name
        found = {entry.removeprefix(prefix) for page in pages for entry in page} - {""}
        return sorted(found)

    def _sizes(self, folder: str) -> dict[str, int]:
        """Return the keys below a folder, however deep, with the bytes of their objects."""
        pages = self._patiently(lambda: list(self.bucket.list(self.key(folder))))
        return {entry.key: entry.size or 0 for page in pages for entry in page}

    def _patiently(self, request: Callable[[], Result], *, absent: str | None = None) -> Result:
        """Make a request, and again where it may help; raise as `_explained` does."""
        with self._explained(absent):
            return Patience(*WHOLE_FILE).call(request)

    @contextmanager
    def _explained(self, absent: str | None = None) -> Iterator[None]:
        """Turn a fault of the bucket into a word to the user.

        Parameters
        ----------
        absent
            Name of the file that a ``not_found`` is about; None where it is about the bucket.
        """
        try:
            yield
        except ObjectError as error:
            if absent is not None and error.kind == ErrorKind.NOT_FOUND:
                raise FileNotFoundError(f"{self.location}/{absent}") from None
            raise self._told(error) from None

    def _told(self, error: ObjectError) -> OutputError | StoreUnavailable:
        if error.kind.retryable:
            return store_unavailable(f"output {self.location}", error, "the output's endpoint")
        if error.kind == ErrorKind.NOT_FOUND:
            return OutputError(
                f"output {self.location} is in no bucket that exists: create it, or name another"
            )
        return OutputError(
            f"output {self.location} refuses the environment's credentials ({error.detail}): "
            "let them read, write, list and delete there, or name another output"
        )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    place = f"the temporary folder {tempfile.gettempdir()}"
    with (
        explained(place, "written", "set TMPDIR to another folder"),
        tempfile.TemporaryDirectory(prefix="harvest-") as made,
    ):
        yield Path(made)
