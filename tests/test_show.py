"""How results look on stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from harvest.errors import ExitCode
from harvest.show import print_json, print_pairs, print_table, printable, size_text, time_text


@dataclass
class Result:
    name: str
    code: ExitCode


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(Result("ü [red]", ExitCode.TOO_MANY_ERRORS))
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"name": "ü [red]", "code": 2}
    assert "ü" in printed.out
    assert printed.err == ""


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    """RFC 8259 has neither NaN nor Infinity, and jq refuses them."""
    print_json([{"a": float("nan"), "b": [float("inf")]}])
    text = capsys.readouterr().out
    assert "NaN" not in text
    assert "Infinity" not in text


def test_a_list_of_numbers_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A slide has a million offsets; all else is laid out as json.dumps does it."""
    content: dict[str, Any] = {"ü": {"a": [], "b": {}, "c": [[1], {"d": None}]}, "e": True}
    print_json(content)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    assert capsys.readouterr().out == text.replace("[\n    1\n   ]", "[1]") + "\n"
    offsets = (*range(1000), float("nan"))
    print_json([{"offsets": offsets}])
    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert json.loads(out) == [{"offsets": [*range(1000), None]}]


def test_pairs_and_tables_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"name": "[bold]x[/]", "other": "y"})
    print_table(["a", "[b]"], [("[red]", None), (5, "z" * 300)])
    out = capsys.readouterr().out
    for text in ("[bold]x[/]", "[b]", "[red]", "5"):
        assert text in out
    assert out.count("z") == 300
    assert "None" not in out
    assert "\x1b" not in out


def test_a_terminal_obeys_no_value() -> None:
    assert printable("a\x1b[2Jb\r\x07ü") == "a\\x1b[2Jb\\r\\x07ü"
    assert printable("a\nb\x9b", keep="\n") == "a\nb\\x9b"


def test_units() -> None:
    assert size_text(1_500_000) == "1.5 MB"
    assert (time_text(5), time_text(600), time_text(36_000)) == ("5 s", "10 min", "10.0 h")


def test_plain_values_are_one_line_wherever_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = {
        "offsets": list(range(1000)),
        "nested": [[1.5, None], [True]],
        "texts": ["[1,\n 2]", "3"],
        "empty": [],
        "objects": [{"a": [-1e-9, 2]}],
    }
    print_json(content)
    text = capsys.readouterr().out
    assert json.loads(text) == content
    assert ' "offsets": [0, 1, 2, 3, ' in text
    assert '"a": [-1e-09, 2]' in text
    assert len(text.splitlines()) == 14
