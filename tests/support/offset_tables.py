"""Offset tables of six frames, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.build import JPEG
from tests.support.frames import basic_table, extended_table, item_starts, jpeg, multiframe, padded

FRAMES = [jpeg(50 + 17 * n, n) for n in range(6)]

WHOLE = [padded(frame) for frame in FRAMES]

TABLES = {"extended": extended_table, "basic": basic_table}


def wrong(kind: str, change: Callable[[list[int]], Any]) -> bytes:
    entries = item_starts(WHOLE)
    change(entries)
    lengths = [len(frame) for frame in (*FRAMES, b"??")][: len(entries)]
    told = [lengths] if kind == "extended" else []
    return multiframe(JPEG, TABLES[kind](FRAMES, entries, *told), 6)


def set_entry(number: int, value: int) -> Callable[[list[int]], None]:
    def change(entries: list[int]) -> None:
        entries[number] = value

    return change


WRONG: dict[str, tuple[Callable[[list[int]], Any], str]] = {
    "one too many": (lambda entries: entries.append(entries[-1] + 8), "7 entries for 6 frames"),
    "one too few": (lambda entries: entries.pop(), "5 entries for 6 frames"),
    "not 0": (set_entry(0, 8), "the {kind} table's first entry is not 0"),
    "not ascending": (set_entry(2, 500), "the {kind} table is not in ascending order"),
    "twice the same": (
        lambda entries: entries.__setitem__(2, entries[1]),
        "the {kind} table has a frame without bytes",
    ),
    "empty frame": (
        lambda entries: entries.__setitem__(2, entries[1] + 8),
        "the {kind} table has a frame without bytes",
    ),
    "odd": (
        lambda entries: entries.__setitem__(2, entries[2] + 1),
        "the {kind} table has odd offsets",
    ),
    "past the end": (set_entry(5, 10**6), "the {kind} table goes past the object's end"),
    "into the delimiter": (
        set_entry(5, sum(8 + len(frame) for frame in WHOLE) + 2),
        "the {kind} table goes past the object's end",
    ),
}
