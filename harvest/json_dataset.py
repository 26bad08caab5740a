"""The way back from ``header_json``: a data set from its DICOM JSON Model (PS3.18 Annex F).

What a value was cannot always be told: the number that is no number is null, and what lies in the
object is not here. Text is UTF-8, whatever it was in the file.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping
from struct import pack
from typing import Any, Final

from .elements import DataSet, Element, Selection
from .header_json import COMPONENT_GROUPS
from .tags import BINARY_VRS
from .values import NUMBER_FORMATS, Encoding

ENCODING: Final = Encoding(True, b"ISO_IR 192", False, everywhere=True)
"""Of the values."""

Members = Mapping[str, Mapping[str, Any]]
"""A data set in the JSON model: by tag ``GGGGEEEE``."""


def json_dataset(members: Members, selection: Selection) -> DataSet:
    """Make the elements of a data set.

    Parameters
    ----------
    members
        As ``header_json`` writes them.
    selection
        Which of them to make.
    """
    found: DataSet = {}
    for text, member in members.items():
        tag = int(text, 16)
        kept = selection.find(tag, found)
        if kept is not None:
            key, nested = kept
            found[key] = _element(tag, member, nested)
    return found


def _element(tag: int, member: Mapping[str, Any], nested: Selection | None) -> Element:
    vr, values = member["vr"], member.get("Value", ())
    if vr == "SQ" and "BulkDataURI" not in member:
        items = tuple(json_dataset(item, nested) for item in values) if nested else ()
        return Element(tag, vr, 0, len(values), None, items)
    data = _data(vr, member, values)
    return Element(tag, vr, 0, 1 if data is None else len(data), data)


def _data(vr: str, member: Mapping[str, Any], values: list[Any]) -> bytes | None:
    """Encode a value as a file in explicit little endian would; None where it is not here."""
    if "BulkDataURI" in member:
        return None
    if vr in BINARY_VRS:
        return a2b_base64(member.get("InlineBinary", ""))
    if vr == "AT":
        words = [int(text[at : at + 4], 16) for text in values for at in (0, 4)]
        return pack(f"<{len(words)}H", *words)
    if vr in NUMBER_FORMATS:
        # NaN and infinity are null, and so no values
        return None if None in values else pack(f"<{len(values)}{NUMBER_FORMATS[vr]}", *values)
    if vr == "PN":
        values = [name and _name(name) for name in values]
    return "\\".join(value or "" for value in values).encode()


def _name(groups: Mapping[str, str]) -> str:
    return "=".join(groups.get(kind, "") for kind in COMPONENT_GROUPS).rstrip("=")
