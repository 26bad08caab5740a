"""The census of offset tables: objects of each kind in a harvest, as a table and a plot."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..config import OutputConfig
from ..dicom.offsets import OffsetTable
from ..errors import HarvestError
from ..meaning import install
from ..output.destination import write_whole
from ..show import size_text
from .queries import querying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Grouping = Literal["collection_id", "Modality"]
GROUPINGS: Final[tuple[Grouping, ...]] = ("collection_id", "Modality")
MOST_GROUPS: Final = 40
"""Drawn by themselves; the smaller ones are drawn together."""
OTHERS: Final = "all others"

_COLOURS: Final = {
    # of Okabe and Ito, told apart by every kind of sight; what lacks a table catches the eye
    OffsetTable.EXTENDED: "#0072B2",
    OffsetTable.BASIC: "#56B4E9",
    OffsetTable.BOTH: "#CC79A7",
    OffsetTable.EMPTY: "#D55E00",
    OffsetTable.DEFLATED: "#E69F00",
    OffsetTable.NATIVE: "#BBBBBB",
}
_INCHES_PER_GROUP: Final = 0.28
_SQL: Final = """
SELECT {group} AS "group", offset_table, offset_table_problem IS NOT NULL AS problem,
       count(*) AS objects, sum(size)::BIGINT AS bytes,
       sum(coalesce({frames}, 1))::BIGINT AS frames
FROM instances i {join}
WHERE i.status = 'ok' AND offset_table <> 'no_pixel_data'
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Count:
    """Objects of one kind in one group."""

    group: str
    """Collection or modality; empty where the harvest does not know it."""
    offset_table: str
    problem: bool
    """Whether something is wrong with the table."""
    objects: int
    bytes: int
    """Of the objects."""
    frames: int


def census(output: OutputConfig, by: Grouping | None = None) -> list[Count]:
    """Count the objects with pixels of a finished harvest by the kind of their offset table.

    Parameters
    ----------
    output
        Of the harvest.
    by
        Whether groups are collections, which a prefix or a folder has none of, or modalities;
        collections where None and there are any.

    Raises
    ------
    HarvestError
        The output is not finished, or has no such column.
    """
    with querying(output, dicom=False) as connection:
        columns, known = (
            {row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
            for table in ("instances", "series")
        )
        if by is None:
            by = "collection_id" if "collection_id" in known else "Modality"
        if by not in (known if by == "collection_id" else columns):
            raise HarvestError(
                f"this harvest has no column {by}: group by the other one, or harvest a cohort of "
                "the index with a profile that has Modality"
            )
        frames = "NumberOfFrames" if "NumberOfFrames" in columns else "NULL"
        join = "LEFT JOIN series s USING (crdc_series_uuid)" if by == "collection_id" else ""
        rows = connection.execute(_SQL.format(group=by, frames=frames, join=join)).fetchall()
    return [Count(group or "", *values) for group, *values in rows]


def write_census(counts: Sequence[Count], file: Path, title: str) -> None:
    """Draw a census as PNG.

    Parameters
    ----------
    counts
        As `census` gives them.
    file
        As `harvest.destination.local_file` gives it.
    title
        What was counted.

    Raises
    ------
    HarvestError
        matplotlib is not installed, or there is nothing to draw, or the file cannot be written.
    """
    if not counts:
        raise HarvestError("no object of this harvest has pixels: there is nothing to draw")
    drawn = io.BytesIO()
    _drawn(counts, title).savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    write_whole(file, drawn.getvalue())


def title_of(counts: Iterable[Count], output: str) -> str:
    """Say in a line what a census has counted."""
    objects, size, frames = (
        sum(each) for each in zip(*((c.objects, c.bytes, c.frames) for c in counts), strict=True)
    )
    return (
        f"Offset tables of {objects:,} objects with pixels, {size_text(size)}, {frames:,} frames: "
        f"{output}"
    )


def _drawn(counts: Sequence[Count], title: str) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise HarvestError(
            f"a picture needs matplotlib, which is not installed: {install('plot')}"
        ) from None
    merged = _merged(counts)
    groups = list(dict.fromkeys(each.group for each in merged))
    height = 2.4 + _INCHES_PER_GROUP * len(groups)
    # without pyplot, which would keep the figure and look for a screen
    figure = Figure(figsize=(11, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, groups, merged, "objects")
    _bars(right, groups, merged, "bytes")
    left.set_yticks(range(len(groups)), [_shown(group) for group in groups])
    left.invert_yaxis()
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure


def _shown(group: str) -> str:
    return group or "not known"


def _merged(counts: Iterable[Count]) -> list[Count]:
    """Order groups by their bytes; put together those that are too many to draw."""
    sizes: Counter[str] = Counter()
    for each in counts:
        sizes[each.group] += each.bytes
    order = [group for group, _ in sizes.most_common()]
    alone = order if len(order) <= MOST_GROUPS else order[: MOST_GROUPS - 1]
    return [
        each if each.group in alone else Count(OTHERS, *_values(each))
        for group in order
        for each in counts
        if each.group == group
    ]


def _values(count: Count) -> tuple[str, bool, int, int, int]:
    return count.offset_table, count.problem, count.objects, count.bytes, count.frames


def _bars(axes: Axes, groups: Sequence[str], counts: Sequence[Count], of: str) -> None:
    """Draw a bar for each group, in parts by the kind of table; shares, and the sum beside it."""
    totals: Counter[str] = Counter()
    for each in counts:
        totals[each.group] += getattr(each, of)
    begun = dict.fromkeys(groups, 0.0)
    for kind in _COLOURS:
        for problem in (False, True):
            sums: Counter[str] = Counter()
            for each in counts:
                if (each.offset_table, each.problem) == (kind, problem):
                    sums[each.group] += getattr(each, of)
            if not sums:
                continue
            shares = [100 * sums[group] / (totals[group] or 1) for group in groups]
            axes.barh(
                range(len(groups)),
                shares,
                left=[begun[group] for group in groups],
                height=0.8,
                color=_COLOURS[kind],
                hatch="////" if problem else None,
                edgecolor="white",
                linewidth=0.3,
                label=f"{kind}, with a problem" if problem else str(kind),
            )
            for group, share in zip(groups, shares, strict=True):
                begun[group] += share
    for place, group in enumerate(groups):
        total = totals[group]
        text = size_text(total) if of == "bytes" else f"{total:,}"
        axes.text(101, place, text, va="center", fontsize=8, color="#444444")
    axes.set_xlim(0, 120)
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axes.set_title(f"by {of}", fontsize=10, loc="left")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def shown(counts: Iterable[Count]) -> list[list[Any]]:
    """Return the rows of a census as people want to see them."""
    return [
        [
            _shown(each.group),
            each.offset_table,
            "yes" if each.problem else "",
            f"{each.objects:,}",
            size_text(each.bytes),
            f"{each.frames:,}",
        ]
        for each in counts
    ]
