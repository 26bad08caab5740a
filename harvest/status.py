"""How far a harvest is, from its output alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import OutputError
from .output import MANIFEST, open_output
from .plan import load_plan
from .table import part_name, parts_folder, read_json


@dataclass(frozen=True, slots=True)
class Status:
    """What an output holds."""

    output: str
    state: Literal["planned", "running", "complete"]
    rows: int
    """Of the plan."""
    done: int
    """Rows that were read."""
    ok: int | None = None
    """Rows with status ok; None until complete."""
    errors: dict[str, int] | None = None
    """Rows by kind of error; None until complete."""
    sample: int | None = None
    missing: int = 0
    """Objects that the index counts and the listing lacked."""
    surplus: int = 0


def read_status(location: str) -> Status:
    """Tell how far a harvest is.

    Parameters
    ----------
    location
        The output.

    Raises
    ------
    OutputError
        There is no plan.
    """
    output = open_output(location)
    plan = load_plan(output)
    if plan is None:
        raise OutputError(f"{location} holds no harvest: `harvest run CONFIG` begins one")
    sample = plan.asked["cohort"].get("sample")
    if output.exists(MANIFEST):
        manifest = read_json(output, MANIFEST)
        return Status(
            location,
            "complete",
            plan.rows,
            plan.rows,
            manifest["ok"],
            manifest["errors"],
            sample,
            plan.missing,
            plan.surplus,
        )
    parts = set(output.names(parts_folder(plan.identity)))
    done = sum(p.rows for p in plan.partitions if part_name(plan.identity, p.number) in parts)
    state: Literal["planned", "running"] = "running" if parts else "planned"
    return Status(location, state, plan.rows, done, None, None, sample, plan.missing, plan.surplus)
