"""The stored plan of an output: what a run reads, and how it is told from another plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from ..config import Config
from ..dicom.tags import Wanted, leaves, open_paths
from ..errors import OutputError
from ..output import FORMAT_VERSION, PLAN, Output
from ..output.documents import find_json
from ..table.parts import Part, part_of

PLAN_FILE: Final = f"{PLAN}/plan.json"


@dataclass(frozen=True, slots=True)
class Partition:
    """Consecutive rows of the plan, read by one task."""

    number: int
    rows: int
    file: int
    """Number of the final file that holds its rows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A series whose objects are not as many as the index says."""

    crdc_series_uuid: str
    expected: int
    listed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will read; stored in the output."""

    identity: str
    """Hash of the rows and of everything that decides what the tables hold."""
    asked: dict[str, Any]
    """What of the config makes the plan: cohort, cloud, profile, tags, header, frames."""
    series: int
    rows: int
    bytes: int
    """Of the objects, where they were listed."""
    partitions: tuple[Partition, ...]
    missing: int = 0
    """Objects that the index counts and the listing lacks."""
    surplus: int = 0
    """Objects that the listing has beyond the index's counts."""
    differences: tuple[Difference, ...] = field(default=())
    """The first series with missing or surplus objects."""
    format_version: int = FORMAT_VERSION
    harvest_version: str = version("harvest")

    @property
    def with_frames(self) -> bool:
        """Whether there is a ``frames`` table."""
        return bool(self.asked["frames"] != "none")

    @property
    def with_scans(self) -> bool:
        """Whether objects may be read whole to find their frames."""
        return bool(self.asked["frames"] == "scan")

    def part(self, partition: int) -> Part:
        """Name the result of a partition."""
        return part_of(self.identity, partition)


def asked(config: Config) -> dict[str, Any]:
    """Return what of a config makes a plan; two configs that differ elsewhere share it."""
    skip = {"skip": sorted(config.read.skip)} if config.read.skip else {}
    return {
        **skip,
        "cohort": config.cohort.model_dump(exclude_none=True),
        "cloud": config.source.cloud,
        "profile": list(config.read.profiles),
        "tags": list(config.read.tags),
        "columns": columns_digest(config.read.wanted),
        "header": config.read.header,
        "frames": config.read.frames,
    }


def columns_digest(wanted: Wanted) -> str:
    """Hash what the columns are: a profile may change under the same name."""
    columns: list[object] = [(leaf.path, leaf.vr, leaf.vm) for leaf in leaves(wanted.attributes)]
    if wanted.open:
        columns += [wanted.everything, sorted(wanted.skipped), *open_paths(wanted.attributes)]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def load_plan(output: Output) -> Plan | None:
    """Return the stored plan, None if there is none.

    Raises
    ------
    OutputError
        It has another format.
    """
    content = find_json(output, PLAN_FILE)
    if content is None:
        return None
    if content["format_version"] != FORMAT_VERSION:
        raise OutputError(
            f"output {output.location} has format {content['format_version']} of harvest "
            f"{content['harvest_version']}, and this harvest has format {FORMAT_VERSION}: "
            "name another output"
        )
    return Plan(
        **{
            **content,
            "partitions": tuple(Partition(**entry) for entry in content["partitions"]),
            "differences": tuple(Difference(**entry) for entry in content["differences"]),
        }
    )


def check_output(output: Output, config: Config) -> Plan | None:
    """Return the stored plan if it is this config's, None if the output is still empty.

    Raises
    ------
    OutputError
        The output holds something else, another plan, or another format.
    """
    plan = load_plan(output)
    if plan is None:
        strangers = output.strangers()
        if strangers:
            raise OutputError(
                f"output {output.location} holds something else ({', '.join(strangers[:3])}): "
                "name an empty folder"
            )
        return None
    now = asked(config)
    names = {**now, **plan.asked}
    differing = [name for name in names if now.get(name) != plan.asked.get(name)]
    if differing:
        changes = "; ".join(f"{n}: {plan.asked.get(n)!r}, now {now.get(n)!r}" for n in differing)
        raise OutputError(
            f"output {output.location} belongs to another plan ({changes}): "
            "name another output, or restore the config"
        )
    return plan
