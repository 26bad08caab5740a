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
from ..store.protocol import Listed, ObjectStore, Ranged, Version
from ..store.ranged_file import RangedFile
from ..urls import ObjectUrl, parse_url

FIRST_AHEAD_BYTES: Final = 16 * 2**10
MOST_AHEAD_BYTES: Final = 2**20
HELD_BYTES: Final = 64 * 2**20
"""Kept of what was read, beside the beginning of the object."""
RETRIES: Final = 3
REQUEST_SECONDS: Final = 120.0


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

    def pread(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop` by one request, if they are not known; for many threads.

        Raises
        ------
        ObjectError
            The object cannot be read, or ends before.
        """
        known = self._held.read(start, stop)
        if known is not None:
            return known
        self._fetch.patience = Patience(RETRIES, REQUEST_SECONDS)
        data = self._fetch.get(start, stop)
        if len(data) != stop - start:
            raise ObjectError(ErrorKind.TRUNCATED, "the object ends before the bytes asked for")
        return data

    def known(self, position: int) -> int:
        """Return how far bytes from a position on need no request."""
        return self._held.reach(position)

    def holds(self, start: int, stop: int) -> bool:
        """Tell whether bytes `start` to `stop` need no request."""
        return self._held.read(start, min(stop, self.size)) is not None

    def prefetch(self, start: int, stop: int) -> None:
        """Read bytes `start` to `stop` by one request, to be read from memory then."""
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
        wanted = min(max(stop, missing + self._ahead), self.size)
        self._fetch.patience = Patience(RETRIES, REQUEST_SECONDS)
        data = self._fetch.get(missing, wanted)
        if len(data) != wanted - missing:
            raise ObjectError(ErrorKind.TRUNCATED, "the answer is shorter than the range asked for")
        head = self._held.read(start, missing) if missing > start else b""
        assert head is not None
        self._held.add(missing, data)
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
        """Read a range; see `ObjectStore.get`."""
        return self._opened().get(key, start, stop, version)

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List a bucket; see `ObjectStore.list`."""
        return self._opened().list(prefix, after)

    def _opened(self) -> ObjectStore:
        return open_store(self._url, self._source, REQUEST_SECONDS)


class _Held:
    """What was read: the beginning of the object always, the rest while there is room."""

    def __init__(self, first: bytes) -> None:
        self._starts = [0]
        self._segments = [first]
        self._order: list[int] = []
        self.end = len(first)
        """Offset behind what was read last."""

    def _find(self, position: int) -> tuple[int, bytes]:
        index = bisect_right(self._starts, position) - 1
        return self._starts[index], self._segments[index]

    def read(self, start: int, stop: int) -> bytes | None:
        """Return bytes, None where they are not all in one piece."""
        begun, segment = self._find(start)
        return segment[start - begun : stop - begun] if stop <= begun + len(segment) else None

    def reach(self, position: int) -> int:
        """Return how far what is known goes without a gap from a position on."""
        begun, segment = self._find(position)
        return max(position, begun + len(segment))

    def add(self, start: int, data: bytes) -> None:
        """Keep bytes that go on from a known piece, or begin another; let the oldest go."""
        begun, segment = self._find(start)
        self.end = start + len(data)
        index = bisect_right(self._starts, start)
        if begun + len(segment) == start and len(segment) < MOST_AHEAD_BYTES:
            self._segments[index - 1] += data
        else:
            self._starts.insert(index, start)
            self._segments.insert(index, data)
            self._order.append(start)
        while sum(map(len, self._segments)) > HELD_BYTES and len(self._order) > 1:
            gone = self._starts.index(self._order.pop(0))
            del self._starts[gone], self._segments[gone]


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
