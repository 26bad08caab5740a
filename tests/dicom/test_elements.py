"""What a walk keeps."""

from __future__ import annotations

from harvest.dicom.elements import Selection
from harvest.dicom.tags import PrivateTag
from tests.faults.hostile import REFERENCED
from tests.support.build import CT_IMAGE, attributes, header_of, image, items, report, selected, uid


def test_a_selection_keeps_what_is_wanted_and_what_others_depend_on() -> None:
    header = header_of(
        image(frames=1), selected("PatientName", "ReferencedImageSequence.ReferencedSOPClassUID")
    )
    assert {key for key in header.dataset if isinstance(key, int)} == {
        0x00020002,
        0x00020010,
        0x00080016,
        0x00080018,
        REFERENCED,
        0x00100010,
        0x0020000E,
        0x00280008,
        0x00280010,
        0x00280103,
    }
    (item,) = items(header.dataset[REFERENCED])
    assert item[0x00081150].value == uid(CT_IMAGE)


def test_everything_beside_columns_is_still_everything() -> None:
    """The Contract: a header column, and columns of a profile, in one table."""
    data = report()
    both = Selection(
        attributes("ContentSequence.TextValue", "ConceptNameCodeSequence.CodeValue"),
        everything=True,
    )
    assert header_of(data, both).dataset == header_of(data).dataset


def test_private_columns_beside_everything_are_still_found() -> None:
    both = Selection(attributes("(0019,GEMS_ACQU_01,02)"), everything=True)
    assert PrivateTag(0x0019, "GEMS_ACQU_01", 0x02) in header_of(image(), both).dataset
