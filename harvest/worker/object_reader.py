"""Reading one object: ranged requests until its header, and its frames' places, are known."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from ..config import FramesWanted, SourceConfig
from ..dicom.alike import Likenesses
from ..dicom.converter import Changed, Converter, Values
from ..dicom.elements import SOP_INSTANCE_UID, Selection, text_of
from ..dicom.first_ranges import BRIDGED_BYTES, FIRST_RANGE_BYTES, GROWTH, FirstRanges
from ..dicom.header import Header, read_header
from ..dicom.header_json import HeaderJson, header_json
from ..dicom.offsets import OffsetTable, Pixels, locate_pixels
from ..dicom.paths import top_tags
from ..dicom.tags import Wanted
from ..dicom.walk import HeaderLimits
from ..dicom.window import NeedMore, Window
from ..errors import ErrorKind, HarvestError, ObjectError, place_of
from ..frames import (
    PIXEL_ATTRIBUTES,
    Answering,
    ByteRange,
    FrameRanges,
    PixelDescription,
    Unlocatable,
    describe_pixels,
    locate_frames,
)
from ..store import open_store
from ..store.fetch import Fetch, Traffic
from ..store.patience import Patience, RateLimit
from ..store.protocol import ObjectStore
from ..table.rows import Located, Planned, Row, add_frames, add_header, error_row, ok_row
from ..urls import ObjectUrl, parse_url

RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""
_NO_PIXELS: Final = OffsetTable.NO_PIXEL_DATA


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
    frames
        Whether to locate the frames, too: by tables alone, or by a scan where no table is right.
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
        frames: FramesWanted = "none",
    ) -> None:
        self._source = source
        self._retries = retries
        self._object_seconds = object_seconds
        self._stores: dict[tuple[str, str], ObjectStore] = {}
        self.rate = rate
        self.limits = limits
        self.whole = whole
        self.frames = frames
        self.selection = Selection(
            wanted.attributes if frames == "none" else (*wanted.attributes, *PIXEL_ATTRIBUTES),
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
    own: Header
    """With its own elements."""
    pixels: Pixels


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
        self._error: ObjectError | HarvestError | None = None
        self._found: _Found | None = None
        self._locating: _Locating | None = None

    def wait(self) -> None:
        """Make the next request; what goes wrong with it is told by `work`."""
        self._go_on()
        try:
            self._request()
        except Exception as error:
            self._error = _kept(error)
        self._paused = time.monotonic()

    def work(self) -> bool:
        """Walk over what has arrived; tell whether no further request is needed."""
        self._go_on()
        if self._error is None:
            try:
                self._need = self._walk()
            except Exception as error:
                self._error = _kept(error)
        changed = isinstance(self._error, ObjectError) and self._error.kind == ErrorKind.CHANGED
        again = changed and self._restarts < RESTARTS
        if again:
            self._restarts += 1
            self._error = None
        done = not again and (self._error is not None or self._need is None)
        if again:
            self._found = self._locating = None
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
                error = _kept(found)
        if isinstance(error, HarvestError):
            raise error
        return error_row(self._planned, self._traffic, error)

    def _ok_row(self) -> Row:
        found = self._result()
        row = ok_row(
            self._planned,
            self._traffic,
            found.header.end,
            found.pixels,
            found.values,
            found.changed,
        )
        if found.whole is not None:
            add_header(row, found.whole)
        if self._locating is not None:
            add_frames(row, self._locating.located)
        return row

    def result(self) -> tuple[Header, Pixels]:
        """Return what was read, or raise what happened instead."""
        found = self._result()
        return found.header, found.pixels

    def _result(self) -> _Found:
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
        if self._locating is not None and self._locating.wanted is not None:
            # a scan of a large object goes on as long as its ranges come
            self._patience = self._known.fetch.patience = reader.patience()
            self._locating.read(self._known)
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
        if self._found is None:
            found = self._header(window, self._patience)
            if isinstance(found, NeedMore):
                return found
            self._found = found
            self._learn(window, found)
        if self._reader.frames == "none" or self._found.pixels.offset_table is _NO_PIXELS:
            return None
        return self._locate(window, self._found.own)

    def _learn(self, window: Window, found: _Found) -> None:
        end = found.header.end
        whole = len(window.beginning) >= end
        self._reader.ranges.learn(
            self._subject,
            window.size,
            end if whole else len(window.beginning),
            native=whole and found.pixels.offset_table is OffsetTable.NATIVE,
        )

    def _locate(self, window: Window, header: Header) -> NeedMore | None:
        """Go on with what is known of the frames; return what is missing."""
        if self._locating is None:
            described = describe_pixels(window, header)
            if isinstance(described, NeedMore):
                return described
            self._locating = _Locating(header, described, scan=self._reader.frames == "scan")
        return self._locating.go_on(window)

    def _header(self, window: Window, patience: Patience) -> _Found | NeedMore:
        reader = self._reader
        likeness = reader.likenesses.of(self._subject.series)
        recognised = likeness.recognise(window)
        if recognised is not None:
            like, values = recognised.header, recognised.values
            changed = reader.converter.changed(recognised.changed, like.dataset, values)
            if changed is not None:
                pixels = locate_pixels(window, like, values.number_of_frames)
                if isinstance(pixels, NeedMore):
                    return pixels
                own = recognised.whole() if reader.whole or reader.frames != "none" else like
                return _Found(like, values, changed, self._json(own), own, pixels)
        header = read_header(window, reader.selection, reader.limits, patience.check)
        if isinstance(header, NeedMore):
            return header
        values = reader.converter.values(header)
        pixels = locate_pixels(window, header, values.number_of_frames)
        if isinstance(pixels, NeedMore):
            return pixels
        whole = self._json(header)
        placed = whole.placed if whole is not None else frozenset()
        likeness.learn(window, header, values, values.missing, placed)
        return _Found(header, values, None, whole, header, pixels)

    def _json(self, header: Header) -> HeaderJson | None:
        return header_json(header, self._planned.url) if self._reader.whole else None


class _Locating:
    """The frames of an object whose header is known: looking for them takes turns, too.

    Parameters
    ----------
    header
        Of the object.
    pixels
        What it tells of the frames.
    scan
        Whether to walk over all items where no table is right.
    """

    def __init__(self, header: Header, pixels: PixelDescription, *, scan: bool) -> None:
        self._uid = text_of(header.dataset.get(SOP_INSTANCE_UID)) or None
        self._keyword = pixels.keyword or "PixelData"
        self._answering: Answering[FrameRanges | Unlocatable]
        self._answering = Answering(locate_frames(pixels, scan=scan))
        self._data: bytes | None = None

    @property
    def wanted(self) -> ByteRange | None:
        """What to read next; None when all is known."""
        return self._answering.wanted

    @property
    def located(self) -> Located:
        """What was found out in the end."""
        return Located(self._answering.found, self._keyword, self._uid)

    def read(self, known: _Known) -> None:
        """Read what is wanted, but for what is known of it."""
        assert self.wanted is not None
        start, stop = self.wanted
        begun = known.window.known(start, stop)
        # not into the window: of a scan nothing is kept
        self._data = begun + known.fetch.get(start + len(begun), stop)

    def go_on(self, window: Window) -> NeedMore | None:
        """Work with what was read, and with what is known already; return what is missing."""
        while self.wanted is not None:
            data, self._data = self._data, None
            known = window.known(*self.wanted) if data is None else data
            if len(known) < self.wanted.stop - self.wanted.start:
                return NeedMore(*self.wanted)
            self._answering.answer(known)
        return None


def _kept(error: Exception) -> ObjectError | HarvestError:
    """Return what is kept of an exception.

    A bug of ours is one error row and not the night's run. The text of a foreign exception may
    hold a tag value, and the frames that it came from would keep a reading alive.
    """
    if not isinstance(error, (ObjectError, HarvestError)):
        error = ObjectError(ErrorKind.INTERNAL, f"{type(error).__name__} at {place_of(error)}")
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class _Known:
    """What is known of one state of one object."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self.window = Window(fetch.size)
        self.window.add(0, fetch.first)
        self.reach = len(fetch.first)
        """Offset behind the last byte read."""
        fetch.first = b""  # once is enough

    def more(self, need: NeedMore, length: int, *, leap: bool) -> None:
        """Read what a walk needs, and up to `length` bytes if the object has them."""
        start = need.start if leap else self.reach
        stop = min(max(need.stop, need.start + length), self.window.size)
        self.window.add(start, self.fetch.get(start, stop))
        self.reach = stop
