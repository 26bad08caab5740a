"""A DICOM object as a file: seekable, read-only, and read by few ranged requests.

pydicom and highdicom read a file in many small steps. Here the first request brings the header of
most objects, and what is read on from there is read ahead, more of it each time; what is read
elsewhere is read as it is asked for. One state of the object is seen, or `ObjectError` is raised.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final

from ..config import SourceConfig, source_of
from ..dicom.first_ranges import FIRST_RANGE_BYTES
from ..errors import ErrorKind, ObjectError
from ..store import open_store
from ..store.fetch import Fetch, Traffic
from ..store.patience import Patience, RateLimit
from ..store.protocol import Ranged, Version
from ..store.ranged_file import RangedFile
from ..urls import ObjectUrl, parse_url

FIRST_AHEAD_BYTES: Final = 16 * 2**10
MOST_AHEAD_BYTES: Final = 2**20
MOST_REQUEST_BYTES: Final = 16 * 2**20
"""Longest request: a transport may give up on an answer that takes long as a whole."""
HELD_BYTES: Final = 64 * 2**20
"""Kept of what was read, the beginning of the object and what was read last in any case."""
RETRIES: Final = 3
REQUEST_SECONDS: Final = 120.0
"""For one request and its retries."""


class DicomFile(RangedFile):
    """An object in a bucket, or a local file, as a binary file.

    Picklable: another process reads the same state of the object through a store of its own, and
    makes no request before it reads.

    Parameters
    ----------
    url
        Of the object.
    source
        How its bucket is reached.
    first
        Bytes of the first request.
    state
        Version and size of the object, where they are known; there is no first request then.

    Raises
    ------
    ObjectError
        The object cannot be read; from `read` too.
    """

    def __init__(
        self,
        url: ObjectUrl,
        source: SourceConfig,
        first: int = FIRST_RANGE_BYTES,
        state: tuple[Version, int] | None = None,
    ) -> None:
        self._url, self._source = url, source
        self._traffic = Traffic()
        version, size = state or (None, None)
        self._fetch = Fetch(
            _Bucket(url, source),
            url.key,
            None,
            size,
            Patience(RETRIES, REQUEST_SECONDS),
            RateLimit(None),
            self._traffic,
            first,
            version,
        )
        super().__init__(self._bytes, self._fetch.size)
        self.name = str(url)
        self._ahead = FIRST_AHEAD_BYTES
        self._held = _Held(self._fetch.first)

    def __reduce__(self) -> tuple[type[DicomFile], tuple[Any, ...]]:
        """Pickle what names the state of the object: no bytes, and no connection."""
        assert self._fetch.version is not None
        state = self._fetch.version, self.size
        return type(self), (self._url, self._source, FIRST_RANGE_BYTES, state)

    @property
    def version(self) -> Version:
        """The state of the object that is read."""
        assert self._fetch.version is not None
        return self._fetch.version

    @property
    def requests(self) -> int:
        """HTTP requests so far, retries included."""
        return self._traffic.requests

    @property
    def bytes_read(self) -> int:
        """Body bytes of the answers so far."""
        return self._traffic.bytes_read

    def close(self) -> None:
        """Let go of what was read."""
        self._held = _Held(b"")
        super().close()

    def pread(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop`, if they are not known; for many threads.

        Longer ranges than `MOST_REQUEST_BYTES` take several requests.

        Raises
        ------
        ObjectError
            The object cannot be read, or ends before.
        """
        known = self._held.read(start, stop)
        return self._requested(start, stop) if known is None else known

    def _requested(self, start: int, stop: int) -> bytes:
        if stop > self.size:
            raise ObjectError(ErrorKind.TRUNCATED, "the object ends before the bytes asked for")
        pieces = []
        for begin in range(start, stop, MOST_REQUEST_BYTES):
            end = min(begin + MOST_REQUEST_BYTES, stop)
            pieces.append(self._fetch.get(begin, end, Patience(RETRIES, REQUEST_SECONDS)))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def known(self, position: int) -> int:
        """Return how far bytes from a position on need no request."""
        return self._held.reach(position)

    def holds(self, start: int, stop: int) -> bool:
        """Tell whether bytes `start` to `stop` need no request."""
        return self._held.read(start, min(stop, self.size)) is not None

    def prefetch(self, start: int, stop: int) -> None:
        """Read bytes `start` to `stop` as `pread` does, to be read from memory then."""
        stop = min(stop, self.size)
        if self._held.read(start, stop) is None:
            begin = min(self._held.reach(start), stop)
            self._held.add(begin, self.pread(begin, stop))

    def _bytes(self, start: int, stop: int) -> bytes:
        known = self._held.read(start, stop)
        if known is not None:
            return known
        # a read that begins in what is known and goes on behind it reads only what is missing
        missing = self._held.reach(start)
        # whoever hops on by less than that, over the items of pixels, say, gets there sooner
        if 0 <= missing - self._held.end <= self._ahead:
            self._ahead = min(2 * self._ahead, MOST_AHEAD_BYTES)
        else:
            self._ahead = FIRST_AHEAD_BYTES
        wanted = max(stop, min(missing + self._ahead, self._held.next(missing, self.size)))
        data = self._requested(missing, wanted)
        head = self._held.read(start, missing) if missing > start else b""
        assert head is not None
        # who has read much at once has it, and goes on from its end
        kept = data[-MOST_AHEAD_BYTES:]
        self._held.add(wanted - len(kept), kept)
        return head + data[: stop - missing]


class _Bucket:
    """The bucket of an object, opened in the process that reads: none outlives a fork.

    Parameters
    ----------
    url, source
        As of `DicomFile`.
    """

    def __init__(self, url: ObjectUrl, source: SourceConfig) -> None:
        self._url, self._source = url, source

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `Readable.get`."""
        store = open_store(self._url, self._source, REQUEST_SECONDS)
        return store.get(key, start, stop, version)


class _Held:
    """What was read: the beginning of the object always, the rest while there is room."""

    def __init__(self, first: bytes) -> None:
        self._starts = [0]
        self._segments = [first]
        self._order: list[int] = []
        self.bytes = len(first)
        """In memory."""
        self.end = len(first)
        """Offset behind what was read last."""

    def read(self, start: int, stop: int) -> bytes | None:
        """Return bytes, None where they are not all known."""
        parts = []
        position = start
        for begun, segment in self._from(start):
            end = min(begun + len(segment), stop)
            if begun > position or end < position:
                return None
            parts.append(segment[position - begun : end - begun])
            if end == stop:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            position = end
        return None

    def reach(self, position: int) -> int:
        """Return how far what is known goes without a gap from a position on."""
        for begun, segment in self._from(position):
            if begun > position:
                break
            position = max(position, begun + len(segment))
        return position

    def next(self, position: int, otherwise: int) -> int:
        """Return where the next known bytes begin behind a position."""
        index = bisect_right(self._starts, position)
        return self._starts[index] if index < len(self._starts) else otherwise

    def _from(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Yield the piece that a position may be in, and those behind it."""
        for index in range(bisect_right(self._starts, position) - 1, len(self._starts)):
            yield self._starts[index], self._segments[index]

    def add(self, start: int, data: bytes) -> None:
        """Keep bytes that go on from a known piece, or begin another; let the oldest go."""
        self.end = start + len(data)
        index = bisect_right(self._starts, start)
        # what is held twice goes once
        while index < len(self._starts) and self._stop(index) <= self.end:
            self._order.remove(self._starts[index])
            self._drop(index)
        begun, segment = self._starts[index - 1], self._segments[index - 1]
        if begun + len(segment) == start and len(segment) < MOST_AHEAD_BYTES:
            self._segments[index - 1] += data
        else:
            self._starts.insert(index, start)
            self._segments.insert(index, data)
            self._order.append(start)
        self.bytes += len(data)
        while self.bytes > HELD_BYTES and len(self._order) > 1:
            self._drop(self._starts.index(self._order.pop(0)))

    def _stop(self, index: int) -> int:
        return self._starts[index] + len(self._segments[index])

    def _drop(self, index: int) -> None:
        self.bytes -= len(self._segments[index])
        del self._starts[index], self._segments[index]


def open_object(url: str, **source: Any) -> DicomFile:
    """Open an object as a file.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Raises
    ------
    ObjectError
        What is wrong with the object.
    WrongArgument
        The URL or a key of `source` is wrong.
    """
    parsed = parse_url(url)
    return DicomFile(parsed, source_of(parsed, source))
