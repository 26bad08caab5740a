"""``python plot.py results.json results.svg``: requests, bytes and seconds of a region."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.ticker

mpl.use("svg")
import matplotlib.pyplot as plt

ROWS: Final = (
    ("smart_open", "s3", False, "smart_open + highdicom"),
    ("s3fs", "s3", False, "s3fs + highdicom"),
    ("gcs_blob", "gcs", False, "GCS blob + highdicom"),
    ("wsidicom", "s3", False, "wsidicom over s3fs"),
    ("harvest_open", "s3", False, "harvest.open + highdicom"),
    ("harvest_open", "s3", True, "harvest.open with an index + highdicom"),
    ("harvest_region", "s3", False, "harvest.read_region"),
    ("harvest_region", "s3", True, "harvest.read_region with an index"),
)
TABLES: Final = (("basic", "basic offset table"), ("none", "no offset table"))
MEASURES: Final = (("requests", 1, "requests"), ("bytes", 1e6, "MB"), ("seconds", 1, "seconds"))
# both colours and the grey are legible on a white and on a black page
OUR_COLOUR, THEIR_COLOUR, TEXT_COLOUR = "#d9822b", "#5b8db8", "#808890"


def cost(found: dict[str, Any], way: str, cloud: str, index: bool, table: str, of: str) -> float:
    """Return what opening and reading took together; NaN where it was not measured."""
    for case in found["cases"]:
        named = (case["way"], case["cloud"], case["indexed"], case["table"])
        if named == (way, cloud, index, table) and case["region"]:
            steps = (case["opening"], case["region"])
            return float(sum(statistics.median(each[of] for each in step) for step in steps))
    return float("nan")


def draw(found: dict[str, Any], target: Path) -> None:
    """Draw a panel for each measure, with a bar for each way and kind of file."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    figure, panels = plt.subplots(2, 3, figsize=(11, 5.6), sharey=True)
    for line, (table, title) in zip(panels, TABLES, strict=True):
        for axes, (of, unit, label) in zip(line, MEASURES, strict=True):
            values = [cost(found, *row[:3], table, of) / unit for row in ROWS]
            colours = [OUR_COLOUR if row[0].startswith("harvest") else THEIR_COLOUR for row in ROWS]
            axes.barh(range(len(ROWS)), values, height=0.7, color=colours)
            for place, value in enumerate(values):
                if value == value:
                    text = f" {value:.2g}" if value < 10 else f" {value:,.0f}"
                    axes.text(value, place, text, va="center", color=TEXT_COLOUR)
            axes.set_xscale("log")
            left, right = axes.get_xlim()
            axes.set_xlim(left, 4 * right)
            # the figures stand beside the bars
            axes.xaxis.set_major_locator(matplotlib.ticker.NullLocator())
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axes.set_title(f"{title}: {label}", color=TEXT_COLOUR)
            axes.set_yticks(range(len(ROWS)), [row[3] for row in ROWS], color=TEXT_COLOUR)
            axes.tick_params(colors=TEXT_COLOUR, length=0)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(TEXT_COLOUR)
    panels[0][0].invert_yaxis()
    figure.suptitle(
        f"A region of 512 x 512 pixels of a slide of {found['across'] ** 2:,} tiles, "
        "20 ms to the store",
        color=TEXT_COLOUR,
    )
    figure.tight_layout()
    figure.savefig(target, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
