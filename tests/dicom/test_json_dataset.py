"""The way back from JSON: the elements that the file had, and issues where JSON cannot say."""

from __future__ import annotations

import json

import pytest

from harvest.dicom.elements import Selection, text_of
from harvest.dicom.header_json import header_json
from harvest.dicom.json_dataset import JsonDataSet, json_dataset
from tests.support.build import (
    BIG,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    LITTLE,
    SYNTAXES,
    header_of,
    items,
    part10,
    selected,
)


def back(data: bytes, selection: Selection = EVERYTHING) -> JsonDataSet:
    written = header_json(header_of(data, EVERYTHING), "file:///x")
    return json_dataset(json.loads(written.text), selection)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE])
def test_elements_are_those_of_the_file(syntax: str) -> None:
    code = SYNTAXES[syntax]
    data = part10(
        code.element(0x00080060, "CS", b"CT")
        + code.sequence(0x00081140, [code.item(code.element(0x00081155, "UI", b"1.2\0"))])
        + code.element(0x00280010, "US", code.pack("H", 258))
        + code.element(0x00420011, "OB", b"\1\2\3\4"),
        syntax,
    )
    read, made = header_of(data, EVERYTHING).dataset, back(data)
    assert made.issues == ()
    assert made.encoding.little_endian == (syntax != EXPLICIT_BIG)
    for tag in (0x00080060, 0x00280010, 0x00420011):
        assert made.dataset[tag].value == read[tag].value
    (item,) = items(made.dataset[0x00081140])
    assert text_of(item[0x00081155]) == "1.2"


def test_only_what_is_wanted_is_made() -> None:
    data = part10(LITTLE.element(0x00080060, "CS", b"CT") + LITTLE.element(0x00100010, "PN", b"Do"))
    # the transfer syntax is always kept
    assert set(back(data, selected("Modality")).dataset) == {0x00020010, 0x00080060}


def test_infinity_is_an_issue() -> None:
    data = part10(LITTLE.element(0x00189087, "FD", LITTLE.pack("d", float("inf"))))
    made = back(data)
    assert [each.path for each in made.issues] == ["DiffusionBValue"]
    assert made.dataset[0x00189087].value == LITTLE.pack("d", float("nan"))


def test_words_are_in_the_byte_order_of_the_file() -> None:
    data = part10(BIG.element(0x00281201, "OW", BIG.pack("2H", 1, 2)), EXPLICIT_BIG)
    assert back(data).dataset[0x00281201].value == BIG.pack("2H", 1, 2)
