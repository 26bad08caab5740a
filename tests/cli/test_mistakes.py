"""What the command line says of a wrong use, and what it keeps to itself of a bug."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from harvest.cli import main
from harvest.cli.group import COMMANDS
from harvest.errors import ExitCode
from harvest.objects.decoding import FrameDecoder
from tests import conftest
from tests.support.tiled import cut, picture, write_slide


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (("-5", "0", "9", "9"), "'X': -5 is not in the range x>=0."),
        (("0", "-50", "9", "9"), "'Y': -50 is not in the range x>=0."),
        (("0", "0", "-9", "9"), "'WIDTH': -9 is not in the range x>=1."),
        (("0", "0", "9", "0"), "'HEIGHT': 0 is not in the range x>=1."),
        (("0", "0", "9", "9", "--levle", "1"), "No such option '--levle'. (Did you mean"),
    ],
)
def test_numbers_of_a_region(numbers: tuple[str, ...], text: str) -> None:
    ended = CliRunner().invoke(main, ["region", "slide.dcm", *numbers, "--dest", "p.png"])
    assert ended.exit_code == 1
    assert text in ended.stderr
    assert ended.stdout == ""


def test_commands_are_listed_in_the_order_of_their_use() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in shown if line.startswith("  ") and line[2] != " "]
    listed = list(COMMANDS)
    assert names[: len(listed)] == listed
    assert set(listed) == set(main.commands)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("read", "ftp://a/b"), "'ftp://a/b' is no s3://, gs:// or file:// URL, nor a local path"),
        (("read", "s3:///b"), "'s3:///b' names no bucket"),
        (("read", "s3://a/b", "--endpoint", "http://192.0.2.1"), "plain http outside loopback"),
        (("region", "ftp://a/b", *"0011", "--dest", "p.png"), "is no s3://"),
    ],
)
def test_a_wrong_argument_is_told(arguments: tuple[str, ...], text: str) -> None:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == ExitCode.WRONG_USE
    assert text in ended.stderr


def test_a_bug_says_nothing_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError of a library is no mistake of the user's, and may hold a tag value."""
    slide = write_slide(tmp_path / "slide.dcm", cut(picture()))
    arguments = ["region", str(slide), *"0099", "--dest", str(tmp_path / "p.png")]
    assert CliRunner().invoke(main, arguments).exit_code == ExitCode.COMPLETE

    def decode(*_: object) -> NoReturn:
        raise ValueError("invalid literal for int(): 'SECRET'")

    monkeypatch.setattr(FrameDecoder, "decode", decode)
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == ExitCode.BUG
    assert "harvest: a bug: ValueError at " in ended.stderr
    assert "SECRET" not in ended.output


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_has_left_changes_no_exit_code(tmp_path: Path, more: tuple[str, ...]) -> None:
    """What is found is not told, but what follows of it is: here an object that is not there."""
    there = conftest.write_dicom(tmp_path / "there.dcm", "2.25.1")
    for file, code in ((there, ExitCode.COMPLETE), (tmp_path / "none.dcm", ExitCode.WRONG_USE)):
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(
            [*conftest.HARVEST, "frames", str(file), *more],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        os.close(writer)
        assert (ended.returncode, conftest.messages(ended)) == (code, "")
