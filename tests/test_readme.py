"""What the README shows is true: its queries run, its commands exist, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import click
import duckdb
import pytest
import yaml

import harvest
from harvest.cli import main
from harvest.config import ClusterConfig, Config, parse_config
from tests import readme
from tests.lab import Lab

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PROFILES = ["ct", "mr", "sm", "seg"]


# tests/test_cookbook.py has the cookbook's queries, each with the profiles it names
NOT_READ = README.partition("\n## What could not be read\n")[2].partition("\n## ")[0]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def connection(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    output = tmp_path_factory.mktemp("readme") / "out"
    config = {
        "cohort": {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(lab.index)},
        "source": {"endpoint": lab.s3.endpoint},
        "read": {"profile": PROFILES},
        "output": str(output),
        "cluster": {"workers": 2},
    }
    harvest.run(Config.model_validate(config))
    return harvest.connect(str(output))


@pytest.mark.parametrize("sql", blocks("sql", NOT_READ))
def test_query(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert connection.execute(sql).fetchall()


def test_there_are_ten_queries() -> None:
    assert len(blocks("sql", NOT_READ)) == 1


def test_the_config_shown_is_one() -> None:
    shown, cluster = blocks("yaml")
    fields = ClusterConfig.model_fields.items()
    keys = {field.alias or name for name, field in fields} - {"workers", "address"}
    assert set(yaml.safe_load(cluster)["cluster"]) == keys
    config = parse_config(shown)
    # every key that there is, stands there
    keys = set(re.findall(r"(\w+):", shown))
    for section in type(config).model_fields:
        assert section in keys


def test_commands_shown_exist() -> None:
    shown = set(re.findall(r"harvest (\w+) ", "".join(blocks("bash"))))
    assert shown <= set(main.commands)
    context = click.Context(main)
    for name in main.commands:
        command = main.get_command(context, name)
        assert command is not None
        assert "--json" in command.get_help(click.Context(command, info_name=name))


def test_tables_are_those_of_the_code() -> None:
    assert readme.written(README) == README, "make readme writes the tables anew"
    assert set(re.findall(r"<!-- table: (\w+) -->", README)) == set(readme.TABLES)


def test_every_key_and_column_has_its_meaning() -> None:
    for name in set(readme.TABLES) - {"rule_sets"}:
        empty = [row for row in readme.TABLES[name]() if "|  |" in row.removesuffix("|  |")]
        assert not [row for row in empty if not row.startswith("| `audit.other_cloud`")], name


def test_packages_are_those_of_the_code() -> None:
    shown = re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE)
    folders = Path(harvest.__file__).parent.glob("*/__init__.py")
    assert set(shown) == {path.parent.name for path in folders}


def test_ready_configs_are_valid() -> None:
    for path in (Path(__file__).parent.parent / "configs").glob("*.yaml"):
        config = parse_config(path.read_text(encoding="utf-8"), path.name)
        assert f"configs/{path.name}" in README
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["output"] == config.output.url
