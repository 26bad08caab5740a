"""JSON files of an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.errors import OutputError
from harvest.output import FORMAT_VERSION, MANIFEST, LocalOutput
from harvest.output.documents import find_json, finished, read_json, write_json
from harvest.plan.stored import load_plan


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def test_json(output: LocalOutput) -> None:
    write_json(output, "a.json", {"ü": [1, None]})
    assert read_json(output, "a.json") == find_json(output, "a.json") == {"ü": [1, None]}


def test_what_is_not_there(output: LocalOutput) -> None:
    assert find_json(output, "a.json") is None
    with pytest.raises(OutputError, match="no finished harvest"):
        finished(output, "out")


def test_a_later_format_is_refused_with_what_to_do(output: LocalOutput) -> None:
    told = {"format_version": FORMAT_VERSION + 1, "versions": {"harvest": "9.9"}}
    write_json(output, MANIFEST, told)
    with pytest.raises(OutputError, match=r"format 2 of harvest 9\.9.*up to 1: install that one"):
        finished(output, "out")
    write_json(output, MANIFEST, {**told, "format_version": FORMAT_VERSION})
    assert finished(output, "out")["format_version"] == FORMAT_VERSION


def test_what_goes_while_it_is_looked_for_is_not_there(
    output: LocalOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "exists", lambda name: True)
    assert load_plan(output) is None
    with pytest.raises(OutputError, match="no finished harvest"):
        finished(output, "out")
