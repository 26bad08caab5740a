"""What the commands' tests share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import conftest
from tests.lab import Lab
from tests.support.commands import lab_config


@pytest.fixture(scope="module")
def finished(
    lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished output, and how its run ended."""
    folder = tmp_path_factory.mktemp("finished")
    ended = conftest.harvest("run", lab_config(lab, folder, scheduler), "--json")
    return folder / "out", ended
