"""Whole headers as JSON, against pydicom's and against what PS3.18 Annex F says."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest

from harvest.dicom import header_json as module
from harvest.dicom.converter import Converter
from harvest.dicom.elements import Selection
from harvest.dicom.header_json import HeaderIssue, HeaderJson, header_json
from harvest.dicom.paths import parse_path
from harvest.dicom.tags import Wanted
from harvest.dicom.walk import HeaderLimits
from harvest.errors import ObjectError
from tests.faults import hostile
from tests.support import oracle
from tests.support.build import (
    BIG,
    DEFLATED,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    LITTLE,
    SYNTAXES,
    Syntax,
    deflate,
    even,
    header_of,
    identity,
    image,
    part10,
    report,
    series,
)
from tests.support.json_model import URL, differing, with_bytes

UIDS: Final = {syntax: uid for uid, syntax in SYNTAXES.items()}
SYNTAX: Final = pytest.mark.parametrize("syntax", [LITTLE, BIG, IMPLICIT], ids=UIDS.get)

CHARACTER_SET: Final = 0x00080005
SEQUENCE: Final = 0x00081140
NAME: Final = 0x00100010
COMMENT: Final = 0x00204000
BINARY: Final = 0x00420011


def written(data: bytes, selection: Selection = EVERYTHING, **how: Any) -> HeaderJson:
    return header_json(header_of(data, selection, **how), URL)


def members_of(found: HeaderJson) -> dict[str, Any]:
    """Parse the text; every number and every string must be what JSON and UTF-8 allow."""
    found.text.encode()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(pairs) == len(dict(pairs))
        tags = [name for name, _ in pairs if re.fullmatch("[0-9A-F]{8}", name)]
        assert tags == sorted(tags)
        return dict(pairs)

    members = json.loads(found.text, parse_constant=refuse, object_pairs_hook=once)
    assert isinstance(members, dict)
    return members


def file_of(*elements: bytes, syntax: Syntax = LITTLE) -> bytes:
    return part10(b"".join(elements), UIDS[syntax])


def issues_of(*elements: bytes, syntax: Syntax = LITTLE) -> list[HeaderIssue]:
    return list(written(file_of(identity(syntax), *elements, syntax=syntax)).issues)


def member(tag: int, *elements: bytes, syntax: Syntax = LITTLE) -> Any:
    """Return one member of a small object's JSON."""
    found = written(file_of(identity(syntax), *elements, syntax=syntax))
    return members_of(found)[f"{tag:08X}"]


# --- against pydicom -------------------------------------------------------------------------


def differences(data: bytes) -> dict[str, tuple[Any, Any]]:
    """Compare a header with pydicom's; return what differs, by tags joined by dots."""
    ours, theirs = members_of(written(data)), oracle.expected_json(data)
    return dict(differing(ours, theirs, data))


NO_NUMBERS = "DS or IS that are no numbers stay as written; pydicom raises ValueError"
DEFLATED_BULK = "bytes of a deflated data set cannot be pointed at: an issue tells of them"
# of the corpus: file and element, and why we are right
EXPLAINED = {
    ("dcm_qa_fmap/i100220.MRDC.146", "00431080"): NO_NUMBERS,
    ("pydicom/badVR.dcm", "00280008"): NO_NUMBERS,
    (
        "cornerstone3D/CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_"
        "1.2.840.10008.1.2.1.99.dcm",
        "00431029",
    ): DEFLATED_BULK,
    ("dicomParser/wave_dfl", "54000100.54001010"): DEFLATED_BULK,
}


@pytest.mark.skipif(
    "HARVEST_CORPUS" not in os.environ,
    reason="HARVEST_CORPUS names no folder of real files with a manifest.csv",
)
def test_real_files() -> None:
    folder = Path(os.environ["HARVEST_CORPUS"])
    with (folder / "manifest.csv").open() as file:
        names = [entry["path"] for entry in csv.DictReader(file)]
    found = set()
    compared = 0
    for name in names:
        try:
            different = differences((folder / name).read_bytes())
        except ObjectError:
            continue
        compared += 1
        found |= {(name, path) for path in different}
    assert found <= EXPLAINED.keys()
    assert compared > len(names) * 0.9


LARGE: Final = 2**16
UNDECODABLE = "pydicom writes what it takes it for, or half a surrogate pair, which is no UTF-8"
NOT_THE_LENGTH = "pydicom raises BytesLengthException"
# of the hostile cases: name and element, and why we are right
EXPLAINED_HOSTILE = {
    **{(f"value {name}", "00101030"): NO_NUMBERS for name in ("DS abc", "DS with a canary")},
    **{(f"value DS {name}", "00101030"): "not as JSON has it, but as written"
       for name in ("nan", "inf")},
    **{(f"value IS {name}", "00280008"): NO_NUMBERS for name in ("xyz", "1.5", "1E999999")},
    **{(name, "00431039"): NO_NUMBERS for name in hostile.CASES if name.startswith("text: ")},
    **{(f"value US of {name}", "00280010"): NOT_THE_LENGTH for name in ("three bytes", "text")},
    ("value FD of text", "00189073"): NOT_THE_LENGTH,
    **{(name, "00100010"): UNDECODABLE
       for name in hostile.CASES if name.startswith("character set: ")},
    ("encapsulated pixels of an icon", "00880200.7FE00010"): "fragments are pointed at, if short",
}  # fmt: skip
# what nobody wants is stepped over, and here everything is wanted
TOO_LARGE_WITH_EVERYTHING = {"300 sequences deep, of defined length", "8 MB of zeros as a tail"}
# pydicom raises before there is anything to compare
UNREADABLE_FOR_PYDICOM = {
    "a deflated stream that is corrupt behind the header",
    "character set: with a NUL inside",
}


@pytest.mark.parametrize(
    "name", [name for name, case in hostile.CASES.items() if hostile.OK in case.expected]
)
def test_hostile_files(name: str) -> None:
    data = hostile.CASES[name].build()
    if name in TOO_LARGE_WITH_EVERYTHING:
        with pytest.raises(ObjectError, match="too_large"):
            written(data)
        return
    found = written(data)
    members_of(found)
    assert len(found.issues) <= module.ISSUES + 1
    # pydicom takes its time for these
    if len(data) > LARGE or name in UNREADABLE_FOR_PYDICOM:
        return
    for path, different in differences(data).items():
        assert (name, path) in EXPLAINED_HOSTILE, different


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE, DEFLATED])
@pytest.mark.parametrize("build", [image, report])
def test_built_files(build: Callable[[str], bytes], syntax: str) -> None:
    assert differences(build(syntax)) == {}


# --- every VR --------------------------------------------------------------------------------

# tag, VR, value, what PS3.18 F.2.3 makes of it; numbers are packed in the syntax's byte order
VALUES: Final[list[tuple[int, str, bytes | tuple[str, list[Any]], dict[str, Any]]]] = [
    (0x00080054, "AE", b" ONE \\TWO  ", {"Value": ["ONE", "TWO"]}),
    (0x00101010, "AS", b"034Y", {"Value": ["034Y"]}),
    (0x00209165, "AT", ("HHHH", [0x18, 0xFF, 0xABCD, 1]), {"Value": ["001800FF", "ABCD0001"]}),
    (0x00080008, "CS", b"ORIGINAL\\PRIMARY ", {"Value": ["ORIGINAL", "PRIMARY"]}),
    (0x00080020, "DA", b"20201231", {"Value": ["20201231"]}),
    (0x00200032, "DS", b" 1.50\\-0 \\+1e2", {"Value": [" 1.50", "-0 ", "+1e2"]}),
    (0x0008002A, "DT", b"20201231235959.000000+0100", {"Value": ["20201231235959.000000+0100"]}),
    (0x00189073, "FD", ("d", [0.1]), {"Value": [0.1]}),
    (0x00189087, "FD", ("ddd", [1e300, -0.0, 5e-324]), {"Value": [1e300, -0.0, 5e-324]}),
    (0x00089459, "FL", ("f", [0.1]), {"Value": [struct.unpack("f", struct.pack("f", 0.1))[0]]}),
    (0x00280008, "IS", b"+010", {"Value": ["+010"]}),
    (0x00080070, "LO", b" two parts \\ of it ", {"Value": [" two parts", " of it"]}),
    (0x00204000, "LT", b" a\\b\r\n\tc  ", {"Value": [" a\\b\r\n\tc"]}),
    (0x00420011, "OB", b"\0\xff", {"InlineBinary": "AP8="}),
    (0x7FDF1010, "OD", bytes(8), {"InlineBinary": "AAAAAAAAAAA="}),
    (0x00640009, "OF", bytes(4), {"InlineBinary": "AAAAAA=="}),
    (0x00660040, "OL", bytes(4), {"InlineBinary": "AAAAAA=="}),
    (0x00720081, "OV", bytes(8), {"InlineBinary": "AAAAAAAAAAA="}),
    (0x00281201, "OW", b"\1\0", {"InlineBinary": "AQA="}),
    (0x00100010, "PN", b"Doe^Jane", {"Value": [{"Alphabetic": "Doe^Jane"}]}),
    (0x00080050, "SH", b'a "quote"', {"Value": ['a "quote"']}),
    (0x00186020, "SL", ("ll", [-(2**31), 7]), {"Value": [-(2**31), 7]}),
    (0x00189219, "SS", ("h", [-2]), {"Value": [-2]}),
    (0x00080081, "ST", b"a\\b ", {"Value": ["a\\b"]}),
    (0x00720082, "SV", ("q", [-(2**63)]), {"Value": [-(2**63)]}),
    (0x00080030, "TM", b"235959.5 ", {"Value": ["235959.5"]}),
    (0x00080119, "UC", b"long\\longer ", {"Value": ["long", "longer"]}),
    (0x00080016, "UI", b"1.2.3\0", {"Value": ["1.2.3"]}),
    (0x00186018, "UL", ("L", [2**32 - 1]), {"Value": [2**32 - 1]}),
    (0x00080120, "UR", b"https://example.org/\\ ", {"Value": ["https://example.org/\\"]}),
    (0x00280010, "US", ("H", [65535]), {"Value": [65535]}),
    (0x0040A160, "UT", b"one\\value", {"Value": ["one\\value"]}),
    (0x00720083, "UV", ("QQ", [2**64 - 1, 2**53 + 1]), {"Value": [2**64 - 1, 2**53 + 1]}),
]  # fmt: skip


def pack(value: bytes | tuple[str, list[Any]], syntax: Syntax) -> bytes:
    return value if isinstance(value, bytes) else syntax.pack(value[0], *value[1])


@SYNTAX
@pytest.mark.parametrize(("tag", "vr", "value", "expected"), VALUES, ids=lambda value: str(value))
def test_every_vr(tag: int, vr: str, value: Any, expected: dict[str, Any], syntax: Syntax) -> None:
    # an odd group of private tags that no dictionary knows has no VR under implicit VR
    if syntax.implicit and tag >> 16 == 0x7FDF:
        expected, vr = {"InlineBinary": expected["InlineBinary"]}, "UN"
    found = member(tag, syntax.element(tag, vr, pack(value, syntax)), syntax=syntax)
    assert found == {"vr": vr, **expected}
    assert [type(each) for each in found.get("Value", [])] == [
        type(each) for each in expected.get("Value", [])
    ]


@SYNTAX
@pytest.mark.parametrize("vr", sorted({vr for _, vr, _, _ in VALUES} | {"SQ", "UN"}))
def test_an_empty_element_has_no_value(vr: str, syntax: Syntax) -> None:
    tag = next((tag for tag, each, _, _ in VALUES if each == vr), SEQUENCE)
    found = member(tag, syntax.element(tag, vr), syntax=syntax)
    assert found.keys() == {"vr"}
    assert (found["vr"] == vr) or syntax.implicit or vr == "UN"


@pytest.mark.parametrize("vr", ["AE", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "UI", "UR", "UT"])
def test_padding_alone_is_empty(vr: str) -> None:
    tag = next(tag for tag, each, _, _ in VALUES if each == vr)
    assert member(tag, LITTLE.element(tag, vr, b" \0  ")) == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DS", b"\\", [None, None]),
        ("DS", b"1\\\\2", ["1", None, "2"]),
        ("DS", b"\\\\1.0\\", [None, None, "1.0", None]),
        ("DS", b"1 \\ \\2 ", ["1 ", " ", "2"]),
        ("IS", b"\\1 ", [None, "1"]),
        ("CS", b'A"\\"B', ['A"', '"B']),
        ("CS", b'"\\\\"', ['"', None, '"']),
        ("CS", b'\n\\"\\\t', ["\n", '"', "\t"]),
        ("LO", b"a\\ \\b", ["a", None, "b"]),
        ("AE", b" \\ a", [None, "a"]),
        ("UI", b"1.2\0\\1.3\0", ["1.2\0", "1.3"]),
        ("PN", b"\\A^B", [None, {"Alphabetic": "A^B"}]),
    ],
)
def test_lists_with_empty_parts(vr: str, value: bytes, expected: list[Any]) -> None:
    tag = next(tag for tag, each, _, _ in VALUES if each == vr)
    assert member(tag, LITTLE.element(tag, vr, value)) == {"vr": vr, "Value": expected}


def test_control_characters_are_escaped() -> None:
    text = bytes(range(1, 0x1B)) + bytes(range(0x1C, 0x80))
    found = member(COMMENT, LITTLE.element(COMMENT, "LT", text))
    assert found["Value"] == [text.decode()]


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"A^B=C^D=E^F", [{"Alphabetic": "A^B", "Ideographic": "C^D", "Phonetic": "E^F"}]),
        (b"=C^D", [{"Ideographic": "C^D"}]),
        (b"A^B==E^F", [{"Alphabetic": "A^B", "Phonetic": "E^F"}]),
        (b"A^B== ", [{"Alphabetic": "A^B"}]),
        (b"==\\A ", [None, {"Alphabetic": "A"}]),
        (b"^^^^", [{"Alphabetic": "^^^^"}]),
        (b"A\\B=C", [{"Alphabetic": "A"}, {"Alphabetic": "B", "Ideographic": "C"}]),
    ],
)
def test_names(value: bytes, expected: list[Any]) -> None:
    assert member(NAME, LITTLE.element(NAME, "PN", value)) == {"vr": "PN", "Value": expected}


def test_a_name_of_four_component_groups_is_an_issue() -> None:
    element = LITTLE.element(NAME, "PN", b"A=B=C=D ")
    assert member(NAME, element)["Value"] == [
        {"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C"}
    ]
    assert issues_of(element) == [("PatientName", "too_many_component_groups", b"A=B=C=D ")]


# --- numbers that JSON does not have, and values that a VR cannot hold ------------------------


@SYNTAX
@pytest.mark.parametrize(("vr", "code", "tag"), [("FD", "d", 0x00189087), ("FL", "f", 0x00089459)])
def test_numbers_that_are_not_finite(vr: str, code: str, tag: int, syntax: Syntax) -> None:
    value = syntax.pack(code * 4, 1.5, math.nan, -math.inf, 2.0)
    element = syntax.element(tag, vr, value)
    expected = {"vr": vr, "Value": [1.5, None, None, 2.0]}
    assert member(tag, element, syntax=syntax) == expected
    path = pydicom.datadict.keyword_for_tag(tag)
    assert issues_of(element, syntax=syntax) == [(path, "not_finite", value)]


@pytest.mark.parametrize(("vr", "value"), [("US", b"abc"), ("AT", b"abcdef"), ("FD", b"abcd")])
def test_values_of_the_wrong_length_are_pointed_at(vr: str, value: bytes) -> None:
    tag = next(tag for tag, each, _, _ in VALUES if each == vr)
    data = file_of(identity(), LITTLE.element(tag, vr, value))
    found = written(data)
    assert with_bytes(members_of(found)[f"{tag:08X}"], data) == {"vr": vr, "BulkDataURI": value}
    assert [(issue.problem, issue.raw) for issue in found.issues] == [("wrong_length", value)]


def test_an_unknown_vr_becomes_un() -> None:
    data = file_of(
        identity(), LITTLE.element(0x00100020, "ZZ", b"12"), LITTLE.element(0x00100021, 'B"', b"")
    )
    found = written(data)
    members = members_of(found)
    assert with_bytes(members["00100020"], data) == {"vr": "UN", "BulkDataURI": b"12"}
    assert members["00100021"]["vr"] == "UN"
    assert found.issues == (
        ("PatientID", "unknown_vr", b"12"),
        ("IssuerOfPatientID", "unknown_vr", b""),
    )


def test_issues_have_an_end() -> None:
    item = LITTLE.item(LITTLE.element(0x00280010, "US", b"abc"))
    data = file_of(identity(), LITTLE.sequence(SEQUENCE, [item] * (module.ISSUES + 5)))
    found = written(data)
    assert len(members_of(found)[f"{SEQUENCE:08X}"]["Value"]) == module.ISSUES + 5
    assert len(found.issues) == module.ISSUES + 1
    assert found.issues[0] == ("ReferencedImageSequence.Rows", "wrong_length", b"abc")
    assert found.issues[-1] == ("", "more_issues", None)


# --- long values -----------------------------------------------------------------------------


@SYNTAX
@pytest.mark.parametrize("length", [1022, 1024, 1026])
@pytest.mark.parametrize(("vr", "tag"), [("OB", BINARY), ("OW", 0x00281201), ("UN", 0x00090110)])
def test_binary_values_over_1024_bytes_are_pointed_at(
    vr: str, tag: int, length: int, syntax: Syntax
) -> None:
    value = bytes(range(200, 202)) * (length // 2)
    data = file_of(identity(syntax), syntax.element(tag, vr, value), syntax=syntax)
    found = members_of(written(data))[f"{tag:08X}"]
    if length > 1024:
        assert with_bytes(found, data) == {"vr": vr, "BulkDataURI": value}
    else:
        assert found == {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
    assert differences(data) == {}


def test_long_text_and_numbers_are_written() -> None:
    text, numbers = b"x" * 70_000, list(range(30_000))
    elements = (
        LITTLE.element(0x0040A160, "UT", text),
        LITTLE.element(0x00280010, "US", struct.pack("<30000H", *numbers)),
    )
    assert member(0x0040A160, *elements)["Value"] == [text.decode()]
    assert member(0x00280010, *reversed(elements))["Value"] == numbers


@pytest.mark.parametrize("vr", ["UT", "SQ"])
def test_values_over_the_limits_are_pointed_at(vr: str) -> None:
    text = LITTLE.element(0x0040A160, "UT", b"x" * 3000)
    body = text if vr == "UT" else LITTLE.sequence(SEQUENCE, [LITTLE.item(text)])
    data = file_of(identity(), body)
    found = written(data, limits=HeaderLimits(value_bytes=2000))
    members = members_of(found)
    holder = members if vr == "UT" else members[f"{SEQUENCE:08X}"]["Value"][0]
    assert with_bytes(holder["0040A160"], data) == {"vr": "UT", "BulkDataURI": b"x" * 3000}
    assert found.issues == ()


@pytest.mark.parametrize("tag", [0x00091010, 0x00420011])
def test_fragments_are_pointed_at_without_a_length(tag: int) -> None:
    creator = LITTLE.element(0x00090010, "LO", b"ME")
    fragments = LITTLE.encapsulated([b"ab", b"cd"], tag=tag)
    behind = LITTLE.element(0x00420012, "LO", b"x ")
    data = file_of(identity(), creator, fragments, behind)
    found = members_of(written(data))[f"{tag:08X}"]
    match = re.fullmatch(re.escape(URL) + r"#bytes=(\d+)-", found["BulkDataURI"])
    assert match
    assert data[int(match[1]) :].startswith(LITTLE.item(b"") + LITTLE.item(b"ab"))
    assert found["vr"] == "OB"


def test_bulk_of_a_deflated_data_set_is_an_issue() -> None:
    body = identity() + LITTLE.element(BINARY, "OB", bytes(2000)) + series()
    found = written(part10(deflate(body), DEFLATED))
    assert members_of(found)[f"{BINARY:08X}"] == {"vr": "OB"}
    assert found.issues == (("EncapsulatedDocument", "deflated", None),)


# --- character sets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("character_set", "value", "expected"),
    [
        ("ISO_IR 100", "Müller".encode("latin-1"), ["Müller"]),
        ("ISO_IR 144", "Жюль".encode("iso8859_5"), ["Жюль"]),
        ("ISO_IR 192", "王\\小 ".encode(), ["王", "小"]),
        ("GB18030", "倀\\昞 ".encode("gb18030"), ["倀", "昞"]),
        ("GBK", "乗\\俓 ".encode("gbk"), ["乗", "俓"]),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B\\\x1b$BB@O:\x1b(B", ["山田", "太郎"]),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8", ["김"]),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde", ["ﾔﾏﾀﾞ"]),
    ],
)
def test_character_sets(character_set: str, value: bytes, expected: list[str]) -> None:
    elements = [
        LITTLE.element(CHARACTER_SET, "CS", even(character_set.encode())),
        LITTLE.element(0x00080070, "LO", value),
        LITTLE.element(NAME, "PN", value),
    ]
    data = file_of(*elements)
    members = members_of(written(data))
    assert members["00080070"] == {"vr": "LO", "Value": expected}
    assert members["00100010"]["Value"] == [{"Alphabetic": name} for name in expected]
    assert differences(data) == {}


def test_items_have_character_sets_of_their_own() -> None:
    def item(*elements: bytes) -> bytes:
        return LITTLE.item(b"".join(elements))

    utf8 = LITTLE.element(CHARACTER_SET, "CS", b"ISO_IR 192")
    text = LITTLE.element(0x00080070, "LO", "é".encode())
    inner = LITTLE.sequence(SEQUENCE, [item(text)])
    data = file_of(
        LITTLE.element(CHARACTER_SET, "CS", b"ISO_IR 100"),
        LITTLE.element(0x00080070, "LO", "é".encode()),
        LITTLE.sequence(SEQUENCE, [item(utf8, text, inner), item(text)]),
    )
    members = members_of(written(data))
    first, second = members[f"{SEQUENCE:08X}"]["Value"]
    assert members["00080070"]["Value"] == second["00080070"]["Value"] == ["Ã©"]
    assert first["00080070"]["Value"] == ["é"]
    assert first[f"{SEQUENCE:08X}"]["Value"][0]["00080070"]["Value"] == ["é"]
    assert differences(data) == {}


def test_an_unknown_character_set_of_an_item_is_an_issue() -> None:
    unknown = LITTLE.element(CHARACTER_SET, "CS", b"ISO_IR 999")
    text = LITTLE.element(0x00080070, "LO", b"\xe9 ")
    data = file_of(unknown, text, LITTLE.sequence(SEQUENCE, [LITTLE.item(unknown + text)]))
    found = written(data)
    item = members_of(found)[f"{SEQUENCE:08X}"]["Value"][0]
    assert item["00080070"]["Value"] == ["é"]
    assert found.issues == (
        ("ReferencedImageSequence.SpecificCharacterSet", "unknown_character_set", None),
    )


def test_undecodable_text_is_an_issue_and_pointed_at() -> None:
    data = file_of(
        LITTLE.element(CHARACTER_SET, "CS", b"ISO_IR 192"), LITTLE.element(NAME, "PN", b"\xff\xfe")
    )
    found = written(data)
    expected = {"vr": "PN", "BulkDataURI": b"\xff\xfe"}
    assert with_bytes(members_of(found)["00100010"], data) == expected
    assert found.issues == (("PatientName", "undecodable", b"\xff\xfe"),)


# --- which VR --------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("where", ["before", "behind", "around"])
def test_us_or_ss_is_by_pixel_representation(signed: int, where: str) -> None:
    value = IMPLICIT.element(0x00280106, "", b"\xfe\xff")
    representation = IMPLICIT.element(0x00280103, "", IMPLICIT.pack("H", signed))
    elements = {
        "before": (representation, value),
        "behind": (value, representation),
        "around": (IMPLICIT.sequence(0x00280000 + 0x3000, [IMPLICIT.item(value)]), representation),
    }[where]
    data = file_of(identity(IMPLICIT), *elements, syntax=IMPLICIT)
    members = members_of(written(data))
    found = members if where != "around" else members["00283000"]["Value"][0]
    expected = {"vr": "SS", "Value": [-2]} if signed else {"vr": "US", "Value": [65534]}
    assert found["00280106"] == expected


@pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (2, "OW")])
def test_lut_data_are_by_their_descriptor(entries: int, vr: str) -> None:
    item = IMPLICIT.item(
        IMPLICIT.element(0x00283002, "", IMPLICIT.pack("HHH", entries, 0, 16))
        + IMPLICIT.element(0x00283006, "", IMPLICIT.pack(f"{entries}H", *range(entries)))
    )
    data = file_of(identity(IMPLICIT), IMPLICIT.sequence(0x00283000, [item]), syntax=IMPLICIT)
    (found,) = members_of(written(data))["00283000"]["Value"]
    assert found["00283006"]["vr"] == vr
    assert differences(data) == {}


@SYNTAX
def test_un_with_a_known_tag(syntax: Syntax) -> None:
    data = file_of(
        identity(syntax),
        syntax.element(NAME, "UN", b"Doe^Jane"),
        syntax.element(0x00280010, "UN", syntax.pack("H", 3)),
        syntax.element(0x00280106, "UN", syntax.pack("h", -1)),
        syntax.element(0x00420001, "UN", b"nobody's"),
        syntax=syntax,
    )
    members = members_of(written(data))
    assert members["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert members["00280010"] == {"vr": "US", "Value": [3]}
    assert members["00280106"] == {"vr": "US", "Value": [65535]}
    assert members["00420001"] == {"vr": "UN", "InlineBinary": "bm9ib2R5J3M="}
    assert differences(data) == {}


PRIVATE_VALUES: Final = (
    (0x00191002, "SL", "GEMS_ACQU_01", {"vr": "SL", "Value": [-7]}),
    (0x00191002, "UN", "GEMS_ACQU_01", {"vr": "SL", "Value": [-7]}),
    (0x00191002, "UN", "NOBODY", {"vr": "UN", "InlineBinary": "+f///w=="}),
)


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT], ids=UIDS.get)
@pytest.mark.parametrize(("tag", "vr", "creator", "expected"), PRIVATE_VALUES)
def test_private_elements(
    tag: int, vr: str, creator: str, expected: dict[str, Any], syntax: Syntax
) -> None:
    value = struct.pack("<l", -7)
    data = file_of(
        identity(syntax),
        syntax.element(0x00190010, "LO", even(creator.encode())),
        syntax.element(tag, vr, value),
        syntax.element(0x00191102, vr, value),  # of a block that nobody reserved
        syntax=syntax,
    )
    members = members_of(written(data))
    assert members["00190010"] == {"vr": "LO", "Value": [creator]}
    if syntax.implicit or vr == "UN":
        assert members["00191102"]["vr"] == "UN"
    assert members[f"{tag:08X}"] == expected
    assert differences(data) == {} or creator == "NOBODY"


@pytest.mark.parametrize("creator", [b"GEMS_PARM_01", b" GEMS_PARM_01 ", b"GEMS_PARM_01\0\0"])
def test_a_column_and_the_text_find_the_same_creator(creator: bytes) -> None:
    data = file_of(
        identity(IMPLICIT),
        IMPLICIT.element(0x00430010, "LO", even(creator)),
        IMPLICIT.element(0x00431039, "IS", b"1\\2\\3\\4 "),
        series(IMPLICIT),
        syntax=IMPLICIT,
    )
    (wanted,) = parse_path("(0043,GEMS_PARM_01,39)")
    header = header_of(data, Selection((wanted,)))
    columns = Converter(Wanted((wanted,))).values(header).columns
    assert columns == {wanted.name: [1, 2, 3, 4]}
    assert members_of(written(data))["00431039"] == {"vr": "IS", "Value": ["1", "2", "3", "4"]}


def test_what_is_remembered_of_one_creator_is_not_taken_for_another() -> None:
    for creator, vr in (("GEMS_ACQU_01", "SL"), ("NOBODY", "UN"), ("GEMS_ACQU_01", "SL")):
        for syntax in (LITTLE, IMPLICIT):
            found = member(
                0x00191002,
                syntax.element(0x00190010, "LO", even(creator.encode())),
                syntax.element(0x00191002, "UN", bytes(4)),
                syntax=syntax,
            )
            assert found["vr"] == vr


def test_private_elements_that_are_columns_stand_once() -> None:
    selection = Selection(parse_path("(0019,GEMS_ACQU_01,02)"), everything=True)
    element = LITTLE.element(0x00191002, "SL", struct.pack("<l", 1))
    late = LITTLE.element(0x00191002, "SL", struct.pack("<l", 2))
    creator = LITTLE.element(0x00190010, "LO", b"GEMS_ACQU_01")
    found = written(file_of(identity(), element, creator, late, series()), selection)
    assert members_of(found)["00191002"]["Value"] == [2]


def test_elements_out_of_order_are_put_in_order() -> None:
    tags = (0x00280010, 0x00280002, 0x00280011)
    item = LITTLE.item(b"".join(LITTLE.element(tag, "US", b"\1\0") for tag in tags))
    data = file_of(LITTLE.sequence(SEQUENCE, [item]), identity(), series())
    assert list(members_of(written(data))[f"{SEQUENCE:08X}"]["Value"][0]) == [
        "00280002",
        "00280010",
        "00280011",
    ]
    assert differences(data) == {}


@SYNTAX
def test_group_lengths_and_file_meta_are_written(syntax: Syntax) -> None:
    data = file_of(
        syntax.element(0x00080000, "UL", syntax.pack("L", 40)), identity(syntax), syntax=syntax
    )
    members = members_of(written(data))
    assert members["00080000"] == {"vr": "UL", "Value": [40]}
    assert members["00020010"] == {"vr": "UI", "Value": [UIDS[syntax]]}
    # file meta information is little endian in every file
    told = int.from_bytes(data[140:144], "little")
    assert members["00020000"] == {"vr": "UL", "Value": [told]}
    assert differences(data) == {}


# --- sequences -------------------------------------------------------------------------------


@SYNTAX
@pytest.mark.parametrize("defined", [True, False])
def test_nested_sequences(syntax: Syntax, defined: bool) -> None:
    leaf = syntax.element(0x00081155, "UI", b"1.2\0")
    empty = syntax.sequence(0x00082112, [], defined=defined)
    inner = syntax.sequence(SEQUENCE, [syntax.item(leaf, defined=defined)], defined=defined)
    items = [syntax.item(content, defined=defined) for content in (inner, b"", empty)]
    data = file_of(
        identity(syntax), syntax.sequence(SEQUENCE, items, defined=defined), syntax=syntax
    )
    uid = {"00081155": {"vr": "UI", "Value": ["1.2"]}}
    assert members_of(written(data))[f"{SEQUENCE:08X}"] == {
        "vr": "SQ",
        "Value": [
            {f"{SEQUENCE:08X}": {"vr": "SQ", "Value": [uid]}},
            {},
            {"00082112": {"vr": "SQ"}},
        ],
    }
    assert differences(data) == {}


def test_a_private_sequence_of_the_dictionary_stays_bytes_under_implicit_vr() -> None:
    # pydicom's private dictionary knows it as SQ; the walk steps over values of known length
    content = IMPLICIT.item(IMPLICIT.element(0x00081155, "", b"1.2\0"))
    found = member(
        0x00711018,
        IMPLICIT.element(0x00710010, "", even(b"AGFA-AG_HPState")),
        IMPLICIT.element(0x00711018, "", content),
        syntax=IMPLICIT,
    )
    assert found == {"vr": "UN", "InlineBinary": base64.b64encode(content).decode()}


# --- what is remembered ----------------------------------------------------------------------


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED_MEMBERS", 50)
    elements = [LITTLE.element(tag, "US", b"\1\0") for tag in range(0x00211000, 0x00211200)]
    data = file_of(identity(), *elements)
    first = written(data)
    assert written(data) == first
    assert len(members_of(first)) > 500
    assert len(module._remembered(True, None)) <= 50


# --- random data sets ------------------------------------------------------------------------

CHARACTER_SETS: Final = {
    "": "ascii",
    "ISO_IR 100": "latin-1",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "ISO 2022 IR 6\\ISO 2022 IR 87": "iso2022_jp",
}
ALPHABET: Final = 'abcXYZ 019^=\\".,\t-_/éü山田倀昞'


def random_text(
    chance: random.Random, codec: str, most: int = 90, alphabet: str = ALPHABET
) -> bytes:
    text = "".join(chance.choices(alphabet, k=chance.randrange(most)))
    return even(text.encode(codec, "ignore"))


def random_value(chance: random.Random, vr: str, syntax: Syntax, codec: str) -> bytes:
    many = chance.choice((1, 1, 1, 2, 5, 40))
    codes = {"SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q", "AT": "HH"}
    if vr in codes:
        size = struct.calcsize("=" + codes[vr])
        return chance.randbytes(size * many)
    if vr in ("FD", "FL"):
        number = chance.choice((0.0, -1.5, 1e-30, 3.3e9, math.nan, chance.random()))
        return syntax.pack(("d" if vr == "FD" else "f") * many, *[number] * many)
    if vr in ("DS", "IS"):
        digits = [str(chance.randrange(-999, 999)) for _ in range(many)]
        tail = chance.choice(("", " ", ".50 ", "e-3")) if vr == "DS" else chance.choice(("", " "))
        return even("\\".join(each + tail for each in digits).encode())
    if vr in ("AE", "AS", "CS", "DA", "DT", "TM", "UI", "UR"):
        # pydicom takes tabs for padding, too, in some of them
        return random_text(chance, "ascii", 30, ALPHABET.replace("\t", ""))
    if vr == "PN":
        # pydicom cannot write a list of names with an empty one
        return random_text(chance, codec, alphabet=ALPHABET.replace("\\", ""))
    if vr in ("LO", "LT", "SH", "ST", "UC", "UT"):
        return random_text(chance, codec)
    return chance.randbytes(2 * chance.choice((1, 8, 511, 512, 513, 700)))


def random_dataset(chance: random.Random, syntax: Syntax, depth: int, codec: str) -> bytes:
    elements = {}
    if chance.random() < 0.3 or depth == 3:
        name, codec = chance.choice(list(CHARACTER_SETS.items()))
        elements[CHARACTER_SET] = syntax.element(CHARACTER_SET, "CS", even(name.encode()))
    for tag, vr, _, _ in chance.sample(VALUES, 12):
        # pydicom decodes Specific Character Set, and knows no private tag, by other rules
        if tag not in elements and tag >> 16 != 0x7FDF:
            value = b"" if chance.random() < 0.1 else random_value(chance, vr, syntax, codec)
            shown = "UN" if chance.random() < 0.1 else vr
            elements[tag] = syntax.element(tag, shown, value)
    if chance.random() < 0.5:
        block = ("GEMS_ACQU_01", (0x02, "SL", chance.randbytes(4)), (0x18, "DS", b"1.50"))
        elements[0x00190000] = syntax.private(0x0019, 0x10, block[0], *block[1:])
    if chance.random() < 0.5:
        value = syntax.pack("H", chance.randrange(2))
        elements[0x00280103] = syntax.element(0x00280103, "US", value)
        vr = "SS" if any(value) else "US"
        elements[0x00280106] = syntax.element(0x00280106, vr, b"\xfe\xff")
    for tag in (0x00081115, SEQUENCE) if depth else ():
        defined = chance.random() < 0.5
        items = [
            syntax.item(random_dataset(chance, syntax, depth - 1, codec), defined=defined)
            for _ in range(chance.randrange(4))
        ]
        elements[tag] = syntax.sequence(tag, items, defined=defined)
    return b"".join(elements[tag] for tag in sorted(elements))


@SYNTAX
@pytest.mark.parametrize("seed", range(8))
def test_random_data_sets(seed: int, syntax: Syntax) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        data = file_of(random_dataset(chance, syntax, 3, "ascii"), syntax=syntax)
        assert differences(data) == {}
