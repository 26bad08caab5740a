"""Reading the header of one object: ranged requests until the walk has what it needs."""

from __future__ import annotations

from typing import Final

from .config import SourceConfig
from .elements import Selection
from .errors import ErrorKind, HarvestError, ObjectError
from .header import Header, read_header
from .offsets import Pixels, locate_pixels
from .patience import Patience, RateLimit
from .rows import Planned, Row, Traffic, error_row, number_of_frames, ok_row
from .store import open_store
from .store.faults import unavailable
from .store.protocol import EmptyObject, ObjectStore, Ranged, Version, unquoted
from .tags import Attribute
from .urls import parse_url
from .walk import HeaderLimits
from .window import FIRST_RANGE_BYTES, NeedMore, Window

PIXEL_AREA_BYTES: Final = 64
"""Read behind a header, for the first bytes of the pixel area."""
RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""


class ObjectReader:
    """Reads headers; safe to use from many threads.

    Parameters
    ----------
    source
        Where the objects lie.
    attributes
        What becomes columns.
    limits
        How much one object may ask.
    retries
        Tries again after a fault that may pass.
    object_seconds
        Longest time for one object.
    rate
        Limit on requests.
    everything
        Keep every element of a header, whatever the columns.
    """

    def __init__(
        self,
        source: SourceConfig,
        attributes: tuple[Attribute, ...],
        limits: HeaderLimits,
        *,
        retries: int,
        object_seconds: float,
        rate: RateLimit,
        everything: bool = False,
    ) -> None:
        self._source = source
        self._attributes = attributes
        self._selection = Selection(attributes, everything=everything)
        self._limits = limits
        self._retries = retries
        self._object_seconds = object_seconds
        self._rate = rate
        self._first_ranges: dict[str | None, int] = {}

    def row(self, planned: Planned, traffic: Traffic | None = None) -> Row:
        """Read one object; whatever happens to it, its row.

        Parameters
        ----------
        planned
            The object.
        traffic
            Of an earlier reading, which this one adds to.
        """
        traffic = traffic or Traffic()
        try:
            header, pixels = self.header(planned, traffic)
            return ok_row(planned, traffic, header, pixels, self._attributes)
        except ObjectError as error:
            return error_row(planned, traffic, error)
        except HarvestError:
            # of the whole run, such as credentials that are not there
            raise
        except Exception as error:
            # a bug of ours is one error row and not the night's run; the text of a foreign
            # exception may hold a tag value, so only its class is kept
            bug = ObjectError(ErrorKind.INTERNAL, f"{type(error).__name__} in harvest")
            return error_row(planned, traffic, bug)

    def header(self, planned: Planned, traffic: Traffic) -> tuple[Header, Pixels]:
        """Read the header of one object and find its pixels.

        Parameters
        ----------
        planned
            The object.
        traffic
            Is filled in.

        Raises
        ------
        ObjectError
            Whatever is wrong with it.
        """
        url = parse_url(planned.url)
        store = open_store(url, self._source, self._object_seconds)
        patience = Patience(self._retries, self._object_seconds)
        for restart in range(RESTARTS + 1):
            fetch = _Fetch(store, planned, patience, self._rate, traffic)
            try:
                return self._walk(fetch, patience, planned.crdc_series_uuid)
            except ObjectError as error:
                if error.kind != ErrorKind.CHANGED or restart == RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def _walk(self, fetch: _Fetch, patience: Patience, series: str | None) -> tuple[Header, Pixels]:
        first = self._first_ranges.get(series, FIRST_RANGE_BYTES)
        window = fetch.begin(first)
        grown = first
        while True:
            found = read_header(window, self._selection, self._limits, patience.check)
            if not isinstance(found, NeedMore):
                located = locate_pixels(window, found, number_of_frames(found))
                if isinstance(located, Pixels):
                    self._learn(series, found)
                    return found, located
                found = located
            # behind a value that was leapt over little is left, as a rule
            grown = 2 * (grown if found.start == fetch.reach else FIRST_RANGE_BYTES)
            room = max(0, self._limits.header_bytes - window.held)
            fetch.more(window, found, min(grown, room))

    def _learn(self, series: str | None, header: Header) -> None:
        # without a series there is nothing to learn from
        if series is not None:
            longest = max(self._first_ranges.get(series, 0), header.end + PIXEL_AREA_BYTES)
            self._first_ranges[series] = min(longest, 2**20)


class _Fetch:
    """The requests for one state of one object."""

    def __init__(
        self,
        store: ObjectStore,
        planned: Planned,
        patience: Patience,
        rate: RateLimit,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._key = parse_url(planned.url).key
        # of the listing, then of the first answer
        self._etag, self._size = planned.etag, planned.size
        self._patience = patience
        self._rate = rate
        self._traffic = traffic
        self._version: Version | None = None
        self.reach = 0
        """Offset behind the last byte read."""

    def begin(self, length: int) -> Window:
        """Read the object's first bytes."""
        try:
            answer = self._get(0, length)
        except EmptyObject:
            raise ObjectError(ErrorKind.NOT_DICOM, "the object has no bytes") from None
        self._version = answer.version
        self._traffic.size = self._size = answer.size
        self._traffic.etag = self._etag = unquoted(answer.version.etag)
        window = Window(answer.size)
        window.add(0, answer.data)
        self.reach = len(answer.data)
        return window

    def more(self, window: Window, need: NeedMore, length: int) -> None:
        """Read what a walk needs, and up to `length` bytes if the object has them."""
        stop = min(max(need.stop, need.start + length), window.size)
        window.add(need.start, self._get(need.start, stop).data)
        self.reach = stop

    def _get(self, start: int, stop: int) -> Ranged:
        def request() -> Ranged:
            self._patience.excuse(self._rate.wait())
            self._traffic.requests += 1
            found = self._store.get(self._key, start, stop, self._version)
            self._check_size(found)
            return found

        answer = self._patience.call(request)
        self._traffic.bytes_read += len(answer.data)
        return answer

    def _check_size(self, answer: Ranged) -> None:
        """Check that one state of the object has one size."""
        same = self._etag is not None and self._etag == unquoted(answer.version.etag)
        if same and self._size is not None and self._size != answer.size:
            raise unavailable("the answer tells another size of the same object")
