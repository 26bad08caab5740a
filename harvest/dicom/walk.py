"""Stepping over data elements: one rule for each of PS3.5 section 7's shapes.

Wanted elements are kept; everything else is stepped over by its length. Where files break the
rules and pydicom still reads them (implicit VR under an explicit syntax, a single element without
VR), the walk decides as pydicom does. Where pydicom silently loses values, it raises instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from ..errors import ErrorKind, ObjectError
from .elements import (
    DELIMITER_GROUP,
    ITEM,
    ITEM_DELIMITER,
    ITEM_HEAD_BYTES,
    META_GROUP,
    NOTHING,
    PIXEL_GROUP,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    DataSet,
    Element,
    Selection,
)
from .vrs import FRAGMENT_VRS, LONG_VRS, VR_TEXT, dictionary_vr, holds_items, is_bulk
from .window import Window

# what stands before a value under explicit VR and under implicit VR, and a length alone
_LITTLE, _BIG = (
    (Struct(f"{order}HH2sH"), Struct(f"{order}HHL"), Struct(f"{order}L")) for order in "<>"
)
_NESTED = b"SQ\0\0\xff\xff\xff\xff"
_COMPLICATED_GROUPS = frozenset({PIXEL_GROUP, DELIMITER_GROUP})

LEAPT_BYTES: Final = 64 * 2**10
"""Longer values that nobody asks for do not count against `HeaderLimits.header_bytes`."""
INLINE_BULK_BYTES: Final = 1024
"""Longest value of a bulk VR that is kept where every element is."""
TICK_ELEMENTS: Final = 65_536
"""Elements between two ticks of a walk: some tenths of a second."""


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """How much one object may ask of its reader."""

    header_bytes: int = 64 * 2**20
    """Bytes walked over, long values that nobody asks for excepted; inflated ones included."""
    depth: int = 64
    """Sequences inside sequences."""
    elements: int = 5_000_000
    """Data elements and items walked over."""
    value_bytes: int = 2**20
    """Longest value that is read for a column, in bytes."""
    kept: int = 1_000_000
    """Data elements and items kept for columns; each takes some 350 bytes until it is a row."""
    kept_bytes: int = 16 * 2**20
    """Bytes of all values read for columns; converted they take up to 16 times as much."""


@dataclass(frozen=True, slots=True)
class TopLevel:
    """The main data set, seen to its end."""

    dataset: DataSet
    implicit: bool
    """Whether it is in implicit VR, as found."""
    end: int
    """Offset of the pixel area's first tag, or of the object's end."""
    pixel_area: bool
    """Whether it has elements of group 7FE0."""
    last_group: int
    """Highest group seen; 0 where the data set is empty."""
    odd_bytes_at_end: int = 0
    """Zero bytes behind the last element, too few to be one."""


@dataclass(slots=True)
class _Level:
    """A data set that is being walked: the main one, or an item's."""

    selection: Selection
    implicit: bool
    depth: int = 0
    """Sequences around it."""
    end: int | None = None
    """Offset that its elements must not pass; None where a delimiter or the object ends it."""
    starts: list[int] | None = None
    """Is given the offset of each element; None where nobody asks."""
    only: int | None = None
    """Group that ends with its last element; None where elements are of any group."""
    found: DataSet = field(default_factory=dict)


class ElementHeader(NamedTuple):
    """What stands before a value."""

    tag: int
    vr: str | None
    """None under implicit VR."""
    length: int
    """Of the value in bytes, or `UNDEFINED`."""
    value: int
    """Offset of the value's first byte."""


class Walk:
    """Steps over data elements of a window; offsets are the window's.

    Parameters
    ----------
    window
        The bytes.
    limits
        How much the object may ask.
    little_endian
        Byte order of tags and lengths.
    tick
        Called every `TICK_ELEMENTS` elements; what it raises ends the walk.
    """

    def __init__(
        self,
        window: Window,
        limits: HeaderLimits,
        *,
        little_endian: bool,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self._window = window
        self._limits = limits
        self._explicit, self._implicit, self._length = _LITTLE if little_endian else _BIG
        self._tick = tick
        self._elements = 0
        self._kept = 0
        self._kept_bytes = 0
        self._leapt = 0
        self._passes = True
        """Whether sequences that nobody asks for are still passed over."""
        self._segment = b""
        self._base = 0

    def element_header(self, position: int, implicit: bool) -> ElementHeader:
        """Decode what stands before the value of the element at `position`."""
        at = position - self._base
        if at < 0 or at + 12 > len(self._segment):
            self._segment, self._base = self._window.segment(position, 8)
            at = position - self._base
        if not implicit:
            group, element, vr, length = self._explicit.unpack_from(self._segment, at)
            tag = group << 16 | element
            if vr in LONG_VRS:
                if at + 12 <= len(self._segment):
                    (length,) = self._length.unpack_from(self._segment, at + 8)
                else:
                    (length,) = self._length.unpack(self._window.read(position + 8, 4))
                return ElementHeader(tag, vr.decode("ascii"), length, position + 12)
            if b"AA" <= vr <= b"ZZ":
                return ElementHeader(tag, vr.decode("latin-1"), length, position + 8)
            # items and delimiters have no VR, nor has an element that was written implicitly
        group, element, length = self._implicit.unpack_from(self._segment, at)
        return ElementHeader(group << 16 | element, None, length, position + 8)

    def item_header(self, position: int) -> tuple[int, int]:
        """Decode tag and length of the item or delimiter at `position`."""
        at = position - self._base
        if at < 0 or at + ITEM_HEAD_BYTES > len(self._segment):
            self._segment, self._base = self._window.segment(position, ITEM_HEAD_BYTES)
            at = position - self._base
        group, element, length = self._implicit.unpack_from(self._segment, at)
        return group << 16 | element, length

    def file_meta(
        self, position: int, selection: Selection, starts: list[int] | None = None
    ) -> tuple[DataSet, int]:
        """Walk over group 0002; its length element is not believed, as pydicom does not.

        Parameters
        ----------
        position
            Where it begins.
        selection
            Which elements to keep.
        starts
            Is given the offset of each element.

        Returns
        -------
        tuple of DataSet and int
            The wanted elements, and the offset behind the group.
        """
        implicit = self._looks_implicit(position)
        level = _Level(selection, implicit, starts=starts, only=META_GROUP)
        while True:
            position, _ = self._simple(position, level)
            if position == self._window.size:
                return level.found, position
            header = self.element_header(position, level.implicit)
            if header.tag >> 16 != META_GROUP:
                return level.found, position
            if starts is not None:
                starts.append(position)
            position = self._step(header, level)

    def top_level(
        self, position: int, selection: Selection, starts: list[int] | None = None
    ) -> TopLevel:
        """Walk over the main data set to its pixel area or to the object's end.

        Parameters
        ----------
        position
            Where it begins.
        selection
            Which elements to keep.
        starts
            Is given the offset of each element.
        """
        size = self._window.size
        # the first element is believed, whatever the transfer syntax says; fewer bytes are none
        implicit = size - position >= 6 and self._looks_implicit(position)
        level = _Level(selection, implicit, starts=starts)
        last_group = 0
        while True:
            position, group = self._simple(position, level)
            last_group = max(last_group, group)
            left = size - position
            if not left:
                return TopLevel(level.found, implicit, size, False, last_group)
            if left < 8 and not any(self._window.read(position, left)):
                return TopLevel(level.found, implicit, position, False, last_group, left)
            header = self.element_header(position, implicit)
            group = header.tag >> 16
            last_group = max(last_group, group)  # zeros at the end are of group 0
            if group == PIXEL_GROUP:
                return TopLevel(level.found, implicit, position, True, last_group)
            if group == DELIMITER_GROUP:
                raise _malformed("an item or delimiter stands outside any sequence", position)
            if starts is not None:
                starts.append(position)
            position = self._step(header, level)

    def element(
        self, header: ElementHeader, implicit: bool, selection: Selection, found: DataSet
    ) -> int:
        """Walk over one element of the main data set; return the offset behind it.

        Parameters
        ----------
        header
            What stands before its value.
        implicit
            Whether it is in implicit VR.
        selection
            Which elements to keep.
        found
            The data set so far; is added to.
        """
        return self._step(header, _Level(selection, implicit, found=found))

    def _looks_implicit(self, position: int) -> bool:
        vr = self._window.read(position, 6)[4:]
        return not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)

    def _step(self, header: ElementHeader, level: _Level) -> int:
        """Keep one element or step over it; return the offset behind it."""
        self.count()
        tag, vr, length, value = header
        kept = level.selection.find(tag, level.found)
        nested = kept[1] if kept else None
        data = items = None
        if length == UNDEFINED:
            items, stop = self._undefined(header, level, nested or NOTHING)
            self._check_bound(stop, level.end, value)
        else:
            stop = value + length
            self._check_bound(stop, level.end, value)
            if kept and length and holds_items(tag, vr, nested):
                items, _ = self._sequence(value, stop, level, nested or NOTHING)
            elif kept:
                everything = level.selection.everything and kept[0] == tag
                data = self._value(header, everything)
        if data is None and items is None:
            self._leap(stop - value)
        self._check_reach(stop)
        if kept:
            self._keep()
            level.found[kept[0]] = Element(tag, vr, value, length, data, items)
        return stop

    def _simple(  # noqa: C901 - one loop: a call for each element would cost more than the work
        self, position: int, level: _Level
    ) -> tuple[int, int]:
        """Step over elements as `_step` does, as long as they ask for no more than that.

        Most elements of every header are short, hold no items and lie in the known bytes; they
        are worth a loop of their own. It stops before the first that is not like that.

        Returns
        -------
        tuple of int and int
            The offset behind the last of them, and the highest group seen; 0 for none.
        """
        if self._window.size - position < 12:
            return position, 0
        at = position - self._base
        if at < 0 or at + 12 > len(self._segment):
            self._segment, self._base = self._window.segment(position, 8)
            at = position - self._base
        if self._segment[at + 4 : at + 12] == _NESTED and not level.implicit:
            return position, 0
        segment, found, implicit = self._segment, level.found, level.implicit
        unpack = self._implicit.unpack_from if implicit else self._explicit.unpack_from
        selection, starts, only = level.selection, level.starts, level.only
        public, private_groups = selection.public, selection.private_groups
        everything = selection.everything
        # what passes these bounds goes the long way, which finds what is wrong with it
        last = min(len(segment), self._limits.header_bytes + self._leapt - self._base)
        if level.end is not None:
            last = min(last, level.end - self._base)
        left = min(self._limits.elements - self._elements, TICK_ELEMENTS)
        count = highest = 0
        vr = None
        while at + 12 <= last and count < left:
            if implicit:
                group, element, length = unpack(segment, at)
                value = at + 8
            else:
                group, element, code, length = unpack(segment, at)
                value = at + 8
                if code in LONG_VRS:
                    (length,) = self._length.unpack_from(segment, value)
                    value = at + 12
                elif code not in VR_TEXT:
                    break
                vr = VR_TEXT[code]
            stop = value + length
            if stop > last or length > LEAPT_BYTES or group in _COMPLICATED_GROUPS:
                break
            if only is not None and group != only:
                break
            tag = group << 16 | element
            if tag in public or everything or group in private_groups:
                kept = selection.find(tag, found)
                if kept and length and holds_items(tag, vr, kept[1]):
                    break
                if kept:
                    held = self._holds(tag, vr, length, everything and kept[0] == tag)
                    data = segment[value:stop] if held else None
                    self._keep()
                    found[kept[0]] = Element(tag, vr, value + self._base, length, data)
            if starts is not None:
                starts.append(at + self._base)
            count += 1
            at = stop
            if group > highest:
                highest = group
        self.count(count)
        return at + self._base, highest

    def count(self, more: int = 1) -> None:
        """Count elements, items or fragments.

        Raises
        ------
        ObjectError
            ``too_large``: it is one too many; or whatever the tick raises.
        """
        ticks = self._elements // TICK_ELEMENTS
        self._elements += more
        if self._elements > self._limits.elements:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"the header has over {self._limits.elements} elements"
            )
        if self._tick is not None and self._elements // TICK_ELEMENTS > ticks:
            self._tick()

    def _leap(self, length: int) -> None:
        if length > LEAPT_BYTES:
            self._leapt += length

    def _check_reach(self, stop: int) -> None:
        # by what the object holds, and not by how much of it was read: all attempts agree
        if stop - self._leapt > self._limits.header_bytes:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"the header is over {self._limits.header_bytes} bytes"
            )

    def _keep(self) -> None:
        self._kept += 1
        if self._kept > self._limits.kept:
            raise ObjectError(
                ErrorKind.TOO_LARGE,
                f"the header has over {self._limits.kept} elements and items that are wanted",
            )

    def _check_bound(self, stop: int, end: int | None, value: int) -> None:
        if end is not None and stop > end:
            raise _malformed("an element is longer than what holds it", value)
        if stop > self._window.size:
            raise ObjectError(
                ErrorKind.TRUNCATED,
                f"a value announced to end at offset {stop} goes past the object's end",
            )

    def _value(self, header: ElementHeader, everything: bool) -> bytes | None:
        tag, vr, length, offset = header
        if not self._holds(tag, vr, length, everything):
            return None
        return self._window.read(offset, length)

    def _holds(self, tag: int, vr: str | None, length: int, everything: bool) -> bool:
        """Tell whether a value is kept, and count its bytes."""
        if length > min(self._limits.value_bytes, self._limits.kept_bytes - self._kept_bytes):
            return False
        # who looks at everything looks at no megabyte of it that nobody has named
        if everything and length > INLINE_BULK_BYTES and is_bulk(tag, vr):
            return False
        self._kept_bytes += length
        return True

    def _undefined(
        self, header: ElementHeader, level: _Level, nested: Selection
    ) -> tuple[tuple[DataSet, ...] | None, int]:
        """Walk over a value of undefined length: fragments, or a sequence."""
        # PS3.5 section 6.2.2: UN of undefined length is a sequence, whatever the dictionary says
        vr = header.vr or dictionary_vr(header.tag)
        if vr in FRAGMENT_VRS:
            return None, self._fragments(header.value)
        if nested is NOTHING and vr == "SQ" and self._passes and not level.implicit:
            stop = self._pass_over(header.value, level.depth)
            if stop is not None:
                return (), stop
            self._passes = False  # twice over the same elements is enough
        return self._sequence(header.value, None, level, nested)

    def _pass_over(self, position: int, depth: int) -> int | None:  # noqa: C901 - as `_simple`
        """Pass over a sequence of undefined length that nobody asks for.

        As `_sequence` does, as long as what is nested in it is in explicit VR, short, and in the
        known bytes: functional groups of thousands of frames are like that.

        Returns
        -------
        int or None
            The offset behind its delimiter; None where it takes `_sequence` to tell.
        """
        if not self._base <= position < self._base + len(self._segment):
            return None
        segment, at = self._segment, position - self._base
        explicit, implicit, long = (
            self._explicit.unpack_from,
            self._implicit.unpack_from,
            self._length.unpack_from,
        )
        last = len(segment) - 12
        left = self._limits.elements - self._elements
        deepest = 2 * (self._limits.depth - depth)
        # sequences and their items in turns: inside a sequence the level is odd
        level, count = 1, 0
        while at <= last and count < left and level < deepest:
            count += 1
            if not count % TICK_ELEMENTS and self._tick is not None:
                self._tick()
            group, element, code, length = explicit(segment, at)
            if group == DELIMITER_GROUP:
                (_, _, length) = implicit(segment, at)
                at += 8
                if level % 2 and element == ITEM & 0xFFFF:
                    if length != UNDEFINED:
                        if length > LEAPT_BYTES:
                            return None
                        at += length
                        continue
                    level += 1
                    # the first element of an item tells whether it is in explicit VR
                    if segment[at + 4 : at + 6] not in VR_TEXT:
                        return None
                elif element == (SEQUENCE_DELIMITER if level % 2 else ITEM_DELIMITER) & 0xFFFF:
                    level -= 1
                    if not level:
                        self.count(count)
                        return at + self._base
                    count -= level % 2  # the end of an item is none of its elements
                else:
                    return None
                continue
            if level % 2 or code not in VR_TEXT:
                return None
            at += 8
            if code in LONG_VRS:
                (length,) = long(segment, at)
                at += 4
            if length == UNDEFINED and code == b"SQ":
                level += 1
                continue
            if length > LEAPT_BYTES:
                return None
            at += length
        return None

    def _fragments(self, position: int) -> int:
        while True:
            self.count()
            tag, length = self.item_header(position)
            position += ITEM_HEAD_BYTES
            if tag == SEQUENCE_DELIMITER:
                return position
            if tag != ITEM or length == UNDEFINED:
                raise _malformed("a fragment was expected", position - ITEM_HEAD_BYTES)
            position += length

    def _sequence(
        self, position: int, end: int | None, level: _Level, selection: Selection
    ) -> tuple[tuple[DataSet, ...], int]:
        """Walk over items up to `end`, or to the delimiter where there is none."""
        if level.depth >= self._limits.depth:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"sequences are nested over {self._limits.depth} deep"
            )
        items: list[DataSet] = []
        while end is None or position < end:
            self.count()
            tag, length = self.item_header(position)
            position += ITEM_HEAD_BYTES
            if tag == SEQUENCE_DELIMITER:
                if end is not None and position != end:
                    raise _malformed(
                        "a delimiter stands before its sequence's end", position - ITEM_HEAD_BYTES
                    )
                return tuple(items), position
            if tag != ITEM:
                raise _malformed("an item was expected", position - ITEM_HEAD_BYTES)
            stop = None if length == UNDEFINED else position + length
            if stop is not None:
                self._check_bound(stop, end, position)
            if stop is not None and selection is NOTHING:
                self._leap(length)
                position = stop
                continue
            item, position = self._item(position, stop, level, selection)
            self._check_bound(position, end, position)
            if selection is not NOTHING:
                self._keep()
                items.append(item)
        return tuple(items), position

    def _item(
        self, position: int, end: int | None, around: _Level, selection: Selection
    ) -> tuple[DataSet, int]:
        """Walk over one item's data set."""
        implicit = around.implicit
        # PS3.5 section 6.2.2: items of an unknown sequence are implicit in any syntax
        if not implicit and position != end:
            implicit = self._looks_implicit(position)
        level = _Level(selection, implicit, around.depth + 1, end)
        while True:
            position, _ = self._simple(position, level)
            if position == end:
                return level.found, position
            header = self.element_header(position, implicit)
            if header.tag == ITEM_DELIMITER:
                if end is None:
                    return level.found, header.value
                raise _malformed("an item of defined length holds a delimiter", position)
            if header.tag >> 16 == DELIMITER_GROUP:
                raise _malformed("an item or delimiter stands where an element should", position)
            position = self._step(header, level)


def item_head(*, little_endian: bool) -> Struct:
    """Return what reads the head of an item or delimiter: group, element and length."""
    return (_LITTLE if little_endian else _BIG)[1]


def _malformed(what: str, position: int) -> ObjectError:
    return ObjectError(ErrorKind.MALFORMED, f"{what} (offset {position})")
