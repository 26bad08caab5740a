"""Configs as text, and their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.config import parse_config
from harvest.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"

LEAST = "cohort: {sql: SELECT 1}\noutput: out\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        parse_config(text, "c.yaml")
    first, *rest = str(found.value).splitlines()
    assert first == f"c.yaml has {len(rest)} mistake(s):"
    return [line.strip() for line in rest]
