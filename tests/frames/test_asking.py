"""Asking for bytes, and being sent exactly these."""

from __future__ import annotations

import pytest

from harvest.dicom.asking import Answering
from harvest.dicom.window import ByteRange
from harvest.frames import locate_frames
from tests.support.build import EXPLICIT_LITTLE, JPEG, LITTLE, PIXEL_DATA
from tests.support.frames import basic_table, describe, jpeg, locate, multiframe
from tests.support.offset_tables import FRAMES


def test_answering_tells_what_is_wanted_and_what_was_found() -> None:
    data = multiframe(JPEG, basic_table([jpeg(n) for n in range(5)]), 5)
    answering = Answering(locate_frames(describe(data), scan=False))
    wanted: list[ByteRange] = []
    while answering.wanted is not None:
        with pytest.raises(AssertionError, match="still wanted"):
            _ = answering.found
        wanted.append(answering.wanted)
        answering.answer(data[slice(*answering.wanted)])
    assert wanted == locate(data, scan=False).asked
    assert answering.found == locate(data, scan=False).found
    pixels = LITTLE.element(PIXEL_DATA, "OB", bytes(16))
    native = describe(multiframe(EXPLICIT_LITTLE, pixels, None))
    assert Answering(locate_frames(native, scan=False)).wanted is None


def test_it_is_sent_what_it_asked_for() -> None:
    locator = locate_frames(describe(multiframe(JPEG, basic_table(FRAMES), 6)), scan=True)
    asked = next(locator)
    with pytest.raises(ValueError, match="bytes were asked for and 3 sent"):
        locator.send(b"abc")
    assert asked.stop > asked.start
