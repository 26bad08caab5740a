"""Conversion of values: as pydicom converts them where both can, and the reason where not."""

from __future__ import annotations

import datetime as dt
import math
import struct
import time
import warnings
from typing import Any

import pytest
from pydicom.multival import MultiValue
from pydicom.valuerep import TM, PersonName

from harvest.dicom.elements import Element
from harvest.dicom.paths import parse_path
from harvest.dicom.tags import Attribute
from harvest.dicom.values import Encoding, Unfit, column_kind, convert, python_encodings
from tests.support.build import (
    BIG,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    LITTLE,
    Syntax,
    even,
    identity,
    oracle,
    part10,
)

PLAIN = Encoding(True, None, False)


def attribute(keyword: str) -> Attribute:
    (found,) = parse_path(keyword)
    return found


def converted(keyword: str, value: bytes, vr: str | None = "", encoding: Encoding = PLAIN) -> Any:
    """Convert a value; its VR is the dictionary's unless said otherwise."""
    wanted = attribute(keyword)
    found = wanted.vr if vr == "" else vr
    assert isinstance(wanted.key, int)
    return convert(Element(wanted.key, found, 0, len(value), value), wanted, encoding)


def by_pydicom(
    keyword: str, value: bytes, *, character_set: bytes | None = None, code: Syntax = LITTLE
) -> Any:
    """Let pydicom read the value from a file, and reduce it to plain types."""
    wanted = attribute(keyword)
    assert isinstance(wanted.key, int)
    dataset = b""
    if character_set is not None:
        dataset += code.element(0x00080005, "CS", even(character_set))
    dataset += identity(code) + code.element(wanted.key, wanted.vr, value)
    data = part10(dataset, EXPLICIT_LITTLE if code.little else EXPLICIT_BIG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = oracle(data)[wanted.key].value
    several = isinstance(found, MultiValue | list)
    plain = [_plain(each, wanted.vr) for each in (found if several else [found])]
    if all(each is None for each in plain):
        return None
    return plain if wanted.vm != "1" else plain[0]


def _plain(value: Any, vr: str) -> Any:
    if value in ("", None):
        return None
    if isinstance(value, PersonName):
        return str(value)
    if vr == "DA":
        return dt.datetime.strptime(value, "%Y%m%d").date()
    if vr == "AT":
        return f"{int(value):08X}"
    return float(value) if vr == "DS" else int(value) if vr == "IS" else value


def problem(keyword: str, value: bytes, vr: str | None = "", encoding: Encoding = PLAIN) -> str:
    with pytest.raises(Unfit) as caught:
        converted(keyword, value, vr, encoding)
    return str(caught.value)


# every family of VRs, against pydicom


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StationAETitle", b" AE1 "),
        ("ScheduledStationAETitle", b" ONE \\TWO "),
        ("PatientAge", b"057Y"),
        ("Modality", b"CT"),
        ("ImageType", b"ORIGINAL\\PRIMARY\\AXIAL"),
        ("ImageType", b"ORIGINAL\\\\AXIAL "),
        ("ImageType", b"ORIGINAL"),
        ("StudyDate", b"20200229"),
        ("DateOfLastCalibration", b"20200229\\20200301 "),
        ("AcquisitionDateTime", b"20200229123456.25+0100"),
        ("AcquisitionDateTime", b"2020"),
        ("PatientWeight", b" 70.50"),
        ("PixelSpacing", b"0.50\\ 1e-3 "),
        ("ImagePositionPatient", b"-1\\+2.5\\3"),
        ("InstanceNumber", b" 007"),
        ("InstanceNumber", b"-12 "),
        ("ReferencedFrameNumber", b"1\\2 \\ 3"),
        ("PatientID", b" lead and trail "),
        ("SoftwareVersions", b"1.0\\1.1 "),
        ("SoftwareVersions", b"1.0\\\\1.1"),
        ("ImageComments", b" one\\value of text \r\n"),
        ("StationName", b"station\0"),
        ("DerivationDescription", b" a\\b "),
        ("TextValue", b" a\\b "),
        ("RetrieveURL", b"http://example/a\\b "),
        ("LongCodeValue", b"code "),
        ("SOPInstanceUID", b"1.2.3\0"),
        ("RelatedGeneralSOPClassUID", b"1.2.3\\1.2.4\0"),
        ("PatientName", b"Doe^Jane^^Dr "),
        ("PatientName", b"Doe^Jane=J^D"),
        ("OtherPatientNames", b"Doe^Jane\\Roe^Richard "),
    ],
)
def test_text_is_converted_as_pydicom_does(keyword: str, value: bytes) -> None:
    value = even(value)
    assert converted(keyword, value) == by_pydicom(keyword, value)


@pytest.mark.parametrize("code", [LITTLE, BIG], ids=["little", "big"])
@pytest.mark.parametrize(
    ("keyword", "codes", "numbers"),
    [
        ("Rows", "H", [65535]),
        ("ReferencePixelX0", "l", [-5]),
        ("TagAngleSecondAxis", "h", [-5]),
        ("DisplayedAreaTopLeftHandCorner", "ll", [-5, 2**31 - 1]),
        ("SimpleFrameList", "LL", [1, 2**32 - 1]),
        ("RecommendedDisplayFrameRateInFloat", "f", [0.25]),
        ("TableOfXBreakPoints", "LL", [5, 6]),
        ("DiffusionBValue", "d", [1e-300]),
        ("DiffusionGradientOrientation", "ddd", [1.5, -2.5, 1e300]),
        ("SelectorSVValue", "q", [-(2**63)]),
        ("SelectorUVValue", "QQ", [0, 2**64 - 1]),
        ("FrameIncrementPointer", "HHHH", [0x0018, 0x1063, 0x0054, 0x00A0]),
        ("SelectorAttribute", "HH", [0x0010, 0xABCD]),
    ],
)
def test_numbers_are_converted_as_pydicom_does(
    code: Syntax, keyword: str, codes: str, numbers: list[float]
) -> None:
    value = code.pack(codes, *numbers)
    assert converted(keyword, value, encoding=Encoding(code.little, None, False)) == by_pydicom(
        keyword, value, code=code
    )


def test_floating_point_numbers_may_be_no_numbers() -> None:
    assert math.isnan(converted("DiffusionBValue", struct.pack("<d", math.nan)))
    assert converted("DiffusionBValue", struct.pack("<d", math.inf)) == math.inf


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"12", dt.time(12)),
        (b"1234", dt.time(12, 34)),
        (b"123456", dt.time(12, 34, 56)),
        (b"123456.2", dt.time(12, 34, 56, 200000)),
        (b"123456.000001 ", dt.time(12, 34, 56, 1)),
        (b"123460", dt.time(12, 34, 59)),
        (b"000000", dt.time(0)),
    ],
)
def test_times(value: bytes, expected: dt.time) -> None:
    assert converted("StudyTime", even(value)) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert TM(value.decode().strip()) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"20200229", dt.date(2020, 2, 29)),
        (b"20200229 ", dt.date(2020, 2, 29)),
        (b"2020.02.29", dt.date(2020, 2, 29)),
        (b"00010101", dt.date(1, 1, 1)),
    ],
)
def test_dates(value: bytes, expected: dt.date) -> None:
    assert converted("StudyDate", value) == expected


@pytest.mark.parametrize(
    ("keyword", "column"),
    [
        ("StudyDate", "date"),
        ("StudyTime", "time"),
        ("PatientWeight", "float"),
        ("DiffusionBValue", "float"),
        ("RecommendedDisplayFrameRateInFloat", "float"),
        ("InstanceNumber", "int"),
        ("Rows", "int"),
        ("SelectorSVValue", "int"),
        ("SelectorUVValue", "uint"),
        ("PixelPaddingValue", "int"),
        ("FrameIncrementPointer", "text"),
        ("AcquisitionDateTime", "text"),
        ("PatientName", "text"),
        ("LUTData", "int"),
    ],
)
def test_the_kind_of_column_follows_the_dictionary(keyword: str, column: str) -> None:
    assert column_kind(attribute(keyword).vr) == column


# nothing, and several


@pytest.mark.parametrize("keyword", ["PatientID", "Rows", "StudyDate", "ImageType", "PixelSpacing"])
def test_an_empty_value_is_null(keyword: str) -> None:
    assert converted(keyword, b"") is None


@pytest.mark.parametrize("value", [b"  ", b"\0\0", b" \0"])
@pytest.mark.parametrize(
    "keyword",
    ["PatientID", "Modality", "PatientWeight", "InstanceNumber", "PatientName", "TextValue"],
)
def test_a_value_of_padding_is_null(keyword: str, value: bytes) -> None:
    assert converted(keyword, value) is None


@pytest.mark.parametrize("value", [b"\\", b"\\\\ "])
@pytest.mark.parametrize("keyword", ["ImageType", "PixelSpacing", "SoftwareVersions"])
def test_a_list_of_nothing_is_null(keyword: str, value: bytes) -> None:
    assert converted(keyword, value) is None


def test_an_empty_element_of_a_list_is_null() -> None:
    assert converted("PixelSpacing", b"\\1.5") == [None, 1.5]
    assert converted("ImageType", b"A\\\\B ") == ["A", None, "B"]


def test_one_value_where_the_dictionary_allows_several_is_a_list() -> None:
    assert converted("ImageType", b"ORIGINAL") == ["ORIGINAL"]
    assert converted("PixelSpacing", b"1 ") == [1.0]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Modality", b"CT\\MR "),
        ("Rows", b"\1\0\2\0"),
        ("InstanceNumber", b"1\\2 "),
        ("StudyDate", b"20200101\\20200102 "),
        ("PatientID", b"one\\two "),
    ],
)
def test_several_values_do_not_fit_one(keyword: str, value: bytes) -> None:
    assert problem(keyword, value) == "several_values"


# what does not fit


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("StudyDate", b"20200230", "not_a_date"),
        ("StudyDate", b"2020-13-45", "not_a_date"),
        ("StudyDate", b"20200101-20200201 ", "not_a_date"),
        ("StudyDate", b"2020.0101 ", "not_a_date"),
        ("StudyDate", b"2020", "not_a_date"),
        ("StudyDate", b"00000000", "not_a_date"),
        ("StudyDate", b"anonymous ", "not_a_date"),
        ("StudyTime", b"24", "not_a_time"),
        ("StudyTime", b"1260", "not_a_time"),
        ("StudyTime", b"123461", "not_a_time"),
        ("StudyTime", b"12:34 ", "not_a_time"),
        ("StudyTime", b"1", "not_a_time"),
        ("StudyTime", b"123456.1234567", "not_a_time"),
        ("StudyTime", b"1200-1300 ", "not_a_time"),
        ("PatientWeight", b"abc ", "not_a_number"),
        ("PatientWeight", b"nan ", "not_a_number"),
        ("PatientWeight", b"inf ", "not_a_number"),
        ("PatientWeight", b"1e999 ", "not_a_number"),
        ("PatientWeight", b"1,5 ", "not_a_number"),
        ("PatientWeight", b"1_0 ", "not_a_number"),
        ("PatientWeight", b"1 2 ", "not_a_number"),
        ("PixelSpacing", b"1\\abc ", "not_a_number"),
        ("InstanceNumber", b"xyz ", "not_an_integer"),
        ("InstanceNumber", b"1.5 ", "not_an_integer"),
        ("InstanceNumber", b"nan ", "not_an_integer"),
        ("InstanceNumber", b"inf ", "not_an_integer"),
        ("InstanceNumber", b"1_0 ", "not_an_integer"),
        ("InstanceNumber", b"9" * 20, "not_an_integer"),
        ("InstanceNumber", b"9" * 70, "not_an_integer"),
        ("Rows", b"\1\0\2", "wrong_length"),
        ("DiffusionBValue", b"1234", "wrong_length"),
        ("FrameIncrementPointer", b"123456", "wrong_length"),
        ("FrameIncrementPointer", b"12345", "wrong_length"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(keyword: str, value: bytes, reason: str) -> None:
    assert problem(keyword, value) == reason


@pytest.mark.parametrize(
    ("value", "number"), [(b"1.0 ", 1), (b"+5", 5), (b"00012 ", 12), (b"1e3 ", 1000), (b"-0", 0)]
)
def test_integers_written_oddly(value: bytes, number: int) -> None:
    assert converted("InstanceNumber", value) == number


@pytest.mark.parametrize("value", [b"1E100000", b"-1E99999 "])
def test_a_hostile_exponent_costs_nothing(value: bytes) -> None:
    """The cost grows with the square: 1E1000000 takes a minute, and no clock stops it."""
    begun = time.process_time()
    assert problem("InstanceNumber", value) == "not_an_integer"
    assert time.process_time() - begun < 0.2


def test_a_value_that_was_not_read_is_too_long() -> None:
    wanted = attribute("TextValue")
    with pytest.raises(Unfit, match="too_long"):
        convert(Element(0x0040A160, "UT", 0, 2**21, None), wanted, PLAIN)


def test_a_sequence_is_no_value() -> None:
    wanted = attribute("PatientID")
    with pytest.raises(Unfit, match="not_a_value"):
        convert(Element(0x00100020, "SQ", 0, 8, None, ({},)), wanted, PLAIN)


# the file's VR and the dictionary's


@pytest.mark.parametrize("vr", [None, "UN"])
@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("Rows", b"\5\0", 5),
        ("PatientID", b"abc ", "abc"),
        ("StudyDate", b"20200229", dt.date(2020, 2, 29)),
        ("PixelSpacing", b"1\\2 ", [1.0, 2.0]),
        ("SelectorUVValue", struct.pack("<Q", 2**64 - 1), [2**64 - 1]),
        ("LUTData", b"\1\0\2\0", [1, 2]),
    ],
)
def test_without_a_vr_the_dictionary_says_it(
    vr: str | None, keyword: str, value: bytes, expected: Any
) -> None:
    assert converted(keyword, value, vr) == expected


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("Rows", "UL", struct.pack("<L", 70000), 70000),
        ("Rows", "SS", struct.pack("<h", -1), -1),
        ("Rows", "IS", b"512 ", 512),
        ("Rows", "DS", b"5.0 ", 5),
        ("Rows", "FD", struct.pack("<d", 5.0), 5),
        ("PatientWeight", "FL", struct.pack("<f", 0.5), 0.5),
        ("PatientWeight", "US", b"\5\0", 5.0),
        ("PatientWeight", "LO", b"5.5 ", 5.5),
        ("PatientID", "UT", b"abc ", "abc"),
        ("PatientID", "CS", b"ABC ", "ABC"),
        ("InstanceNumber", "US", b"\5\0", 5),
        ("StudyDate", "LO", b"20200229", dt.date(2020, 2, 29)),
        ("LUTData", "OW", b"\1\0\2\0", [1, 2]),
    ],
)
def test_another_vr_is_converted_where_the_value_fits(
    keyword: str, vr: str, value: bytes, expected: Any
) -> None:
    assert converted(keyword, value, vr) == expected


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "reason"),
    [
        ("PatientID", "US", b"\5\0", "vr_conflict"),
        ("PatientID", "OB", b"abc ", "vr_conflict"),
        ("PatientID", "FD", bytes(8), "vr_conflict"),
        ("Rows", "OB", b"\5\0", "vr_conflict"),
        ("Rows", "ZZ", b"\5\0", "vr_conflict"),
        ("Rows", "SQ", b"\5\0", "vr_conflict"),
        ("StudyDate", "US", b"\5\0", "not_a_date"),
        ("StudyTime", "US", b"\5\0", "not_a_time"),
        ("StudyDate", "TM", b"120000", "not_a_date"),
        ("Rows", "FD", struct.pack("<d", 0.5), "not_an_integer"),
        ("Rows", "FD", struct.pack("<d", math.nan), "not_an_integer"),
        ("Rows", "FD", struct.pack("<d", math.inf), "not_an_integer"),
        ("Rows", "FD", struct.pack("<d", 1e300), "not_an_integer"),
        ("Rows", "UV", struct.pack("<Q", 2**63), "not_an_integer"),
        ("SelectorUVValue", "SV", struct.pack("<q", -1), "not_an_integer"),
        ("Rows", "LO", b"many", "not_an_integer"),
    ],
)
def test_another_vr_whose_value_does_not_fit(
    keyword: str, vr: str, value: bytes, reason: str
) -> None:
    assert problem(keyword, value, vr) == reason


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("vr", [None, "UN"])
def test_pixel_representation_decides_between_us_and_ss(
    vr: str | None, signed: bool, little: bool
) -> None:
    value = struct.pack("<h" if little else ">h", -2000)
    encoding = Encoding(little, None, signed)
    expected = -2000 if signed else 65536 - 2000
    assert converted("PixelPaddingValue", value, vr, encoding) == expected
    # what the file says itself is not doubted
    assert converted("PixelPaddingValue", value, "SS", encoding) == -2000
    assert converted("PixelPaddingValue", value, "US", encoding) == 65536 - 2000


def test_pixel_representation_decides_nothing_else() -> None:
    signed = Encoding(True, None, True)
    assert converted("Rows", b"\xff\xff", None, signed) == 65535
    assert converted("LUTData", b"\xff\xff", None, signed) == [65535]


# character sets


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        # PS3.5 annexes H, I, J and K
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ),
        (
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J="
            b"\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7="
            b"\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        ),
        (
            b"\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
        ),
        (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
        (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode()),
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me"),
        (b"ISO_IR 101", "Wałęsa^Lech".encode("iso8859_2")),
        (b"ISO_IR 144", "Лев^Толстой".encode("iso8859_5")),
        (b"ISO_IR 127", "قباني^لنزار".encode("iso8859_6")),
        (b"ISO_IR 126", "Διονυσιος".encode("iso8859_7")),
        (b"ISO_IR 138", "שרון^דבורה".encode("iso8859_8")),
        (b"ISO_IR 148", "Çavuşoğlu".encode("iso8859_9")),
        (b"ISO_IR 166", "นามสกุล".encode("iso8859_11")),
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"Plain^\x1b-AJ\xe9r\xf4me"),
        (
            b"\\ISO 2022 IR 126\\ISO 2022 IR 144",
            b"Dionysios is \x1b-F\xc4\xe9\xef\xed^\x1b-L\xbb\xee",
        ),
        # written wrongly, as pydicom corrects them
        (b"ISO-IR 100", b"Buc^J\xe9r\xf4me"),
        (b"ISO IR 192", "Jérôme".encode()),
        (b"ISO_2022_IR_100", b"Buc^J\xe9r\xf4me"),
        (b"utf-8", "Jérôme".encode()),
        # what nobody knows is read as the default repertoire
        (b"NOT A CHARACTER SET", b"Buc^J\xe9r\xf4me"),
        (b"", b"Buc^J\xe9r\xf4me"),
        (b"ISO_IR 192\\ISO 2022 IR 100", "Jérôme".encode()),
        (b"ISO 2022 IR 100\\ISO_IR 192", b"J\xe9r\xf4me"),
    ],
)
@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "PatientComments"])
def test_character_sets_are_those_of_pydicom(
    keyword: str, character_set: bytes, name: bytes
) -> None:
    encoding = Encoding(True, even(character_set), False)
    found = converted(keyword, even(name), encoding=encoding)
    assert found == by_pydicom(keyword, even(name), character_set=character_set)
    assert found


@pytest.mark.parametrize(
    ("codec", "character_set"),
    [("gb18030", b"GB18030"), ("gbk", b"GBK"), ("iso2022_jp", b"\\ISO 2022 IR 87")],
)
def test_a_backslash_inside_a_character_separates_nothing(codec: str, character_set: bytes) -> None:
    text = next(
        character
        for character in map(chr, range(0x4E00, 0x9FFF))
        if b"\\" in character.encode(codec, "ignore")
    )
    value = even(f"{text}a\\b{text}".encode(codec))
    encoding = Encoding(True, even(character_set), False)
    expected = [f"{text}a", f"b{text}"]
    assert converted("SoftwareVersions", value, encoding=encoding) == expected
    assert by_pydicom("SoftwareVersions", value, character_set=character_set) == expected


def test_names_stay_as_they_are_written() -> None:
    assert converted("PatientName", b"Doe^Jane^^^=") == "Doe^Jane^^^="


@pytest.mark.parametrize(
    ("character_set", "value"),
    [
        (b"ISO_IR 192", b"J\xe9r\xf4me"),
        (b"GB18030 ", b"\xff\xff"),
        (b"\\ISO 2022 IR 87", b"\x1b$B\xff\xff"),
        (b"", b"\x1b$B;3ED\x1b(B"),
        (b"\\ISO 2022 IR 87", b"\x1b%/\xe9\xe9"),
        (b"zlib", b"J\xe9r\xf4me"),
        (b"undefined ", b"J\xe9r\xf4me"),
        (b"utf_7", b"J\xe9r\xf4me"),
        (b"punycode", b"J\xe9r\xf4me"),
        (b"idna", b"J\xe9r\xf4me"),
    ],
)
def test_text_that_cannot_be_decoded_is_unfit(character_set: bytes, value: bytes) -> None:
    encoding = Encoding(True, character_set, False)
    assert problem("PatientName", even(value), encoding=encoding) == "undecodable"


@pytest.mark.parametrize(
    "character_set", [b"\xff\xfe", b"ISO\0IR 100", b"../x", b"x" * 1000, b"\\\\"]
)
def test_no_name_of_a_character_set_does_harm(character_set: bytes) -> None:
    encoding = Encoding(True, character_set, False)
    assert converted("PatientName", b"J\xe9", encoding=encoding) == "Jé"


def test_a_character_set_does_not_govern_codes() -> None:
    encoding = Encoding(True, b"ISO_IR 192", False)
    assert converted("Modality", b"\xc3\xa9", encoding=encoding) == "Ã©"


def test_plain_text_needs_no_character_set() -> None:
    encoding = Encoding(True, b"zlib", False)
    assert converted("PatientName", b"Doe^Jane", encoding=encoding) == "Doe^Jane"


def test_filters_of_warnings_are_left_as_they_were() -> None:
    python_encodings.cache_clear()
    before = list(warnings.filters)
    python_encodings(b"NOT A CHARACTER SET EITHER")
    encoding = Encoding(True, b"\\ISO 2022 IR 87", False)
    problem("PatientName", b"\x1b$B\xff\xff", encoding=encoding)
    assert warnings.filters == before
