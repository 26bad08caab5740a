"""``python -m tests.bench.idc``: what all of IDC would take, from the last benchmark's figures."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from harvest.cohort.idc_index import MAIN_TABLE, installed_release, table_files
from tests.bench.results import FILE, OURS, load, median

CORES: Final = (16, 128, 1_024)
SETS: Final[Mapping[str, str]] = {
    "CT": "ct",
    "PT": "ct",
    "MR": "mr",
    "SM": "slides",
    "ANN": "slides",
    "SEG": "seg",
}
"""The set that stands for a modality; all others are as the mixed files."""
_OTHERS: Final = "mixed"
_KEYS_PER_LIST: Final = 1_000

FORMULA: Final = """\
requests = instances x (requests of an object) + instances / 1,000 for listing by bucket shards;
TB read = instances x (body bytes of an object) / 10^12;
core hours = instances x (CPU of an object) / 3,600 s;
hours on n cores = core hours / n, if the stores answer as fast as that."""


@dataclass(frozen=True)
class Group:
    """The modalities that one set stands for."""

    name: str
    series: int
    instances: int
    terabytes: float
    """Of the objects."""


@dataclass(frozen=True)
class Measured:
    """What an object of a set cost, as the benchmark found it."""

    requests: float
    body_bytes: float
    cpu_ms: float


@dataclass(frozen=True)
class Cost:
    """What reading many objects would take."""

    name: str
    instances: int
    requests: float
    terabytes_read: float
    core_hours: float


def groups(index: Path) -> list[Group]:
    """Count IDC's series and instances by the set that stands for their modality."""
    whens = " ".join(f"WHEN '{modality}' THEN '{name}'" for modality, name in SETS.items())
    rows = duckdb.execute(
        f"SELECT CASE Modality {whens} ELSE '{_OTHERS}' END AS name, count(*), "
        "sum(instanceCount), sum(series_size_MB) / 1e6 "
        "FROM read_parquet(?) GROUP BY ALL ORDER BY 3 DESC",
        [str(index)],
    ).fetchall()
    return [Group(name, int(series), int(count), float(size)) for name, series, count, size in rows]


def measured(found: Mapping[str, Any]) -> dict[str, Measured]:
    """Take what an object cost harvest from the results, by set.

    Raises
    ------
    ValueError
        A set was not measured.
    """
    missing = {*SETS.values(), _OTHERS} - found["sets"].keys()
    if missing:
        raise ValueError(f"the results lack {sorted(missing)}: run the whole of make bench")
    made = {}
    for name, each in found["sets"].items():
        way = each["ways"][OURS]
        wire = way["wire"]
        cpu = median(way["cpu_ms"])
        assert cpu is not None
        count = wire["objects"]
        made[name] = Measured(wire["requests"] / count, wire["body_bytes"] / count, cpu)
    return made


def cost(group: Group, each: Measured) -> Cost:
    """Apply `FORMULA`."""
    return Cost(
        name=group.name,
        instances=group.instances,
        requests=group.instances * each.requests + group.instances / _KEYS_PER_LIST,
        terabytes_read=group.instances * each.body_bytes / 1e12,
        core_hours=group.instances * each.cpu_ms / 1e3 / 3_600,
    )


def total(costs: Iterable[Cost]) -> Cost:
    """Add costs up."""
    found = list(costs)
    return Cost(
        "all of IDC",
        sum(each.instances for each in found),
        sum(each.requests for each in found),
        sum(each.terabytes_read for each in found),
        sum(each.core_hours for each in found),
    )


def markdown(found: list[Group], of: Mapping[str, Measured]) -> str:
    """Write the table as Markdown."""
    costs = [cost(group, of[group.name]) for group in found]
    modalities = {
        name: ", ".join(modality for modality, other in SETS.items() if other == name)
        for name in of
    } | {_OTHERS: "all others"}
    hours = "".join(f" hours on {cores:,} cores |" for cores in CORES)
    lines = [
        f"| modality | measured on | instances | TB | requests | TB read | core hours |{hours}",
        "|---|---|" + "---:|" * (5 + len(CORES)),
    ]
    sizes = [group.terabytes for group in found]
    rows = [*zip(costs, sizes, strict=True), (total(costs), sum(sizes))]
    for each, size in rows:
        spread = "".join(f" {each.core_hours / cores:,.2f} |" for cores in CORES)
        of_set = each.name if each.name in of else ""
        lines.append(
            f"| {modalities.get(each.name, each.name)} | {of_set} | {each.instances:,} | "
            f"{size:,.1f} | {each.requests / 1e6:,.1f} M | {each.terabytes_read:,.2f} | "
            f"{each.core_hours:,.1f} |{spread}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table and how it was made."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idc", description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=FILE)
    options = parser.parse_args()
    index = table_files([MAIN_TABLE], fetch=False)[MAIN_TABLE]
    print(markdown(groups(index), measured(load(options.results))))
    print(f"\nIDC v{installed_release()}. {FORMULA}")


if __name__ == "__main__":
    main()
