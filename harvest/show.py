"""How results look on stdout: a table for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

Result = TypeVar("Result")


def told(
    found: Result,
    as_json: bool,
    people: Callable[[Result], None],
    programs: Callable[[Result], Any] | None = None,
) -> None:
    """Print what a command found; that the reader of stdout has left is no failure.

    Parameters
    ----------
    found
        By the command.
    as_json
        Whether a program reads it.
    people
        Prints it for people.
    programs
        Makes what is printed as JSON of it; itself where None.
    """
    try:
        if as_json:
            print_json(found if programs is None else programs(found))
        else:
            people(found)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is left in the buffer would fail again at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(content: Any) -> None:
    """Print dataclasses, or plain content, as one JSON document."""
    # sys.stdout and not rich: a pipe gets exactly the document
    sys.stdout.write(_document(_finite(content), "\n") + "\n")


def _document(content: Any, line: str) -> str:
    """Write content on lines that begin as `line` does; a list of plain values on one line."""
    inner = line + " "
    if isinstance(content, dict) and content:
        pairs = [f"{_plain(name)}: {_document(value, inner)}" for name, value in content.items()]
        return "{" + inner + f",{inner}".join(pairs) + line + "}"
    if isinstance(content, list) and any(isinstance(each, (dict, list)) for each in content):
        values = [_document(each, inner) for each in content]
        return "[" + inner + f",{inner}".join(values) + line + "]"
    return _plain(content)


def _plain(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, default=str, allow_nan=False)


def _finite(content: Any) -> Any:
    """Make plain content, and replace what JSON has no number for, NaN and infinity, by null."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content)
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(name): _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in pairs.items():
        table.add_row(name, Text(value))
    _console().print(table)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table; what does not fit the terminal is folded, never cut."""
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        # Text and not str: a value in square brackets is no markup
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    _console().print(table)


def printable(text: str, keep: str = "") -> str:
    """Escape the control characters that a file may hold: a terminal would obey them."""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def terminal_width() -> int:
    """Return the characters of a line on stdout; a pipe gets room rather than folds."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200


class _Console(Console):
    """A console that leaves it to `told` what a reader that has left means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    return _Console(width=terminal_width())


def size_text(count: int) -> str:
    """Write a number of bytes for people, in powers of ten."""
    return decimal(count)


def time_text(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
