"""What is read of one object, pure but for its first request: ranges asked for, facts returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config import FramesWanted, SourceConfig
from ..dicom.alike import Likenesses
from ..dicom.asking import Answering, Asking, walked
from ..dicom.converter import Changed, Converter, Values
from ..dicom.elements import SOP_INSTANCE_UID, Selection, text_of
from ..dicom.first_ranges import FirstRanges, Growth
from ..dicom.header import Header, read_header
from ..dicom.header_json import HeaderJson, header_json
from ..dicom.offsets import OffsetTable, Pixels, locate_pixels
from ..dicom.paths import top_tags
from ..dicom.tags import Wanted
from ..dicom.walk import HeaderLimits
from ..dicom.window import ByteRange, NeedMore, Window
from ..frames import (
    PIXEL_ATTRIBUTES,
    FrameRanges,
    PixelDescription,
    Unlocatable,
    describe_pixels,
    locate_frames,
)
from ..store import open_store
from ..store.fetch import Fetch, Traffic
from ..store.patience import Patience, RateLimit
from ..store.protocol import Readable
from ..table.rows import Located, Planned
from ..urls import ObjectUrl, parse_url


class ReadObject(NamedTuple):
    """What was read of one object."""

    header_bytes: int
    """Offset of the first tag of the pixel area, or the object's end."""
    values: Values
    """Of its columns, or of those of the one it is like."""
    changed: Changed | None
    """In what it differs from that one."""
    whole: HeaderJson | None
    """All of it, where that becomes a column."""
    own: Header
    """With its own elements, where these are needed for its frames or all of it is kept."""
    pixels: Pixels
    located: Located | None = None
    """Where its frames lie, where that was asked for."""


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
        self._stores: dict[tuple[str, str], Readable] = {}
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

    def patience(self) -> Patience:
        """Return the patience for one object."""
        return Patience(self._retries, self._object_seconds)

    def fetch(self, planned: Planned, traffic: Traffic, patience: Patience) -> Fetch:
        """Make the first request for an object."""
        url = parse_url(planned.url)
        return Fetch(
            self.store(url),
            url.key,
            planned.etag,
            planned.size,
            patience,
            self.rate,
            traffic,
            self.ranges.guess(planned.subject),
        )

    def store(self, url: ObjectUrl) -> Readable:
        """Open the bucket of a URL."""
        known = self._stores.get(url[:2])
        if known is None:
            known = self._stores[url[:2]] = open_store(url, self._source, self._object_seconds)
        return known

    def reading(
        self, planned: Planned, fetch: Fetch, more_time: Callable[[], None]
    ) -> Asking[ReadObject]:
        """Read an object, in the order in which it happens.

        Parameters
        ----------
        planned
            The object.
        fetch
            Of its state, with its first range.
        more_time
            Called before each range of a scan, which goes on as long as its ranges come.
        """
        window = Window(fetch.size)
        window.add(0, fetch.first)
        growth = Growth(window, len(fetch.first), self.limits.header_bytes)
        fetch.first = b""  # once is enough
        check = fetch.patience.check
        found = yield from walked(
            lambda: self._header(planned, window, check), window, growth.following
        )
        self._learn(planned, window, found)
        if self.frames == "none" or found.pixels.offset_table is OffsetTable.NO_PIXEL_DATA:
            return found
        described = yield from walked(
            lambda: describe_pixels(window, found.own), window, growth.following
        )
        located = yield from self._located(window, described, more_time)
        uid = text_of(found.own.dataset.get(SOP_INSTANCE_UID)) or None
        return found._replace(located=Located(located, described.keyword or "PixelData", uid))

    def _located(
        self, window: Window, described: PixelDescription, more_time: Callable[[], None]
    ) -> Asking[FrameRanges | Unlocatable]:
        answering = Answering(locate_frames(described, scan=self.frames == "scan"))
        while answering.wanted is not None:
            start, stop = answering.wanted
            data = window.known(start, stop)
            if len(data) < stop - start:
                more_time()
                # not into the window: of a scan nothing is kept
                data += yield ByteRange(start + len(data), stop)
            answering.answer(data)
        return answering.found

    def _learn(self, planned: Planned, window: Window, found: ReadObject) -> None:
        end = found.header_bytes
        whole = len(window.beginning) >= end
        self.ranges.learn(
            planned.subject,
            window.size,
            end if whole else len(window.beginning),
            native=whole and found.pixels.offset_table is OffsetTable.NATIVE,
        )

    def _header(
        self, planned: Planned, window: Window, check: Callable[[], None]
    ) -> ReadObject | NeedMore:
        likeness = self.likenesses.of(planned.subject.series)
        recognised = likeness.recognise(window)
        if recognised is not None:
            like, values = recognised.header, recognised.values
            changed = self.converter.changed(recognised.changed, like.dataset, values)
            if changed is not None:
                pixels = locate_pixels(window, like, values.number_of_frames)
                if isinstance(pixels, NeedMore):
                    return pixels
                own = recognised.whole() if self.whole or self.frames != "none" else like
                return ReadObject(like.end, values, changed, self._json(planned, own), own, pixels)
        header = read_header(window, self.selection, self.limits, check)
        if isinstance(header, NeedMore):
            return header
        values = self.converter.values(header)
        pixels = locate_pixels(window, header, values.number_of_frames)
        if isinstance(pixels, NeedMore):
            return pixels
        whole = self._json(planned, header)
        placed = whole.placed if whole is not None else frozenset()
        likeness.learn(window, header, values, values.missing, placed)
        return ReadObject(header.end, values, None, whole, header, pixels)

    def _json(self, planned: Planned, header: Header) -> HeaderJson | None:
        return header_json(header, planned.url) if self.whole else None
