"""How much to read first: what is guessed from what, its bounds, and how much is remembered."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from harvest.dicom.first_ranges import (
    FIRST_RANGE_BYTES,
    MOST_FIRST_BYTES,
    PIXEL_AREA_BYTES,
    FirstRanges,
    Subject,
)

PIXELS = 512 * 512 * 2


def subject(series: str = "a", kind: str | None = None, size: int | None = None) -> Subject:
    return Subject(series, kind, size)


@pytest.fixture
def ranges() -> FirstRanges:
    return FirstRanges()


def native(ranges: FirstRanges, header: int, series: str = "a", kind: str | None = None) -> None:
    ranges.learn(subject(series, kind, header + PIXELS), header + PIXELS, header, native=True)


def encapsulated(
    ranges: FirstRanges, header: int, series: str = "a", kind: str | None = None
) -> None:
    ranges.learn(subject(series, kind, header + 9999), header + 9999, header, native=False)


def test_of_nothing_known_there_is_a_fixed_range(ranges: FirstRanges) -> None:
    for asked in (subject(), subject(kind="k"), subject(size=10**6), subject(size=0)):
        assert ranges.guess(asked) == FIRST_RANGE_BYTES
        assert not ranges.knows(asked)


def test_a_series_or_a_kind_is_known_once_it_was_seen(ranges: FirstRanges) -> None:
    native(ranges, 4000, "a", "k")
    assert ranges.knows(subject("a"))
    assert ranges.knows(subject("b", "k"))
    assert not ranges.knows(subject("b"))
    assert not ranges.knows(subject("b", "other"))


def test_no_kind_is_no_kind(ranges: FirstRanges) -> None:
    native(ranges, 4000, "a", None)
    assert not ranges.knows(subject("b", None))
    assert ranges.guess(subject("b", None)) == FIRST_RANGE_BYTES


@pytest.mark.parametrize("header", [130, 3999, 4000, 4100, 8000])
def test_native_pixels_of_a_series_tell_the_header_to_the_byte(
    ranges: FirstRanges, header: int
) -> None:
    native(ranges, 4000)
    assert ranges.guess(subject(size=header + PIXELS)) == header + PIXEL_AREA_BYTES


@pytest.mark.parametrize("size", [8001 + PIXELS, PIXELS, 100, 0, None])
def test_an_object_of_another_size_is_like_the_longest(
    ranges: FirstRanges, size: int | None
) -> None:
    native(ranges, 3000)
    native(ranges, 4000)
    guess = ranges.guess(subject(size=size))
    assert 4000 + PIXEL_AREA_BYTES <= guess <= 4000 * 1.02 + PIXEL_AREA_BYTES


def test_pixels_of_two_lengths_tell_nothing(ranges: FirstRanges) -> None:
    native(ranges, 4000)
    ranges.learn(subject(size=4000 + PIXELS // 2), 4000 + PIXELS // 2, 4000, native=True)
    native(ranges, 4000)
    assert ranges.guess(subject(size=3000 + PIXELS)) >= 4000 + PIXEL_AREA_BYTES


def test_encapsulated_pixels_tell_nothing(ranges: FirstRanges) -> None:
    encapsulated(ranges, 4000)
    assert ranges.guess(subject(size=3000 + 9999)) >= 4000 + PIXEL_AREA_BYTES
    native(ranges, 4000)
    assert ranges.guess(subject(size=3000 + PIXELS)) >= 4000 + PIXEL_AREA_BYTES


def test_an_object_without_a_size_teaches_its_length(ranges: FirstRanges) -> None:
    ranges.learn(subject(size=None), 0, 5000, native=True)
    assert ranges.guess(subject(size=10**6)) >= 5000 + PIXEL_AREA_BYTES


def test_the_longest_of_a_series_counts(ranges: FirstRanges) -> None:
    for header in (4000, 9000, 2000):
        encapsulated(ranges, header)
    assert 9000 < ranges.guess(subject()) < 9500


def test_a_kind_holds_nine_of_ten_headers(ranges: FirstRanges) -> None:
    chance = random.Random(5)
    headers = [chance.randrange(5_000, 50_000) for _ in range(30)]
    for number, header in enumerate(headers):
        encapsulated(ranges, header, f"s{number}", "k")
    guess = ranges.guess(subject("new", "k", 10**6))
    held = [header for header in headers if header + PIXEL_AREA_BYTES <= guess]
    assert len(held) >= 27
    assert guess < max(headers) * 1.1


def test_native_pixels_of_a_kind_tell_the_header(ranges: FirstRanges) -> None:
    for number in range(5):
        native(ranges, 4000 + number, f"s{number}", "k")
    native(ranges, 60_000, "long", "k")
    guess = ranges.guess(subject("new", "k", 5000 + PIXELS))
    assert 5000 + PIXEL_AREA_BYTES <= guess < 6000
    # pixels of a length that was never seen
    assert ranges.guess(subject("new", "k", 5000 + 3 * PIXELS)) >= 4000 + PIXEL_AREA_BYTES


def test_the_first_header_of_a_series_counts_for_its_kind(ranges: FirstRanges) -> None:
    encapsulated(ranges, 4000, "a", "k")
    for _ in range(100):
        encapsulated(ranges, 400_000, "a", "k")
    assert ranges.guess(subject("new", "k")) < 5000
    assert ranges.guess(subject("a", "k")) > 400_000


def test_a_series_counts_for_more_than_its_kind(ranges: FirstRanges) -> None:
    encapsulated(ranges, 4000, "a", "k")
    encapsulated(ranges, 40_000, "b", "k")
    assert ranges.guess(subject("a", "k")) < 5000
    assert ranges.guess(subject("b", "k")) > 40_000


def test_a_kind_forgets_what_was_long_ago(ranges: FirstRanges) -> None:
    for number in range(50):
        encapsulated(ranges, 400_000, f"old {number}", "k")
    for number in range(50):
        encapsulated(ranges, 5_000, f"new {number}", "k")
    assert ranges.guess(subject("another", "k")) < 6_000


def test_a_guess_is_a_range() -> None:
    """Whatever was learnt: some bytes, and never very many."""
    for seed in range(200):
        chance = random.Random(seed)
        ranges = FirstRanges()
        for _ in range(chance.randrange(1, 60)):
            size = chance.choice([None, chance.randrange(1, 10**9), chance.randrange(1, 10**4)])
            header = chance.randrange(1, (size or 10**7) + 1)
            series = f"s{chance.randrange(20)}"
            about = Subject(series, chance.choice([None, "k", "m"]), size)
            ranges.learn(about, about.size or 0, header, native=chance.random() < 0.5)
            asked = Subject(series, "k", chance.choice([size, None, chance.randrange(10**9)]))
            for each in (asked, asked._replace(series="new"), asked._replace(size=0)):
                assert 0 < ranges.guess(each) <= MOST_FIRST_BYTES
            again = ranges.guess(about)
            assert again >= min(header + PIXEL_AREA_BYTES, MOST_FIRST_BYTES), seed


def test_so_much_is_remembered_and_no_more(ranges: FirstRanges) -> None:
    for number in range(5000):
        native(ranges, 4000, f"s{number}", f"k{number % 1000}")
    series = [number for number in range(5000) if ranges.knows(subject(f"s{number}"))]
    kinds = [number for number in range(1000) if ranges.knows(subject("none", f"k{number}"))]
    assert series == list(range(5000 - 1024, 5000))
    assert kinds == list(range(1000 - 256, 1000))


def test_guesses_may_be_made_while_others_learn(ranges: FirstRanges) -> None:
    """Requests wait in many threads, and ask while another thread works."""
    ended = Event()

    def guess() -> int:
        count = 0
        while not ended.is_set():
            for kind in ("k", "m0", "m1", None):
                assert 0 < ranges.guess(subject("new", kind, 5000 + PIXELS)) <= MOST_FIRST_BYTES
                count += 1
        return count

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            guessing = [pool.submit(guess) for _ in range(2)]
            for number in range(5000):
                native(ranges, 4000 + number % 7, f"s{number}", "k")
                # kinds come and go, the one that is asked for among them
                native(ranges, 4000, f"t{number}", f"m{number % 300}")
            ended.set()
            assert all(each.result() for each in guessing)
    finally:
        ended.set()
        sys.setswitchinterval(before)
