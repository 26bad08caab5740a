"""The folder of an audit's snapshots: one finished harvest each, named by UTC to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ..config import OutputConfig
from . import MANIFEST, TABLES, Output, open_output

REPORT: Final = "report.json"
"""Written last: a snapshot with it is complete, and is never changed again."""
PAGE: Final = "report.html"
DIFF: Final = "diff"
"""Folder of the tables that tell what changed."""
LISTINGS_FOLDER: Final = "listings"
"""Folder of the table of what both clouds hold."""
_FILES: Final = frozenset((*TABLES, DIFF, LISTINGS_FOLDER, PAGE, REPORT))
"""Of a snapshot, beside its manifest."""
_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"\d{8}T\d{6}Z")


def snapshot_names(folder: Output) -> list[str]:
    """List the snapshots of a folder, oldest first, whatever their state."""
    return [name for name in folder.folders() if _NAME.fullmatch(name)]


def complete_names(folder: Output, names: list[str]) -> list[str]:
    """Return those snapshots of a folder that have their report."""
    return [name for name in names if folder.exists(f"{name}/{REPORT}")]


def time_of(name: str) -> datetime:
    """Return when a snapshot was begun."""
    return datetime.strptime(name, _FORMAT).replace(tzinfo=UTC)


def snapshot_config(folder: OutputConfig, name: str) -> OutputConfig:
    """Describe the output that a snapshot is."""
    return folder.model_copy(update={"url": f"{folder.url.rstrip('/')}/{name}"})


def new_name(existing: list[str], now: datetime | None = None) -> str:
    """Name a new snapshot by the time, later than all others.

    Parameters
    ----------
    existing
        Names of the others.
    now
        The time; None for this machine's clock.
    """
    time = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    if existing:
        time = max(time, time_of(max(existing)) + timedelta(seconds=1))
    return time.strftime(_FORMAT)


def newest(config: OutputConfig) -> OutputConfig:
    """Return the newest snapshot of a folder of audits; any other output is itself."""
    return _newest(config, finished=False)


def newest_complete(config: OutputConfig) -> OutputConfig:
    """Return the newest snapshot of a folder of audits that has its tables.

    An output that is no folder of audits, or has no such snapshot, is itself.
    """
    return _newest(config, finished=True)


def _newest(config: OutputConfig, *, finished: bool) -> OutputConfig:
    folder = open_output(config)
    if folder.exists(MANIFEST):
        return config
    for name in reversed(snapshot_names(folder)):
        if not finished or folder.exists(f"{name}/{MANIFEST}"):
            return snapshot_config(config, name)
    return config


def remove_old(config: OutputConfig, keep: int | None) -> list[str]:
    """Remove the oldest snapshots, and what interrupted audits have left.

    Parameters
    ----------
    config
        Of the folder of the snapshots.
    keep
        How many complete ones stay; all if None. A harvest without a report always stays: it is
        no audit's, or nobody has seen it yet.

    Returns
    -------
    list of str
        Names of the complete ones that are gone.
    """
    folder = open_output(config)
    names = snapshot_names(folder)
    complete = complete_names(folder, names)
    old = complete[:-keep] if keep is not None else []
    left = [
        name
        for name in names
        if complete and name < complete[-1] and _is_left(snapshot_config(config, name))
    ]
    for name in (*old, *left):
        # what is removed half is no snapshot any more
        folder.remove(f"{name}/{REPORT}")
        folder.remove(f"{name}/{MANIFEST}")
        folder.remove(name)
    return old


def _is_left(snapshot: OutputConfig) -> bool:
    """Tell whether a folder holds a part of a snapshot, and nothing that is not of one."""
    output = open_output(snapshot)
    return not output.exists(MANIFEST) and set(output.strangers()) <= _FILES
