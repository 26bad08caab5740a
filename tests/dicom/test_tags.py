"""Names of attributes, as profiles write them."""

import pytest
from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary

from harvest.dicom.dictionary import UnknownTag, column_name, keyword_of
from harvest.dicom.paths import merge_paths, parse_path, skip_path
from harvest.dicom.tags import Attribute, PrivateTag, leaves
from harvest.dicom.vrs import BINARY_VRS

PHILIPS = "(2005,Philips MR Imaging DD 005,0E)"


def test_a_keyword_is_what_the_dictionary_says() -> None:
    assert parse_path("PatientID") == (
        Attribute(0x00100020, "PatientID", "PatientID", "LO", "1", "Patient ID"),
    )


def test_every_keyword_of_the_dictionary_is_a_column_or_refused_with_a_reason() -> None:
    for number, (vr, vm, name, _, keyword) in DicomDictionary.items():
        # items have no value, and commands (group 0000) are in no file
        if not keyword or vr == "NONE" or number < 0x00020000:
            continue
        if vr in BINARY_VRS:
            with pytest.raises(UnknownTag, match="holds binary data"):
                parse_path(keyword)
        else:
            (found,) = parse_path(keyword)
            assert (found.key, found.vr, found.vm, found.description) == (number, vr, vm, name)


def test_a_path_resolves_step_by_step() -> None:
    path = parse_path("ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPClassUID")
    assert [step.key for step in path] == [0x00081115, 0x0008114A, 0x00081150]
    assert path[1].path == "ReferencedSeriesSequence.ReferencedInstanceSequence"
    assert path[-1].name == "ReferencedSOPClassUID"
    assert not any(step.members for step in path)


@pytest.mark.parametrize(
    ("group", "creator", "element"),
    [
        (0x0043, "GEMS_PARM_01", 0x39),
        (0x0019, "1.2.840.113681", 0x10),
        (0x0029, "SIEMENS MEDCOM HEADER", 0x08),
        (0x2001, "Philips Imaging DD 001", 0x03),
    ],
)
def test_private_elements_are_named_by_their_creator(
    group: int, creator: str, element: int
) -> None:
    text = f"({group:04X},{creator},{element:02X})"
    (found,) = parse_path(text)
    number = group << 16 | 0x1000 | element
    assert found.key == PrivateTag(group, creator, element)
    assert (found.vr, found.vm, found.description, found.path) == (
        datadict.private_dictionary_VR(number, creator),
        datadict.private_dictionary_VM(number, creator),
        datadict.private_dictionary_description(number, creator),
        text,
    )


@pytest.mark.parametrize(
    "creator",
    ["A.B", "ACUSON:1.2.840.113680.1.0:7f10", "Canon Inc., Tokyo", "a.(b),c", "0x", "Prüf"],
)
def test_a_creator_may_hold_any_character(creator: str) -> None:
    with pytest.raises(UnknownTag, match="pydicom's private dictionary"):
        parse_path(f"(0099,{creator},01)")


def test_the_column_of_a_private_element() -> None:
    (found,) = parse_path("(0043,GEMS_PARM_01,39)")
    assert found.name == "private_0043_GEMS_PARM_01_39"
    tag = PrivateTag(0x00E1, "Philips: MR/x.1", 0x0A)
    assert column_name(tag) == "private_00E1_Philips__MR_x_1_0A"
    assert str(tag) == "(00E1,Philips: MR/x.1,0A)"


def test_hexadecimal_digits_have_no_case() -> None:
    (lower,) = parse_path("(00e1,ELSCINT1,3f)")
    (upper,) = parse_path("(00E1,ELSCINT1,3F)")
    assert lower.key == upper.key == PrivateTag(0x00E1, "ELSCINT1", 0x3F)
    assert lower.name == upper.name == "private_00E1_ELSCINT1_3F"


def test_a_private_sequence_has_members_and_an_exact_path() -> None:
    path = parse_path(f"{PHILIPS}.ReferencedSOPClassUID")
    assert path[0].key == PrivateTag(0x2005, "Philips MR Imaging DD 005", 0x0E)
    # the Contract: "the exact path in the field metadata"
    assert path[1].path == f"{PHILIPS}.ReferencedSOPClassUID"


def test_a_private_element_inside_a_public_sequence() -> None:
    text = "SharedFunctionalGroupsSequence.(2005,Philips MR Imaging DD 005,0E).EchoTime"
    assert [type(step.key) for step in parse_path(text)] == [int, PrivateTag, int]


@pytest.mark.parametrize(
    ("text", "tag", "vr"),
    [
        ("OverlayRows_6000", 0x60000010, "US"),
        ("OverlayRows_6002", 0x60020010, "US"),
        ("OverlayRows_60FE", 0x60FE0010, "US"),
        ("OverlayRows_60fe", 0x60FE0010, "US"),
        ("CurveDimensions_5004", 0x50040005, "US"),
    ],
)
def test_repeating_groups_are_named_with_their_group(text: str, tag: int, vr: str) -> None:
    (found,) = parse_path(text)
    written = text.replace("fe", "FE")  # one attribute has one name
    assert (found.key, found.vr, found.name, found.path) == (tag, vr, written, written)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("OverlayRows_600a", "OverlayRows_600A"),
        ("(0019,AGFA,1a)", "(0019,AGFA,1A)"),
        ("(0099,Nobody,0c)", "(0099,Nobody,0C)"),
        ("(0018,999a)", "(0018,999A)"),
        ("(0010,0020)", "PatientID"),
        (
            "SegmentSequence.(0099,Nobody,0c).PatientID",
            "SegmentSequence.(0099,Nobody,0C).PatientID",
        ),
    ],
)
def test_what_is_skipped_is_named_as_columns_are_known(text: str, path: str) -> None:
    assert skip_path(text) == path


@pytest.mark.parametrize("text", ["PatientId", "", "(0010)"])
def test_what_nobody_knows_is_not_skipped(text: str) -> None:
    with pytest.raises(UnknownTag):
        skip_path(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PatientId", "did you mean PatientID?"),
        ("ConvolutionKernal", "did you mean ConvolutionKernel?"),
        ("Nonsense", "in no dictionary$"),
        (" PatientID", "did you mean PatientID?"),
        ("PatientID.", "is not a keyword"),
        (".PatientID", "is not a keyword"),
        ("PatientID..Rows", "is not a keyword"),
        ("PatientID.Rows", r"PatientID is no sequence \(its VR is LO\)"),
        ("ReferencedSeriesSequence.Rows.Columns", "Rows is no sequence"),
        ("ReferencedSeriesSequence.PatientId", "did you mean PatientID?"),
        ("PixelData", "binary data"),
        ("OverlayData_6000", "binary data"),
        ("OverlayRows", "in no dictionary"),
        ("OverlayRows_5000", "in no dictionary"),
        ("OverlayRows_600", "in no dictionary"),
        ("PatientID_6000", "in no dictionary"),
        ("(0043,GEMS_PARM_01,FE)", "pydicom's private dictionary"),
        ("(0043,NOBODY,39)", "pydicom's private dictionary"),
        ("(0043,39)", "is not a keyword"),
        ("(0043,,39)", "is not a keyword"),
        ("(43,GEMS_PARM_01,39)", "is not a keyword"),
        ("(0010,0020)", "is not a keyword"),
        ("0043,GEMS_PARM_01,39", "in no dictionary"),
        ("(0008,GEMS_PARM_01,39)", "pydicom's private dictionary"),
        ("(0043,GEMS_PARM_01,39).Rows", "is no sequence"),
        ("(0043,GEMS_PARM_01,39)Rows", "is not a keyword"),
    ],
)
def test_what_cannot_be_a_column_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UnknownTag, match=reason):
        parse_path(text)


def test_an_empty_tag_is_refused() -> None:
    with pytest.raises(UnknownTag):
        parse_path("")


@pytest.mark.parametrize("text", ["OverlayRows_6001", "CurveDimensions_50FF"])
def test_an_odd_group_is_no_repeating_group(text: str) -> None:
    with pytest.raises(UnknownTag):
        parse_path(text)


@pytest.mark.parametrize("text", ["Item", "ItemDelimitationItem", "SequenceDelimitationItem"])
def test_an_item_is_no_attribute(text: str) -> None:
    with pytest.raises(UnknownTag):
        parse_path(text)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (0x00100020, "PatientID"),
        (0x00090010, "(0009,0010)"),
        (0x00081234, "(0008,1234)"),
        (0x00080000, "(0008,0000)"),
        (PrivateTag(0x0043, "GEMS_PARM_01", 0x39), "(0043,GEMS_PARM_01,39)"),
    ],
)
def test_elements_are_named_by_keyword_or_tag(key: int | PrivateTag, name: str) -> None:
    assert keyword_of(key) == name


def merged(*texts: str) -> tuple[Attribute, ...]:
    return merge_paths(parse_path(text) for text in texts)


def test_paths_into_one_sequence_merge_in_tag_order() -> None:
    first, second = merged(
        "ReferencedSeriesSequence.SeriesInstanceUID",
        "PatientID",
        "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPInstanceUID",
        "ReferencedSeriesSequence.Modality",
        "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPClassUID",
    )
    assert (first.name, second.name) == ("ReferencedSeriesSequence", "PatientID")
    assert [member.name for member in first.members] == [
        "Modality",
        "ReferencedInstanceSequence",
        "SeriesInstanceUID",
    ]
    assert [member.name for member in first.members[1].members] == [
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
    ]


def test_repeated_paths_count_once() -> None:
    assert merged("PatientID", "Rows", "PatientID") == merged("PatientID", "Rows")
    twice = merged("ReferencedSeriesSequence.Modality", "ReferencedSeriesSequence.Modality")
    assert len(twice) == 1
    assert len(twice[0].members) == 1


def test_private_members_sort_by_group_element_and_creator() -> None:
    (sequence,) = merged(
        "ReferencedSeriesSequence.(0043,GEMS_PARM_01,39)",
        "ReferencedSeriesSequence.Rows",
        "ReferencedSeriesSequence.Modality",
    )
    assert [member.name for member in sequence.members] == [
        "Modality",
        "Rows",
        "private_0043_GEMS_PARM_01_39",
    ]


def test_leaves_are_all_that_hold_values() -> None:
    attributes = merged(
        "PatientID",
        "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPClassUID",
        "ReferencedSeriesSequence.Modality",
        "Rows",
    )
    assert [leaf.name for leaf in leaves(attributes)] == [
        "PatientID",
        "Modality",
        "ReferencedSOPClassUID",
        "Rows",
    ]


def test_nothing_merges_to_nothing() -> None:
    assert merge_paths([]) == ()


def test_a_sequence_that_is_named_alone_takes_all_members_that_appear() -> None:
    (open_one,) = merge_paths([parse_path("SegmentSequence")])
    assert (open_one.open, open_one.members) == (True, ())
    both = [parse_path("SegmentSequence.SegmentNumber"), parse_path("SegmentSequence")]
    for paths in (both, both[::-1]):
        (merged,) = merge_paths(paths)
        assert merged.open
        assert [member.name for member in merged.members] == ["SegmentNumber"]
    (inner,) = merge_paths([parse_path("OpticalPathSequence.IlluminationTypeCodeSequence")])
    assert [(member.name, member.open) for member in inner.members] == [
        ("IlluminationTypeCodeSequence", True)
    ]
    assert not inner.open
    (private,) = merge_paths([parse_path(PHILIPS)])
    assert private.open
