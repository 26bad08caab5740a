"""What all commands have in common: help, exit codes, messages, and ends that are no bugs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harvest.cli import group
from harvest.errors import ErrorKind, ObjectError
from tests import conftest
from tests.conftest import HARVEST

COMMANDS = ("plan", "run", "status", "query", "index", "columns", "frames", "read", "region")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command: str) -> None:
    ended = conftest.harvest(command, "--help")
    assert ended.returncode == 0
    assert f"  harvest {command} " in ended.stdout
    assert "Example" in ended.stdout
    assert "--json" in ended.stdout
    assert ended.stderr == ""


def test_help_lists_the_commands_and_exit_codes() -> None:
    ended = conftest.harvest("--help")
    assert ended.returncode == 0
    for word in (*COMMANDS, "75", "70"):
        assert word in ended.stdout
    assert conftest.harvest("-h").stdout == ended.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['harvest', '--help']\n"
        "from harvest.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'distributed', 'dask', 'pydicom', 'pyarrow', 'duckdb', 'pandas', 'numpy',\n"
        "         'boto3', 'google.cloud.storage', 'obstore', 'idc_index', 'pydantic'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "heavy: []" in ended.stdout


def test_version() -> None:
    from harvest import __version__

    assert __version__ in conftest.harvest("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("harvest-everything",),
        ("run",),
        ("run", "a", "b"),
        ("query", "out"),
        ("run", "--no"),
        ("columns", "out", "--dest", "a.parquet"),
        ("columns", "out", "--tags", "StudyID"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    ended = conftest.harvest(*arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Usage" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read", "ftp://host/x"), "no s3://"),
        (("read", "s3://b/k", "--endpoint", "http://example.org"), "plain http"),
        (("read", "s3://b/k", "--endpoint", "http://169.254.169.254"), "link-local"),
        (("read", "s3://b/k", "--endpoint", "https://me:pw@host"), "credentials"),
        (("run", "no-such-config.yaml"), "no-such-config.yaml cannot be read"),
        (("status", "no-such-folder"), "no harvest"),
        (("query", "no-such-folder", "SELECT 1"), "no finished harvest"),
        (("columns", "out", "--tags", "Foo", "--dest", "a"), "--tags: 'Foo' is in no dictionary"),
        (("columns", "out", "--profile", "none", "--dest", "a"), "--profile 'none' is neither"),
        (
            ("columns", "out", "--profile", "all", "--skip", "Foo", "--dest", "a"),
            "--skip: 'Foo' is in no dictionary",
        ),
        (("columns", "out", "--tags", "StudyID", "--dest", "s3://b/a"), "is in a bucket"),
        (("columns", "no-such-folder", "--tags", "StudyID", "--dest", "a"), "no finished harvest"),
    ],
)
def test_mistakes_are_one_message(arguments: tuple[str, ...], message: str) -> None:
    ended = conftest.harvest(*arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert message in ended.stderr
    assert ended.stderr.startswith("harvest: ")
    assert ended.stderr.count("\n") == 1
    assert "pw" not in ended.stderr


def test_a_pipe_that_closes_early(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    sql = "SELECT range FROM range(200000)"
    command = [*HARVEST, "query", str(finished[0]), sql, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_what_duckdb_makes_of_an_interruption_is_no_bug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted() -> None:
        raise RuntimeError("Query interrupted")

    with pytest.raises(SystemExit) as ended:
        group.reporting(interrupted)()
    assert ended.value.code == 75
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_says_where_it_is_and_nothing_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise KeyError("SECRET-PATIENT")

    def kept() -> None:
        raise ObjectError(ErrorKind.INTERNAL, "KeyError at converter.py:1")

    for function, place in ((broken, r"group\.py:\d+"), (kept, r"converter\.py:1")):
        with pytest.raises(SystemExit) as ended:
            group.reporting(function)()
        assert ended.value.code == 70
        told = capsys.readouterr().err
        assert re.search(rf"a bug: KeyError at {place}; please report it", told)
        assert "SECRET" not in told


def test_wrong_use_that_a_command_finds_is_no_bug() -> None:
    def wrong() -> None:
        raise click.UsageError("name one of them")

    with pytest.raises(click.UsageError, match="name one of them"):
        group.reporting(wrong)()
