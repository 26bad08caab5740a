"""Words with meanings are the words themselves, and extras are those of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

from harvest.frames import FrameSource
from harvest.meaning import EXTRAS, install

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_a_word_is_its_value() -> None:
    assert FrameSource("scan") is FrameSource.SCAN
    assert f"{FrameSource.SCAN}" == "scan"
    assert FrameSource.SCAN.meaning == "a walk over the items"
    assert "native (arithmetic)" in FrameSource.told()


def test_extras_are_those_that_can_be_installed() -> None:
    found = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(found) - {"dev", "fuzz", "mutants"}
    assert install("plot") == "pip install 'harvest[plot]'"
