"""Plots: what they draw is what they are given, and labels are text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from harvest.audit.plots import MOST_BARS, bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str, kind: str) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(text).iter(f"{SVG}{kind}")]


def texts(text: str) -> list[str]:
    return [str(element.text) for element in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_counts() -> None:
    made = bars("by modality", {"MR": 50, "CT": 100, "none": 0})
    widths = [float(bar["width"]) for bar in drawn(made, "rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    assert widths[2] == 0
    assert texts(made) == ["CT", "100", "MR", "50", "none", "0"]


def test_many_bars_become_one() -> None:
    made = bars("x", {f"k{number:02}": 100 - number for number in range(20)})
    shown = texts(made)
    assert len(drawn(made, "rect")) == MOST_BARS
    assert shown[-2:] == ["9 others", str(sum(100 - n for n in range(11, 20)))]


def test_no_bars() -> None:
    assert drawn(bars("nothing", {}), "rect") == []


@pytest.mark.parametrize(
    ("values", "from_zero"),
    [([7], False), ([0], True), ([3, 3, 3], True), ([1000, 1010, 990], False), ([0, 10**9], True)],
)
def test_lines_lie_inside_their_scale(values: list[int], from_zero: bool) -> None:
    places = [f"p{number}" for number in range(len(values))]
    made = lines("x", places, {"plain": values}, from_zero=from_zero)
    grid = sorted(float(line["y1"]) for line in drawn(made, "line"))
    heights = [float(dot["cy"]) for dot in drawn(made, "circle")]
    assert len(heights) == len(values)
    assert grid[0] - 0.1 <= min(heights) <= max(heights) <= grid[-1] + 0.1
    ticks = [int(text.replace(",", "")) for text in texts(made) if re.fullmatch(r"[\d,]+", text)]
    assert ticks[0] <= min(values)
    assert ticks[-1] >= max(values)
    assert (ticks[0] == 0) or not from_zero
    # more is higher
    order = sorted(range(len(values)), key=lambda number: values[number])
    assert [heights[number] for number in order] == sorted(heights, reverse=True)


def test_labels_are_text() -> None:
    hostile = '<a onclick="x">\x1b\u202e'
    for made in (
        bars(hostile, {hostile: 1}),
        lines(hostile, [hostile], {"plain": [1]}, from_zero=True),
    ):
        assert not drawn(made, "a")
        assert "\x1b" not in made
        assert "\u202e" not in made
