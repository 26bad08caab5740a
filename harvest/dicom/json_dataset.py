"""The way back from ``header_json``: a data set from its DICOM JSON Model (PS3.18 Annex F).

Values are encoded as the file has them in the default repertoire, in private creators and in its
byte order; other text is UTF-8, whatever it was in the file. What a value was cannot always be told
from JSON, and is then not as in the file:

- infinity is null as NaN is, and becomes NaN: an issue;
- the ends of a person name's component groups: of ``Doe^John==`` only ``Doe^John`` is written, of a
  fourth group nothing;
- spaces around the parts of AE and UI;
- a private creator outside ASCII whose character set switches codes (ISO 2022) may be encoded
  otherwise, so that its elements have another name;
- big endian without a Transfer Syntax UID that says so: it is taken for little endian;
- what lies in the object and is pointed at, an element with an unknown VR included, has no value.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping
from struct import pack
from typing import Any, Final, NamedTuple

from pydicom.uid import ExplicitVRBigEndian

from ..errors import Problem
from .elements import (
    META_GROUP,
    SPECIFIC_CHARACTER_SET,
    TRANSFER_SYNTAX_UID,
    DataSet,
    Element,
    Selection,
)
from .header_json import HeaderIssue, add_issue
from .json_values import COMPONENT_GROUPS, LATIN_1_VRS
from .tags import is_creator
from .values import Encoding, python_encodings
from .vrs import BINARY_VRS, NUMBER_FORMATS

_UTF_8: Final = b"ISO_IR 192"

Members = Mapping[str, Mapping[str, Any]]
"""A data set in the JSON model: by tag ``GGGGEEEE``."""


class JsonDataSet(NamedTuple):
    """A data set that was made of JSON."""

    dataset: DataSet
    encoding: Encoding
    """Of its values, but for what Pixel Representation says."""
    issues: tuple[HeaderIssue, ...]
    """What the JSON could not say."""


def json_dataset(members: Members, selection: Selection) -> JsonDataSet:
    """Make the elements of a data set.

    Parameters
    ----------
    members
        As ``header_json`` writes them.
    selection
        Which of them to make.
    """
    syntax = members.get(f"{TRANSFER_SYNTAX_UID:08X}", {}).get("Value")
    maker = _Maker(little_endian=syntax != [str(ExplicitVRBigEndian)])
    dataset = maker.dataset(members, selection, None)
    encoding = Encoding(maker.little_endian, _UTF_8, False, everywhere=True)
    return JsonDataSet(dataset, encoding, tuple(maker.issues))


class _Maker:
    """Makes the data sets of one object."""

    def __init__(self, *, little_endian: bool) -> None:
        self.little_endian = little_endian
        self._path: list[int] = []
        self.issues: list[HeaderIssue] = []

    def dataset(
        self, members: Members, selection: Selection, character_set: bytes | None
    ) -> DataSet:
        """Make a data set; `character_set` is that of the data set around it, in the file."""
        own = members.get(f"{SPECIFIC_CHARACTER_SET:08X}")
        if own is not None:
            character_set = self._element(SPECIFIC_CHARACTER_SET, own, None, character_set).value
        found: DataSet = {}
        for text, member in members.items():
            tag = int(text, 16)
            kept = selection.find(tag, found)
            if kept is not None:
                key, nested = kept
                found[key] = self._element(tag, member, nested, character_set)
        return found

    def _element(
        self,
        tag: int,
        member: Mapping[str, Any],
        nested: Selection | None,
        character_set: bytes | None,
    ) -> Element:
        vr, values = member["vr"], member.get("Value", ())
        if vr == "SQ" and "BulkDataURI" not in member:
            self._path.append(tag)
            items = [self.dataset(item, nested, character_set) for item in values] if nested else ()
            self._path.pop()
            return Element(tag, vr, 0, len(values), None, tuple(items))
        if "BulkDataURI" in member:
            return Element(tag, vr, 0, 1, None)
        if vr in BINARY_VRS:
            data = a2b_base64(member.get("InlineBinary", ""))
        elif vr == "AT" or vr in NUMBER_FORMATS:
            data = self._numbers(tag, vr, values)
        else:
            data = _text(tag, vr, values, character_set)
        return Element(tag, vr, 0, len(data), data)

    def _numbers(self, tag: int, vr: str, values: list[Any]) -> bytes:
        # PS3.10 section 7.1: file meta information is always little endian
        order = "<" if self.little_endian or tag >> 16 == META_GROUP else ">"
        if vr == "AT":
            words = [int(text[at : at + 4], 16) for text in values for at in (0, 4)]
            return pack(f"{order}{len(words)}H", *words)
        if None in values:
            add_issue(self.issues, (*self._path, tag), Problem.NOT_FINITE)
            values = [float("nan") if value is None else value for value in values]
        return pack(f"{order}{len(values)}{NUMBER_FORMATS[vr]}", *values)


def _text(tag: int, vr: str, values: list[Any], character_set: bytes | None) -> bytes:
    if vr == "PN":
        values = [name and _name(name) for name in values]
    text = "\\".join(value or "" for value in values)
    if vr in LATIN_1_VRS:
        return text.encode("latin-1")
    if is_creator(tag) and not text.isascii():
        return _creator(text, character_set)
    return text.encode()


def _name(groups: Mapping[str, str]) -> str:
    return "=".join(groups.get(kind, "") for kind in COMPONENT_GROUPS).rstrip("=")


def _creator(text: str, character_set: bytes | None) -> bytes:
    """Encode a private creator as the file does: elements are found by these bytes."""
    codec = python_encodings(character_set)[0][0]
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        # of a later part of the character set: some bytes that are no other creator's
        return text.encode()
