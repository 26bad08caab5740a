"""The walker: against pydicom, byte by byte, and on files that break the rules."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from struct import pack
from typing import Any, Final

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

from harvest.dicom.converter import Converter, number_of_frames
from harvest.dicom.elements import UNDEFINED, DataSet, Element, Selection
from harvest.dicom.header import INFLATED_AT_ONCE, Header, read_header
from harvest.dicom.offsets import Pixels, locate_pixels
from harvest.dicom.tags import PrivateTag, Wanted
from harvest.dicom.walk import LEAPT_BYTES, HeaderLimits
from harvest.dicom.window import NeedMore, Window
from harvest.errors import ErrorKind, ObjectError
from harvest.store.fetch import Traffic
from harvest.table.rows import Planned, ok_row
from tests.faults.hostile import CONTENT, LEAF, NOT_DICOM, REFERENCED, TEXT, WRONG, item_of, nested
from tests.support.build import (
    BASIC_TEXT_SR,
    BIG,
    CT_IMAGE,
    DEFLATED,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    JPEG,
    JPIP,
    LITTLE,
    SYNTAXES,
    Syntax,
    deflate,
    even,
    feed,
    file_meta,
    header_of,
    identity,
    image,
    items,
    oracle,
    part10,
    report,
    selected,
    series,
    take,
    uid,
    window_of,
)

ALL_SYNTAXES = [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE, DEFLATED]
BUILT = {
    "an image": image,
    "a report": report,
}


def refused(
    data: bytes, selection: Selection = EVERYTHING, limits: HeaderLimits | None = None
) -> ErrorKind:
    """Read what cannot be read; the window is whole, so that nothing may be asked for."""
    with pytest.raises(ObjectError) as caught:
        read_header(window_of(data), selection, limits)
    return caught.value.kind


def error_of(data: bytes) -> ObjectError | None:
    try:
        header_of(data)
    except ObjectError as error:
        return error
    return None


def value(header: Header, tag: int) -> bytes | None:
    return header.dataset[tag].value


def assert_same(found: DataSet, expected: Dataset, *, top: bool) -> None:
    """Compare with what pydicom found: tags, VRs, lengths, raw bytes, items."""
    # beside this there are group 0002, in a data set of its own, and what lies behind the pixels
    wanted = {int(tag) for tag, _ in expected.items() if not top or int(tag) >> 16 < 0x7FE0}
    assert {tag for tag in found if not top or _group(tag) != 2} == wanted
    for tag in wanted:
        assert_same_element(found[tag], expected, tag)


def _group(tag: int | PrivateTag) -> int:
    assert isinstance(tag, int)
    return tag >> 16


def assert_same_element(ours: Element, expected: Dataset, tag: int) -> None:
    theirs: Any = expected.get_item(tag)
    if isinstance(theirs, RawDataElement):
        assert ours.length == theirs.length, f"{tag:08X}"
        if not theirs.is_implicit_VR:
            assert ours.vr == theirs.VR, f"{tag:08X}"
        if ours.length <= 1024 and ours.items is None:
            assert (ours.value or b"") == (theirs.value or b""), f"{tag:08X}"
    elif theirs.VR == "SQ" and ours.length:
        assert ours.items is not None, f"{tag:08X}"
    if ours.items is not None and ours.length:
        theirs_items = expected[tag].value
        assert len(ours.items) == len(theirs_items), f"{tag:08X}"
        for one, other in zip(ours.items, theirs_items, strict=True):
            assert_same(one, other, top=False)


def assert_read_alike(data: bytes, header: Header | None = None) -> Header:
    header = header or header_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle(data)
        assert_same(header.dataset, expected, top=True)
    assert {tag for tag in header.dataset if _group(tag) == 2} == {
        int(tag) for tag, _ in expected.file_meta.items()
    }
    return header


# what there is to read


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT.keys())
def test_it_finds_what_pydicom_finds(build: Callable[[str], bytes], syntax: str) -> None:
    data = build(syntax)
    header = assert_read_alike(data)
    assert header.transfer_syntax == syntax
    assert header.deflated is (syntax == DEFLATED)
    assert header.implicit is (syntax == IMPLICIT_LITTLE)
    assert header.little_endian is (syntax != EXPLICIT_BIG)
    assert header.pixel_area is (build is image)


@pytest.mark.parametrize("syntax", ALL_SYNTAXES[:3])
def test_the_header_ends_at_the_pixel_area_or_at_the_end(syntax: str) -> None:
    data = image(syntax)
    pixels = SYNTAXES[syntax].element(0x7FE00010, "OW", bytes(range(8)))
    assert header_of(data).end == data.index(pixels) == len(data) - len(pixels)
    assert header_of(report(syntax)).end == len(report(syntax))


def test_a_deflated_header_ends_with_the_object() -> None:
    assert header_of(image(DEFLATED)).end == len(image(DEFLATED))


@pytest.mark.parametrize("tag", [0x7FE00001, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010])
def test_any_element_of_the_pixel_group_ends_it(tag: int) -> None:
    data = part10(identity() + LITTLE.element(tag, "OB", b"12"))
    header = header_of(data)
    assert header.pixel_area
    assert header.end == len(data) - 14
    assert tag not in header.dataset


def test_pixels_of_an_icon_are_not_the_end() -> None:
    icon = LITTLE.item(LITTLE.encapsulated([b"\xff\xd8\xff\xd9"]), defined=False)
    data = part10(
        identity()
        + LITTLE.sequence(0x00880200, [icon], defined=False)
        + LITTLE.element(0x00880140, "UI", uid("2.25.9"))
    )
    header = assert_read_alike(data)
    assert not header.pixel_area
    assert value(header, 0x00880140) == b"2.25.9"
    (found,) = items(header.dataset[0x00880200])
    assert (found[0x7FE00010].value, found[0x7FE00010].length) == (None, UNDEFINED)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("defined_items", [True, False])
def test_sequences_nest_with_either_kind_of_length(
    syntax: str, outer: bool, inner: bool, defined_items: bool
) -> None:
    code = SYNTAXES[syntax]
    leaf = code.element(TEXT, "UT", b"leaf")
    deep = code.sequence(
        CONTENT,
        [code.item(leaf, defined=defined_items), code.item(b"", defined=defined_items)],
        defined=inner,
    )
    top = code.sequence(CONTENT, [code.item(deep + leaf, defined=not defined_items)], defined=outer)
    data = part10(identity(code) + top + code.element(0x0040DB00, "CS", b"2000"), syntax)
    header = assert_read_alike(data)
    (item,) = items(header.dataset[CONTENT])
    first, second = items(item[CONTENT])
    assert first[TEXT].value == b"leaf"
    assert second == {}
    # and the same steps where nobody wants it
    bare = header_of(data, selected("DocumentTitle"))
    assert CONTENT not in bare.dataset
    assert bare.end == len(data)


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sequence_may_be_empty(syntax: str, defined: bool) -> None:
    code = SYNTAXES[syntax]
    data = part10(identity(code) + code.sequence(CONTENT, defined=defined), syntax)
    header = assert_read_alike(data)
    assert header.dataset[CONTENT].items in (None, ())


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("tag", [CONTENT, 0x00091001], ids=["known", "private"])
def test_an_unknown_sequence_is_implicit_in_any_syntax(tag: int, defined: bool) -> None:
    inner = IMPLICIT.sequence(CONTENT, [IMPLICIT.item(IMPLICIT.element(TEXT, "UT", b"in"))])
    content = [
        IMPLICIT.item(IMPLICIT.element(TEXT, "UT", b"leaf"), defined=defined),
        IMPLICIT.item(inner, defined=not defined),
    ]
    private = LITTLE.element(0x00090010, "LO", b"ACME")
    block = LITTLE.sequence(tag, content, defined=defined, vr="UN")
    data = part10(
        identity()
        + (private if tag >> 16 == 9 else b"")
        + block
        + (b"" if tag < CONTENT else LITTLE.element(0x0040DB00, "CS", b"2000"))
    )
    header = header_of(data)
    found = header.dataset[tag]
    assert found.vr == "UN"
    if tag == CONTENT or not defined:
        assert_read_alike(data, header)
        first, second = items(found)
        assert first[TEXT].value == b"leaf"
        assert items(second[CONTENT])[0][TEXT].value == b"in"
    else:
        assert found.items is None
        assert found.value is not None


def test_a_wanted_private_sequence_may_be_unknown() -> None:
    path = "(2005,Philips MR Imaging DD 005,0E).EchoTime"
    item = IMPLICIT.item(IMPLICIT.element(0x00180081, "DS", b"12"))
    for vr in ("UN", "SQ"):
        if vr == "SQ":
            item = LITTLE.item(LITTLE.element(0x00180081, "DS", b"12"))
        data = part10(
            identity() + LITTLE.private(0x2005, 0x14, "Philips MR Imaging DD 005", (0x0E, vr, item))
        )
        header = header_of(data, selected(path))
        found = header.dataset[PrivateTag(0x2005, "Philips MR Imaging DD 005", 0x0E)]
        assert items(found)[0][0x00180081].value == b"12"


def test_private_elements_are_found_in_any_block_and_at_any_depth() -> None:
    wanted = PrivateTag(0x0043, "GEMS_PARM_01", 0x39)
    inside = LITTLE.private(0x0043, 0x77, "GEMS_PARM_01", (0x39, "IS", b"7 "))
    for block in (0x10, 0x11, 0xFF):
        data = part10(
            identity()
            + LITTLE.sequence(REFERENCED, [LITTLE.item(inside)])
            + (LITTLE.private(0x0043, 0x10, "OTHER", (0x39, "IS", b"8 ")) if block > 16 else b"")
            + LITTLE.private(
                0x0043, block, "GEMS_PARM_01", (0x38, "IS", b"5 "), (0x39, "IS", b"6 ")
            )
        )
        header = header_of(
            data,
            selected("(0043,GEMS_PARM_01,39)", "ReferencedImageSequence.(0043,GEMS_PARM_01,39)"),
        )
        assert header.dataset[wanted].value == b"6 "
        assert items(header.dataset[REFERENCED])[0][wanted].value == b"7 "
        assert not [key for key in header.dataset if isinstance(key, PrivateTag) and key != wanted]
        expected = oracle(data).private_block(0x0043, "GEMS_PARM_01")[0x39].value
        assert expected == 6


def test_a_private_element_without_its_creator_is_not_found() -> None:
    lost = LITTLE.element(0x00431039, "IS", b"6 ")
    foreign = LITTLE.private(0x0043, 0x10, "GEMS_PARM_02", (0x39, "IS", b"6 "))
    empty = LITTLE.private(0x0043, 0x10, "", (0x39, "IS", b"6 "))
    low = LITTLE.element(0x00430039, "IS", b"6 ")
    for block in (lost, foreign, empty, low):
        header = header_of(part10(identity() + block), selected("(0043,GEMS_PARM_01,39)"))
        assert not any(isinstance(key, PrivateTag) for key in header.dataset)


def test_the_last_of_duplicates_wins_as_in_pydicom() -> None:
    data = part10(
        identity() + LITTLE.element(TEXT, "UT", b"one ") + LITTLE.element(TEXT, "UT", b"last")
    )
    assert value(assert_read_alike(data), TEXT) == b"last"


def test_offsets_are_absolute() -> None:
    data = image()
    for tag, element in header_of(data).dataset.items():
        if element.value:
            end = element.offset + element.length
            assert data[element.offset : end] == element.value, tag


# how it is encoded


@pytest.mark.parametrize("code", [LITTLE, BIG, IMPLICIT])
def test_without_a_transfer_syntax_the_first_element_decides(code: Syntax) -> None:
    data = part10(
        identity(code) + series(code) + code.element(0x00280010, "US", code.pack("H", 5)), None
    )
    header = assert_read_alike(data)
    assert header.transfer_syntax is None
    assert (header.implicit, header.little_endian) == (code.implicit, code.little)


@pytest.mark.parametrize("rest", [b"", bytes(4), bytes(8)])
@pytest.mark.parametrize("syntax", [None, EXPLICIT_LITTLE])
def test_an_object_without_a_data_set_is_cut(syntax: str | None, rest: bytes) -> None:
    assert refused(part10(rest, syntax)) == ErrorKind.TRUNCATED


@pytest.mark.parametrize(("said", "code"), [(EXPLICIT_LITTLE, IMPLICIT), (IMPLICIT_LITTLE, LITTLE)])
def test_a_wrong_transfer_syntax_is_seen_through(said: str, code: Syntax) -> None:
    data = part10(
        identity(code)
        + series(code)
        + code.sequence(CONTENT, [code.item(code.element(TEXT, "UT", b"leaf"))]),
        said,
    )
    header = assert_read_alike(data)
    assert header.implicit is code.implicit


@pytest.mark.parametrize("syntax", ["1.2.3.4", JPEG, "1.2.840.10008.1.2.4.90"])
def test_any_other_syntax_is_explicit_little_endian(syntax: str) -> None:
    header = assert_read_alike(part10(identity() + series(), syntax))
    assert (header.implicit, header.little_endian, header.deflated) == (False, True, False)


@pytest.mark.parametrize("told", [0, 1, 90, 2**31, 2**32 - 1])
def test_the_length_of_the_file_meta_is_not_believed(told: int) -> None:
    data = part10(identity() + series(), meta=file_meta(length=told))
    header = header_of(data)
    assert value(header, 0x0020000E) == uid("2.25.22")
    assert header.transfer_syntax == EXPLICIT_LITTLE


def test_a_file_meta_without_its_length() -> None:
    meta = file_meta()[12:]
    assert_read_alike(part10(identity() + series(), meta=meta))


def test_a_file_meta_in_implicit_vr() -> None:
    meta = IMPLICIT.element(0x00020010, "UI", uid(IMPLICIT_LITTLE))
    header = header_of(part10(identity(IMPLICIT) + series(IMPLICIT), meta=meta))
    assert header.transfer_syntax == IMPLICIT_LITTLE
    assert value(header, 0x0020000E) == uid("2.25.22")


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("code", [IMPLICIT, LITTLE], ids=["implicit", "unknown sequence"])
def test_a_length_that_looks_like_a_vr_is_a_length_under_implicit_vr(
    code: Syntax, defined: bool
) -> None:
    long = IMPLICIT.element(TEXT, "UT", b"x" * int.from_bytes(b"TM", "little"))
    first = IMPLICIT.element(0x0040A032, "DT", b"20240229")
    content = [IMPLICIT.item(first + long, defined=defined)]
    if code is IMPLICIT:
        content.append(IMPLICIT.item(long, defined=defined))
    data = part10(
        identity(code)
        + series(code)
        + (long if code is IMPLICIT else b"")
        + code.sequence(CONTENT, content, defined=False, vr="UN")
        + code.element(0x0040DB00, "CS", b"2000"),
        IMPLICIT_LITTLE if code is IMPLICIT else EXPLICIT_LITTLE,
    )
    header = assert_read_alike(data)
    assert [item[TEXT].vr for item in items(header.dataset[CONTENT])] == [None] * len(content)


def test_a_single_element_without_vr_is_read_as_implicit() -> None:
    data = part10(identity() + IMPLICIT.element(0x00100010, "PN", b"Doe^Jane") + series())
    header = assert_read_alike(data)
    assert header.dataset[0x00100010].vr is None
    assert value(header, 0x00100010) == b"Doe^Jane"


def test_an_unknown_vr_has_a_short_length() -> None:
    data = part10(identity() + LITTLE.element(0x00100010, "ZZ", b"Doe^Jane") + series())
    assert assert_read_alike(data).dataset[0x00100010].vr == "ZZ"


# what is not read


def test_large_values_that_nobody_wants_are_skipped() -> None:
    big = bytes(2**18)
    data = part10(
        identity()
        + LITTLE.element(0x00091010, "OB", big)
        + LITTLE.sequence(REFERENCED, [LITTLE.item(LITTLE.element(0x00091010, "OB", big))])
        + LITTLE.sequence(
            0x00082112,
            [LITTLE.item(LITTLE.element(0x00091010, "OB", big), defined=False)],
            defined=False,
        )
        + LITTLE.sequence(0x00091011, [LITTLE.item(big)], defined=False, vr="OB")
        + series()
        + LITTLE.element(0x7FE00010, "OW", big)
    )
    for selection in (selected("PatientName"), EVERYTHING):
        header, window = feed(data, selection, 0)
        assert header == header_of(data, selection)
        assert window.held < 2000


@pytest.mark.parametrize("length", [1024, 1026, LEAPT_BYTES + 2])
@pytest.mark.parametrize("vr", ["UT", "OB"])
def test_everything_means_no_large_bulk_values(vr: str, length: int) -> None:
    data = part10(identity() + LITTLE.element(TEXT, vr, b"x" * length))
    found = header_of(data).dataset[TEXT]
    assert found.length == length
    assert (found.value is None) is (length > 1024 and vr == "OB")


@pytest.mark.parametrize(
    ("tag", "code", "vr", "bulk"),
    [
        (TEXT, LITTLE, "UN", False),
        (TEXT, IMPLICIT, "UT", False),
        (0x00420011, LITTLE, "UN", True),
        (0x00420011, IMPLICIT, "OB", True),
        (0x00091010, LITTLE, "UN", True),
    ],
    ids=["unknown text", "implicit text", "unknown bytes", "implicit bytes", "private"],
)
@pytest.mark.parametrize("length", [1026, LEAPT_BYTES + 2])
def test_what_the_file_does_not_say_of_bulk_the_dictionary_does(
    tag: int, code: Syntax, vr: str, bulk: bool, length: int
) -> None:
    syntax = IMPLICIT_LITTLE if code is IMPLICIT else EXPLICIT_LITTLE
    data = part10(identity(code) + code.element(tag, vr, b"x" * length), syntax)
    assert (header_of(data).dataset[tag].value is None) is bulk


@pytest.mark.parametrize("length", [100, 102])
def test_a_wanted_value_is_read_up_to_its_limit(length: int) -> None:
    data = part10(identity() + LITTLE.element(TEXT, "UT", b"x" * length) + series())
    header = header_of(data, selected("TextValue"), HeaderLimits(value_bytes=100))
    assert (header.dataset[TEXT].value is None) is (length > 100)
    assert value(header, 0x0020000E) == uid("2.25.22")


# reading piece by piece


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT.keys())
def test_reading_in_pieces_ends_in_the_same_header(
    build: Callable[[str], bytes], syntax: str
) -> None:
    data = build(syntax)
    wanted = selected("PatientName", "ContentSequence.TextValue", "(0019,GEMS_ACQU_01,02)")
    # of a deflated object a reader has all of the file meta at once
    known = data.index(uid(DEFLATED)) + len(DEFLATED) + 1 if syntax == DEFLATED else 132
    for selection in (wanted, EVERYTHING):
        whole = header_of(data, selection)
        for step in (0, 1, 2, 3, 7, 16, 100, len(data)):
            assert feed(data, selection, step, known)[0] == whole


def random_dataset(chance: random.Random, code: Syntax, depth: int = 0) -> bytes:
    made = b""
    for tag in sorted(chance.sample(range(0x00100010, 0x00180000), chance.randint(0, 5))):
        kind = chance.choice(["LO", "UT", "US", "OB", "UN", "SQ" if depth < 3 else "DS"])
        if tag & 0xFFFF == 0 or (kind == "SQ" and code.implicit):
            continue
        if kind == "SQ":
            content = [
                code.item(random_dataset(chance, code, depth + 1), defined=chance.random() < 0.5)
                for _ in range(chance.randint(0, 3))
            ]
            made += code.sequence(tag, content, defined=chance.random() < 0.5)
        else:
            made += code.element(
                tag, kind, chance.randbytes(2 * chance.randint(0, 600 if kind == "OB" else 20))
            )
    return made


@pytest.mark.parametrize("seed", range(40))
def test_random_files_in_random_pieces(seed: int) -> None:
    chance = random.Random(seed)
    syntax = chance.choice(ALL_SYNTAXES)
    code = SYNTAXES.get(syntax, LITTLE)
    dataset = (
        identity(code) + random_dataset(chance, code) + series(code) + random_dataset(chance, code)
    )
    data = part10(deflate(dataset) if syntax == DEFLATED else dataset, syntax)
    whole = assert_read_alike(data)
    window = Window(len(data))
    window.add(0, data[: len(part10(b"", syntax))])
    for _ in range(10 * len(data)):
        answer = read_header(window, EVERYTHING)
        if isinstance(answer, Header):
            assert answer == whole
            return
        take(window, data, answer, chance.choice([0, 1, 5, 50, 500]))
    raise AssertionError("the walk does not end")


def test_a_walk_asks_for_bytes_it_does_not_have() -> None:
    """Never for known ones, and never for none: a reader would go round in circles."""
    for build, syntax in product(BUILT.values(), ALL_SYNTAXES):
        data = build(syntax)
        for known in range(len(data)):
            window = Window(len(data))
            if known:
                window.add(0, data[:known])
            answer = read_header(window, EVERYTHING)
            if isinstance(answer, NeedMore):
                assert known <= answer.start < answer.stop <= len(data)
            else:
                assert known >= header_of(data).end or syntax == DEFLATED
                assert answer == header_of(data)


def row_of(data: bytes) -> dict[str, object] | ErrorKind:
    window = window_of(data)
    try:
        header = read_header(window, EVERYTHING)
        assert isinstance(header, Header)
        pixels = locate_pixels(window, header, number_of_frames(header))
        assert isinstance(pixels, Pixels)
    except ObjectError as error:
        return error.kind
    values = Converter(Wanted()).values(header)
    row = ok_row(Planned("file:///x", len(data), None), Traffic(), header.end, pixels, values)
    return {**row, "dataset": header.dataset}


CUT_IMAGES = {
    "native": (EXPLICIT_LITTLE, None),
    "big endian": (EXPLICIT_BIG, None),
    "implicit": (IMPLICIT_LITTLE, None),
    "deflated": (DEFLATED, None),
    "basic": (JPEG, LITTLE.encapsulated([b"\xff\xd8\xff\xd9"] * 2, [0, 12])),
    "empty": (JPEG, LITTLE.encapsulated([b"\xff\xd8\xff\xd9"] * 2)),
    "extended": (
        JPEG,
        LITTLE.extended([0, 12], [4, 4]) + LITTLE.encapsulated([b"\xff\xd8\xff\xd9"] * 2),
    ),
}


@pytest.mark.parametrize(("syntax", "pixels"), CUT_IMAGES.values(), ids=CUT_IMAGES.keys())
def test_no_cut_of_an_image_passes_for_a_whole_one(syntax: str, pixels: bytes | None) -> None:
    data = image(syntax, pixels, frames=2 if pixels else None)
    whole = row_of(data)
    assert isinstance(whole, dict)
    assert whole["issues"] is None
    for cut in range(len(data)):
        row = row_of(data[:cut])
        if isinstance(row, ErrorKind):
            assert row == (ErrorKind.NOT_DICOM if cut < 132 else ErrorKind.TRUNCATED), cut
        elif row["issues"] is None:
            # nothing tells: the header is whole, and so is what says where the pixels are
            assert row["dataset"] == whole["dataset"], cut
            assert row["offset_table"] == whole["offset_table"], cut
            assert row["pixel_data_offset"] == whole["pixel_data_offset"], cut
            assert syntax in (DEFLATED, JPEG), cut


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
def test_a_cut_of_a_report_passes_only_between_its_elements(syntax: str) -> None:
    data = report(syntax)
    ends: set[int] = set()
    if syntax != DEFLATED:
        # of these cuts the object's listed size is the only witness (they parse in pydicom too)
        for element in oracle(data):
            short = syntax == IMPLICIT_LITTLE or element.VR not in ("SQ", "UT")
            assert element.file_tell is not None
            ends.add(element.file_tell - (8 if short else 12))
    told = 0
    for cut in range(len(data)):
        row = row_of(data[:cut])
        if isinstance(row, ErrorKind):
            told += 1
        elif row["issues"] is None:
            assert cut in ends, cut
    assert told > len(data) - 30


# bytes behind the end


@pytest.mark.parametrize("zeros", range(1, 8))
def test_a_few_zeros_at_the_end_are_told(zeros: int) -> None:
    header = header_of(report() + bytes(zeros))
    assert header.odd_bytes_at_end == zeros
    assert header.dataset == header_of(report()).dataset
    assert header.end == len(report())


@pytest.mark.parametrize("zeros", [8, 16, 800])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_tail_of_zeros_costs_nothing_of_the_header(syntax: str, zeros: int) -> None:
    header = header_of(report(syntax) + bytes(zeros), selected("PatientName"))
    assert header.dataset == header_of(report(syntax), selected("PatientName")).dataset


@pytest.mark.parametrize("tail", [b"\0\0\1", b"tail", b"\x08\0\x16\0UI\0"])
def test_other_bytes_at_the_end_are_a_cut_element(tail: bytes) -> None:
    assert refused(report() + tail) == ErrorKind.TRUNCATED


# what is no header


@pytest.mark.parametrize("data", NOT_DICOM.values(), ids=NOT_DICOM.keys())
def test_without_the_prefix_it_is_no_dicom(data: bytes) -> None:
    assert refused(data) == ErrorKind.NOT_DICOM
    with pytest.raises(InvalidDicomError):
        oracle(data)


def test_the_prefix_alone_is_cut() -> None:
    assert refused(bytes(128) + b"DICM") in (ErrorKind.TRUNCATED, ErrorKind.NOT_DICOM)


@pytest.mark.parametrize(("dataset", "kind"), WRONG.values(), ids=WRONG.keys())
def test_what_is_malformed_or_cut_is_said_so(dataset: bytes, kind: ErrorKind) -> None:
    assert refused(part10(identity() + dataset)) == kind


BAD: Final = LITTLE.mark(0xE0EE)
WRONG_PLACES: Final = {
    "an item or delimiter stands outside any sequence": BAD,
    "a fragment was expected": LITTLE.element(TEXT, "OB", length=UNDEFINED) + BAD,
    "an item was expected": LITTLE.element(CONTENT, "SQ", length=UNDEFINED) + BAD,
    "an item or delimiter stands where an element should": LITTLE.sequence(
        CONTENT, [LITTLE.item(LEAF + BAD)]
    ),
}


@pytest.mark.parametrize("told", WRONG_PLACES)
@pytest.mark.parametrize("selection", [EVERYTHING, selected("ContentSequence.TextValue")])
def test_an_error_tells_what_is_wrong_and_where(told: str, selection: Selection) -> None:
    data = part10(identity() + WRONG_PLACES[told])
    with pytest.raises(ObjectError) as caught:
        header_of(data, selection)
    assert caught.value.detail == f"{told} (offset {data.index(BAD)})"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (LITTLE.item(LEAF + LITTLE.item_end), "an item of defined length holds a delimiter"),
        (LITTLE.sequence_end + item_of(LEAF), "a delimiter stands before its sequence's end"),
    ],
)
def test_a_delimiter_in_what_has_a_length_tells_where_it_is(content: bytes, told: str) -> None:
    data = part10(identity() + LITTLE.sequence(CONTENT, [content]))
    mark = LITTLE.item_end if LITTLE.item_end in content else LITTLE.sequence_end
    with pytest.raises(ObjectError) as caught:
        header_of(data)
    assert caught.value.detail == f"{told} (offset {data.index(mark)})"


def test_an_element_too_long_for_its_item_tells_where_its_value_is() -> None:
    item = LITTLE.item(LITTLE.element(TEXT, "UT", b"le", length=4))
    data = part10(identity() + LITTLE.sequence(CONTENT, [item, item_of(LEAF)]))
    with pytest.raises(ObjectError, match=rf"what holds it \(offset {data.index(b'le')}\)$"):
        header_of(data)


def test_a_delimiter_as_the_last_of_a_defined_length_does_no_harm() -> None:
    sequence = LITTLE.sequence(CONTENT, [item_of(LEAF), LITTLE.sequence_end])
    header = assert_read_alike(
        part10(identity() + sequence + LITTLE.element(0x0040DB00, "CS", b"2000"))
    )
    assert len(items(header.dataset[CONTENT])) == 1


def test_errors_tell_no_values() -> None:
    secret = b"Secret^Name"
    for dataset, _ in WRONG.values():
        name = LITTLE.element(0x00100010, "PN", even(secret))
        assert "Secret" not in str(error_of(part10(identity() + name + dataset)))


# limits


@pytest.mark.parametrize("defined", [True, False])
def test_depth_is_limited(defined: bool) -> None:
    limits = HeaderLimits(depth=5)
    header_of(nested(5, defined=defined), limits=limits)
    assert refused(nested(6, defined=defined), limits=limits) == ErrorKind.TOO_LARGE
    assert refused(nested(300, defined=False)) == ErrorKind.TOO_LARGE
    header_of(nested(64, defined=defined))
    # unwanted ones have no depth where their length says how to step over them
    header_of(nested(300, defined=True), selected("PatientName"))


def test_elements_are_limited() -> None:
    def with_elements(count: int) -> bytes:
        return part10(b"".join(LITTLE.element(0x00091000 + n, "US", b"12") for n in range(count)))

    meta = 3
    header_of(with_elements(7), limits=HeaderLimits(elements=meta + 7))
    assert refused(with_elements(12), limits=HeaderLimits(elements=11)) == ErrorKind.TOO_LARGE


@pytest.mark.parametrize("vr", ["SQ", "OB"])
def test_items_count_as_elements(vr: str) -> None:
    block = LITTLE.sequence(0x00091010, [item_of(b"")] * 50, defined=False, vr=vr)
    limits = HeaderLimits(elements=40)
    assert refused(part10(identity() + block), limits=limits) == ErrorKind.TOO_LARGE


# deflated


def test_a_deflated_bomb_is_refused() -> None:
    bomb = part10(deflate(LITTLE.element(0x00091010, "OB", bytes(10 * 2**20)) + series()), DEFLATED)
    assert len(bomb) < 20_000
    limits = HeaderLimits(header_bytes=2**20)
    assert refused(bomb, limits=limits) == ErrorKind.TOO_LARGE
    header_of(bomb)


def test_what_lies_behind_a_deflated_header_is_no_bomb() -> None:
    dataset = identity() + LITTLE.element(0x7FE00010, "OW", bytes(10 * 2**20))
    header = header_of(part10(deflate(dataset), DEFLATED), limits=HeaderLimits(header_bytes=2**20))
    assert header.pixel_area


def test_a_cut_deflated_header_is_truncated() -> None:
    data = report(DEFLATED)
    start = len(part10(b"", meta=file_meta(DEFLATED, BASIC_TEXT_SR)))
    for cut in range(start + 1, len(data) - 4):
        assert refused(data[:cut]) == ErrorKind.TRUNCATED


def test_a_deflated_object_of_which_little_is_known_needs_more() -> None:
    chance = random.Random(3)
    dataset = identity() + LITTLE.element(TEXT, "UT", chance.randbytes(50_000)) + series()
    data = part10(
        deflate(dataset + LITTLE.element(0x7FE00010, "OW", chance.randbytes(50_000))), DEFLATED
    )
    header, window = feed(data, EVERYTHING, 1000, 1000)
    assert header.pixel_area
    assert window.held < 55_000


def test_a_deflated_object_behind_a_file_meta_that_was_stepped_over() -> None:
    """The file meta's private information (0002,0102) may be larger than the first read."""
    private = LITTLE.element(0x00020100, "UI", uid("2.25.5"))
    private += LITTLE.element(0x00020102, "OB", bytes(50_000))
    noise = random.Random(4).randbytes(50_000)
    dataset = identity() + LITTLE.element(TEXT, "UT", noise) + series()
    data = part10(deflate(dataset), meta=file_meta(DEFLATED) + private)
    wanted = selected("PatientName")
    header, _ = feed(data, wanted, 1000, 16_000)
    assert header == header_of(data, wanted)


@pytest.mark.parametrize("garbage", [b"\xff" * 50, b"no deflated stream at all, sorry"])
def test_a_corrupt_deflated_stream_is_malformed(garbage: bytes) -> None:
    assert refused(part10(garbage, DEFLATED)) == ErrorKind.MALFORMED


@pytest.mark.parametrize("behind", [1, 10 * INFLATED_AT_ONCE], ids=["a byte", "much"])
@pytest.mark.parametrize("limit", [None, 300], ids=["no limit", "limit"])
def test_a_deflated_header_before_corrupt_pixels_is_read(behind: int, limit: int | None) -> None:
    """Its elements are all there, however much is known of what lies behind."""
    dataset = identity() + series() + LITTLE.element(0x7FE00010, "OW", length=10**6)
    stored = b"\0" + pack("<HH", len(dataset), len(dataset) ^ 0xFFFF) + dataset
    data = part10(stored + b"\xff" * behind, DEFLATED)
    header = header_of(data, limits=HeaderLimits(header_bytes=limit) if limit else None)
    assert header.pixel_area
    assert value(header, 0x0020000E) == uid("2.25.22")
    assert header == feed(data, EVERYTHING, 0, len(data) - behind)[0]


def test_an_element_past_the_end_of_a_deflated_set_is_truncated() -> None:
    dataset = identity() + LITTLE.element(TEXT, "UT", b"leaf", length=100)
    assert refused(part10(deflate(dataset), DEFLATED)) == ErrorKind.TRUNCATED


def without_pixels(sop_class: str, *, rows: bool = True, syntax: str = EXPLICIT_LITTLE) -> bytes:
    dataset = identity(sop_class=sop_class) + series()
    if rows:
        dataset += LITTLE.element(0x00280010, "US", b"\2\0")
    return part10(dataset + LITTLE.element(0x00400275, "SQ"), syntax)


SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SURFACE = "1.2.840.10008.5.1.4.1.1.66.5"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


@pytest.mark.parametrize("sop_class", [CT_IMAGE, SEGMENTATION, RT_DOSE])
def test_an_image_class_with_rows_and_no_pixels_is_cut(sop_class: str) -> None:
    assert refused(without_pixels(sop_class)) == ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    ("sop_class", "rows", "syntax"),
    [
        (CT_IMAGE, False, EXPLICIT_LITTLE),
        (CT_IMAGE, True, JPIP),
        (SURFACE, True, EXPLICIT_LITTLE),
        (BASIC_TEXT_SR, True, EXPLICIT_LITTLE),
        ("1.2.3", True, EXPLICIT_LITTLE),
    ],
)
def test_others_need_no_pixels(sop_class: str, rows: bool, syntax: str) -> None:
    assert not header_of(without_pixels(sop_class, rows=rows, syntax=syntax)).pixel_area


@pytest.mark.parametrize("own", [b"", LITTLE.element(0x00080016, "UI")], ids=["absent", "empty"])
def test_the_file_meta_names_the_class_where_the_data_set_does_not(own: bytes) -> None:
    data = part10(own + series(), meta=file_meta(sop_class=CT_IMAGE))
    assert refused(data) == ErrorKind.TRUNCATED


# real files


def corpus() -> list[Path]:
    folder = os.environ.get("HARVEST_CORPUS")
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file()] if folder else []


def readable(path: Path) -> Dataset | None:
    try:
        return dcmread(path, stop_before_pixels=True)
    except Exception:  # what pydicom cannot read is no oracle
        return None


@pytest.mark.skipif(
    not os.environ.get("HARVEST_CORPUS"),
    reason="HARVEST_CORPUS names no folder of DICOM files to compare with pydicom",
)
def test_real_files_are_read_as_pydicom_reads_them() -> None:
    compared = 0
    differing: list[tuple[str, str]] = []
    refusals: list[tuple[str, ErrorKind]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in corpus():
            expected = readable(path)
            if expected is None:
                continue
            try:
                header = read_header(window_of(path.read_bytes()), EVERYTHING)
                assert isinstance(header, Header)
                assert_same(header.dataset, expected, top=True)
                compared += 1
            except ObjectError as error:
                refusals.append((path.name, error.kind))
            except AssertionError as error:
                differing.append((path.name, str(error)[:300]))
    print(f"{compared} compared, refused: {refusals}")
    assert not differing
    # cut and broken files, which pydicom reads without a word
    assert {kind for _, kind in refusals} <= {ErrorKind.TRUNCATED, ErrorKind.MALFORMED}
    assert compared > 10 * len(refusals)


@pytest.mark.parametrize(("syntax", "code"), [(EXPLICIT_LITTLE, LITTLE), (EXPLICIT_BIG, BIG)])
def test_the_transfer_syntax_tells_the_byte_order_whatever_comes_first(
    syntax: str, code: Syntax
) -> None:
    """Groups from 0400 on, read in the wrong order, look like those that an object begins with."""
    tag = 0x40100001 if code is LITTLE else 0x00400001
    data = part10(code.element(tag, "US", code.pack("H", 7)), syntax)
    header = header_of(data, Selection(everything=True))
    assert header.little_endian == (code is LITTLE)
    assert list(header.dataset)[-1] == tag
