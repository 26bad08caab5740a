"""Reading the header of one object: ranged requests until the walk has what it needs."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from .alike import Likenesses
from .config import SourceConfig
from .converter import Changed, Converter, Values
from .elements import Selection
from .errors import ErrorKind, HarvestError, ObjectError
from .fetch import Fetch, Traffic
from .header import Header, read_header
from .header_json import HeaderJson, header_json
from .offsets import OffsetTable, Pixels, locate_pixels
from .patience import Patience, RateLimit
from .ranges import BRIDGED_BYTES, FIRST_RANGE_BYTES, GROWTH, FirstRanges
from .rows import Planned, Row, add_header, error_row, ok_row
from .store import open_store
from .store.protocol import ObjectStore
from .tags import Wanted, top_tags
from .urls import ObjectUrl, parse_url
from .walk import HeaderLimits
from .window import NeedMore, Window

RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""


class ObjectReader:
    """Reads headers; safe to use from many threads.

    Parameters
    ----------
    source
        Where the objects lie.
    wanted
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
    whole
        Keep every element of a header, whatever the columns; a row then has all of it as JSON.
    """

    def __init__(
        self,
        source: SourceConfig,
        wanted: Wanted,
        limits: HeaderLimits,
        *,
        retries: int,
        object_seconds: float,
        rate: RateLimit,
        ranges: FirstRanges | None = None,
        whole: bool = False,
    ) -> None:
        self._source = source
        self._retries = retries
        self._object_seconds = object_seconds
        self._stores: dict[tuple[str, str], ObjectStore] = {}
        self.rate = rate
        self.limits = limits
        self.whole = whole
        self.selection = Selection(
            wanted.attributes,
            everything=whole or wanted.everything,
            skipped=frozenset() if whole else top_tags(wanted.skipped),
        )
        self.converter = Converter(wanted)
        self.ranges = ranges or FirstRanges()
        self.likenesses: Likenesses[Values] = Likenesses(self.selection, limits)

    def begin(self, planned: Planned, traffic: Traffic | None = None) -> Reading:
        """Begin to read an object.

        Parameters
        ----------
        planned
            The object.
        traffic
            Of an earlier reading, which this one adds to.
        """
        return Reading(self, planned, traffic or Traffic())

    def row(self, planned: Planned, traffic: Traffic | None = None) -> Row:
        """Read one object; whatever happens to it, its row."""
        return self._read(planned, traffic).row()

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
        return self._read(planned, traffic).result()

    def _read(self, planned: Planned, traffic: Traffic | None) -> Reading:
        reading = self.begin(planned, traffic)
        done = False
        while not done:
            reading.wait()
            done = reading.work()
        return reading

    def patience(self) -> Patience:
        """Return the patience for one object."""
        return Patience(self._retries, self._object_seconds)

    def store(self, url: ObjectUrl) -> ObjectStore:
        """Open the bucket of a URL."""
        known = self._stores.get(url[:2])
        if known is None:
            known = self._stores[url[:2]] = open_store(url, self._source, self._object_seconds)
        return known


class _Found(NamedTuple):
    """What was read of one object."""

    header: Header
    """With the elements of one that it is like, where not everything is kept."""
    values: Values
    """Of its columns, or of those of the one it is like."""
    changed: Changed | None
    """In what it differs from that one."""
    whole: HeaderJson | None
    """All of it, where that becomes a column."""


class Reading:
    """One object that is being read: its requests and its walks take turns.

    Parameters
    ----------
    reader
        What it has in common with other objects.
    planned
        The object.
    traffic
        Is added to.
    """

    def __init__(self, reader: ObjectReader, planned: Planned, traffic: Traffic) -> None:
        self._reader = reader
        self._planned = planned
        self._traffic = traffic
        self._subject = planned.subject
        self._restarts = 0
        self._known: _Known | None = None
        self._patience: Patience | None = None
        self._need: NeedMore | None = None
        self._grown = FIRST_RANGE_BYTES
        self._paused = 0.0
        self._error: Exception | None = None
        self._found: tuple[_Found, Pixels] | None = None

    def wait(self) -> None:
        """Make the next request; what goes wrong with it is told by `work`."""
        self._go_on()
        try:
            self._request()
        except Exception as error:
            self._error = _without_frames(error)
        self._paused = time.monotonic()

    def work(self) -> bool:
        """Walk over what has arrived; tell whether no further request is needed."""
        self._go_on()
        if self._error is None:
            try:
                self._need = self._walk()
            except Exception as error:
                self._error = _without_frames(error)
        changed = isinstance(self._error, ObjectError) and self._error.kind == ErrorKind.CHANGED
        again = changed and self._restarts < RESTARTS
        if again:
            self._restarts += 1
            self._error = None
        done = not again and (self._error is not None or self._need is None)
        if done or again:
            self._known = None  # its bytes are no longer needed
        self._paused = time.monotonic()
        return done

    def _go_on(self) -> None:
        """Begin a turn; to wait for it was no fault of the object."""
        if self._patience is None:
            self._patience = self._reader.patience()
        else:
            self._patience.excuse(time.monotonic() - self._paused)

    def row(self) -> Row:
        """Return the object's row, whatever happened to it.

        Raises
        ------
        HarvestError
            Something is wrong with the whole run, such as credentials that are not there.
        """
        error = self._error
        if error is None:
            try:
                return self._ok_row()
            except Exception as found:
                error = _without_frames(found)
        if isinstance(error, HarvestError):
            raise error
        if not isinstance(error, ObjectError):
            # a bug of ours is one error row and not the night's run; the text of a foreign
            # exception may hold a tag value, so only its class is kept
            error = ObjectError(ErrorKind.INTERNAL, f"{type(error).__name__} in harvest")
        return error_row(self._planned, self._traffic, error)

    def _ok_row(self) -> Row:
        found, pixels = self._result()
        row = ok_row(
            self._planned, self._traffic, found.header.end, pixels, found.values, found.changed
        )
        if found.whole is not None:
            add_header(row, found.whole)
        return row

    def result(self) -> tuple[Header, Pixels]:
        """Return what was read, or raise what happened instead."""
        found, pixels = self._result()
        return found.header, pixels

    def _result(self) -> tuple[_Found, Pixels]:
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

    def _request(self) -> None:
        reader = self._reader
        assert self._patience is not None
        if self._known is None:
            url = parse_url(self._planned.url)
            fetch = Fetch(
                reader.store(url),
                url.key,
                self._planned.etag,
                self._planned.size,
                self._patience,
                reader.rate,
                self._traffic,
                reader.ranges.guess(self._subject),
            )
            self._known = _Known(fetch)
            self._grown = FIRST_RANGE_BYTES
            return
        assert self._need is not None
        # behind a value that was leapt over little is left, as a rule
        room = max(0, reader.limits.header_bytes - self._known.window.held)
        leap = not 0 <= self._need.start - self._known.reach <= min(BRIDGED_BYTES, room)
        self._grown = FIRST_RANGE_BYTES if leap else GROWTH * self._grown
        self._known.more(self._need, min(self._grown, room), leap=leap)

    def _walk(self) -> NeedMore | None:
        """Walk as far as the known bytes go; return what is missing."""
        assert self._known is not None
        assert self._patience is not None
        window = self._known.window
        found = self._header(window, self._patience)
        if isinstance(found, NeedMore):
            return found
        pixels = locate_pixels(window, found.header, found.values.number_of_frames)
        if isinstance(pixels, NeedMore):
            return pixels
        self._found = found, pixels
        end = found.header.end
        whole = len(window.beginning) >= end
        self._reader.ranges.learn(
            self._subject,
            window.size,
            end if whole else len(window.beginning),
            native=whole and pixels.offset_table is OffsetTable.NATIVE,
        )
        return None

    def _header(self, window: Window, patience: Patience) -> _Found | NeedMore:
        reader = self._reader
        likeness = reader.likenesses.of(self._subject.series)
        recognised = likeness.recognise(window)
        if recognised is not None:
            like = recognised.header
            changed = reader.converter.changed(recognised.changed, like.dataset, recognised.values)
            if changed is not None:
                if not reader.whole:
                    return _Found(like, recognised.values, changed, None)
                own = recognised.whole()
                return _Found(own, recognised.values, changed, header_json(own, self._planned.url))
        header = read_header(window, reader.selection, reader.limits, patience.check)
        if isinstance(header, NeedMore):
            return header
        values = reader.converter.values(header)
        whole = header_json(header, self._planned.url) if reader.whole else None
        placed = whole.placed if whole is not None else frozenset()
        likeness.learn(window, header, values, values.missing, placed)
        return _Found(header, values, None, whole)


def _without_frames(error: Exception) -> Exception:
    """Return an exception that is kept: the frames it came from would keep a reading alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class _Known:
    """What is known of one state of one object."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.window = Window(fetch.size)
        self.window.add(0, fetch.first)
        self.reach = len(fetch.first)
        """Offset behind the last byte read."""
        fetch.first = b""  # once is enough

    def more(self, need: NeedMore, length: int, *, leap: bool) -> None:
        """Read what a walk needs, and up to `length` bytes if the object has them."""
        start = need.start if leap else self.reach
        stop = min(max(need.stop, need.start + length), self.window.size)
        self.window.add(start, self._fetch.get(start, stop))
        self.reach = stop
