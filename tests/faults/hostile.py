"""A catalogue of hostile files: built bytes, where each comes from, and what must come of it.

Every case is one row of a harvest and costs nothing else. Values that must reach no log, no
message and no name of a file hold the `CANARY`. To write the cases into a folder, read them, and
print what was found::

    python -m tests.faults.hostile FOLDER
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from harvest.config import SourceConfig
from harvest.config.profile import resolve_wanted
from harvest.dicom.walk import HeaderLimits
from harvest.errors import ErrorKind
from harvest.store.patience import RateLimit
from harvest.table.rows import Planned
from harvest.worker.object_reader import ObjectReader
from tests.support.build import (
    CT_IMAGE,
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    JPEG,
    LITTLE,
    PIXEL_DATA,
    UNDEFINED,
    Syntax,
    deflate,
    even,
    file_meta,
    identity,
    image,
    part10,
    report,
    series,
)
from tests.support.reading import read_row

CANARY: Final = "c4n4ry"
REFERENCED: Final = 0x00081140
CONTENT: Final = 0x0040A730
TEXT: Final = 0x0040A160
PROFILES: Final = ("core", "ct", "sm", "seg")
TAGS: Final = (
    "ContentSequence.TextValue",
    "ContentSequence.ContentSequence.TextValue",
    "(0043,GEMS_PARM_01,39)",
    "PatientName",
    "PixelPaddingValue",
    "TextValue",
)
"""Columns beside those of the profiles, so that the cases' sequences are walked."""
OK: Final = "ok"
FRAME: Final = b"\xff\xd8\xff\xd9"


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile file."""

    data: bytes | Callable[[], bytes]
    """Large ones are built when they are needed."""
    expected: tuple[str, ...]
    """`OK`, or the kinds of error that it may end with."""
    source: str
    """The rule it breaks, the reader that it deceived, or the CVE."""
    problems: tuple[str, ...] = ()
    """What `issues` and `offset_table_problem` must tell, among others."""

    def build(self) -> bytes:
        """Return its bytes."""
        return self.data if isinstance(self.data, bytes) else self.data()


Cases = dict[str, Case]


# data sets that break PS3.5 section 7: what stands behind the identity, and the error


def item_of(content: bytes, **how: bool) -> bytes:
    return LITTLE.item(content, **how)


LEAF = LITTLE.element(TEXT, "UT", b"leaf")

WRONG: Final[dict[str, tuple[bytes, ErrorKind]]] = {
    "item at the top": (item_of(LEAF), ErrorKind.MALFORMED),
    "item delimiter at the top": (LITTLE.item_end, ErrorKind.MALFORMED),
    "sequence delimiter at the top": (LITTLE.sequence_end, ErrorKind.MALFORMED),
    "value past the end": (LITTLE.element(TEXT, "UT", b"leaf", length=600), ErrorKind.TRUNCATED),
    "length FFFFFFFE": (
        LITTLE.element(TEXT, "UT", b"leaf", length=UNDEFINED - 1),
        ErrorKind.TRUNCATED,
    ),
    "text of undefined length": (
        LITTLE.element(TEXT, "UT", LEAF, length=UNDEFINED),
        ErrorKind.MALFORMED,
    ),
    "sequence past the end": (
        LITTLE.element(CONTENT, "SQ", item_of(LEAF), length=600),
        ErrorKind.TRUNCATED,
    ),
    "sequence without delimiter": (
        LITTLE.element(CONTENT, "SQ", item_of(LEAF), length=UNDEFINED),
        ErrorKind.TRUNCATED,
    ),
    "item without delimiter": (
        LITTLE.sequence(CONTENT, [LITTLE.mark(0xE000, UNDEFINED) + LEAF], defined=False),
        ErrorKind.MALFORMED,
    ),
    "item longer than its sequence": (
        LITTLE.sequence(CONTENT, [LITTLE.item(LEAF, length=len(LEAF) + 2)]) + series(),
        ErrorKind.MALFORMED,
    ),
    "item past the end": (
        LITTLE.sequence(CONTENT, [LITTLE.item(LEAF, length=600)], defined=False),
        ErrorKind.TRUNCATED,
    ),
    "element longer than its item": (
        LITTLE.sequence(
            CONTENT, [LITTLE.item(LITTLE.element(TEXT, "UT", b"le", length=4)), item_of(LEAF)]
        ),
        ErrorKind.MALFORMED,
    ),
    "element where an item should be": (
        LITTLE.sequence(CONTENT, [LEAF], defined=False),
        ErrorKind.MALFORMED,
    ),
    "element where an item should be, length defined": (
        LITTLE.sequence(CONTENT, [LEAF]),
        ErrorKind.MALFORMED,
    ),
    "item delimiter where an item should be": (
        LITTLE.sequence(CONTENT, [LITTLE.item_end], defined=False),
        ErrorKind.MALFORMED,
    ),
    "item delimiter in an item of defined length": (
        LITTLE.sequence(CONTENT, [item_of(LEAF + LITTLE.item_end)]),
        ErrorKind.MALFORMED,
    ),
    "sequence delimiter in an item": (
        LITTLE.sequence(CONTENT, [item_of(LEAF + LITTLE.sequence_end, defined=False)]),
        ErrorKind.MALFORMED,
    ),
    "item in an item": (
        LITTLE.sequence(CONTENT, [item_of(item_of(LEAF), defined=False)], defined=False),
        ErrorKind.MALFORMED,
    ),
    "fragments without delimiter": (
        LITTLE.element(0x00091010, "OB", item_of(b"1234"), length=UNDEFINED),
        ErrorKind.TRUNCATED,
    ),
    "fragment of undefined length": (
        LITTLE.element(0x00091010, "OB", LITTLE.mark(0xE000, UNDEFINED), length=UNDEFINED),
        ErrorKind.MALFORMED,
    ),
    "no fragment": (
        LITTLE.element(0x00091010, "OB", LEAF + LEAF, length=UNDEFINED),
        ErrorKind.MALFORMED,
    ),
    "fragment past the end": (
        LITTLE.element(0x00091010, "OB", LITTLE.mark(0xE000, 600), length=UNDEFINED),
        ErrorKind.TRUNCATED,
    ),
    "undefined item past its sequence": (
        LITTLE.element(CONTENT, "SQ", item_of(LEAF, defined=False) + LEAF, length=8 + len(LEAF))[
            : 12 + 16 + len(LEAF)
        ]
        + series(),
        ErrorKind.MALFORMED,
    ),
    "undefined sequence past the item that holds it": (
        LITTLE.sequence(
            REFERENCED,
            [
                LITTLE.item(
                    LITTLE.sequence(CONTENT, [item_of(LEAF)], defined=False), length=12 + 8
                ),
                item_of(b""),
            ],
        ),
        ErrorKind.MALFORMED,
    ),
    "delimiter between the items of a defined length": (
        LITTLE.sequence(CONTENT, [item_of(LEAF), LITTLE.sequence_end, item_of(LEAF)]),
        ErrorKind.MALFORMED,
    ),
}

NOT_DICOM: Final = {
    "no bytes": b"",
    "the prefix alone, at the start": b"DICM",
    "one byte too few": bytes(131),
    "zeros": bytes(200),
    "an error page of a store": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a long error page of a store": b"<?xml version='1.0'?><Error/>".ljust(500),
    "an error page of a proxy": b"<!DOCTYPE html><html><h1>502 Bad Gateway</h1></html>".ljust(4096),
    "no preamble": identity() + series(),
    "a preamble that is one byte short": b"\0" * 127 + b"DICM" + identity(),
    "a prefix in small letters": b"\0" * 128 + b"dicm" + identity(),
}


def nested(depth: int, *, defined: bool) -> bytes:
    """Build a file with sequences inside sequences."""
    made = LEAF
    for _ in range(depth):
        made = LITTLE.sequence(CONTENT, [LITTLE.item(made, defined=defined)], defined=defined)
    return part10(identity() + made)


def _file(*elements: bytes, syntax: str | None = EXPLICIT_LITTLE, code: Syntax = LITTLE) -> bytes:
    return part10(identity(code) + series(code) + b"".join(elements), syntax)


def _text(*elements: bytes) -> bytes:
    """Build a file in implicit VR, where every length may be long."""
    return _file(*elements, syntax=IMPLICIT_LITTLE, code=IMPLICIT)


def _not_dicom() -> Cases:
    return {
        name: Case(data, (ErrorKind.NOT_DICOM,), "PS3.10 section 7.1; pydicom with force=True")
        for name, data in NOT_DICOM.items()
    } | {
        "a gzipped object": Case(
            gzip.compress(image(), mtime=0),
            (ErrorKind.NOT_DICOM,),
            "Orthanc CVE-2026-5438: what is compressed on the way is not inflated",
        )
    }


def _data_sets() -> Cases:
    wrong = {
        name: Case(part10(identity() + dataset), (kind,), "PS3.5 section 7")
        for name, (dataset, kind) in WRONG.items()
    }
    twice = LITTLE.element(TEXT, "UT", b"one ") + LITTLE.element(TEXT, "UT", b"last")
    stray = LITTLE.sequence(REFERENCED) + item_of(LEAF) + LITTLE.sequence_end
    return wrong | {
        "a value of odd length": Case(
            _file(LITTLE.element(0x00400275, "SQ"), LITTLE.element(TEXT, "UT", b"odd")),
            (OK,),
            "PS3.5 section 7.1.1",
        ),
        "stray items after a sequence of length zero": Case(
            part10(identity() + stray), (ErrorKind.MALFORMED,), "pydicom: VR 'NONE'"
        ),
        "the same element twice": Case(_file(twice), (OK,), "pydicom: the last wins"),
        "the pixels first": Case(
            part10(LITTLE.element(PIXEL_DATA, "OW", bytes(8)) + identity() + series()),
            (OK,),
            "pydicom: an empty data set",
            ("missing", "elements_behind_it_not_read"),
        ),
        "elements behind the pixels": Case(
            image() + LITTLE.element(0xFFFCFFFC, "OB", bytes(100)),
            (OK,),
            "PS3.10 section 7.2, Data Set Trailing Padding",
            ("elements_behind_it_not_read",),
        ),
        "encapsulated pixels of an icon": Case(
            _file(
                LITTLE.sequence(
                    0x00880200,
                    [LITTLE.item(LITTLE.encapsulated([FRAME]), defined=False)],
                    defined=False,
                )
            ),
            (OK,),
            "PS3.3 section C.7.6.1.1.6: a nested PixelData is not the end of the header",
        ),
        "encapsulated pixels of an icon, without end": Case(
            _file(
                LITTLE.sequence(
                    0x00880200,
                    [LITTLE.item(LITTLE.encapsulated([FRAME], end=False), defined=False)],
                    defined=False,
                )
            ),
            (ErrorKind.MALFORMED,),
            "PS3.3 section C.7.6.1.1.6",
        ),
        "a tail of three zeros": Case(
            report() + bytes(3), (OK,), "PS3.10 section 7.2", ("zero_bytes_at_the_end",)
        ),
    }


def _encodings() -> Cases:
    padding = LITTLE.element(0x00204000, "LT", b"x" * 4000)
    return {
        **{
            f"a file meta length of {told}": Case(
                part10(identity() + series(), meta=file_meta(length=told)),
                (OK,),
                "PS3.10 section 7.1; pydicom: accepted",
            )
            for told in (0, 1, 2**31, UNDEFINED - 1, UNDEFINED)
        },
        "no transfer syntax": Case(
            _file(syntax=None), (OK,), "PS3.10 section 7.1; pydicom: accepted", ("missing",)
        ),
        "the syntax says implicit, the data are explicit": Case(
            _file(syntax=IMPLICIT_LITTLE), (OK,), "pydicom: a warning"
        ),
        "the syntax says explicit, the data are implicit": Case(
            _file(code=IMPLICIT), (OK,), "pydicom: a warning"
        ),
        "the syntax says big endian, the data are little": Case(
            _file(padding, syntax=EXPLICIT_BIG),
            (ErrorKind.TRUNCATED, ErrorKind.MALFORMED),
            "pydicom: garbage tags",
        ),
        "an unknown transfer syntax": Case(_file(syntax="1.2.3.4"), (OK,), "PS3.5 section 10"),
        "a transfer syntax that is no UID": Case(
            _file(syntax=f"../../{CANARY}"), (OK,), "PS3.5 section 9.1"
        ),
        "a deflated stream that is cut": Case(
            report(DEFLATED)[:-20], (ErrorKind.TRUNCATED,), "PS3.5 section A.5; pydicom: zlib.error"
        ),
        "a deflated stream that is none": Case(
            part10(b"no deflated stream at all, sorry", DEFLATED),
            (ErrorKind.MALFORMED,),
            "PS3.5 section A.5",
        ),
        "a deflated stream without a byte": Case(
            part10(b"", DEFLATED), (ErrorKind.TRUNCATED,), "PS3.5 section A.5"
        ),
        "a deflated stream without a byte behind a large file meta": Case(
            part10(b"", meta=file_meta(DEFLATED) + LITTLE.element(0x00020102, "OB", bytes(50_000))),
            (ErrorKind.TRUNCATED,),
            "the walk asked for bytes 50200 to 50200",
        ),
        "a deflated item that is cut and malformed": Case(
            part10(
                stored_block(
                    identity()
                    + LITTLE.element(CONTENT, "SQ", length=UNDEFINED)
                    + LITTLE.item(LEAF + LITTLE.sequence_end + bytes(500), length=6000),
                    last=True,
                ),
                DEFLATED,
            ),
            (ErrorKind.MALFORMED,),
            "which of two errors it was depended on how much had been read",
        ),
        "a deflated stream that is corrupt behind the header": Case(
            corrupt_behind_header(),
            (OK,),
            "whether it was ok depended on how much had been read",
        ),
    }


def stored_block(data: bytes, *, last: bool) -> bytes:
    """Encode bytes for a deflated stream as they are (RFC 1951 section 3.2.4)."""
    size = len(data)
    lengths = size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
    return bytes((last,)) + lengths + data


def corrupt_behind_header() -> bytes:
    """Build a deflated image whose pixels are corrupt."""
    dataset = identity() + series() + LITTLE.element(PIXEL_DATA, "OW", b"\1\2" * 100)
    # behind it a block of the type that is reserved
    return part10(stored_block(dataset, last=False) + b"\x07" * 50, DEFLATED)


def _truncations() -> Cases:
    whole = image(frames=1)
    pixels = len(whole) - 20
    meta = whole.index(identity(LITTLE, CT_IMAGE))
    encapsulated = image(JPEG, LITTLE.extended([0], [4]) + LITTLE.encapsulated([FRAME]))
    table = encapsulated.index(b"\xe0\x7f\x01\x00")
    cut = (ErrorKind.TRUNCATED,)
    places: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "in the preamble": (whole[:100], (ErrorKind.NOT_DICOM,)),
        "behind the prefix": (whole[:132], cut),
        "in the file meta": (whole[:150], cut),
        "behind the file meta": (whole[:meta], cut),
        "behind the first element": (whole[: meta + 34], cut),
        "in the middle of the header": (whole[: (meta + pixels) // 2], cut),
        "at nine tenths of the header": (whole[: meta + (pixels - meta) * 9 // 10], cut),
        "before the pixels": (whole[:pixels], cut),
        "in the head of the pixels": (whole[: pixels + 7], cut),
        "in the pixels": (whole[:-3], (OK,)),
        "in the head of an offset table": (encapsulated[: table + 10], cut),
        "in an offset table": (encapsulated[: table + 14], cut),
        "behind an offset table": (encapsulated[: table + 20], cut),
        "in the lengths of an offset table": (encapsulated[: table + 36], cut),
        "in the item of the basic table": (encapsulated[: table + 56], (OK,)),
        "a report in its content": (report()[:-40], cut),
    }
    return {
        f"cut {place}": Case(data, expected, "pydicom: a partial data set without a word")
        for place, (data, expected) in places.items()
    }


def _pixels() -> Cases:
    fragments = LITTLE.encapsulated([FRAME] * 2)
    item = LITTLE.element(PIXEL_DATA, "OB", length=UNDEFINED)
    areas: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "without end": (LITTLE.encapsulated([FRAME] * 2, end=False), ()),
        "without items": (item, ("ends_early",)),
        "with no item first": (item + LITTLE.sequence_end, ("item is missing",)),
        "in three fragments for two frames": (LITTLE.encapsulated([FRAME] * 3), ()),
        "and a table of one entry for two frames": (
            LITTLE.encapsulated([FRAME] * 2, [0]),
            ("1 entries for 2 frames",),
        ),
        "and a table that goes backwards": (LITTLE.encapsulated([FRAME] * 2, [12, 0]), ()),
        "and a table that begins behind the first frame": (
            LITTLE.encapsulated([FRAME] * 2, [4, 12]),
            (),
        ),
        "and a table that points past the end": (
            LITTLE.encapsulated([FRAME] * 2, [0, UNDEFINED]),
            (),
        ),
        "and a table of 4 GiB": (item + LITTLE.mark(0xE000, UNDEFINED - 1), ("past the object",)),
        "and a table of odd length": (
            item + LITTLE.item(b"\0\0\0") + LITTLE.sequence_end,
            ("no whole number of entries",),
        ),
        "and both tables": (
            LITTLE.extended([0, 12], [4, 4]) + LITTLE.encapsulated([FRAME] * 2, [0, 12]),
            ("beside a filled basic one",),
        ),
        "and an extended table without lengths": (
            LITTLE.extended([0, 12]) + fragments,
            ("differ in size",),
        ),
        "and an extended table of one entry for two frames": (
            LITTLE.extended([0], [4]) + fragments,
            ("1 entries for 2 frames",),
        ),
        "and an extended table of undefined length": (
            LITTLE.element(0x7FE00001, "OV", length=UNDEFINED) + fragments,
            (),
        ),
        "native, beside an extended table": (
            LITTLE.extended([0], [8]) + LITTLE.element(PIXEL_DATA, "OW", bytes(8)),
            ("beside native pixels",),
        ),
    }
    cases = {
        f"pixels {name}": Case(image(JPEG, area, frames=2), (OK,), "PS3.5 section A.4", problems)
        for name, (area, problems) in areas.items()
    }
    return cases | {
        "an extended table of 2 MB": Case(
            lambda: image(
                JPEG,
                LITTLE.extended(range(125_000), range(125_000))
                + LITTLE.encapsulated([FRAME], end=False),
                frames=125_000,
            ),
            (OK,),
            "PS3.3 section C.7.6.3.1.8",
        ),
        "an extended table past the end": Case(
            image(JPEG, LITTLE.element(0x7FE00001, "OV", bytes(8), length=UNDEFINED - 1)),
            (ErrorKind.TRUNCATED,),
            "Orthanc CVE-2026-5442",
        ),
        "a thousand elements before the pixels": Case(
            lambda: image(JPEG, LITTLE.element(0x7FE00003, "OV") * 1000 + fragments),
            (ErrorKind.TOO_LARGE,),
            "what no limit on elements counted",
        ),
    }


def _values() -> Cases:
    canary = CANARY.encode()
    values: dict[str, tuple[bytes, str]] = {
        "US of three bytes": (LITTLE.element(0x00280010, "US", b"\1\0\2"), "wrong_length"),
        "US of text": (LITTLE.element(0x00280010, "US", canary + b"!"), "wrong_length"),
        "FD of text": (LITTLE.element(0x00189073, "FD", canary + b"!!!"), "wrong_length"),
        "DS abc": (LITTLE.element(0x00101030, "DS", b"abc "), "not_a_number"),
        "DS nan": (LITTLE.element(0x00101030, "DS", b"nan "), "not_a_number"),
        "DS inf": (LITTLE.element(0x00101030, "DS", b"1e999 "), "not_a_number"),
        "DS with a canary": (LITTLE.element(0x00101030, "DS", canary), "not_a_number"),
        "IS xyz": (LITTLE.element(0x00280008, "IS", b"xyz "), "not_an_integer"),
        "IS 1.5": (LITTLE.element(0x00280008, "IS", b"1.5 "), "not_an_integer"),
        "IS 1E999999": (LITTLE.element(0x00280008, "IS", b"1E999999"), "not_an_integer"),
        "IS past 64 bits": (LITTLE.element(0x00280008, "IS", b"9" * 20), "not_an_integer"),
        "DA 2020-13-45": (LITTLE.element(0x00080020, "DA", b"2020-13-45"), "not_a_date"),
        "TM 25": (LITTLE.element(0x00080030, "TM", b"250000"), "not_a_time"),
        "a sequence for text": (
            LITTLE.sequence(0x00100020, [item_of(LEAF)]),
            "not_a_value",
        ),
        "text for a sequence": (LITTLE.element(REFERENCED, "LO", canary), "vr_conflict"),
    }
    return {
        f"value {name}": Case(
            _file(element), (OK,), "PS3.5 section 6.2; pydicom raises, or passes it on", (problem,)
        )
        for name, (element, problem) in values.items()
    }


def _character_sets() -> Cases:
    name = IMPLICIT.element(0x00100010, "PN", b"J\xe9r\xf4me")

    def of(names: bytes, value: bytes = name) -> bytes:
        return _text(IMPLICIT.element(0x00080005, "CS", even(names)), value)

    def patient(value: bytes) -> bytes:
        return IMPLICIT.element(0x00100010, "PN", even(value))

    unknown = ("unknown_character_set",)
    undecodable = ("undecodable",)
    escapes = b"ISO 2022 IR 6\\ISO 2022 IR 87"
    cases: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "unknown": (of(b"ISO_IR 999"), unknown),
        "a canary": (of(CANARY.encode()), unknown),
        "markup": (of(f"<img src=x onerror={CANARY}>".encode()), unknown),
        "a path": (of(f"../../{CANARY}".encode()), unknown),
        "with a NUL inside": (of(b"latin\0one"), unknown),
        "no text codec": (of(b"zlib"), undecodable),
        "half a surrogate pair": (of(b"utf-7", patient(b"+2AA-\x1b")), undecodable),
        "half a surrogate pair, escaped": (
            of(b"unicode_escape", patient(b"\\ud800\xe9")),
            undecodable,
        ),
        "another half": (of(b"utf_16_le", patient(b"a\xd8a\xd8")), undecodable),
        "a bad escape": (of(escapes, patient(b"\x1b!Jane")), undecodable),
    }
    return {
        f"character set: {case}": Case(data, (OK,), "PS3.5 section 6.1.2; pydicom warns", problems)
        for case, (data, problems) in cases.items()
    } | {
        "character set: 100,000 names": Case(
            lambda: of(b"X\\" * 100_000), (OK,), "200 KB took 1.6 s and were kept", unknown
        ),
        "character set: 100,000 escapes": Case(
            lambda: of(escapes, patient(b"\x1b" * 100_000)),
            (OK,),
            "a warning for each, one thread at a time",
            undecodable,
        ),
        **{
            f"character set: {codec}": Case(
                partial(of, codec.encode(), patient(b"-" + b"a" * 2**19 + b"\x1b")),
                (OK,),
                "codecs of Python that take the square of the length",
                undecodable,
            )
            for codec in ("punycode", "idna")
        },
    }


def _texts() -> Cases:
    """Build text that becomes code where someone shows it, or a path where someone writes it."""
    texts = {
        "markup": f"<img src=x onerror={CANARY}()>",
        "script": f"</script><script>{CANARY}()</script>",
        "a formula": f'=HYPERLINK("http://{CANARY}.example","x")',
        "a command": f"$({CANARY}); rm -rf ~",
        "a terminal's escapes": f"\x07\x08{CANARY}\r\n2020-01-01 ERROR",
        "SQL": f"'; DROP TABLE instances; -- {CANARY}",
        "a path": f"../../../tmp/{CANARY}",
        "a path of Windows": f"..\\..\\{CANARY}.exe",
        "a NUL": f"{CANARY}\0.dcm",
        "a format": "%s%n{0.__class__}{CANARY}" + CANARY,
    }
    source = "tag values in logs, HTML and CSV; pydicom CVE-2026-32711"

    def file(text: str) -> bytes:
        value = even(text.encode())
        return part10(
            LITTLE.element(0x00041500, "CS", value)
            + LITTLE.element(0x00080018, "UI", value)
            + LITTLE.element(0x00080060, "CS", value)
            + LITTLE.element(0x00100010, "PN", value)
            + LITTLE.element(0x00100020, "LO", value)
            + LITTLE.element(0x0020000D, "UI", value)
            + LITTLE.element(0x0020000E, "UI", value)
            + LITTLE.private(0x0043, 0x10, text, (0x39, "IS", value))
        )

    return {f"text: {name}": Case(file(text), (OK,), source) for name, text in texts.items()} | {
        f"text: {name}, cut": Case(file(text)[:-1], (ErrorKind.TRUNCATED,), source)
        for name, text in texts.items()
    }


def _limits() -> Cases:
    def items_of(content: bytes, count: int, *, tag: int = CONTENT, defined: bool = True) -> bytes:
        item = LITTLE.item(content, defined=defined)
        return _file(LITTLE.sequence(tag, [item * count], defined=defined))

    def bomb(megabytes: int) -> bytes:
        return LITTLE.element(0x00091010, "OB", bytes(megabytes * 10**6))

    too_large = (ErrorKind.TOO_LARGE,)
    return {
        "300 sequences deep": Case(
            partial(nested, 300, defined=False), too_large, "pydicom: RecursionError"
        ),
        "300 sequences deep, of defined length": Case(
            partial(nested, 300, defined=True),
            (OK,),
            "stepped over by its length where nobody wants it",
        ),
        "500,000 empty items": Case(
            partial(items_of, b"", 500_000), (OK,), "4 MB; pydicom: 242 MB in 6.7 s"
        ),
        "1,200,000 empty items": Case(
            partial(items_of, b"", 1_200_000), too_large, "GDCM CVE-2026-3650, a mirror"
        ),
        "300,000 items that nobody wants": Case(
            partial(items_of, b"", 300_000, tag=0x00091010, defined=False),
            (OK,),
            "GDCM CVE-2026-3650, a mirror",
        ),
        "8 MB of zeros as a tail": Case(
            lambda: report() + bytes(8 * 10**6), (OK,), "pydicom: 2.5 s"
        ),
        "a deflate bomb": Case(
            lambda: part10(deflate(identity() + bomb(300) + series()), DEFLATED),
            too_large,
            "Orthanc CVE-2026-5438: 0.3 MB inflate to 300",
        ),
        "a deflate bomb behind the header": Case(
            lambda: part10(
                deflate(identity() + series() + LITTLE.element(PIXEL_DATA, "OW", bytes(10**8))),
                DEFLATED,
            ),
            (OK,),
            "Orthanc CVE-2026-5438",
        ),
        "a private creator of 1 MB": Case(
            lambda: _text(
                IMPLICIT.element(0x00430010, "LO", b"A" * 2**20)
                + IMPLICIT.element(0x00431001, "LO") * 20_000
            ),
            (OK,),
            "it was decoded for every element of its block: 6 s",
        ),
        "18 MB of text in one sequence": Case(
            lambda: _text(
                IMPLICIT.sequence(
                    CONTENT,
                    [IMPLICIT.item(IMPLICIT.element(TEXT, "UT", b"1\\" * 2**19))] * 18,
                )
            ),
            (OK,),
            "what all values may take together",
            ("too_long",),
        ),
        "a value of 4 MB before the pixels": Case(
            lambda: part10(
                identity() + series() + LITTLE.element(0x60003000, "OW", bytes(4 * 10**6))
            ),
            (OK,),
            "stepped over by its length",
        ),
    }


def _sizes() -> Cases:
    meta = file_meta()
    return {
        "a file meta element past the end": Case(
            part10(b"", meta=meta + LITTLE.element(0x00020102, "OB", b"12", length=UNDEFINED - 1)),
            (ErrorKind.TRUNCATED,),
            "Orthanc CVE-2026-5437: file meta out of bounds",
        ),
        "a file meta element of undefined length": Case(
            part10(
                identity(), meta=meta + LITTLE.element(0x00020102, "OB", b"12", length=UNDEFINED)
            ),
            (ErrorKind.MALFORMED, ErrorKind.TRUNCATED),
            "Orthanc CVE-2026-5437",
        ),
        **{
            f"a file meta that ends {left} bytes into an element": Case(
                part10(b"", meta=meta + LITTLE.element(0x00020102, "OB", b"12")[:left]),
                (ErrorKind.TRUNCATED,),
                "Orthanc CVE-2026-5437",
            )
            for left in (1, 4, 6, 8, 11, 13)
        },
        "65535 x 65535 pixels of 2^31 - 1 frames": Case(
            _file(
                LITTLE.element(0x00280002, "US", b"\xff\xff"),
                LITTLE.element(0x00280008, "IS", b"2147483647"),
                LITTLE.element(0x00280010, "US", b"\xff\xff"),
                LITTLE.element(0x00280011, "US", b"\xff\xff"),
                LITTLE.element(0x00280100, "US", b"\xff\xff"),
                LITTLE.element(PIXEL_DATA, "OW", bytes(8)),
            ),
            (OK,),
            "Orthanc CVE-2026-5442: size overflow",
        ),
        "2^63 - 1 frames and a table": Case(
            image(JPEG, LITTLE.encapsulated([FRAME], [0]), frames=2**63 - 1),
            (OK,),
            "Orthanc CVE-2026-5443: size overflow",
            ("1 entries for 9223372036854775807 frames",),
        ),
        "lengths whose sum passes 2^32": Case(
            _file(
                LITTLE.element(0x00880200, "SQ", length=UNDEFINED - 1)
                + LITTLE.mark(0xE000, UNDEFINED - 1)
                + LITTLE.element(TEXT, "UT", length=UNDEFINED - 1)
            ),
            (ErrorKind.TRUNCATED,),
            "Orthanc CVE-2026-5443: size overflow",
        ),
        "a small file that announces 4 GB": Case(
            _file(LITTLE.element(0x00420011, "OB", b"12", length=UNDEFINED - 1)),
            (ErrorKind.TRUNCATED,),
            "GDCM CVE-2026-3650: memory by an announced length",
        ),
        "a small file that announces 4 GB of pixels": Case(
            _file(LITTLE.element(PIXEL_DATA, "OW", b"12", length=UNDEFINED - 1)),
            (OK,),
            "GDCM CVE-2026-3650: memory by an announced length",
            ("ends_early",),
        ),
    }


CASES: Final[Cases] = {
    **_not_dicom(),
    **_data_sets(),
    **_encodings(),
    **_truncations(),
    **_pixels(),
    **_values(),
    **_character_sets(),
    **_texts(),
    **_limits(),
    **_sizes(),
}


def file_name(number: int) -> str:
    """Name a case's file; its own name may be long."""
    return f"case_{number:03d}.dcm"


def write_cases(folder: Path) -> dict[str, Path]:
    """Write every case into a folder; return the files by the cases' names."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, (name, case) in enumerate(CASES.items()):
        written[name] = folder / file_name(number)
        written[name].write_bytes(case.build())
    return written


def reader(limits: HeaderLimits | None = None, *, seconds: float = 600) -> ObjectReader:
    """Make a reader of local files with the catalogue's columns."""
    return ObjectReader(
        SourceConfig(cloud="aws"),
        resolve_wanted(PROFILES, TAGS),
        limits or HeaderLimits(),
        retries=0,
        object_seconds=seconds,
        rate=RateLimit(None),
    )


def problems_of(row: Mapping[str, Any]) -> Iterable[str]:
    """Return everything that a row says is wrong with its object."""
    return [
        *(issue["problem"] for issue in row.get("issues") or ()),
        row.get("offset_table_problem") or "",
    ]


def ended(row: Mapping[str, Any]) -> str:
    """Return `OK` or the kind of error."""
    return str(row["error"] if row["status"] == "error" else OK)


def main(folder: Path) -> int:
    """Write the cases, read them, and print the table; return how many ended otherwise."""
    surprises = 0
    using = reader()
    for name, path in write_cases(folder).items():
        case = CASES[name]
        row = read_row(using, Planned(path.as_uri(), None, None))
        surprises += ended(row) not in case.expected
        expected = " or ".join(case.expected)
        print(f"{path.name}  {name}  |  {case.source}  |  {expected}  |  {ended(row)}")
    print(f"{len(CASES)} cases, {surprises} ended otherwise than expected")
    return surprises


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.faults.hostile FOLDER")
    sys.exit(min(1, main(Path(sys.argv[1]))))
