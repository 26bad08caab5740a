"""JSON files of an output; its manifest is there when it is finished."""

from __future__ import annotations

import json
from typing import Any

from ..errors import OutputError
from .protocol import FORMAT_VERSION, MANIFEST, Output


def finished(output: Output, url: str) -> dict[str, Any]:
    """Read the manifest of a finished output.

    Raises
    ------
    OutputError
        It is not finished, or a later harvest has written it in a format that this one does not
        know.
    """
    manifest = find_json(output, MANIFEST)
    if manifest is None:
        raise OutputError(
            f"{url} holds no finished harvest: `harvest status {url}` tells how far "
            "it is, and `harvest run` finishes it"
        )
    if manifest["format_version"] > FORMAT_VERSION:
        raise OutputError(
            f"{url} has output format {manifest['format_version']} of harvest "
            f"{manifest['versions']['harvest']}, and this harvest reads up to {FORMAT_VERSION}: "
            "install that one, or read the Parquet files themselves"
        )
    return manifest


def write_json(output: Output, name: str, content: dict[str, Any]) -> None:
    """Write a JSON file for people and programs."""
    output.write(name, json_bytes(content))


def json_bytes(content: dict[str, Any]) -> bytes:
    """Encode JSON for people and programs."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def find_json(output: Output, name: str) -> dict[str, Any] | None:
    """Read a JSON file, None where there is none: in one request, so that it cannot go between."""
    try:
        return read_json(output, name)
    except FileNotFoundError:
        return None


def read_json(output: Output, name: str) -> dict[str, Any]:
    """Read a JSON file that is there."""
    content = json.loads(output.read(name))
    assert isinstance(content, dict)
    return content
