"""``python -m tests.readme`` (``make readme``): the README's tables, from what they describe.

Each stands between two comments; `tests/test_readme.py` says where one is not what it would be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import pyarrow as pa
import yaml
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from harvest.cli import main as group
from harvest.config import Config
from harvest.config.audit import RequireConfig, RuleSetFile
from harvest.config.parsing import section_in
from harvest.driver.status import State
from harvest.errors import ErrorKind, ExitCode, Problem
from harvest.meaning import EXTRAS
from harvest.table.schema import FRAMES, SERIES_COUNTS, instances_schema

README: Final = Path(__file__).parents[1] / "README.md"
CONFIGS: Final = README.parent / "configs"
_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """Return the README with its tables made anew."""
    return _TABLE.sub(
        lambda found: found[1] + "\n".join(TABLES[found[2]]()) + "\n" + found[3], text
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(cell: str) -> str:
    """Let nothing outside backticks be taken for HTML, and nothing at all for a column's end."""
    parts = cell.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace(">", "&gt;") for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")


def _commands() -> Iterator[str]:
    context = click.Context(group)
    rows = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
        usage = " ".join(("harvest", name, *(piece for piece in pieces if piece != "[OPTIONS]")))
        paragraphs = (command.help or "").partition("\b")[0].split("\n\n")
        rows.append((f"`{usage}`", " ".join(" ".join(paragraphs).split())))
    return _table(("command", "does"), rows)


def _exit_codes() -> Iterator[str]:
    rows = ((str(int(code)), code.meaning) for code in ExitCode)
    return _table(("exit code", "meaning"), rows)


def _errors() -> Iterator[str]:
    rows = ((f"`{kind}`", kind.meaning, "yes" if kind.retryable else "") for kind in ErrorKind)
    return _table(("error", "meaning", "retryable"), rows)


def _problems() -> Iterator[str]:
    return _table(("problem", "meaning"), ((f"`{each}`", each.meaning) for each in Problem))


def _columns(schema: pa.Schema) -> Iterator[str]:
    rows = (
        (f"`{field.name}`", f"`{field.type}`", field.metadata[b"description"].decode())
        for field in schema
    )
    return _table(("column", "Arrow type", "meaning"), rows)


def _series() -> Iterator[str]:
    return _table(("column", "meaning"), ((f"`{name}`", text) for name, text in SERIES_COUNTS))


def _keys() -> Iterator[str]:
    return _table(("key", "default", "meaning"), _rows_of(Config, ""))


def _rows_of(section: type[BaseModel], path: str) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        key = f"{path}{field.alias or name}"
        inner = section_in(field.annotation)
        if inner is None or field.description is not None:
            yield f"`{key}`", _default(field), " ".join((field.description or "").split())
        if inner is not None:
            yield from _rows_of(inner, f"{key}[]." if _is_list(field) else f"{key}.")


def _is_list(field: FieldInfo) -> bool:
    return str(field.annotation).startswith("list[")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return ""
    if field.annotation is ByteSize:
        return f"`{ByteSize(default).human_readable().replace('.0', '')}`"
    return f"`{json.dumps(default)}`".replace('"', "")


def _states() -> Iterator[str]:
    return _table(("state", "meaning"), ((f"`{state}`", state.meaning) for state in State))


def _extras() -> Iterator[str]:
    return _table(("extra", "for"), ((f"`{name}`", text) for name, text in EXTRAS.items()))


def _profiles() -> Iterator[str]:
    rows = []
    for path in sorted((CONFIGS / "profiles").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.append((f"`{path.stem}`", str(len(content["tags"])), content["description"]))
    return _table(("profile", "tags", "columns"), rows)


def _rule_sets() -> Iterator[str]:
    rows = []
    for path in sorted((CONFIGS / "rules").glob("*.yaml")):
        content = RuleSetFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        needs = {*content.needs, *(need for rule in content.rules for need in rule.needs)}
        asks = re.split(r"(?<=[.?]) ", content.description)[0]
        rows.append((f"`{path.stem}`", str(len(content.rules)), asks, ", ".join(sorted(needs))))
    return _table(("ready set", "rules", "asks", "rules need"), rows)


def _conditions() -> Iterator[str]:
    rows = []
    for name, field in RequireConfig.model_fields.items():
        for given in field.examples or ():
            flow = yaml.safe_dump(given, default_flow_style=True).removesuffix("\n...\n").strip()
            rows.append((f"`{name}: {flow}`", " ".join((field.description or "").split())))
    return _table(("condition", "holds where"), rows)


TABLES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "commands": _commands,
    "exit_codes": _exit_codes,
    "errors": _errors,
    "problems": _problems,
    "keys": _keys,
    "instances": lambda: _columns(instances_schema((), header=True)),
    "frames": lambda: _columns(FRAMES),
    "series": _series,
    "extras": _extras,
    "profiles": _profiles,
    "states": _states,
    "conditions": _conditions,
    "rule_sets": _rule_sets,
}


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
