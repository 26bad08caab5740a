"""Tables of the results for a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.reading import LATENCIES_MS
from tests.bench.results import TITLES, Goal, Results, SetResults, Way, goals, median

_WIDTH: Final = 160


def show(found: Results) -> None:
    """Print everything."""
    console = Console(width=_WIDTH)
    console.print(" ".join(f"{name} {value};" for name, value in found.machine.items()))
    for name, each in found.sets.items():
        console.print(_set_table(name, each))
    if found.tls:
        console.print(_tls_table(found.tls))
    _say_rest(console, found)
    console.print(_goal_table(goals(found)))


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _set_table(name: str, found: SetResults) -> Table:
    title = (
        f"{name}: {found.objects:,} objects of {found.object_bytes / 1e3:,.0f} kB, "
        f"headers of {found.header_bytes / 1e3:,.1f} kB on average"
    )
    away = [str(latency) for latency in LATENCIES_MS]
    with_walls = any(way.wall_ms for way in found.ways.values())
    if with_walls:
        title += "; wall times of harvest with one worker, start-up excluded"
    table = Table(title=title, title_justify="left")
    table.add_column("way", min_width=46)
    for column in ("CPU ms", "over floor", "requests", "bytes / header", "listings"):
        table.add_column(column, justify="right")
    for latency in away if with_walls else ():
        table.add_column(f"wall ms, +{latency} ms", justify="right")
    for key in TITLES:
        way = found.ways.get(key)
        if way is None:
            continue
        wire = way.wire
        table.add_row(
            TITLES[key],
            _number(median(way.cpu_ms), 3),
            _number(median(way.to_floor)),
            _number(wire.requests / wire.objects, 3) if wire else "",
            _number(wire.body_bytes / wire.header_bytes) if wire else "",
            str(wire.listings) if wire else "",
            *(_number(way.wall_ms.get(latency), 2) for latency in away if with_walls),
        )
    return table


def _tls_table(ways: dict[str, Way]) -> Table:
    table = Table(title="ct with TLS in front", title_justify="left")
    table.add_column("way", min_width=46)
    table.add_column("CPU ms", justify="right")
    table.add_column("over floor", justify="right")
    for key in TITLES:
        if key in ways:
            way = ways[key]
            cells = _number(median(way.cpu_ms), 3), _number(median(way.to_floor))
            table.add_row(TITLES[key], *cells)
    return table


def _say_rest(console: Console, found: Results) -> None:
    for name, each in found.sets.items():
        for way in each.ways.values():
            if way.told and way.wire:
                console.print(
                    f"{name}: the table tells {way.told.requests:,} requests and "
                    f"{way.told.bytes_read:,} bytes; the relay counted {way.wire.requests:,} and "
                    f"{way.wire.body_bytes:,}, and {way.wire.head_bytes:,} bytes of heads"
                )
    if found.startup:
        console.print(
            f"start-up of harvest run: {found.startup['cpu']:.1f} s CPU, "
            f"{found.startup['wall']:.1f} s wall"
        )
    if found.tree_cpu:
        console.print(
            f"CPU of a process tree: {found.tree_cpu['wait4']:.2f} s by wait4, "
            f"{found.tree_cpu['proc']:.2f} s seen in /proc"
        )
    if found.one_worker:
        worker = found.one_worker
        console.print(
            f"one worker, 20 ms away: {worker.wall_ms:.3f} ms an object, "
            f"{100 * worker.busy:.0f} % of a core for the whole tree"
        )
    if found.relay_per_second:
        console.print(
            f"the relay has time for {found.relay_per_second:,.0f} requests/s on a core of its own"
        )
    for reason in found.missing:
        console.print(f"not measured: {reason}")


def _goal_table(found: list[Goal]) -> Table:
    table = Table(title="goals (not asserted)", title_justify="left")
    for column in ("goal", "limit", "measured", ""):
        table.add_column(column, justify="left" if column == "goal" else "right")
    for goal in found:
        sign = ">=" if goal.at_least else "<="
        met = {None: "not measured", True: "met", False: "missed"}[goal.met]
        table.add_row(goal.name, f"{sign} {goal.limit:g}", _number(goal.figure), met)
    return table
