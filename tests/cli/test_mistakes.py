"""What the command line says of a wrong use, and what it keeps to itself of a bug."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from harvest.cli import main
from harvest.cli.group import COMMANDS


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
