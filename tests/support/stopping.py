"""Outputs whose driver ends at any of its steps, and what is left then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harvest.config import Config
from harvest.output import MANIFEST, LocalOutput
from harvest.output.lease import LEASE
from tests import conftest


class Stop(BaseException):
    """The process ends here."""


class Steps:
    """Counts the changes that this process makes to an output, and stops at one of them."""

    def __init__(self, stop_at: int) -> None:
        self.taken: list[str] = []
        self._stop_at = stop_at

    def take(self, what: str, name: str) -> None:
        if name == LEASE:
            return  # goes on beside the work
        self.taken.append(f"{what} {name}")
        if len(self.taken) == self._stop_at:
            raise Stop


@contextmanager
def stopping(at: int) -> Iterator[Steps]:
    """Raise `Stop` before the n-th change, or after the last one but its file's name."""
    steps = Steps(at)
    writing, remove = LocalOutput.writing, LocalOutput.remove

    @contextmanager
    def counted(self: LocalOutput, name: str) -> Iterator[Path]:
        steps.take("begin", name)
        with writing(self, name) as path:
            yield path
            steps.take("name", name)

    def removed(self: LocalOutput, name: str) -> None:
        steps.take("remove", name)
        remove(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalOutput, "writing", counted)
        patch.setattr(LocalOutput, "remove", removed)
        yield steps


def stop_everywhere(
    again: Callable[[], Config], begin: Callable[[Config], object], check: Callable[[Config], None]
) -> list[str]:
    """Stop something at its first step, its second, and so on; return the steps.

    Parameters
    ----------
    again
        Makes the output as it was before.
    begin
        What is stopped.
    check
        Is called after each stop.
    """
    at = 0
    while True:
        at += 1
        config = again()
        with stopping(at) as steps:
            try:
                begin(config)
            except Stop:
                pass
            else:
                return steps.taken
        check(config)


def check_manifest(output: Path) -> dict[str, Any]:
    """Check that the manifest's files are what it says, and alone; return it."""
    manifest: dict[str, Any] = json.loads((output / MANIFEST).read_text())
    listed = {file["name"]: file for files in manifest["tables"].values() for file in files}
    assert set(listed) == {str(path.relative_to(output)) for path in output.rglob("*.parquet")}
    for name, file in listed.items():
        content = (output / name).read_bytes()
        (count,) = conftest.table(f"SELECT count(*) AS n FROM '{output / name}'")
        found = (len(content), hashlib.sha256(content).hexdigest(), count["n"])
        assert (file["bytes"], file["sha256"], file["rows"]) == found, name
    assert manifest["rows"] == sum(file["rows"] for file in manifest["tables"]["instances"])
    return manifest
