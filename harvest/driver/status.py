"""How far a harvest is, from its output alone."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import OutputConfig, output_of
from ..errors import OutputError
from ..meaning import Meaning
from ..output import MANIFEST, Output, open_output
from ..output.documents import read_json
from ..output.lease import LEASE
from ..output.snapshots import newest
from ..plan.stored import Plan, load_plan
from ..table.parts import parts_folder
from .record import RunRecord, read_record


class State(Meaning):
    """How far a harvest is."""

    PLANNED = "planned", "no part has been read: `harvest run CONFIG` reads it"
    UNFINISHED = "unfinished", "parts have been read: `harvest run CONFIG` goes on"
    RUNNING = "running", "a harvest holds the output, or was killed: `harvest run CONFIG` tells"
    COMPLETE = "complete", "the tables are there"


@dataclass(frozen=True, slots=True)
class Status:
    """What an output holds."""

    output: str
    state: State
    rows: int
    """Of the plan."""
    done: int
    """Rows that were read."""
    ok: int | None = None
    """Rows with status ok, of a run that goes on as it told last; None where nothing is told."""
    errors: dict[str, int] | None = None
    """Rows by kind of error; likewise."""
    sample: int | None = None
    missing: int = 0
    """Objects that the index counts and the listing lacked."""
    surplus: int = 0
    run: RunRecord | None = None
    """What the runs told of themselves: speed, workers, traffic, times; None where nothing."""


def read_status(location: str | OutputConfig) -> Status:
    """Tell how far a harvest is.

    Parameters
    ----------
    location
        Of the output: a folder, a bucket's URL, or the config's section; of a folder of audits
        the newest snapshot is meant.

    Raises
    ------
    OutputError
        There is no plan.
    """
    output = open_output(newest(output_of(location)))
    plan = load_plan(output)
    if plan is None:
        raise OutputError(f"{output.location} holds no harvest: `harvest run CONFIG` begins one")
    told = read_record(output, plan.identity)
    state, done = _progress(plan, output)
    # what is committed counts; until then, what the driver told last
    found = read_json(output, MANIFEST) if state == State.COMPLETE else vars(told) if told else {}
    return Status(
        output=output.location,
        state=state,
        rows=plan.rows,
        done=done,
        ok=found.get("ok"),
        errors=found.get("errors"),
        sample=plan.asked["cohort"].get("sample"),
        missing=plan.missing,
        surplus=plan.surplus,
        run=told,
    )


def _progress(plan: Plan, output: Output) -> tuple[State, int]:
    """Return the state, and how many rows of the plan were read."""
    if output.exists(MANIFEST):
        return State.COMPLETE, plan.rows
    parts = set(output.names(parts_folder(plan.identity)))
    done = sum(p.rows for p in plan.partitions if plan.part(p.number).name in parts)
    # a lease that nobody renews any more looks the same: who runs again will tell
    state = State.UNFINISHED if parts else State.PLANNED
    return State.RUNNING if output.exists(LEASE) else state, done
