"""The window: what is known of an object, and what to read next."""

import random

import pytest

from harvest.dicom.window import Missing, NeedMore, Window
from harvest.errors import ErrorKind, ObjectError

DATA = bytes(range(100))


def filled(*parts: tuple[int, int]) -> Window:
    window = Window(len(DATA))
    for start, stop in parts:
        window.add(start, DATA[start:stop])
    return window


def test_it_returns_what_it_knows() -> None:
    window = filled((10, 30))
    assert window.read(10, 20) == DATA[10:30]
    assert window.read(15, 5) == DATA[15:20]
    assert window.segment(15, 5) == (DATA[10:30], 10)
    assert window.held == 20


def test_nothing_is_always_known_inside_a_segment() -> None:
    assert filled((10, 30)).read(20, 0) == b""


@pytest.mark.parametrize(
    ("parts", "position", "length", "need"),
    [
        ((), 0, 4, (0, 4)),
        (((0, 10),), 8, 4, (10, 12)),
        (((0, 10),), 50, 4, (50, 54)),
        (((0, 10), (50, 60)), 58, 4, (60, 62)),
        (((0, 10), (50, 60)), 20, 4, (20, 24)),
        (((50, 60),), 0, 4, (0, 4)),
    ],
)
def test_it_says_which_bytes_are_missing(
    parts: tuple[tuple[int, int], ...], position: int, length: int, need: tuple[int, int]
) -> None:
    with pytest.raises(Missing) as caught:
        filled(*parts).read(position, length)
    assert caught.value.need == NeedMore(*need)


@pytest.mark.parametrize(("position", "length"), [(99, 2), (100, 1), (500, 1), (0, 101)])
def test_bytes_behind_the_end_are_never_asked_for(position: int, length: int) -> None:
    with pytest.raises(ObjectError) as caught:
        filled((0, 100)).read(position, length)
    assert caught.value.kind == ErrorKind.TRUNCATED


def test_adjacent_bytes_continue_a_segment() -> None:
    window = filled((0, 10), (10, 20))
    assert window.segment(5, 10) == (DATA[:20], 0)


def test_segments_may_come_in_any_order() -> None:
    window = filled((60, 70), (0, 10), (30, 40))
    for start in (0, 30, 60):
        assert window.read(start, 10) == DATA[start : start + 10]
    assert window.held == 30


@pytest.mark.parametrize("start", [0, 5, 9])
def test_known_bytes_are_not_added_twice(start: int) -> None:
    with pytest.raises(ValueError, match="already known"):
        filled((0, 10)).add(start, DATA[start : start + 10])


def test_any_way_of_asking_ends_in_the_same_bytes() -> None:
    chance = random.Random(1)
    for _ in range(200):
        window = Window(len(DATA))
        position = 0
        while position < len(DATA):
            length = min(chance.randint(1, 9), len(DATA) - position)
            try:
                assert window.read(position, length) == DATA[position : position + length]
            except Missing as missing:
                need = missing.need
                stop = need.stop + chance.randint(0, 20)
                window.add(need.start, DATA[need.start : stop])
            else:
                position += length + chance.choice([0, 0, 7])


def test_what_is_known_of_a_range() -> None:
    window = filled((10, 20), (30, 40))
    assert window.known(12, 18) == DATA[12:18]
    assert window.known(12, 35) == DATA[12:20]
    assert window.known(20, 35) == window.known(25, 35) == window.known(0, 5) == b""
    assert window.known(30, 99) == DATA[30:40]
