"""JSON files of an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.output import LocalOutput
from harvest.output.documents import read_json, write_json


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def test_json(output: LocalOutput) -> None:
    write_json(output, "a.json", {"ü": [1, None]})
    assert read_json(output, "a.json") == {"ü": [1, None]}
