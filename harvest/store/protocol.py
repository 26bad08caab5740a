"""What a transport can do; everything above knows no more of it than this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

CONNECT_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 60.0
"""Longest time for one request, unless less is asked for."""


class Version(NamedTuple):
    """Names one state of an object, so that a later read can insist on it."""

    etag: str | None
    """As the store writes it, quotes included."""
    generation: str | None = None
    """Of GCS."""


class Ranged(NamedTuple):
    """The answer to a ranged read."""

    data: bytes
    """From the first byte asked for; shorter than asked only where the object ends."""
    size: int
    """Bytes of the whole object."""
    version: Version


class Listed(NamedTuple):
    """One object of a listing."""

    key: str
    size: int | None
    """Bytes; None where the store does not tell."""
    etag: str | None
    """Unquoted."""


class EmptyObject(Exception):
    """The object has no bytes, so that no range of it can be served."""


class Readable(Protocol):
    """What objects are read from; see `ObjectStore`."""

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read bytes `start` to `stop` in one request.

        Parameters
        ----------
        key
            Of the object.
        start, stop
            Absolute offsets; `stop` may lie behind the object's end.
        version
            Insist on this state of the object; None for the first read.

        Raises
        ------
        EmptyObject
            It has no bytes.
        ObjectError
            See above; ``changed`` if it is no longer in the state insisted on.
        """
        ...


class Listable(Protocol):
    """What tells which objects it has; see `ObjectStore`."""

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List the objects whose keys begin with `prefix`, in key order, page by page.

        Parameters
        ----------
        prefix
            A whole number of path segments, each with its slash; empty for the whole bucket.
        after
            Begin behind this key.
        """
        ...


class ObjectStore(Readable, Listable, Protocol):
    """One bucket, or the local files.

    Every method raises `ObjectError`: ``not_found``, ``denied``, ``changed``, or ``unavailable``
    where trying again may help. No method retries.
    """


class WritableBucket(ObjectStore, Protocol):
    """One bucket that is written to; an object appears whole, or not at all.

    Every method raises `ObjectError` as those of `ObjectStore` do, where ``not_found`` means the
    bucket. `upload` and `delete`, which are many requests, make each again by themselves.
    """

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return a whole object and what names this state of it, None where it is absent."""
        ...

    def put(self, key: str, data: bytes, version: str | None, writer: str) -> bool:
        """Write an object only in the state that is asked for.

        Parameters
        ----------
        key
            Of the object.
        data
            Its new content.
        version
            The state, by `read`, that it must still be in; None where it must be absent.
        writer
            Names this attempt to write: by it a client that was cut off finds out that its write
            came through, and tries again without fear.

        Returns
        -------
        bool
            False where it is in another state.
        """
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a local file, whatever was there."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        ...

    def entries(self, prefix: str) -> Iterator[list[str]]:
        """List the keys that begin with `prefix` as far as the next slash, page by page.

        What ends in a slash holds further objects.
        """
        ...


WRITER: Final = "harvest-writer"
"""Name of the metadata in which `WritableBucket.put` keeps its `writer`."""


def unquoted(etag: str | None) -> str | None:
    """Return an entity tag without its quotes."""
    return None if etag is None else etag.strip('"')
