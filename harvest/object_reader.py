"""Reading the header of one object: ranged requests until the walk has what it needs."""

from __future__ import annotations

from typing import Final

from .alike import Likeness, Likenesses
from .config import SourceConfig
from .elements import Selection
from .errors import ErrorKind, HarvestError, ObjectError
from .header import Header, read_header
from .header_json import header_json
from .offsets import OffsetTable, Pixels, locate_pixels
from .patience import Patience, RateLimit
from .ranges import BRIDGED_BYTES, FIRST_RANGE_BYTES, GROWTH, FirstRanges, Subject
from .rows import (
    Columns,
    Converter,
    Planned,
    Row,
    Traffic,
    Values,
    add_header,
    error_row,
    number_of_frames,
    ok_row,
)
from .store import open_store
from .store.faults import unavailable
from .store.protocol import EmptyObject, ObjectStore, Ranged, Version, unquoted
from .tags import Attribute
from .urls import parse_url
from .walk import HeaderLimits
from .window import NeedMore, Window

RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""

Found = tuple[Header, Values, Columns | None]
"""A header, what its columns hold, and in which of them it differs from the ones it is like."""


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
    ranges
        What was learnt of the lengths of headers.
    everything
        Keep every element of a header, whatever the columns; a row then has all of them.
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
        ranges: FirstRanges | None = None,
        everything: bool = False,
    ) -> None:
        self._source = source
        self._selection = Selection(attributes, everything=everything)
        self._limits = limits
        self._retries = retries
        self._object_seconds = object_seconds
        self._rate = rate
        self._ranges = ranges or FirstRanges()
        self._converter = Converter(attributes)
        self._likenesses: Likenesses[Values] = Likenesses(self._selection, limits)

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
            (header, values, changed), pixels = self._read(planned, traffic)
            row = ok_row(planned, traffic, header, pixels, values, changed)
            if self._selection.everything:
                add_header(row, header_json(header, planned.url))
            return row
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
        (header, _, _), pixels = self._read(planned, traffic)
        return header, pixels

    def _read(self, planned: Planned, traffic: Traffic) -> tuple[Found, Pixels]:
        url = parse_url(planned.url)
        store = open_store(url, self._source, self._object_seconds)
        patience = Patience(self._retries, self._object_seconds)
        subject = planned.subject
        for restart in range(RESTARTS + 1):
            fetch = _Fetch(store, url.key, planned, patience, self._rate, traffic)
            try:
                return self._walk(fetch, patience, subject)
            except ObjectError as error:
                if error.kind != ErrorKind.CHANGED or restart == RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def _walk(self, fetch: _Fetch, patience: Patience, subject: Subject) -> tuple[Found, Pixels]:
        likeness = self._likenesses.of(subject.series)
        window = fetch.begin(self._ranges.guess(subject))
        grown = FIRST_RANGE_BYTES
        while True:
            found = self._header(window, likeness, patience)
            if not isinstance(found, NeedMore):
                header = found[0]
                located = locate_pixels(window, header, number_of_frames(header))
                if isinstance(located, Pixels):
                    self._learn(subject, window, header, located)
                    return found, located
                found = located
            # behind a value that was leapt over little is left, as a rule
            room = max(0, self._limits.header_bytes - window.held)
            leap = not 0 <= found.start - fetch.reach <= min(BRIDGED_BYTES, room)
            grown = FIRST_RANGE_BYTES if leap else GROWTH * grown
            fetch.more(window, found, min(grown, room), leap=leap)

    def _header(
        self, window: Window, likeness: Likeness[Values], patience: Patience
    ) -> Found | NeedMore:
        recognised = likeness.recognise(window)
        if recognised is not None:
            changed = self._converter.changed(recognised.changed, recognised.values)
            if changed is not None:
                return recognised.header, recognised.values, changed
        header = read_header(window, self._selection, self._limits, patience.check)
        if isinstance(header, NeedMore):
            return header
        values = self._converter.values(header)
        likeness.learn(window, header, values, values.troubled)
        return header, values, None

    def _learn(self, subject: Subject, window: Window, header: Header, pixels: Pixels) -> None:
        whole = len(window.beginning) >= header.end
        self._ranges.learn(
            Subject(subject.series, subject.kind, window.size),
            header.end if whole else len(window.beginning),
            native=whole and pixels.offset_table is OffsetTable.NATIVE,
        )


class _Fetch:
    """The requests for one state of one object."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        planned: Planned,
        patience: Patience,
        rate: RateLimit,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._key = key
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

    def more(self, window: Window, need: NeedMore, length: int, *, leap: bool) -> None:
        """Read what a walk needs, and up to `length` bytes if the object has them."""
        start = need.start if leap else self.reach
        stop = min(max(need.stop, need.start + length), window.size)
        window.add(start, self._get(start, stop).data)
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
