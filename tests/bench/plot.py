"""``python plot.py results.json results.svg``: CPU time of every way, over the floor's."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

LABELS = {
    "floor": "floor: the header's bytes alone",
    "ours": "harvest run",
    "ours_json": "harvest run, header: json",
    "obstore_range": "obstore 16 KiB + dcmread",
    "s5cmd": "s5cmd download + dcmread",
    "gcs_open": "google-cloud-storage + dcmread",
    "boto3_range": "boto3 16 KiB + dcmread",
    "boto3_range_json": "boto3 16 KiB + to_json_dict",
    "boto3_whole": "boto3 whole object + dcmread",
    "smart_open": "smart_open + dcmread",
}
OURS = ("ours", "ours_json")
# both colours and the grey are legible on a white and on a black page
OUR_COLOUR, THEIR_COLOUR, TEXT_COLOUR = "#d9822b", "#5b8db8", "#808890"


def bars(found: dict[str, Any], name: str) -> list[tuple[str, float]]:
    """Return the ways that were measured on a set and how they compare, the dearest first."""
    ways = found["sets"][name]["ways"]
    made = [
        (way, statistics.median(ways[way]["to_floor"]))
        for way in LABELS
        if way in ways and ways[way]["to_floor"]
    ]
    return sorted(made, key=lambda each: -each[1])


def draw(found: dict[str, Any], target: Path) -> None:
    """Draw a panel for each of the two sets of single images."""
    names = [name for name in ("ct", "mr") if name in found["sets"] and bars(found, name)]
    if not names:
        raise SystemExit("nothing to draw: the floor was not measured on ct or mr")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    figure, panels = plt.subplots(1, len(names), figsize=(4.9 * len(names), 3.2), squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        rows = bars(found, name)
        for place, (way, value) in enumerate(rows):
            colour = OUR_COLOUR if way in OURS else THEIR_COLOUR
            axes.barh(place, value, left=0, height=0.7, color=colour)
            figures = f" {value:.1f}" if value < 10 else f" {value:.0f}"
            axes.text(value, place, figures, va="center", color=TEXT_COLOUR)
        axes.set_xscale("log")
        axes.set_xlim(0.8, 3 * max(value for _, value in rows))
        axes.set_yticks(range(len(rows)), [LABELS[way] for way, _ in rows], color=TEXT_COLOUR)
        kilobytes = found["sets"][name]["header_bytes"] / 1e3
        axes.set_title(f"{name.upper()}, headers of {kilobytes:.0f} kB", color=TEXT_COLOUR)
        axes.set_xlabel("CPU time of an object, floor = 1", color=TEXT_COLOUR)
        axes.tick_params(colors=TEXT_COLOUR, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(TEXT_COLOUR)
    figure.tight_layout()
    figure.savefig(target, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
