"""DICOM bytes made by hand, element by element, so that tests decide on every byte.

Nothing here uses harvest's or pydicom's code for writing: both read what is built.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread

from harvest.dicom.elements import DataSet, Element, Selection
from harvest.dicom.header import Header, read_header
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.tags import Attribute
from harvest.dicom.walk import HeaderLimits
from harvest.dicom.window import NeedMore, Window

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
JPEG: Final = "1.2.840.10008.1.2.4.50"
JPIP: Final = "1.2.840.10008.1.2.4.94"

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"
INSTANCE: Final = "2.25.1"
SERIES: Final = "2.25.22"

UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010

_LONG: Final = frozenset(
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)


def even(value: bytes, pad: bytes = b" ") -> bytes:
    """Pad a value to an even length."""
    return value + pad if len(value) % 2 else value


def uid(value: str) -> bytes:
    """Encode a UID."""
    return even(value.encode(), b"\0")


@dataclass(frozen=True)
class Syntax:
    """A way to encode elements."""

    implicit: bool = False
    little: bool = True

    @property
    def order(self) -> str:
        return "<" if self.little else ">"

    def pack(self, codes: str, *numbers: float) -> bytes:
        """Pack numbers in this byte order."""
        return struct.pack(self.order + codes, *numbers)

    def element(self, tag: int, vr: str, value: bytes = b"", *, length: int | None = None) -> bytes:
        """Encode an element; `length` may lie about its value."""
        size = len(value) if length is None else length
        head = self.pack("HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + self.pack("L", size) + value
        if vr in _LONG:
            return head + vr.encode() + b"\0\0" + self.pack("L", size) + value
        return head + vr.encode() + self.pack("H", size) + value

    def mark(self, element: int, length: int = 0) -> bytes:
        """Encode an item's or a delimiter's tag, (FFFE,element)."""
        return self.pack("HHL", 0xFFFE, element, length)

    @property
    def item_end(self) -> bytes:
        return self.mark(0xE00D)

    @property
    def sequence_end(self) -> bytes:
        return self.mark(0xE0DD)

    def item(self, content: bytes, *, defined: bool = True, length: int | None = None) -> bytes:
        """Encode an item of a sequence, or a fragment."""
        if not defined:
            return self.mark(0xE000, UNDEFINED) + content + self.item_end
        return self.mark(0xE000, len(content) if length is None else length) + content

    def sequence(
        self, tag: int, items: Iterable[bytes] = (), *, defined: bool = True, vr: str = "SQ"
    ) -> bytes:
        """Encode a sequence of items that are encoded already."""
        content = b"".join(items)
        if defined:
            return self.element(tag, vr, content)
        return self.element(tag, vr, length=UNDEFINED) + content + self.sequence_end

    def private(
        self, group: int, block: int, creator: str, *elements: tuple[int, str, bytes]
    ) -> bytes:
        """Encode a private block: its creator, and elements by their last two digits."""
        reserved = self.element(group << 16 | block, "LO", even(creator.encode()))
        return reserved + b"".join(
            self.element(group << 16 | block << 8 | number, vr, value)
            for number, vr, value in elements
        )

    def encapsulated(
        self,
        fragments: Sequence[bytes],
        table: Sequence[int] = (),
        *,
        end: bool = True,
        tag: int = PIXEL_DATA,
    ) -> bytes:
        """Encode encapsulated pixels with a Basic Offset Table of 32-bit entries."""
        items = self.item(self.pack(f"{len(table)}L", *table))
        items += b"".join(self.item(fragment) for fragment in fragments)
        begin = self.element(tag, "OB", length=UNDEFINED)
        return begin + items + (self.sequence_end if end else b"")

    def extended(self, offsets: Sequence[int], lengths: Sequence[int] | None = None) -> bytes:
        """Encode an Extended Offset Table, and its lengths if given."""
        made = self.element(0x7FE00001, "OV", self.pack(f"{len(offsets)}Q", *offsets))
        if lengths is not None:
            made += self.element(0x7FE00002, "OV", self.pack(f"{len(lengths)}Q", *lengths))
        return made


LITTLE: Final = Syntax()
BIG: Final = Syntax(little=False)
IMPLICIT: Final = Syntax(implicit=True)
SYNTAXES: Final = {EXPLICIT_LITTLE: LITTLE, EXPLICIT_BIG: BIG, IMPLICIT_LITTLE: IMPLICIT}


def deflate(data: bytes) -> bytes:
    """Deflate without a header of zlib's (PS3.5 section A.5)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def file_meta(
    syntax: str | None = EXPLICIT_LITTLE, sop_class: str | None = None, *, length: int | None = None
) -> bytes:
    """Encode group 0002; its length element tells the truth unless `length` is given."""
    content = LITTLE.element(0x00020001, "OB", b"\0\1")
    if sop_class is not None:
        content += LITTLE.element(0x00020002, "UI", uid(sop_class))
        content += LITTLE.element(0x00020003, "UI", uid(INSTANCE))
    if syntax is not None:
        content += LITTLE.element(0x00020010, "UI", uid(syntax))
    told = len(content) if length is None else length
    return LITTLE.element(0x00020000, "UL", struct.pack("<L", told)) + content


def part10(
    dataset: bytes, syntax: str | None = EXPLICIT_LITTLE, *, meta: bytes | None = None
) -> bytes:
    """Put preamble and file meta information before an encoded data set."""
    return b"\0" * 128 + b"DICM" + (file_meta(syntax) if meta is None else meta) + dataset


def identity(syntax: Syntax = LITTLE, sop_class: str = BASIC_TEXT_SR) -> bytes:
    """Encode what every object says of itself, up to group 0008."""
    return syntax.element(0x00080016, "UI", uid(sop_class)) + syntax.element(
        0x00080018, "UI", uid(INSTANCE)
    )


def series(syntax: Syntax = LITTLE) -> bytes:
    """Encode Series Instance UID."""
    return syntax.element(0x0020000E, "UI", uid(SERIES))


def image(
    uid_of_syntax: str = EXPLICIT_LITTLE, pixels: bytes | None = None, frames: int | None = None
) -> bytes:
    """Build a small CT image; a `pixels` of None gives it 8 native bytes."""
    syntax = SYNTAXES.get(uid_of_syntax, LITTLE)
    dataset = (
        identity(syntax, CT_IMAGE)
        + syntax.element(0x00080060, "CS", b"CT")
        + syntax.sequence(
            0x00081140, [syntax.item(syntax.element(0x00081150, "UI", uid(CT_IMAGE)))]
        )
        + syntax.sequence(
            0x00082112,
            [syntax.item(syntax.element(0x00081155, "UI", uid("2.25.3")), defined=False)],
            defined=False,
        )
        + syntax.element(0x00100010, "PN", b"Doe^Jane")
        + syntax.private(0x0019, 0x10, "GEMS_ACQU_01", (0x02, "SL", syntax.pack("l", -7)))
        + series(syntax)
    )
    if frames is not None:
        dataset += syntax.element(0x00280008, "IS", even(str(frames).encode()))
    dataset += syntax.element(0x00280010, "US", syntax.pack("H", 2))
    dataset += syntax.element(0x00280011, "US", syntax.pack("H", 2))
    dataset += syntax.element(0x00280103, "US", syntax.pack("H", 1))
    dataset += syntax.element(PIXEL_DATA, "OW", bytes(range(8))) if pixels is None else pixels
    meta = file_meta(uid_of_syntax, CT_IMAGE)
    return part10(deflate(dataset) if uid_of_syntax == DEFLATED else dataset, meta=meta)


def report(uid_of_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Build a small structured report: an object without pixels."""
    syntax = SYNTAXES.get(uid_of_syntax, LITTLE)
    meaning = syntax.element(0x00080104, "LO", b"Finding ")
    concept = syntax.sequence(0x0040A043, [syntax.item(meaning, defined=False)], defined=False)
    text = syntax.element(0x0040A160, "UT", b"nothing to see, twice")
    content = [syntax.item(concept + text), syntax.item(concept + text, defined=False)]
    dataset = (
        identity(syntax)
        + syntax.element(0x00080060, "CS", b"SR")
        + syntax.element(0x00100010, "PN", b"Doe^Jane")
        + series(syntax)
        + syntax.element(0x0040A040, "CS", even(b"CONTAINER"))
        + syntax.sequence(0x0040A730, content)
        + syntax.element(0x0040DB00, "CS", b"2000")
    )
    meta = file_meta(uid_of_syntax, BASIC_TEXT_SR)
    return part10(deflate(dataset) if uid_of_syntax == DEFLATED else dataset, meta=meta)


def window_of(data: bytes) -> Window:
    """Make a window that knows a whole object."""
    window = Window(len(data))
    window.add(0, data)
    return window


EVERYTHING: Final = Selection(everything=True)


def header_of(
    data: bytes, selection: Selection = EVERYTHING, limits: HeaderLimits | None = None
) -> Header:
    """Read the header of a whole object."""
    header = read_header(window_of(data), selection, limits)
    assert isinstance(header, Header)
    return header


def feed(data: bytes, selection: Selection, step: int, first: int = 132) -> tuple[Header, Window]:
    """Read a header as a reader does: the start, then what is asked for and some bytes more."""
    window = Window(len(data))
    window.add(0, data[: max(step, first)])
    for _ in range(2 * len(data)):
        answer = read_header(window, selection)
        if isinstance(answer, Header):
            return answer, window
        take(window, data, answer, step)
    raise AssertionError("the walk does not end")


def take(window: Window, data: bytes, need: NeedMore, step: int = 0) -> None:
    """Give a window what it needs; as with a bucket, never more than the object has."""
    assert 0 <= need.start < need.stop <= len(data)
    window.add(need.start, data[need.start : max(need.stop, need.start + step)])


def oracle(data: bytes) -> Dataset:
    """Let pydicom read the same bytes."""
    return dcmread(BytesIO(data))


def attributes(*paths: str) -> tuple[Attribute, ...]:
    return merge_paths(parse_path(path) for path in paths)


def selected(*paths: str) -> Selection:
    return Selection(attributes(*paths))


def items(found: Element) -> tuple[DataSet, ...]:
    assert found.items is not None
    return found.items
