"""Headers that are recognised: what comes of them is what a walk makes of them."""

from __future__ import annotations

import gc
import random
import struct
import sys
import tracemalloc
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harvest.config import SourceConfig
from harvest.dicom import alike, header
from harvest.dicom.alike import LEARNT_BYTES, LEARNT_HEADERS, PATTERNS, SERIES_AT_ONCE, Likenesses
from harvest.dicom.elements import Element
from harvest.dicom.first_ranges import FirstRanges, Subject
from harvest.dicom.paths import parse_path
from harvest.dicom.tags import Attribute, Wanted
from harvest.dicom.values import Encoding, NotPlain, Unfit, convert, plain_converter
from harvest.dicom.walk import HeaderLimits
from harvest.errors import ErrorKind, ObjectError
from harvest.store.patience import RateLimit
from harvest.store.protocol import Ranged, Version
from harvest.table.parts import table_of
from harvest.table.rows import Planned, Row
from harvest.table.schema import instances_schema
from harvest.urls import ObjectUrl
from harvest.worker import object_reader
from harvest.worker.object_reader import ObjectReader
from tests.lab.files import collect, corpus_from_environment, sources
from tests.lab.generate import generate
from tests.support.build import (
    BASIC_TEXT_SR,
    CT_IMAGE,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    LITTLE,
    SERIES,
    Syntax,
    even,
    header_of,
    image,
    part10,
    report,
    uid,
    window_of,
)
from tests.support.profiles import resolve_attributes
from tests.support.reading import read_row

PROFILES = ("core", "ct")
TAGS = (
    "(0043,GEMS_PARM_01,39)",
    "ContentSequence.TextValue",
    "ContentSequence.ContentSequence.TextValue",
    "ImageComments",
    "LUTDescriptor",
    "PatientName",
    "PixelPaddingValue",
    "ReferencedImageSequence.ReferencedSOPInstanceUID",
)
ATTRIBUTES = resolve_attributes(PROFILES, TAGS)
CODES = {"explicit": LITTLE, "implicit": IMPLICIT}
SYNTAX = {LITTLE: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE}
ROW_BYTES = 64
"""Of the pixel area: the reader's own first range holds so many behind a header."""

Series = Sequence[bytes]


# reading from memory


class Memory:
    """A bucket of objects, by number."""

    def __init__(self, objects: Sequence[bytes]) -> None:
        self._objects = objects

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        data = self._objects[int(key.rpartition("/")[2])]
        return Ranged(data[start:stop], len(data), Version('"e"'))


class Fixed(FirstRanges):
    """Always reads so much first."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def guess(self, subject: Subject) -> int:
        return self._first


class MemoryReader(ObjectReader):
    """Reads objects from memory as they are read from a bucket."""

    def __init__(
        self,
        objects: Sequence[bytes],
        *,
        everything: bool = False,
        limits: HeaderLimits | None = None,
        first: int = 2**20,
        attributes: tuple[Attribute, ...] = ATTRIBUTES,
    ) -> None:
        super().__init__(
            SourceConfig(),
            Wanted(attributes, everything),
            limits or HeaderLimits(),
            retries=0,
            object_seconds=600,
            rate=RateLimit(None),
            ranges=Fixed(first),
            whole=everything,
        )
        self._memory = Memory(objects)

    def store(self, url: ObjectUrl) -> Memory:
        return self._memory


class Forgetful(Likenesses[Any]):
    """Recognises nothing: every header is walked."""

    def of(self, series: str) -> Any:
        return alike.Likeness(self._selection, self._limits, set())


def planned_of(number: int, series: str = "series", **more: Any) -> Planned:
    return Planned(f"s3://bucket/{series}/{number}", None, None, **more)


@dataclass
class Compared:
    """Rows of a series, read with and without recognising."""

    rows: list[Row]
    walks: int
    """Headers that were walked although others had been learnt."""

    @property
    def recognised(self) -> int:
        return len(self.rows) - self.walks


def told(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def compare(
    objects: Series,
    monkeypatch: pytest.MonkeyPatch,
    *,
    everything: bool,
    folders: Sequence[str] | None = None,
    series_uid: str | None = None,
    **how: Any,
) -> Compared:
    """Read a series twice, and check that the rows are equal, as rows and as a table."""
    walks = 0
    walk = header.read_header

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal walks
        walks += 1
        return walk(*arguments, **more)

    planned = [
        planned_of(number, folders[number] if folders else "a", series_instance_uid=series_uid)
        for number in range(len(objects))
    ]
    walker = MemoryReader(objects, everything=everything, **how)
    walker.likenesses = Forgetful(walker.selection, walker.limits)
    expected = [read_row(walker, each) for each in planned]
    monkeypatch.setattr(object_reader, "read_header", counted)
    reader = MemoryReader(objects, everything=everything, **how)
    rows = [read_row(reader, each) for each in planned]
    monkeypatch.setattr(object_reader, "read_header", walk)
    for number, (ours, theirs) in enumerate(zip(rows, expected, strict=True)):
        assert told(ours) == told(theirs), number
    assert not [row for row in rows if row.get("error") == ErrorKind.INTERNAL]
    found = reader.converter.attributes()
    assert found == walker.converter.attributes()
    schema = instances_schema(found, header=everything)
    assert table_of(rows, schema).equals(table_of(expected, schema))
    return Compared(rows, walks)


# series of our own


@dataclass
class Draft:
    """A header in its parts, so that each can be changed before it is put together."""

    code: Syntax
    number: int
    chance: random.Random
    elements: list[tuple[int, bytes]] = field(default_factory=list)
    preamble: bytes = bytes(128)
    syntax: str = ""
    sop_class: str = CT_IMAGE
    pixels: bytes = b""
    size: int | None = None
    """Bytes of the object that are there; None for all."""

    def put(self, tag: int, vr: str, value: bytes = b"", *, length: int | None = None) -> None:
        """Set an element, in its place."""
        self.put_encoded(tag, self.code.element(tag, vr, value, length=length))

    def put_encoded(self, tag: int, encoded: bytes) -> None:
        self.drop(tag)
        self.elements.append((tag, encoded))
        self.elements.sort(key=lambda each: each[0])

    def drop(self, tag: int) -> None:
        self.elements = [each for each in self.elements if each[0] != tag]

    def text(self, most: int = 12) -> bytes:
        return even(bytes(self.chance.choices(b"abc XYZ^", k=self.chance.randrange(1, most))))

    def bytes(self) -> bytes:
        name = uid(f"2.25.{10_000 + self.number}{'7' * (self.number % 5)}")
        meta = (
            LITTLE.element(0x00020001, "OB", b"\0\1")
            + LITTLE.element(0x00020002, "UI", uid(self.sop_class))
            + LITTLE.element(0x00020003, "UI", name)
            + LITTLE.element(0x00020010, "UI", uid(self.syntax))
        )
        head = LITTLE.element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta
        data = part10(b"".join(each for _, each in self.elements) + self.pixels, meta=head)
        return (self.preamble + data[128:])[: self.size]


def draft(number: int, code: Syntax, chance: random.Random) -> Draft:
    """Make a header as a scanner would, one of many that are alike."""
    made = Draft(code, number, chance, syntax=SYNTAX[code])
    pack = code.pack
    put = made.put
    put(0x00080005, "CS", b"ISO_IR 100")
    put(0x00080008, "CS", even(b"ORIGINAL\\PRIMARY\\AXIAL"))
    put(0x00080016, "UI", uid(CT_IMAGE))
    put(0x00080018, "UI", uid(f"2.25.{10_000 + number}{'7' * (number % 5)}"))
    put(0x00080022, "DA", b"20200131")
    put(0x00080032, "TM", b"%06d" % (120000 + number % 60))
    put(0x00080060, "CS", b"CT")
    put(0x0008103E, "LO", even(b"thorax, caf\xe9"))
    wanted = [
        code.item(code.element(0x00081155, "UI", uid(f"2.25.{9 + number}")))
        for _ in range(number % 3)
    ]
    made.put_encoded(0x00081140, code.sequence(0x00081140, wanted))
    unwanted = [code.item(code.element(0x00081155, "UI", uid("2.25.5")), defined=False)]
    made.put_encoded(0x00082112, code.sequence(0x00082112, unwanted, defined=False))
    made.put(0x00090010, "LO", b"ACME 1.0")
    made.put(0x00091002, "SL", pack("l", number))
    made.put(0x00091003, "UN", b"\1\2")
    put(0x00100010, "PN", even(b"Doe^Jane"))
    put(0x00100020, "LO", b"1234")
    put(0x00180050, "DS", b"1.25")
    put(0x0020000D, "UI", uid("2.25.20"))
    put(0x0020000E, "UI", uid(SERIES))
    put(0x00200013, "IS", even(b"%d" % number))
    put(0x00200032, "DS", even(b"-%d.5\\0\\%d" % (number * 3, number)))
    put(0x00204000, "LT", even(b"comment"))
    for tag, word in ((0x00280010, 2), (0x00280011, 2), (0x00280100, 16), (0x00280103, 1)):
        put(tag, "US", pack("H", word))
    put(0x00280120, "SS", pack("h", -2000))
    put(0x00281050, "DS", even(b"%d" % (40 + number % 2)))
    put(0x00283002, "US", pack("3H", 100, 0, 16))
    put(0x00283006, "OW", bytes(range(200)))
    text = code.element(0x0040A160, "UT", even(b"text %d" % (number % 4)))
    inner = code.sequence(0x0040A730, [code.item(text)], defined=False)
    made.put_encoded(0x0040A730, code.sequence(0x0040A730, [code.item(text + inner)]))
    made.put(0x00430010, "LO", b"GEMS_PARM_01")
    made.put(0x00431001, "OB", bytes(1500))
    made.put(0x00431039, "IS", even(b"%d\\2" % number))
    icon = code.item(code.encapsulated([b"\xff\xd8"]), defined=False)
    made.put_encoded(0x00880200, code.sequence(0x00880200, [icon], defined=False))
    made.pixels = code.element(0x7FE00010, "OW", bytes(8))
    return made


def alike_series(count: int, code: Syntax, seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    return [draft(number, code, chance).bytes() for number in range(count)]


# ways to be unlike the others

Way = Callable[[Draft], None]


def _empty(tag: int) -> Way:
    return lambda made: made.put(tag, _vr(made, tag))


def _drop(tag: int) -> Way:
    return lambda made: made.drop(tag)


def _vr(made: Draft, tag: int) -> str:
    encoded = next((each for found, each in made.elements if found == tag), b"")
    vr = encoded[4:6].decode("latin-1")
    return vr if vr.isalpha() and vr.isupper() else "LO"


def _set(tag: int, vr: str, *values: bytes) -> Way:
    return lambda made: made.put(tag, vr, made.chance.choice(values))


def _lying(tag: int, vr: str, value: bytes, *lengths: int) -> Way:
    return lambda made: made.put(tag, vr, value, length=made.chance.choice(lengths))


def _twice(tag: int) -> Way:
    def way(made: Draft) -> None:
        encoded = [each for each in made.elements if each[0] == tag]
        made.put(tag, _vr(made, tag), b"7 ")
        made.elements += encoded
        made.elements.sort(key=lambda each: each[0])

    return way


def _sequence(tag: int, inner: int, vr: str, **how: Any) -> Way:
    def way(made: Draft) -> None:
        code = made.code
        defined = how.get("defined", made.chance.random() < 0.5)
        element = code.element(inner, vr, how.get("value", made.text()))
        items = [
            code.item(element * made.chance.randrange(3), defined=made.chance.random() < 0.5)
            for _ in range(made.chance.randrange(4))
        ]
        name = how.get("name", "SQ")
        made.put_encoded(tag, code.sequence(tag, items, defined=defined, vr=name))

    return way


def _moved(tag: int, to: int) -> Way:
    """Put an element elsewhere: the others are in their order."""

    def way(made: Draft) -> None:
        moving = [each for each in made.elements if each[0] == tag]
        made.elements = [each for each in made.elements if each[0] != tag]
        at = next((n for n, each in enumerate(made.elements) if each[0] >= to), 0)
        made.elements[at:at] = moving

    return way


def _creator(made: Draft) -> None:
    made.put(0x00430010, "LO", made.chance.choice((b"GEMS_PARM_02", b"GEMS_PARM_01", b"", b"X ")))


def _other_block(made: Draft) -> None:
    made.drop(0x00430010)
    made.drop(0x00431039)
    made.put(0x00430011, "LO", b"GEMS_PARM_01")
    made.put(0x00431139, "IS", even(b"%d" % made.number))


def _cut(made: Draft) -> None:
    made.size = made.chance.randrange(100, len(made.bytes()))


def _no_pixels(made: Draft) -> None:
    made.pixels = b""


def _report(made: Draft) -> None:
    made.pixels = b""
    made.put(0x00080016, "UI", uid(BASIC_TEXT_SR))
    made.sop_class = BASIC_TEXT_SR
    made.drop(0x00280010)


def _tail(made: Draft) -> None:
    _report(made)
    made.pixels = bytes(made.chance.randrange(1, 20))


def _other_pixels(made: Draft) -> None:
    made.pixels = made.chance.choice(
        (
            made.code.encapsulated([b"\xff\xd8"], [0]),
            made.code.element(0x7FE00008, "OF", bytes(4)),
            made.code.element(0x7FE00010, "OW", bytes(8))[: made.chance.randrange(1, 14)],
            b"\xe0\x7f",
            b"\xe0\x7f\x10\0OW\0\0",
            LITTLE.element(0xFFFCFFFC, "OB", bytes(4)),
            LITTLE.item_end,
        )
    )


def _preamble(made: Draft) -> None:
    made.preamble = made.chance.randbytes(128)


def _bit(made: Draft) -> None:
    """Change one bit somewhere."""
    tag, encoded = made.chance.choice(made.elements)
    at = made.chance.randrange(len(encoded))
    changed = bytes((encoded[at] ^ 1 << made.chance.randrange(8),))
    where = made.elements.index((tag, encoded))
    made.elements[where] = tag, encoded[:at] + changed + encoded[at + 1 :]


def _bits(made: Draft) -> None:
    for _ in range(5):
        _bit(made)


def _other_syntax(made: Draft) -> None:
    made.syntax = made.chance.choice((EXPLICIT_BIG, IMPLICIT_LITTLE, EXPLICIT_LITTLE, "1.2.3", ""))


def _first_element(made: Draft) -> None:
    """Begin with a value whose length, where there is no VR, reads as one."""
    made.drop(0x00080005)
    made.put(0x00080008, "CS", b"A" * made.chance.choice([20, 22, 0x4142]))


WAYS: dict[str, Way] = {
    "an element goes": _drop(0x00180050),
    "a wanted element of the values goes": _drop(0x00200032),
    "a private element goes": _drop(0x00091003),
    "a creator goes": _drop(0x00430010),
    "a sequence goes": _drop(0x00081140),
    "an element comes": _set(0x00180060, "DS", b"120 ", b"80"),
    "a private element comes": _set(0x00431027, "SH", b"1:1 ", b"2:1 "),
    "a value becomes empty": _empty(0x00200013),
    "a fixed value becomes empty": _empty(0x00100020),
    "the instance's name is empty": _empty(0x00080018),
    "the series' name is empty": _empty(0x0020000E),
    "the class is empty": _empty(0x00080016),
    "the instance's name is padding": _set(0x00080018, "UI", b"\0\0", b"  "),
    "a value is long": lambda made: made.put(0x00204000, "LT", bytes(60_000)),
    "a value is too long": lambda made: made.put_encoded(
        0x00204000, made.code.element(0x00204000, "UT", b"x" * made.chance.choice([2**16, 2**17]))
    ),
    "a private value is leapt over": lambda made: made.put(
        0x00431001, "OB", bytes(made.chance.choice([2**16, 2**16 + 2, 2**17]))
    ),
    "bytes of many lengths": lambda made: made.put(
        0x00431001, "OB", bytes(made.chance.choice([0, 2, 600, 1022, 1024, 1026, 4000]))
    ),
    "a table of many lengths": lambda made: made.put(
        0x00283006, "OW", bytes(made.chance.choice([0, 2, 600, 1022, 1024, 1026, 4000]))
    ),
    "a table that is pointed at": lambda made: made.put(0x00283006, "US", bytes(4000)),
    "a table of one entry": lambda made: made.put(
        0x00283002, "US", made.code.pack("3H", made.chance.choice([1, 100]), 0, 16)
    ),
    "another VR": _set(0x00200013, "UL", b"\1\0\0\0"),
    "another VR of a wanted value": _set(0x00280010, "UL", b"\2\0\0\0"),
    "text for a number": _set(0x00280010, "LO", b"two "),
    "an unknown VR": _set(0x00180050, "ZZ", b"1.5 ", b"2.25"),
    "no VR": lambda made: made.put_encoded(0x00180050, IMPLICIT.element(0x00180050, "", b"1.")),
    "UN": _set(0x00200013, "UN", b"1 ", b"22"),
    "an element twice": _twice(0x00200013),
    "a fixed element twice": _twice(0x00180050),
    "a wanted sequence": _sequence(0x00081140, 0x00081155, "UI"),
    "a wanted sequence of UN": _sequence(0x00081140, 0x00081155, "UI", name="UN"),
    "a sequence that nobody wants": _sequence(0x00082112, 0x00081155, "UI"),
    "a private sequence": _sequence(0x00091004, 0x00081155, "UI"),
    "a private sequence of UN": _sequence(0x00091004, 0x00081155, "UI", name="UN"),
    "values of items that do not fit": _sequence(0x00081140, 0x00280010, "US", value=b"abc"),
    "character sets of items": _sequence(0x00081140, 0x00080005, "CS", value=b"ISO_IR 192"),
    "a text for a sequence": _set(0x00081140, "LO", b"text", b"more text"),
    "a sequence for a text": _sequence(0x00100020, 0x00081155, "UI"),
    "fragments": lambda made: made.put_encoded(
        0x00091003, made.code.encapsulated([made.text()], tag=0x00091003)
    ),
    "an icon": lambda made: made.put_encoded(
        0x00880200,
        made.code.sequence(
            0x00880200, [made.code.item(made.code.encapsulated([made.text()]), defined=False)]
        ),
    ),
    "a length past the end": _lying(0x00204000, "LT", b"text", 5, 6, 20, 60_000),
    "a long length past the end": _lying(0x00204000, "UT", b"text", 6, 2**20, 2**32 - 2),
    "an undefined length": _lying(0x00204000, "UT", b"text", 2**32 - 1),
    "a sequence without end": _lying(0x00082112, "SQ", b"", 2**32 - 1),
    "a short sequence": _lying(0x00081140, "SQ", LITTLE.item(b"1234"), 4, 6, 8, 10),
    "a character set": _set(
        0x00080005, "CS", b"ISO_IR 192", b"ISO_IR 100", b"", b"\\ISO 2022 IR 87"
    ),
    "an unknown character set": _set(0x00080005, "CS", b"ISO_IR 999", b"ISO_IR 100"),
    "no character set": _drop(0x00080005),
    "a character set of bytes": _set(0x00080005, "OB", bytes(1500), b"ISO_IR 192", b"ISO_IR 100"),
    "a pixel representation": _set(0x00280103, "US", b"\0\0", b"\1\0"),
    "a pixel representation of bytes": _set(0x00280103, "OW", bytes(1500), b"\0\0", b"\1\0"),
    "frames": _set(0x00280008, "IS", b"2 ", b"1 ", b"-1", b"", b"x "),
    "another series": _set(0x0020000E, "UI", uid("2.25.33"), uid(SERIES)),
    "a series of bytes": _set(0x0020000E, "OB", bytes(1500), uid("2.25.33"), uid(SERIES)),
    "another class": _set(0x00080016, "UI", uid(BASIC_TEXT_SR), uid(CT_IMAGE)),
    "another class in the file meta": lambda made: setattr(made, "sop_class", BASIC_TEXT_SR),
    "another syntax": _other_syntax,
    "another preamble": _preamble,
    "a cut": _cut,
    "no pixels": _no_pixels,
    "a report": _report,
    "zeros at the end": _tail,
    "other pixels": _other_pixels,
    "another creator": _creator,
    "a creator of bytes": _set(0x00430010, "UN", bytes(1500), b"GEMS_PARM_01", b"OTHER "),
    "another block": _other_block,
    "a private element before its creator": _moved(0x00431039, 0x00430010),
    "the creator last": _moved(0x00430010, 0x00880200),
    "the first element last": _moved(0x00080008, 0x00880200),
    "an element of the file meta behind it": _set(0x00020016, "AE", b"TITLE ", b"OTHER TITLE "),
    "a first element": _first_element,
    "no integer": _set(0x00200013, "IS", b"x ", b"1.5 ", b"99999999999999999999", b"1_0 "),
    "no number": _set(0x00180050, "DS", b"abc ", b"nan ", b"1e400 ", b"1,5 "),
    "numbers": _set(0x00180050, "DS", b"1e5 ", b".5", b"+1", b"-0", b"1\\2 ", b"\t1", b" 1 "),
    "no date": _set(0x00080022, "DA", b"20201345", b"2020.01.31", b"garbage "),
    "a number of three bytes": _set(0x00280010, "US", b"abc", b"\2\0\2\0\2", b"\2\0"),
    "a fixed number of three bytes": lambda made: made.put(0x00280011, "US", b"abc"),
    "names": _set(0x00100010, "PN", b"A^B^C^D^E^F=G=H=I ", b"=", b"\xe4\xf6 ", b"\x1b$B0"),
    "a string of many kinds": _set(
        0x0008103E, "LO", b"a\\b ", b" \\ ", b"\0\0", b"\xff\xfe", b"\x1b("
    ),
    "one bit": _bit,
    "many bits": _bits,
    "the delimiters' group": _set(0xFFFCFFFC, "OB", b"12", bytes(100)),
}


def unlike_series(
    ways: Iterable[Way],
    code: Syntax,
    seed: int,
    count: int = 30,
    share: float = 0.5,
    first: int = 3,
) -> list[bytes]:
    """Build a series of which some headers from the fourth on are unlike the others."""
    chance = random.Random(seed)
    chosen = list(ways)
    drafts = [draft(number, code, chance) for number in range(count)]
    for made in drafts[first:]:
        if chance.random() < share:
            chance.choice(chosen)(made)
    return [made.bytes() for made in drafts]


# the tests


@pytest.fixture(params=[False, True], ids=["columns", "everything"])
def everything(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_headers_of_a_series_are_recognised(
    code: Syntax, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare(alike_series(300, code), monkeypatch, everything=everything)
    assert {row["status"] for row in found.rows} == {"ok"}
    assert found.recognised >= 280
    numbers = [row["InstanceNumber"] for row in found.rows]
    assert numbers == list(range(300))
    assert len({row["SOPInstanceUID"] for row in found.rows}) == 300
    assert len({str(row["ReferencedImageSequence"]) for row in found.rows[:9]}) > 3


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@pytest.mark.parametrize("name", WAYS)
def test_what_is_unlike_is_seen(
    name: str, code: Syntax, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then a header differs in one way, and then all of them do."""
    way = WAYS[name]
    seed = sum(name.encode())
    objects = unlike_series([way], code, seed) + unlike_series([way], code, seed + 1, share=1)
    compare(objects, monkeypatch, everything=everything)
    # where all have it it varies in none
    compare(unlike_series([way], code, 1, 10, 1, first=0), monkeypatch, everything=everything)


@pytest.mark.parametrize("seed", range(12))
def test_random_series(seed: int, everything: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ways at once, in three series of which each learns what varies from the others."""
    chance = random.Random(seed)
    code = chance.choice(list(CODES.values()))
    objects: list[bytes] = []
    folders: list[str] = []
    for series in "abc":
        ways = chance.sample(list(WAYS.values()), chance.choice([1, 2, 4, 8]))
        objects += unlike_series(ways, code, chance.randrange(10**6), 25, chance.choice([0.2, 0.8]))
        folders += series * 25
    order = list(range(len(objects)))
    if chance.random() < 0.5:
        chance.shuffle(order)
    compare(
        [objects[number] for number in order],
        monkeypatch,
        everything=everything,
        folders=[folders[number] for number in order],
        series_uid=chance.choice([None, SERIES]),
        first=chance.choice([2**20, 2**20, 900, 2500]),
        limits=chance.choice([None, None, HeaderLimits(value_bytes=600)]),
    )


@pytest.mark.parametrize("name", ["bytes of many lengths", "a table of many lengths", "a cut"])
@pytest.mark.parametrize("first", [300, 1000, 3000])
def test_a_header_longer_than_what_was_read(
    name: str, first: int, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = unlike_series([WAYS[name]], LITTLE, first)
    found = compare(objects, monkeypatch, everything=everything, first=first)
    if first < 3000:
        assert max(row["requests"] for row in found.rows) > 1


def test_small_limits_on_values(everything: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is over the limit is not kept, recognised or not."""
    ways = [WAYS["bytes of many lengths"], WAYS["a table of many lengths"], WAYS["a value is long"]]
    limits = HeaderLimits(value_bytes=500)
    objects = unlike_series(ways, LITTLE, 5, share=0.9)
    compare(objects, monkeypatch, everything=everything, limits=limits)


@pytest.mark.parametrize(
    "limits",
    [
        HeaderLimits(header_bytes=3000),
        HeaderLimits(elements=40),
        HeaderLimits(kept=20),
        HeaderLimits(kept_bytes=400),
        HeaderLimits(depth=1),
    ],
    ids=["bytes", "elements", "kept", "kept bytes", "depth"],
)
def test_limits_are_those_of_a_walk(
    limits: HeaderLimits, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [WAYS["bytes of many lengths"], WAYS["a wanted sequence"], WAYS["an element comes"]]
    objects = unlike_series(ways, LITTLE, 3)
    compare(objects, monkeypatch, everything=everything, limits=limits)


@pytest.mark.parametrize("uid_of_series", [SERIES, "2.25.33"])
def test_an_object_of_another_series_is_wrong(
    uid_of_series: str, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = unlike_series([WAYS["another series"]], LITTLE, 4)
    found = compare(objects, monkeypatch, everything=everything, series_uid=uid_of_series)
    statuses = {row["status"] for row in found.rows}
    assert statuses == {"ok", "error"}


@pytest.mark.parametrize("built", [image, report])
def test_one_object_again_and_again(
    built: Callable[..., bytes], everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare([built()] * 20, monkeypatch, everything=everything)
    assert found.recognised == 18


# what is learnt has its bounds


class Counting:
    """Counts the layouts that are made of headers, which is what learning costs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = alike._Layout.differing

        def counted(layout: Any, other: Any) -> set[int]:
            self.count += 1
            return find(layout, other)

        monkeypatch.setattr(alike._Layout, "differing", counted)


def never_alike(number: int) -> bytes:
    """Build a header with a tag of its own."""
    made = draft(number, LITTLE, random.Random(number))
    made.put(0x00110010 + (number << 17), "LO", b"its own ")
    return made.bytes()


def test_what_is_never_alike_is_not_learnt_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    found = compare([never_alike(number) for number in range(200)], monkeypatch, everything=False)
    assert found.recognised == 0
    # those of the reading that forgets are not counted: it has no two headers of a series
    assert counting.count <= LEARNT_HEADERS + 1


def test_what_is_recognised_is_worth_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of long series in which something new comes now and then, the new is learnt, too."""
    counting = Counting(monkeypatch)
    objects = alike_series(1000, LITTLE)
    for number in range(0, 1000, 40):
        objects[number] = never_alike(number // 40)
    found = compare(objects, monkeypatch, everything=False)
    assert found.recognised >= 900
    assert counting.count <= LEARNT_HEADERS + 1 + 1000 // LEARNT_HEADERS


def test_several_kinds_of_headers_in_one_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """As localizers among slices: each is recognised among its like."""
    kinds: list[Way] = [lambda made: None, WAYS["an element goes"], WAYS["a report"], _no_icon]
    chance = random.Random(6)
    objects = []
    for number in range(400):
        made = draft(number, LITTLE, chance)
        kinds[number // 5 % PATTERNS](made)
        if kinds[number // 5 % PATTERNS] is WAYS["a report"]:
            # the class of a series' objects is one: only the pixels go
            made.put(0x00080016, "UI", uid(CT_IMAGE))
            made.sop_class = CT_IMAGE
            made.pixels = made.code.element(0x7FE00010, "OW", bytes(8))
        objects.append(made.bytes())
    found = compare(objects, monkeypatch, everything=False)
    assert found.recognised >= 360


def _no_icon(made: Draft) -> None:
    made.drop(0x00880200)


def test_long_headers_are_not_learnt(everything: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = []
    for number in range(6):
        made = draft(number, LITTLE, random.Random(1))
        for block in range(20):
            made.put(0x00431100 + block, "UN", bytes(LEARNT_BYTES // 20))
        objects.append(made.bytes())
    found = compare(objects, monkeypatch, everything=everything, first=2**22)
    assert found.recognised == 0


@pytest.mark.parametrize("recognised", [True, False])
def test_a_series_holds_few_headers(recognised: bool) -> None:
    """However many were read: what is remembered is a few headers long."""
    size = 100_000
    objects = []
    for number in range(60):
        made = draft(number, LITTLE, random.Random(1))
        for block in range(10):
            made.put(0x00431100 + block, "UN", bytes(size // 10))
        if not recognised:
            made.put(0x00110010 + (number << 17), "LO", b"its own ")
        objects.append(made.bytes())
    reader = MemoryReader(objects)
    tracemalloc.start()
    try:
        for number in range(len(objects)):
            read_row(reader, planned_of(number))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # of each pattern the bytes and the values, and the last header
    assert held < (2 * PATTERNS + 2) * size


def test_so_many_series_are_remembered() -> None:
    selection = MemoryReader([]).selection
    likenesses: Likenesses[None] = Likenesses(selection, HeaderLimits())
    alive = weakref.WeakSet(likenesses.of(f"series {number}") for number in range(500))
    gc.collect()
    assert len(alive) == SERIES_AT_ONCE
    assert likenesses.of("series 499") is likenesses.of("series 499")


def test_more_series_at_once_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = alike_series(4 * (SERIES_AT_ONCE + 10), LITTLE)
    folders = [f"s{number % (SERIES_AT_ONCE + 10)}" for number in range(len(objects))]
    compare(objects, monkeypatch, everything=False, folders=folders)


def test_many_threads_read_one_series(everything: bool) -> None:
    ways = list(WAYS.values())
    objects = alike_series(100, LITTLE) + unlike_series(ways, LITTLE, 8, 150)
    random.Random(3).shuffle(objects)
    planned = [planned_of(number) for number in range(len(objects))]
    walker = MemoryReader(objects, everything=everything)
    walker.likenesses = Forgetful(walker.selection, walker.limits)
    expected = [told(read_row(walker, each)) for each in planned]
    reader = MemoryReader(objects, everything=everything)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda each: read_row(reader, each), planned))
    finally:
        sys.setswitchinterval(before)
    assert [told(row) for row in rows] == expected


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that takes a varying element for a fixed one is found out."""
    match = alike.Likeness._match

    def forgetful(self: Any, pattern: Any, window: Any, changed: Any) -> Any:
        end = match(self, pattern, window, changed)
        changed.clear()
        return end

    monkeypatch.setattr(alike.Likeness, "_match", forgetful)
    with pytest.raises(AssertionError):
        compare(alike_series(10, LITTLE), monkeypatch, everything=False)


# real files


def real_series(folder: Path) -> list[list[bytes]]:
    """Return the lab's generated and packaged files, and the corpus if there is one, by series."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect(sources(generate(folder / "cache"), corpus_from_environment()), folder)
    return [
        [
            instance.path.read_bytes()
            for instance in each.instances
            if instance.size < 4 * LEARNT_BYTES
        ]
        for each in found
    ]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[list[bytes]]:
    return real_series(tmp_path_factory.mktemp("real"))


def test_real_series(
    real: list[list[bytes]],
    everything: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    objects = [data for series in real for data in series]
    folders = [str(number) for number, series in enumerate(real) for _ in series]
    found = compare(objects, monkeypatch, everything=everything, folders=folders)
    third = sum(max(0, len(series) - 2) for series in real)
    with capsys.disabled():
        print(f"\n{len(objects)} real files, {third} third or later ones, ", end="")
        print(f"{found.recognised} recognised")
    assert found.recognised > third / 2


def _changed(data: bytes, chance: random.Random) -> bytes:
    """Change a value of a real header, and the length of one in three."""
    elements = [
        each
        for each in header_of(data, EVERYTHING).dataset.values()
        if each.value and each.tag >> 16 != 2
    ]
    if not elements:
        return data
    each: Element = chance.choice(elements)
    assert each.value is not None
    stop = each.offset + each.length
    value = bytearray(each.value)
    value[chance.randrange(len(value))] = chance.choice(b"0123456789 .\\\0x\xe9")
    code = IMPLICIT if each.vr is None else LITTLE
    begin = data[: each.offset - len(code.element(each.tag, each.vr or "", b""))]
    if chance.random() < 0.4 and len(value) < 60_000:
        value += chance.choice([b"1 ", b"\\1", b"12345678", bytes(1000)])
        return begin + code.element(each.tag, each.vr or "", bytes(value)) + data[stop:]
    return data[: each.offset] + bytes(value) + data[stop:]


def test_real_headers_with_changes(
    real: list[list[bytes]],
    everything: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of each real header a series is made, in which a value changes, or its length."""
    chance = random.Random(9)
    objects: list[bytes] = []
    folders: list[str] = []
    for number, series in enumerate(real):
        try:
            found = header_of(series[0], EVERYTHING) if series else None
        except ObjectError:  # another test's
            continue
        if found is None or found.deflated or not found.little_endian or found.end > 100_000:
            continue
        data = series[0][: found.end + 2 * ROW_BYTES]
        made = [data]
        for _ in range(6):
            made.append(_changed(made[-1] if chance.random() < 0.7 else data, chance))
            if chance.random() < 0.2:
                made[-1] = made[-1][: chance.randrange(132, len(made[-1]))]
                made.append(data)
        objects += made
        folders += [str(number)] * len(made)
    compared = compare(objects, monkeypatch, everything=everything, folders=folders)
    with capsys.disabled():
        print(f"\n{len(objects)} changed headers, {compared.recognised} recognised")
    assert compared.recognised > len(objects) / 5


# values converted the short way


VALUES: tuple[bytes, ...] = (
    *(b"", b" ", b"  ", b"\0", b" \0", b"\0 ", b"\\", b"\\\\", b" \\ ", b"\0\\\0", b"a\\"),
    *(b"a", b" a", b"a ", b" a ", b"a\0", b"\0a", b"a\0b", b"a\0\\b", b"a \\ b ", b"\ta\t", b"a\n"),
    *(b"1", b"+1", b"-1", b"--1", b"+-1", b"- 1", b"-", b"+", b"1_0", b"1__0", b"_1", b"01"),
    *(b"-0", b"0" * 22 + b"1", b"1 2", b"1\t", b"\t1", b"1\r\n", b"\x0b1", b"\x1c1", b"1\xa0"),
    *(b"\xa01", b"\x851", b"1\0", b"1\0\0", b"\x001", b"1\\2", b"1\\ \\2", b"1\\\\2", b"\\1"),
    *(b"1\\", b"1.", b".5", b".", b"-.5", b"+.5e1", b"1e5", b"1E5", b"1e+5", b"1e-5", b"1e", b"e5"),
    *(b"1e5.0", b"1e99", b"1e100", b"1e308", b"1e309", b"1e400", b"-1e400", b"1e-400", b"0e999"),
    *(b"1.5", b"1,5", b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"0x10", b"1d5", b"1f"),
    *(b"1 e5", b"1.2.3", b"1L", b"9" * 17, b"9" * 18, b"9" * 19, b"9" * 20, b"9" * 21, b"9" * 64),
    *(b"9" * 65, b"9" * 400, b"9223372036854775807", b"9223372036854775808"),
    *(b"-9223372036854775808", b"-" + b"9" * 18, b"-9223372036854775809"),
    *(b"18446744073709551615", b"18446744073709551616", b"1.0", b"10e-1", b"0." + b"3" * 20),
    *(b"0." + b"3" * 30, b"1" * 20 + b"." + b"1" * 20),
    # digits of other scripts, which Python reads
    *("\N{ARABIC-INDIC DIGIT ONE}".encode(), "\N{FULLWIDTH DIGIT ONE}".encode(), b"\xb2", b"\xb9"),
    *("\N{SUPERSCRIPT TWO}".encode(), b"\xe9", b"caf\xe9", "caf\xe9".encode(), b"1" * 21 + b".5"),
    *(b"\x1b", b"\x1b$B0!", b"\x1b(J\\", b"a\x1b", b"\xff", b"\x80", b"\x7f", b"\x01", b"a=b^c"),
    *(b"1.2.840.10008.1.2", b"1.2.840\0", b"1.2\\1.3\0", b" 1.2 ", b"20200131", b"120000.123456"),
    *(b"030Y", b"ORIGINAL\\PRIMARY", b"A\\\\B ", b"\\\\\\ ", b"a" * 70, b"a" * 70 + b"\\bb"),
    *(b"20200131120000.5+0100", b"X\\\xe9", b"\xe9\\X", b"X\\\x1b", b"1\\x", b"x\\1", b"1\\nan"),
)
_ALPHABETS = (
    *(b"0123456789", b"0123456789+-.eE \\", b" \0\\a", b"01+-. \\\t_", b"\\", b" \0"),
    *(b"abcXYZ^= \\\0", b"abc\x1b\xe9\xff\\ ", bytes(range(256)), b"nainfINF \\"),
)
KEYWORDS = (
    *("PatientAge", "Modality", "ImageType", "AcquisitionDateTime", "SOPInstanceUID"),
    *("RelatedGeneralSOPClassUID", "SeriesDescription", "SoftwareVersions", "StudyID"),
    *("InstanceNumber", "PixelAspectRatio", "SliceThickness", "ImagePositionPatient"),
    *("WindowCenter", "StationAETitle", "PatientName", "StudyDate", "StudyTime", "ImageComments"),
    *("Rows", "LossyImageCompressionRatio", "AcquisitionDeviceProcessingCode", "SeriesNumber"),
    *("FrameIncrementPointer", "LongCodeValue", "PixelPaddingValue", "RetrieveURL", "EchoTime"),
    *("(0043,GEMS_PARM_01,39)", "DateOfSecondaryCapture", "EventTimeOffset", "SpectralWidth"),
)
CHARACTER_SETS = (None, b"ISO_IR 192", b"ISO_IR 100", b"\\ISO 2022 IR 87", b"ISO_IR 13", b"GB18030")


def random_values(chance: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        value = bytes(chance.choices(chance.choice(_ALPHABETS), k=chance.randrange(24)))
        yield value + chance.choice((b"", b"", b" ", b"\0", b"  "))


def outcome(convert_it: Callable[[], Any]) -> Any:
    """Return a value with its type, in a form that tells -0.0 from 0.0."""
    try:
        return repr(convert_it())
    except Unfit as unfit:
        return unfit.args


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_the_short_way_gives_the_same_values(keyword: str) -> None:
    (attribute,) = parse_path(keyword)
    plain = plain_converter(attribute)
    if plain is None:
        assert attribute.vr not in ("AS", "CS", "DS", "DT", "IS", "LO", "SH", "UI")
        return
    chance = random.Random(keyword)
    short = 0
    values = [*VALUES, *(first + second for first in VALUES[:30] for second in VALUES)]
    for data in (*values, *random_values(chance, 4000)):
        if not data:
            continue  # who converts an empty value does not ask
        try:
            found = repr(plain(data))
        except NotPlain:
            continue
        short += 1
        for character_set in CHARACTER_SETS if short % 10 == 0 else (None, b"ISO_IR 192"):
            for vr in (attribute.vr, None):
                element = Element(0, vr, 0, len(data), data)
                encoding = Encoding(True, character_set, False)
                expected = outcome(lambda: convert(element, attribute, encoding))  # noqa: B023
                assert found == expected, (data, vr, character_set)
    assert short > 500


def test_the_short_way_is_taken_by_what_is_common() -> None:
    common: dict[str, tuple[bytes, ...]] = {
        "Modality": (b"CT", b"MR"),
        "ImageType": (b"ORIGINAL\\PRIMARY\\AXIAL ",),
        "SOPInstanceUID": (b"1.2.840.10008\0",),
        "SeriesDescription": (b"thorax 5 mm ", b""),
        "InstanceNumber": (b"1 ", b" 12", b"-3"),
        "SliceThickness": (b"1.25", b"5 ", b"-1.5e-3 ", b"1.000000"),
        "ImagePositionPatient": (b"-1.5\\2\\3.25",),
    }
    taken: Counter[str] = Counter()
    for keyword, values in common.items():
        (attribute,) = parse_path(keyword)
        plain = plain_converter(attribute)
        assert plain is not None
        for data in values:
            plain(data)
            taken[keyword] += 1
    assert taken == {keyword: len(values) for keyword, values in common.items()}


def test_a_window_that_is_not_known_from_its_start_is_not_recognised() -> None:
    objects = alike_series(5, LITTLE)
    reader = MemoryReader(objects)
    for number in range(4):
        read_row(reader, planned_of(number))
    likeness = reader.likenesses.of(planned_of(0).folder)
    whole = window_of(objects[4])
    assert likeness.recognise(whole) is not None
    for cut in (0, 1, 127, 131, 132, 200, 1000):
        part = type(whole)(len(objects[4]))
        part.add(cut + 1, objects[4][cut + 1 :])
        assert likeness.recognise(part) is None
        part = type(whole)(len(objects[4]))
        if cut:
            part.add(0, objects[4][:cut])
        assert likeness.recognise(part) is None
