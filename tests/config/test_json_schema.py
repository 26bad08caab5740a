"""The JSON Schema of the config agrees with what the config itself takes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from harvest.config import parse_config
from harvest.config.json_schema import DIALECT, config_schema
from harvest.errors import ConfigError
from tests import conftest

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SOUND = {"cohort": {"prefix": "/data/"}, "output": "out"}


def mistakes(content: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(config_schema())
    return [error.message for error in validator.iter_errors(content)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    assert config_schema()["$schema"] == DIALECT


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_ready_configs_fit(path: Path) -> None:
    assert mistakes(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "more",
    [
        {"output": {"url": "s3://mine/out", "endpoint": "http://127.0.0.1:9000"}},
        {"limits": {"header_bytes": "16MiB"}},
        {"read": {"profile": ["ct", "mr"], "frames": "scan"}},
        {"cluster": {"class": "distributed.LocalCluster", "scale": {"workers": 2}}},
    ],
)
def test_what_the_config_takes_fits(more: dict[str, Any]) -> None:
    content = {**SOUND, **more}
    parse_config(yaml.safe_dump(content))
    assert mistakes(content) == []


@pytest.mark.parametrize(
    "more",
    [
        {"surce": {}},
        {"source": {"cloud": "azure"}},
        {"source": {"anonymous": [1]}},
        {"read": {"frames": "all"}},
        {"limits": {"concurrency": 0}},
        {"limits": {"max_error_rate": 2}},
        {"cluster": {"workers": -1}},
        {"output": 3},
        {"audit": {"rules": [{"name": "a", "severity": "fatal", "description": "x"}]}},
    ],
)
def test_what_the_config_refuses_does_not_fit(more: dict[str, Any]) -> None:
    content = {**SOUND, **more}
    with pytest.raises(ConfigError):
        parse_config(yaml.safe_dump(content))
    assert mistakes(content)


def test_the_command_prints_it() -> None:
    ended = conftest.harvest("schema")
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == config_schema()
    assert conftest.harvest("schema", "--json").stdout == ended.stdout
