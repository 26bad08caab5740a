"""The header walker: bytes in, the wanted elements out, or which bytes it needs next.

Pure: no reading, no clocks. The walk follows PS3.5 section 7 (data elements, sequences) and
PS3.10 section 7 (file meta information). Values are kept as bytes and converted elsewhere;
what nobody asked for is stepped over by its length. A header is whole or it is none: the walk
ends at the first tag of the pixel area, (7FE0,xxxx), or at the object's true end, and never
because the known bytes ran out.

Where files break the rules and pydicom still reads them (a file meta without transfer syntax,
implicit VR under an explicit syntax, a single element without VR), the walk decides as pydicom
does. Where pydicom silently loses values, it raises instead.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Final

from pydicom import datadict, uid
from pydicom._uid_dict import UID_dictionary

from .errors import ErrorKind, ObjectError
from .tags import Attribute, Key, PrivateTag
from .window import Missing, NeedMore, Window

PREAMBLE_BYTES: Final = 132
UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
PIXEL_GROUP: Final = 0x7FE0

TRANSFER_SYNTAX_UID: Final = 0x00020010
MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002
SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
SERIES_INSTANCE_UID: Final = 0x0020000E
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
PIXEL_REPRESENTATION: Final = 0x00280103

# What other elements' meaning depends on; kept at every level whether asked for or not.
_CONTEXT = (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION)
# What a row says of every object.
_ESSENTIAL = (
    MEDIA_STORAGE_SOP_CLASS_UID,
    TRANSFER_SYNTAX_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    NUMBER_OF_FRAMES,
    ROWS,
)

# PS3.5 section 7.1.2: these have two reserved bytes and a length of four bytes
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_FRAGMENT_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"})

# Syntaxes whose pixels are fetched by a URL in the header (PS3.5 sections A.6, A.7)
_PIXELS_ELSEWHERE = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in ("94", "95", "204", "205")
)
_WITH_PIXELS_BY_NAME = ("Image Storage", "Segmentation Storage", "Parametric Map Storage")
_CLASSES_WITH_PIXELS = frozenset(
    number
    for number, entry in UID_dictionary.items()
    if entry[1] == "SOP Class"
    and not entry[0].startswith("Surface")
    and any(name in entry[0] for name in _WITH_PIXELS_BY_NAME)
) | {str(uid.RTDoseStorage)}


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """How much one object may ask of its reader."""

    header_bytes: int = 64 * 2**20
    """Bytes held in memory, inflated ones included."""
    depth: int = 64
    """Sequences inside sequences."""
    elements: int = 5_000_000
    """Data elements and items walked over."""
    value_bytes: int = 2**20
    """Longest value that is read for a column, in bytes."""


@dataclass(frozen=True, slots=True)
class Element:
    """One data element, its value still encoded."""

    tag: int
    """``0xGGGGEEEE``."""
    vr: str | None
    """As the file writes it; None under implicit VR."""
    offset: int
    """Absolute offset of the value's first byte (in the inflated data set, if deflated)."""
    length: int
    """Bytes of the value, `UNDEFINED` where the file does not say."""
    value: bytes | None
    """None for sequences, and for values longer than the limit or that nobody converts."""
    items: tuple[DataSet, ...] | None = None
    """The items of a sequence."""


DataSet = dict[Key, Element]
"""Elements by tag; private ones that were asked for by creator are found by that name."""


class Selection:
    """Which elements of a data set, and of the items of its sequences, to keep.

    Parameters
    ----------
    attributes
        What is wanted, as a profile gives it.
    everything
        Keep every element, at every depth.
    top
        Whether it is for a whole object and not for an item.
    """

    __slots__ = ("everything", "private", "private_groups", "public")

    def __init__(
        self, attributes: tuple[Attribute, ...] = (), *, everything: bool = False, top: bool = True
    ) -> None:
        self.everything = everything
        self.public: dict[int, Selection | None] = dict.fromkeys(_CONTEXT)
        if top:
            self.public.update(dict.fromkeys(_ESSENTIAL))
        self.private: dict[PrivateTag, Selection | None] = {}
        for attribute in attributes:
            nested = Selection(attribute.members, top=False) if attribute.members else None
            if isinstance(attribute.key, PrivateTag):
                self.private[attribute.key] = nested
            else:
                self.public[attribute.key] = nested
        self.private_groups = frozenset(tag.group for tag in self.private)

    def find(self, tag: int, found: DataSet) -> tuple[Key, Selection | None] | None:
        """Tell under which key to keep an element, and what of its items; None to step over it.

        Parameters
        ----------
        tag
            Of the element, ``0xGGGGEEEE``.
        found
            The data set so far, where private creators are looked up.
        """
        if tag in self.public:
            return tag, self.public[tag]
        if self.everything:
            return tag, self
        group, element = tag >> 16, tag & 0xFFFF
        if group not in self.private_groups:
            return None
        if 0x10 <= element <= 0xFF:
            return tag, None
        creator = found.get(group << 16 | element >> 8)
        if creator is None or not creator.value:
            return None
        name = creator.value.decode("iso8859", "replace").strip(" \0")
        private = PrivateTag(group, name, element & 0xFF)
        return (private, self.private[private]) if private in self.private else None


_NOTHING = Selection(top=False)


@dataclass(frozen=True, slots=True)
class Header:
    """Everything wanted of one object's header, which was seen to its end."""

    dataset: DataSet
    """The wanted elements, file meta information included."""
    transfer_syntax: str | None
    """As the file meta information says; None where it does not."""
    implicit: bool
    """Whether the data set is in implicit VR, as found."""
    little_endian: bool
    deflated: bool
    end: int
    """Absolute offset of the pixel area's first tag, or the object's end."""
    pixel_area: bool
    """Whether the data set has elements of group 7FE0."""
    odd_bytes_at_end: int = 0
    """Zero bytes behind the last element, too few to be one."""


def read_header(
    window: Window, selection: Selection, limits: HeaderLimits | None = None
) -> Header | NeedMore:
    """Walk over a header.

    Parameters
    ----------
    window
        The bytes known so far.
    selection
        Which elements to keep.
    limits
        How much the object may ask.

    Returns
    -------
    Header or NeedMore
        The whole header, or the bytes without which it cannot be whole.

    Raises
    ------
    ObjectError
        ``not_dicom``, ``truncated``, ``malformed`` or ``too_large``.
    """
    try:
        return _read(window, selection, limits or HeaderLimits())
    except Missing as missing:
        return missing.need


def _read(window: Window, selection: Selection, limits: HeaderLimits) -> Header:
    if window.size < PREAMBLE_BYTES or window.read(128, 4) != b"DICM":
        raise ObjectError(ErrorKind.NOT_DICOM, "no DICM prefix at offset 128 (PS3.10 section 7.1)")
    meta_walk = Walk(window, limits, little_endian=True)
    meta, position = meta_walk.file_meta(selection)
    syntax_element = meta.get(TRANSFER_SYNTAX_UID)
    syntax = _text(syntax_element) or None
    implicit, little_endian = _encoding(window, position, syntax)
    deflated = syntax == str(uid.DeflatedExplicitVRLittleEndian)
    data = _inflate(window, position, limits) if deflated else window
    walk = Walk(data, limits, little_endian=little_endian)
    try:
        top = walk.top_level(0 if deflated else position, implicit, selection)
    except Missing as missing:
        if deflated:
            raise _need_compressed(window, data, limits) from missing
        raise
    dataset = meta | top.dataset
    if not top.pixel_area:
        _refuse_cut_object(dataset, syntax, top.last_group)
    return Header(
        dataset=dataset,
        transfer_syntax=syntax,
        implicit=top.implicit,
        little_endian=little_endian,
        deflated=deflated,
        end=window.size if deflated else top.end,
        pixel_area=top.pixel_area,
        odd_bytes_at_end=top.odd_bytes_at_end,
    )


def _text(element: Element | None) -> str:
    if element is None or element.value is None:
        return ""
    return element.value.decode("iso8859").strip(" \0")


def _encoding(window: Window, position: int, syntax: str | None) -> tuple[bool, bool]:
    """Tell (implicit VR, little endian) from the transfer syntax, or from the first element."""
    if syntax is None:
        if window.size - position < 6:
            return True, True
        first = window.read(position, 6)
        explicit = first[4:6] in _known_vrs()
        # group 0008 of a big endian file reads as 0800 here
        return not explicit, not (explicit and int.from_bytes(first[:2], "little") >= 1024)
    return syntax == str(uid.ImplicitVRLittleEndian), syntax != str(uid.ExplicitVRBigEndian)


@cache
def _known_vrs() -> frozenset[bytes]:
    known = {entry[0] for entry in datadict.DicomDictionary.values()}
    return frozenset(vr.encode() for vr in known if len(vr) == 2)


def window_end(window: Window) -> int:
    """Return the absolute offset behind the bytes that `window` knows from its start on."""
    try:
        segment, start = window.segment(0, 1)
    except Missing:
        return 0
    return start + len(segment)


def _inflate(window: Window, position: int, limits: HeaderLimits) -> Window:
    """Inflate what is known of a deflated data set (PS3.5 section A.5).

    The result is a window whose size is the inflated size once the stream has ended, and beyond
    every offset until then, so that a walk asks for more and never takes the cut for the end.
    """
    compressed = window.read(position, window_end(window) - position)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(compressed, limits.header_bytes)
    except zlib.error:
        raise ObjectError(ErrorKind.MALFORMED, "the deflated data set is corrupt") from None
    result = Window(len(inflated) if inflater.eof else 2**63)
    result.add(0, inflated)
    return result


def _need_compressed(window: Window, inflated: Window, limits: HeaderLimits) -> Exception:
    """Turn missing inflated bytes into missing compressed ones, or into what forbids them."""
    if inflated.held >= limits.header_bytes:
        return ObjectError(
            ErrorKind.TOO_LARGE, f"the header inflates to over {limits.header_bytes} bytes"
        )
    known = window_end(window)
    if known == window.size:
        return ObjectError(ErrorKind.TRUNCATED, "the deflated data set ends early")
    return Missing(NeedMore(known, known + 1))


def _refuse_cut_object(dataset: DataSet, syntax: str | None, last_group: int) -> None:
    """Refuse an object that has no data set, and an image that ends before its pixels.

    An object cut exactly between two elements parses. Of the classes that always have pixels, one
    that ends inside or before group 0028, or has Rows and no pixels, has lost its end.
    """
    if not last_group:
        raise ObjectError(ErrorKind.TRUNCATED, "the object ends with its file meta information")
    sop_class = _text(dataset.get(SOP_CLASS_UID) or dataset.get(MEDIA_STORAGE_SOP_CLASS_UID))
    if sop_class not in _CLASSES_WITH_PIXELS or syntax in _PIXELS_ELSEWHERE:
        return
    if last_group <= 0x0028 or ROWS in dataset:
        raise ObjectError(
            ErrorKind.TRUNCATED, "an object of an image class ends before its pixel data"
        )


@dataclass(frozen=True, slots=True)
class _TopLevel:
    dataset: DataSet
    implicit: bool
    end: int
    pixel_area: bool
    last_group: int
    odd_bytes_at_end: int = 0


class Walk:
    """Steps over data elements of a window; offsets are absolute.

    Parameters
    ----------
    window
        The bytes.
    limits
        How much the object may ask.
    little_endian
        Byte order of tags and lengths.
    """

    def __init__(self, window: Window, limits: HeaderLimits, *, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self._window = window
        self._limits = limits
        self._order = order
        self._explicit = Struct(f"{order}HH2sH")
        self._implicit = Struct(f"{order}HHL")
        self._length = Struct(f"{order}L")
        self._elements = 0
        self._segment = b""
        self._base = 0

    def element_header(self, position: int, implicit: bool) -> tuple[int, str | None, int, int]:
        """Decode tag, VR, length and the offset of the value of the element at `position`."""
        at = position - self._base
        if at < 0 or at + 12 > len(self._segment):
            self._segment, self._base = self._window.segment(position, 8)
            at = position - self._base
        if not implicit:
            group, element, vr, length = self._explicit.unpack_from(self._segment, at)
            tag = group << 16 | element
            if vr in _LONG_VRS:
                length = self._length.unpack(self._window.read(position + 8, 4))[0]
                return tag, vr.decode("ascii"), length, position + 12
            if b"AA" <= vr <= b"ZZ":
                return tag, vr.decode("iso8859"), length, position + 8
            # items and delimiters have no VR, nor has an element that was written implicitly
        group, element, length = self._implicit.unpack_from(self._segment, at)
        return group << 16 | element, None, length, position + 8

    def file_meta(self, selection: Selection) -> tuple[DataSet, int]:
        """Walk over group 0002; its length element is not believed, as pydicom does not."""
        found: DataSet = {}
        position = PREAMBLE_BYTES
        implicit = self._looks_implicit(position)
        while position < self._window.size:
            tag, vr, length, value = self.element_header(position, implicit)
            if tag >> 16 != 2:
                break
            position = self._step(tag, vr, length, value, implicit, selection, found, 0, None)
        return found, position

    def top_level(self, position: int, implicit: bool, selection: Selection) -> _TopLevel:
        """Walk over the main data set to its pixel area or to the object's end."""
        found: DataSet = {}
        size = self._window.size
        if size - position >= 6:
            implicit = self._looks_implicit(position)
        last_group = 0
        while position < size:
            left = size - position
            if left < 8 and not any(self._window.read(position, left)):
                return _TopLevel(found, implicit, position, False, last_group, left)
            tag, vr, length, value = self.element_header(position, implicit)
            last_group = tag >> 16
            if last_group == PIXEL_GROUP:
                return _TopLevel(found, implicit, position, True, last_group)
            if last_group == 0xFFFE:
                raise _malformed("an item or delimiter stands outside any sequence", position)
            position = self._step(tag, vr, length, value, implicit, selection, found, 0, None)
        return _TopLevel(found, implicit, size, False, last_group)

    def _looks_implicit(self, position: int) -> bool:
        vr = self._window.read(position, 6)[4:]
        return not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)

    def _step(
        self,
        tag: int,
        vr: str | None,
        length: int,
        value: int,
        implicit: bool,
        selection: Selection,
        found: DataSet,
        depth: int,
        bound: int | None,
    ) -> int:
        """Keep one element or step over it; return the offset behind it."""
        self._count()
        kept = selection.find(tag, found)
        nested = kept[1] if kept else None
        if length == UNDEFINED:
            items, stop = self._undefined(tag, vr, value, implicit, nested, depth)
            if kept:
                found[kept[0]] = Element(tag, vr, value, length, None, items)
            return stop
        stop = value + length
        self._check_bound(stop, bound, value)
        if kept:
            if length and self._holds_items(tag, vr, nested):
                items, _ = self._sequence(value, stop, implicit, nested or _NOTHING, depth)
                found[kept[0]] = Element(tag, vr, value, length, None, items)
            else:
                data = self._value(value, length, selection.everything)
                found[kept[0]] = Element(tag, vr, value, length, data)
        return stop

    def _count(self) -> None:
        self._elements += 1
        if self._elements > self._limits.elements:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"the header has over {self._limits.elements} elements"
            )

    def _check_bound(self, stop: int, bound: int | None, value: int) -> None:
        if bound is not None and stop > bound:
            raise _malformed("an element is longer than the item that holds it", value)
        if stop > self._window.size:
            raise ObjectError(
                ErrorKind.TRUNCATED,
                f"a value announced to end at offset {stop} goes past the object's end",
            )

    def _value(self, offset: int, length: int, everything: bool) -> bytes | None:
        # somebody who looks at everything looks at no megabyte of it
        longest = 1024 if everything else self._limits.value_bytes
        return self._window.read(offset, length) if length <= longest else None

    @staticmethod
    def _holds_items(tag: int, vr: str | None, nested: Selection | None) -> bool:
        if vr == "SQ":
            return True
        if vr not in (None, "UN"):
            return False
        if nested is not None and not nested.everything:
            return True
        return _dictionary_vr(tag) == "SQ"

    def _undefined(
        self,
        tag: int,
        vr: str | None,
        position: int,
        implicit: bool,
        nested: Selection | None,
        depth: int,
    ) -> tuple[tuple[DataSet, ...] | None, int]:
        """Walk over a value of undefined length: a sequence, or fragments."""
        known = vr if vr not in (None, "UN") else _dictionary_vr(tag)
        if vr != "UN" and known in _FRAGMENT_VRS:
            return None, self._fragments(position)
        return self._sequence(position, None, implicit, nested or _NOTHING, depth)

    def _item_header(self, position: int) -> tuple[int, int]:
        group, element, length = self._implicit.unpack(self._window.read(position, 8))
        return group << 16 | element, length

    def _fragments(self, position: int) -> int:
        while True:
            self._count()
            tag, length = self._item_header(position)
            position += 8
            if tag == SEQUENCE_DELIMITER:
                return position
            if tag != ITEM or length == UNDEFINED:
                raise _malformed("a fragment was expected", position - 8)
            position += length

    def _sequence(
        self, position: int, end: int | None, implicit: bool, selection: Selection, depth: int
    ) -> tuple[tuple[DataSet, ...], int]:
        """Walk over items up to `end`, or to the delimiter where there is none."""
        if depth >= self._limits.depth:
            raise ObjectError(
                ErrorKind.TOO_LARGE, f"sequences are nested over {self._limits.depth} deep"
            )
        items: list[DataSet] = []
        while end is None or position < end:
            self._count()
            tag, length = self._item_header(position)
            position += 8
            if tag == SEQUENCE_DELIMITER:
                return tuple(items), position if end is None else end
            if tag != ITEM:
                raise _malformed("an item was expected", position - 8)
            stop = None if length == UNDEFINED else position + length
            if stop is not None:
                self._check_bound(stop, end, position)
            if stop is not None and selection is _NOTHING:
                position = stop
                continue
            item, position = self._item(position, stop, implicit, selection, depth + 1)
            items.append(item)
        return tuple(items), position

    def _item(
        self, position: int, end: int | None, implicit: bool, selection: Selection, depth: int
    ) -> tuple[DataSet, int]:
        """Walk over one item's data set."""
        found: DataSet = {}
        # PS3.5 section 6.2.2: items of an unknown sequence are implicit in any syntax
        if not implicit and (end is None or end - position >= 6):
            implicit = self._looks_implicit(position)
        while end is None or position < end:
            tag, vr, length, value = self.element_header(position, implicit)
            if tag == ITEM_DELIMITER:
                if end is None:
                    return found, value
                raise _malformed("an item of defined length holds a delimiter", position)
            if tag >> 16 == 0xFFFE:
                raise _malformed("an item or delimiter stands where an element should", position)
            position = self._step(tag, vr, length, value, implicit, selection, found, depth, end)
        return found, position


def _malformed(what: str, position: int) -> ObjectError:
    return ObjectError(ErrorKind.MALFORMED, f"{what} (offset {position})")


def _dictionary_vr(tag: int) -> str | None:
    try:
        return datadict.dictionary_VR(tag)
    except KeyError:
        return None
