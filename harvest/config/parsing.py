"""From YAML to a checked `Config`, or every mistake at once with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from ..errors import ConfigError, WrongArgument
from ..urls import ObjectUrl
from .audit import audit_mistakes
from .profile import resolve
from .section import Location, Section
from .sections import ClusterConfig, Config, OutputConfig, SourceConfig

Parsed = TypeVar("Parsed", bound=Section)


class _ClusterFile(Section):
    """A file with the cluster alone."""

    cluster: ClusterConfig


def load_config(path: str | Path, cluster: str | Path | None = None) -> Config:
    """Read a config file.

    Parameters
    ----------
    path
        Of the config.
    cluster
        Path of another file, with a section `cluster:` and nothing else, which is taken instead
        of the config's own.

    Raises
    ------
    ConfigError
        A file cannot be read, is no YAML, or has mistakes; all of them are listed.
    """
    config = parse_config(_text(path), str(path))
    if cluster is None:
        return config
    given = _parse(_ClusterFile, _text(cluster), str(cluster))
    return config.model_copy(update={"cluster": given.cluster})


def parse_config(text: str, name: str = "config") -> Config:
    """Parse and check the text of a config; raises as `load_config` does."""
    return _parse(Config, text, name)


def source_of(url: ObjectUrl, given: Mapping[str, Any]) -> SourceConfig:
    """Describe where a single object lies; its URL tells the cloud, unless `given` does.

    Raises
    ------
    WrongArgument
        A key is none of the config's ``source:``, or has a wrong value.
    """
    try:
        return SourceConfig(**{"cloud": url.cloud, **given})
    except ValidationError as error:
        found = error.errors()[0]
        text = _describe(("source", *found["loc"]), dict(found))
        raise WrongArgument(text.removeprefix("source: ")) from None


def output_config(
    url: str, endpoint: str | None = None, region: str | None = None, *, allow_http: bool = False
) -> OutputConfig:
    """Describe an output that is named without a config.

    Parameters
    ----------
    url, endpoint, region, allow_http
        As in the config.

    Raises
    ------
    ConfigError
        These cannot be an output.
    """
    given = {"url": url, "endpoint": endpoint, "region": region, "allow_http": allow_http}
    return _section(OutputConfig, "output", given)


def output_of(given: str | Path | Mapping[str, Any] | OutputConfig) -> OutputConfig:
    """Describe an output that is given in any way: by its URL or path alone, or as a section.

    Raises
    ------
    ConfigError
        This cannot be an output.
    """
    if isinstance(given, OutputConfig):
        return given
    return _section(
        OutputConfig, "output", given if isinstance(given, Mapping) else {"url": str(given)}
    )


def source_config(where: str, **given: Any) -> SourceConfig:
    """Describe a source that another section names.

    Parameters
    ----------
    where
        Of the config, for the message.
    given
        As in the config's ``source``.

    Raises
    ------
    ConfigError
        These cannot be a source.
    """
    return _section(SourceConfig, where, given)


def _section(model: type[Parsed], where: str, given: Mapping[str, Any]) -> Parsed:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = error.errors()[0]
        location = (where, *found["loc"]) if found["type"] == "extra_forbidden" else (where,)
        raise ConfigError(_describe(location, dict(found))) from None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {_os_reason(error)}") from None


def _os_reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or "it is not UTF-8 text"


def _parse(model: type[Parsed], text: str, name: str) -> Parsed:
    lines: dict[Location, int] = {}
    try:
        content = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        mistakes = set(_index_lines(node, (), lines, set()))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name} is no YAML that can be a config: {error}") from None
    if not isinstance(content, dict):
        needed = ": and ".join(key for key, f in model.model_fields.items() if f.is_required())
        raise ConfigError(f"{name} is no mapping with {needed}: (see configs/)")
    mistakes |= {
        (_line((section,), lines), text) for section, text in _section_mistakes(model, content)
    }
    mistakes |= {
        (_line(location, lines), text) for location, text in _read_mistakes(content.get("read"))
    }
    mistakes |= {
        (_line(location, lines), text) for location, text in audit_mistakes(content.get("audit"))
    }
    try:
        parsed = model.model_validate(content)
    except ValidationError as error:
        for found in error.errors():
            location = _shown(found["loc"])
            mistakes.add((_line(location, lines), _describe(location, dict(found))))
        parsed = None
    if mistakes or parsed is None:
        listed = "\n".join(
            f"  line {line}: {text}" if line else f"  {text}" for line, text in sorted(mistakes)
        )
        raise ConfigError(f"{name} has {len(mistakes)} mistake(s):\n{listed}")
    return parsed


def _section_mistakes(
    model: type[Section], content: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Check what pydantic leaves unchecked in a section where single keys are wrong already."""
    for name, field in model.model_fields.items():
        section, given = section_in(field.annotation), content.get(name)
        if section is not None and isinstance(given, dict):
            try:
                section.check(given)
            except ValueError as error:
                yield name, f"{name}: {error}"


def _read_mistakes(read: Any) -> Iterator[tuple[Location, str]]:
    """Check profiles and tags by the dictionary, as far as the section is one."""
    given = read if isinstance(read, dict) else {}
    named = given.get("profile", "core")
    profiles = [named] if isinstance(named, str) else named
    tags, skip = given.get("tags") or [], given.get("skip") or []
    if all(
        isinstance(part, list) and all(isinstance(x, str) for x in part)
        for part in (profiles, tags, skip)
    ):
        for location, text in resolve(profiles, tags, skip).mistakes:
            yield ("read", *location), text


def _index_lines(
    node: yaml.Node | None, location: Location, lines: dict[Location, int], visited: set[int]
) -> Iterator[tuple[int, str]]:
    """Fill in the line of every key; yield keys that are given twice.

    An alias is the node of its anchor: it is visited once, however often it stands there.
    """
    if node is None or id(node) in visited:
        return
    visited.add(id(node))
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _index_lines(item, (*location, number), lines, visited)
    if isinstance(node, yaml.MappingNode):
        seen: set[Location] = set()
        for key, value in node.value:
            inner = (*location, str(key.value))
            if inner in seen:
                yield key.start_mark.line + 1, f"{_dotted(inner)} is given twice"
            seen.add(inner)
            lines[inner] = key.start_mark.line + 1
            yield from _index_lines(value, inner, lines, visited)


def _shown(location: Location) -> Location:
    """Leave out what pydantic adds for the branches of a union."""
    return tuple(part for part in location if part not in ("str", "list[str]"))


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _line(location: Location, lines: Mapping[Location, int]) -> int:
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 0) if location else 0


def _describe(location: Location, found: dict[str, Any]) -> str:
    where = _dotted(location)
    if found["type"] == "extra_forbidden":
        return f"{where} is no key of the config{_suggestion(location)}"
    if found["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {_reason(found)}"


def _reason(found: Mapping[str, Any]) -> str:
    return str(found["msg"]).removeprefix("Value error, ")


def _suggestion(location: Location) -> str:
    section: type[Section] | None = Config
    for part in location[:-1]:
        if isinstance(part, str) and section is not None:  # a number is a place in a list
            field = section.model_fields.get(part)
            section = section_in(field.annotation) if field is not None else None
    if section is None:
        return ""
    names = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f" (known here: {', '.join(names)})"


def section_in(annotation: Any) -> type[Section] | None:
    """Find the section that a type is, or is made of: one that may be absent, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)
