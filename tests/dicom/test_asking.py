"""What asks for bytes is sent exactly these, by whoever reads."""

from __future__ import annotations

import itertools

import pytest

from harvest.dicom.asking import Answering, Asking, answered, walked
from harvest.dicom.first_ranges import (
    BRIDGED_BYTES,
    FIRST_RANGE_BYTES,
    GROWTH,
    LONG_RANGE_BYTES,
    Growth,
)
from harvest.dicom.window import ByteRange, NeedMore, Window

OBJECT = bytes(range(256)) * 2**16


def asking() -> Asking[bytes]:
    return (yield ByteRange(0, 2)) + (yield ByteRange(10, 12))


def test_each_range_is_read_once_and_in_order() -> None:
    seen = []

    def read(start: int, stop: int) -> bytes:
        seen.append((start, stop))
        return OBJECT[start:stop]

    assert answered(asking(), read) == OBJECT[0:2] + OBJECT[10:12]
    assert seen == [(0, 2), (10, 12)]


def test_nothing_is_found_while_bytes_are_wanted() -> None:
    answering = Answering(asking())
    assert answering.wanted == (0, 2)
    with pytest.raises(AssertionError, match="still wanted"):
        _ = answering.found
    answering.answer(b"ab")
    answering.answer(b"cd")
    assert answering.found == b"abcd"


def ranges_for(length: int, *, known: int = 0, most: int = 2**30) -> list[ByteRange]:
    """Walk over the first `length` bytes, and return which ranges were read for it."""
    window = Window(len(OBJECT))
    window.add(0, OBJECT[:known])
    read = []

    def walk() -> int | NeedMore:
        held = len(window.beginning)
        return held if held >= length else NeedMore(held, held + 1)

    def answer(start: int, stop: int) -> bytes:
        read.append(ByteRange(start, stop))
        return OBJECT[start:stop]

    growth = Growth(window, known, most)
    assert answered(walked(walk, window, growth.following), answer) >= length
    return read


def test_ranges_grow_and_none_is_read_twice() -> None:
    lengths = [stop - start for start, stop in ranges_for(3 * 2**20)]
    assert lengths[:3] == [GROWTH**n * FIRST_RANGE_BYTES for n in (1, 2, 3)]
    read = ranges_for(10 * 2**20)
    assert all(one.stop == other.start for one, other in itertools.pairwise(read))


def test_a_long_range_no_more_than_doubles_what_was_read() -> None:
    for start, stop in ranges_for(16 * 2**20):
        assert stop - start <= max(LONG_RANGE_BYTES, start)


def test_what_is_known_already_is_not_read() -> None:
    assert ranges_for(100, known=100) == []
    assert ranges_for(101, known=100)[0].start == 100


def test_a_leap_begins_a_short_range_where_it_lands() -> None:
    window = Window(len(OBJECT))
    window.add(0, OBJECT[:1000])
    growth = Growth(window, 1000, 2**30)
    near, far = 1000 + BRIDGED_BYTES, 8 * 2**20
    bridged = Growth(window, 1000, 2**30).following(NeedMore(near, near + 10))
    assert bridged.start == 1000
    assert growth.following(NeedMore(far, far + 10)) == (far, far + FIRST_RANGE_BYTES)


def test_no_more_is_read_than_may_be_held_but_what_is_needed() -> None:
    window = Window(len(OBJECT))
    window.add(0, OBJECT[:1000])
    assert Growth(window, 1000, 1500).following(NeedMore(1000, 1001)) == (1000, 1500)
    assert Growth(window, 1000, 1000).following(NeedMore(1000, 1100)) == (1000, 1100)
