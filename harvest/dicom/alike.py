"""Headers of one series are alike: what was walked once is recognised, and not walked again.

Pure. The headers of a series differ in a dozen elements and agree in all others, byte for byte.
The same bytes behind the same elements mean the same: so a header is compared with an earlier one
in a few long pieces, and only the elements between them are looked at. Whatever is not recognised
is walked: this module saves time and decides nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar

from ..errors import ObjectError
from .elements import (
    LUT_DESCRIPTOR,
    MEDIA_STORAGE_SOP_CLASS_UID,
    META_GROUP,
    NOTHING,
    NUMBER_OF_FRAMES,
    PIXEL_GROUP,
    PIXEL_REPRESENTATION,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SPECIFIC_CHARACTER_SET,
    TRANSFER_SYNTAX_UID,
    UNDEFINED,
    DataSet,
    Element,
    Selection,
)
from .first_ranges import PIXEL_AREA_BYTES
from .header import PREAMBLE_BYTES, PREFIX, Header
from .tags import Key, is_creator
from .vrs import holds_items, is_bulk
from .walk import INLINE_BULK_BYTES, ElementHeader, HeaderLimits, Walk
from .window import Missing, Window

LEARNT_BYTES: Final = 256 * 2**10
"""Longest header that is learnt: what is remembered takes several times its length."""
SERIES_AT_ONCE: Final = 64
"""So many are remembered; a partition has its series one after another."""
PATTERNS: Final = 4
"""Of a series: headers that differ in which elements they have."""
LEARNT_HEADERS: Final = 16
"""Of a series, and one more for so many that were recognised: learning costs several walks."""

# What the rest of an object means depends on these: headers that differ in them are not alike.
_CONTEXT: Final = frozenset(
    (
        TRANSFER_SYNTAX_UID,
        MEDIA_STORAGE_SOP_CLASS_UID,
        SOP_CLASS_UID,
        SERIES_INSTANCE_UID,
        NUMBER_OF_FRAMES,
        SPECIFIC_CHARACTER_SET,
        PIXEL_REPRESENTATION,
        LUT_DESCRIPTOR,
    )
)
_SMALLEST_ELEMENT: Final = 8
_SHORT: Final = Struct("<H")
_LONG: Final = Struct("<L")
_PIXEL_AREA: Final = PIXEL_GROUP.to_bytes(2, "little")

Made = TypeVar("Made")


class _Step(NamedTuple):
    """Bytes that must come next, and the element behind them, which varies."""

    literal: bytes
    """Up to the element's length; up to the element itself where that is walked over."""
    length_field: Struct | None
    """Of the element; None where the element is walked over."""
    tag: int
    vr: str | None
    implicit: bool
    key: Key | None
    """Under which it is kept; None where it is not."""
    longest: int
    """Bytes of a value that is kept; of a longer one only the place is."""


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[Made]):
    """What headers with the same elements have in common."""

    tags: tuple[int, ...]
    """Of all elements, in their order."""
    steps: tuple[_Step, ...]
    tail: bytes
    """Behind the last element that varies, up to the header's end."""
    header: Header
    """One of them."""
    values: Made
    """What was made of it."""


@dataclass(frozen=True, slots=True)
class Recognised(Generic[Made]):
    """A header that is like one seen before."""

    header: Header
    """But for its `dataset`, which is the other's."""
    changed: DataSet
    """The wanted elements that may differ from the other's."""
    values: Made
    """What was made of the other."""

    def whole(self) -> Header:
        """Return the header with its own elements; the offsets of equal values are the other's."""
        return replace(self.header, dataset=self.header.dataset | self.changed)


class Likenesses(Generic[Made]):
    """What was learnt of many series; safe to use from many threads.

    Parameters
    ----------
    selection
        Which elements to keep.
    limits
        How much one object may ask.
    """

    def __init__(self, selection: Selection, limits: HeaderLimits) -> None:
        self._selection = selection
        self._limits = limits
        self._series: OrderedDict[str, Likeness[Made]] = OrderedDict()
        # what varies in one series varies in the next one as well
        self._varying: set[int] = set()
        self._lock = threading.Lock()

    def of(self, series: str) -> Likeness[Made]:
        """Return what was learnt of a series, by whatever names it."""
        likeness = self._series.get(series)
        if likeness is not None:
            return likeness
        with self._lock:
            if len(self._series) >= SERIES_AT_ONCE:
                self._series.popitem(last=False)
            return self._series.setdefault(
                series, Likeness(self._selection, self._limits, self._varying)
            )


class Likeness(Generic[Made]):
    """What was learnt of one series; safe to use from many threads.

    Parameters
    ----------
    selection
        Which elements to keep.
    limits
        How much one object may ask.
    varying
        Tags known to vary inside a series; is added to.
    """

    def __init__(self, selection: Selection, limits: HeaderLimits, varying: set[int]) -> None:
        self._selection = selection
        self._limits = limits
        self._varying = varying
        self._last: _Layout | None = None
        self._patterns: tuple[_Pattern[Made], ...] = ()
        self._recognised = 0
        self._learnt = 0
        # so short a header cannot pass the limits on what one object may ask
        most = min(limits.elements, limits.kept) * _SMALLEST_ELEMENT
        self._learns = min(limits.header_bytes, limits.kept_bytes, most) >= LEARNT_BYTES

    def recognise(self, window: Window) -> Recognised[Made] | None:
        """Read a header that is like one of those learnt; None where it is not, or not whole.

        Parameters
        ----------
        window
            What is known of the object.
        """
        for pattern in self._patterns:
            changed: DataSet = {}
            end = self._match(pattern, window, changed)
            if end is not None:
                self._recognised += 1
                like = pattern.header
                header = Header(
                    like.dataset,
                    like.transfer_syntax,
                    like.implicit,
                    like.little_endian,
                    like.deflated,
                    end,
                    like.pixel_area,
                )
                return Recognised(header, changed, pattern.values)
        return None

    def _match(self, pattern: _Pattern[Made], window: Window, changed: DataSet) -> int | None:
        """Compare a header with a pattern; return where it ends, None where they differ."""
        segment = window.beginning
        known = len(segment)
        position = PREAMBLE_BYTES - len(PREFIX)
        for step in pattern.steps:
            literal, field, tag, vr, _, key, longest = step
            if not segment.startswith(literal, position):
                return None
            position += len(literal)
            if field is None:
                stop = self._walk(pattern, step, window, position, changed)
                if stop is None or stop > known:
                    return None
            else:
                value = position + field.size
                if value > known:
                    return None
                (length,) = field.unpack_from(segment, position)
                stop = value + length
                if stop > known:
                    return None
                if key is not None:
                    data = segment[value:stop] if length <= longest else None
                    changed[key] = Element(tag, vr, value, length, data)
            position = stop
        end = position + len(pattern.tail)
        if end > LEARNT_BYTES or not segment.startswith(pattern.tail, position):
            return None
        if pattern.header.pixel_area:
            return end if segment.startswith(_PIXEL_AREA, end) else None
        return end if end == window.size else None

    def _walk(
        self,
        pattern: _Pattern[Made],
        step: _Step,
        window: Window,
        position: int,
        changed: DataSet,
    ) -> int | None:
        """Walk over an element that may hold items; return the offset behind it."""
        walk = Walk(window, self._limits, little_endian=True)
        found = dict(pattern.header.dataset)
        try:
            header = walk.element_header(position, step.implicit)
            if (header.tag, header.vr) != (step.tag, step.vr):
                return None
            stop = walk.element(header, step.implicit, self._selection, found)
        except (Missing, ObjectError):
            return None  # the walk from the beginning says what is wrong
        if step.key is not None:
            changed[step.key] = found[step.key]
        return stop

    def learn(
        self,
        window: Window,
        header: Header,
        values: Made,
        missing: Collection[int],
        placed: Set[int] = frozenset(),
    ) -> None:
        """Learn a header that was not recognised.

        Parameters
        ----------
        window
            What is known of the object.
        header
            Its header, walked.
        values
            What was made of it.
        missing
            Tags that have to be there and are not, or are empty; nothing is learnt where they vary.
        placed
            Tags of elements whose offset is told, which differs where their bytes do not.
        """
        last, self._last = self._last, None
        spent = self._learnt > LEARNT_HEADERS + self._recognised // LEARNT_HEADERS
        if spent or not self._learns or not _is_plain(window, header):
            return
        self._last = layout = _Layout(window, header, self._limits)
        if last is None:
            return
        self._learnt += 1
        differing = layout.differing(last)
        self._varying |= {tag for tag in differing if not _is_context(tag)}
        varying = self._varying.union(differing, placed)
        if any(map(_is_context, varying)) or varying.intersection(missing, layout.tags):
            return
        if layout.is_ambiguous(varying):
            return
        others = [pattern for pattern in self._patterns if pattern.tags != layout.tags]
        compiled = self._compiled(layout, varying, header, values)
        self._patterns = (compiled, *others[: PATTERNS - 1])

    def _compiled(
        self, layout: _Layout, varying: set[int], header: Header, values: Made
    ) -> _Pattern[Made]:
        """Make a pattern of a header: what lies between the elements that vary."""
        steps = []
        begun = PREAMBLE_BYTES - len(PREFIX)
        for found in layout.elements:
            tag, vr, length, value = found.header
            if tag not in varying:
                continue
            kept = self._selection.find(tag, header.dataset)
            field = _SHORT if value == found.start + 8 and not found.implicit else _LONG
            walked = length == UNDEFINED or (kept is not None and holds_items(tag, vr, kept[1]))
            longest = self._limits.value_bytes
            named = kept is not None and kept[0] != tag
            if self._selection.everything and not named and is_bulk(tag, vr):
                longest = min(longest, INLINE_BULK_BYTES)
            steps.append(
                _Step(
                    literal=layout.segment[begun : found.start if walked else value - field.size],
                    length_field=None if walked else field,
                    tag=tag,
                    vr=vr,
                    implicit=found.implicit,
                    key=None if kept is None else kept[0],
                    longest=longest,
                )
            )
            begun = found.stop
        tail = layout.segment[begun : header.end]
        return _Pattern(layout.tags, tuple(steps), tail, header, values)


class _PlacedElement(NamedTuple):
    """One element of the main data set or the file meta information."""

    header: ElementHeader
    start: int
    """Offset of the element."""
    stop: int
    """Offset behind it."""
    implicit: bool


class _Layout:
    """Where the elements of a header lie; holds its bytes, and nothing else of it."""

    def __init__(self, window: Window, header: Header, limits: HeaderLimits) -> None:
        self._size = window.size
        self._end = header.end
        self._implicit = header.implicit
        self._limits = limits
        # with what stands before the first element of the pixel area
        self.segment = window.beginning[: header.end + PIXEL_AREA_BYTES]

    @cached_property
    def elements(self) -> list[_PlacedElement]:
        window = Window(self._size)
        window.add(0, self.segment)
        walk = Walk(window, self._limits, little_endian=True)
        starts: list[int] = []
        _, position = walk.file_meta(PREAMBLE_BYTES, NOTHING, starts)
        metas, implicit = len(starts), self._implicit
        walk.top_level(position, NOTHING, starts)
        return [
            _PlacedElement(walk.element_header(start, among), start, stop, among)
            for start, stop, among in zip(
                starts,
                [*starts[1:], self._end],
                [False] * metas + [implicit] * (len(starts) - metas),
                strict=True,
            )
        ]

    @cached_property
    def tags(self) -> tuple[int, ...]:
        return tuple(found.header.tag for found in self.elements)

    def is_ambiguous(self, varying: Set[int]) -> bool:
        """Tell whether what an element means depends on more than its bytes and its context.

        Tags may be out of order, and twice; an element may lack the VR that its syntax wants; and
        by the first bytes of the main data set, its VRs are found to be implicit.
        """
        begins = next((each for each in self.elements if each.header.tag >> 16 != META_GROUP), None)
        return (
            any(first >= second for first, second in pairwise(self.tags))
            or any(each.header.vr is None and not each.implicit for each in self.elements)
            or (begins is not None and begins.implicit and begins.header.tag in varying)
        )

    def differing(self, other: _Layout) -> set[int]:
        """Return the tags that both headers have, with other bytes."""
        theirs = {each.header.tag: other.segment[each.start : each.stop] for each in other.elements}
        return {
            found.header.tag
            for found in self.elements
            if theirs.get(found.header.tag, b"")
            not in (b"", self.segment[found.start : found.stop])
        }


def _is_plain(window: Window, header: Header) -> bool:
    """Tell whether a header is short, little endian, and known without a gap."""
    return (
        header.little_endian
        and not header.deflated
        and not header.odd_bytes_at_end
        and header.end <= min(len(window.beginning), LEARNT_BYTES)
    )


def _is_context(tag: int) -> bool:
    """Tell whether other elements' meaning depends on one; private creators are such."""
    return tag in _CONTEXT or is_creator(tag)
