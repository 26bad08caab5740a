"""Plots as SVG: drawn by hand, since a report has neither scripts nor files beside it.

Colours are classes, which the page's style sheet has for light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from ..show import printable

_WIDTH: Final = 400
"""Of a plot, in its own units; it scales with the page."""
_BAR_HEIGHT: Final = 28
_LABEL_WIDTH: Final = 118
_VALUE_WIDTH: Final = 92
_LABEL_CHARACTERS: Final = 15
MOST_BARS: Final = 12
"""More are added up in a last one."""
_LINES_HEIGHT: Final = 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 22, 16, 30
_TICKS: Final = (1, 2, 2.5, 5, 10)


def bars(title: str, counts: Mapping[str, int]) -> str:
    """Draw horizontal bars, most first.

    Parameters
    ----------
    title
        For who cannot see it.
    counts
        By label.

    Returns
    -------
    str
        An SVG element; every label is escaped.
    """
    shown = _largest(counts)
    top = max((count for _, count in shown), default=0) or 1
    room = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    drawn = []
    for number, (label, count) in enumerate(shown):
        y = number * _BAR_HEIGHT
        length = max(2.0, room * count / top) if count else 0
        middle = y + _BAR_HEIGHT / 2 + 5
        drawn.append(
            f'<text class="label" x="{_LABEL_WIDTH - 10}" y="{middle:g}" text-anchor="end">'
            f"{_label(label)}</text>"
            f'<rect class="bar" x="{_LABEL_WIDTH}" y="{y + 5}" width="{length:.1f}"'
            f' height="{_BAR_HEIGHT - 10}" rx="3"/>'
            f'<text class="value" x="{_LABEL_WIDTH + length + 8:.1f}" y="{middle:g}">'
            f"{count:,}</text>"
        )
    return _svg(title, len(shown) * _BAR_HEIGHT, drawn)


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    if len(ordered) <= MOST_BARS:
        return ordered
    rest = ordered[MOST_BARS - 1 :]
    return [*ordered[: MOST_BARS - 1], (f"{len(rest)} others", sum(n for _, n in rest))]


def lines(
    title: str, places: Sequence[str], values: Mapping[str, Sequence[int]], *, from_zero: bool
) -> str:
    """Draw lines over time, all on one scale.

    Parameters
    ----------
    title
        For who cannot see it.
    places
        Labels of the points, of which the first and the last are shown.
    values
        Of each line, as many as there are places; its name is its class.
    from_zero
        Whether the scale begins at 0; otherwise a little below the least value.

    Returns
    -------
    str
        An SVG element; every label is escaped.
    """
    ticks = _ticks([value for line in values.values() for value in line], from_zero=from_zero)
    height = _LINES_HEIGHT - _TOP - _BOTTOM
    span = ticks[-1] - ticks[0] or 1

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - ticks[0]) / span)

    def x(number: int) -> float:
        room = _WIDTH - _LEFT - _RIGHT
        return _LEFT + (room / 2 if len(places) == 1 else room * number / (len(places) - 1))

    drawn = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}"'
        f' y2="{y(tick):.1f}"/><text class="label" x="{_LEFT - 8}" y="{y(tick) + 4:.1f}"'
        f' text-anchor="end">{tick:,}</text>'
        for tick in ticks
    ]
    for name, line in values.items():
        points = [(x(number), y(value)) for number, value in enumerate(line)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        drawn.append(f'<polyline class="line {escape(name)}" points="{path}"/>')
        drawn += [
            f'<circle class="dot {escape(name)}" cx="{a:.1f}" cy="{b:.1f}" r="4">'
            f"<title>{_label(place)}: {value:,}</title></circle>"
            for (a, b), place, value in zip(points, places, line, strict=True)
        ]
    ends = [(0, "start"), (len(places) - 1, "end")] if len(places) > 1 else [(0, "middle")]
    drawn += [
        f'<text class="label" x="{x(number):.1f}" y="{_LINES_HEIGHT - 6}"'
        f' text-anchor="{anchor}">{_label(places[number])}</text>'
        for number, anchor in ends
    ]
    return _svg(title, _LINES_HEIGHT, drawn)


def _ticks(values: Sequence[int], *, from_zero: bool) -> list[int]:
    """Choose three to six round numbers that enclose all values."""
    high = max(values, default=0)
    low = 0 if from_zero else min(values, default=0)
    step = _round_step(max(1.0, (high - low) / 3))
    first = low // step * step
    ticks = [first]
    while ticks[-1] < high or len(ticks) < 3:
        ticks.append(ticks[-1] + step)
    return ticks


def _round_step(least: float) -> int:
    power = 10 ** (len(str(int(least))) - 1)
    return int(next(power * tick for tick in _TICKS if power * tick >= least and power * tick >= 1))


def _label(text: str) -> str:
    short = text if len(text) <= _LABEL_CHARACTERS else f"{text[: _LABEL_CHARACTERS - 1]}…"
    return escape(printable(short))


def _svg(title: str, height: float, drawn: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(printable(title))}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
    )
