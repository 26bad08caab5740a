"""What a transport can do; everything above knows no more of it than this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Version:
    """Names one state of an object, so that a later read can insist on it."""

    etag: str | None
    """As the store writes it, quotes included."""
    generation: str | None = None
    """Of GCS."""


@dataclass(frozen=True, slots=True)
class Ranged:
    """The answer to a ranged read."""

    data: bytes
    """From the first byte asked for; shorter than asked only where the object ends."""
    size: int
    """Bytes of the whole object."""
    version: Version


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int | None
    """Bytes; None where the store does not tell."""
    etag: str | None
    """Unquoted."""


class EmptyObject(Exception):
    """The object has no bytes, so that no range of it can be served."""


class ObjectStore(Protocol):
    """One bucket, or the local files.

    Both methods raise `ObjectError`: ``not_found``, ``denied``, ``changed``, or ``unavailable``
    where trying again may help. No method retries.
    """

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


def unquoted(etag: str | None) -> str | None:
    """Return an entity tag without its quotes."""
    return None if etag is None else etag.strip('"')
