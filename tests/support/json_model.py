"""Headers as JSON beside pydicom's: what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

URL: Final = 's3://bucket/a "b" #1.dcm'


def differing(
    ours: dict[str, Any], theirs: dict[str, Any], data: bytes, path: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for tag in ours.keys() | theirs.keys():
        mine, other = ours.get(tag), theirs.get(tag)
        if isinstance(mine, dict) and isinstance(other, dict):
            items, others = mine.get("Value", []), other.get("Value", [])
            if mine["vr"] == other["vr"] == "SQ" and len(items) == len(others):
                for item, theirs_item in zip(items, others, strict=True):
                    yield from differing(item, theirs_item, data, f"{path}{tag}.")
                continue
            mine = with_bytes(mine, data)
        if mine != other:
            yield f"{path}{tag}", (mine, other)


def with_bytes(member: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Put the bytes in the place of a pointer to them."""
    pointer = member.get("BulkDataURI")
    match = pointer and re.fullmatch(re.escape(URL) + r"#bytes=(\d+)-(\d+)", pointer)
    if not match:
        return member
    offset, length = map(int, match.groups())
    assert length
    assert offset + length <= len(data)
    return {**member, "BulkDataURI": data[offset : offset + length]}
