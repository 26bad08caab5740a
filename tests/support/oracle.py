"""What pydicom alone says a row of ``instances`` must hold: the tests' independent reading."""

from __future__ import annotations

import base64
import datetime as dt
import math
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pydicom
import yaml
from pydicom import datadict
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import DA, TM

PROFILES = Path(__file__).parents[2] / "configs" / "profiles"
_TEXT = frozenset({"AE", "AS", "CS", "DT", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"})
_INTEGERS = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})


class Unreadable(Exception):
    """The column cannot hold the value: it is null, and ``issues`` names the path."""


def read_without_force(file: Path | BinaryIO) -> Dataset | None:
    """Read the header with pydicom; None where pydicom refuses."""
    with warnings.catch_warnings():
        # test files are wrong on purpose, and pydicom says so
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            return None


def profile_paths(name: str) -> list[str]:
    """List the paths of a ready profile."""
    tags = yaml.safe_load((PROFILES / f"{name}.yaml").read_text())["tags"]
    return [str(tag) for tag in tags]


def expected_values(dataset: Dataset, paths: Iterable[str]) -> tuple[dict[str, Any], set[str]]:
    """Return the columns' values by name, and the paths that must be among the issues."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pydicom keeps file meta information apart
        merged = [dataset, getattr(dataset, "file_meta", Dataset())]
        return _values(merged, _tree(paths), "")


def _tree(paths: Iterable[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for step in path.split("."):
            node = node.setdefault(step, {})
    return tree


def _values(
    datasets: list[Dataset], tree: dict[str, Any], prefix: str
) -> tuple[dict[str, Any], set[str]]:
    values: dict[str, Any] = {}
    unreadable: set[str] = set()
    for keyword, members in tree.items():
        path = f"{prefix}{keyword}"
        values[keyword] = None
        holder = next((ds for ds in datasets if keyword in ds), None)
        if holder is None:
            continue
        if members:
            items = []
            for item in holder[keyword].value or ():
                inner, wrong = _values([item], members, f"{path}.")
                items.append(inner)
                unreadable |= wrong
            values[keyword] = items or None
            continue
        try:
            values[keyword] = _value(holder[keyword])
        except (Unreadable, ValueError, TypeError, OverflowError):
            unreadable.add(path)
    return values, unreadable


def _value(element: DataElement) -> Any:
    vr = datadict.dictionary_VR(element.tag)
    several = isinstance(element.value, (MultiValue, list))
    raw = list(element.value) if several else [element.value]
    values = [None if part in (None, "") else single(part, vr) for part in raw]
    if all(part is None for part in values):
        return None
    if datadict.dictionary_VM(element.tag) != "1":
        return values
    if several:
        raise Unreadable
    return values[0]


def single(part: Any, vr: str) -> str | int | float | dt.date | dt.time:
    if vr == "DS":
        if not math.isfinite(float(part)):
            raise Unreadable
        return float(part)
    if vr in ("FD", "FL"):
        return float(part)
    if vr in _INTEGERS:
        return int(part)
    if vr == "DA":
        date = DA(str(part).strip())
        return dt.date(date.year, date.month, date.day)
    if vr == "TM":
        time = TM(str(part).strip())
        return dt.time(time.hour, time.minute, time.second, time.microsecond)
    if vr == "AT":
        return f"{int(part):08X}"
    if vr in _TEXT:
        return str(part)
    raise Unreadable


# --- the whole header as JSON ----------------------------------------------------------------

INLINE_BYTES = 1024
REFUSED = "refused by pydicom"


def expected_json(data: bytes) -> dict[str, Any]:
    """Return pydicom's DICOM JSON Model of an object's header.

    It differs from ``to_json_dict`` where the standard or the Contract says otherwise: DS and IS
    are strings as written (they must be the numbers that pydicom gives), empty values are null
    and empty sequences and components absent (PS3.18 F.2.2, F.2.5), NaN and infinity are null,
    and ``BulkDataURI`` holds the bytes themselves. What pydicom cannot write is `REFUSED`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        meta = getattr(dataset, "file_meta", Dataset())
        found = {**_members(meta), **_members(dataset)}
    # a header ends before the pixel area; pydicom reads on to the pixels
    return {tag: member for tag, member in found.items() if not tag.startswith("7FE0")}


def _members(dataset: Dataset) -> dict[str, Any]:
    return {f"{tag:08X}": _member(dataset, tag) for tag in sorted(dataset.keys())}


def _member(dataset: Dataset, tag: BaseTag) -> Any:
    raw: Any = dataset.get_item(tag)
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            items = [_members(item) for item in element.value]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        member = element.to_json_dict(lambda binary: binary.value, 0)
    except (ValueError, LookupError, AttributeError, OverflowError, BytesLengthException):
        return REFUSED
    member["vr"] = str(member["vr"])
    if "BulkDataURI" in member and len(member["BulkDataURI"]) <= INLINE_BYTES:
        member["InlineBinary"] = base64.b64encode(member.pop("BulkDataURI")).decode()
    if "Value" in member:
        member["Value"] = [_json_value(value) for value in member["Value"]]
    if member["vr"] in ("DS", "IS") and "Value" in member:
        texts = raw.value.decode("latin-1").rstrip(" \0").split("\\")
        if [float(text) for text in texts] != member["Value"]:
            return REFUSED
        member["Value"] = texts
    return member


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        value = {kind: group for kind, group in value.items() if group}
    if value in ("", {}) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


# --- the elements themselves -----------------------------------------------------------------

UNDEFINED: Final = 0xFFFFFFFF
Where = tuple[int, ...]
"""Tag, item, tag, item, ..., tag: from the main data set down to an element."""


class Seen(NamedTuple):
    """One element, as its bytes are."""

    vr: str | None
    """None under implicit VR."""
    length: int | None
    """None where pydicom has converted the value, and forgotten its length."""
    position: int
    """Of the value."""
    value: bytes | None
    """None where it is not kept, has items, or was converted."""


def read_elements(data: bytes, opened: Callable[[Where], bool]) -> dict[Where, Seen] | None:
    """Return all that pydicom finds before the pixels; None where it raises anything.

    Parameters
    ----------
    data
        An object.
    opened
        Tells which elements to take for sequences: pydicom also takes what only its private
        dictionary knows as such.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
            found: dict[Where, Seen] = {}
            _elements(dataset.file_meta, (), 0, opened, found)
            _elements(dataset, (), 0, opened, found)
        except Exception:  # whatever it is, it tells nothing of the elements
            return None
    return found


def _elements(
    dataset: Dataset,
    around: Where,
    base: int,
    opened: Callable[[Where], bool],
    found: dict[Where, Seen],
) -> None:
    for tag in list(dataset.keys()):
        where = (*around, int(tag))
        each: Any = dataset.get_item(tag)
        inner = base
        if isinstance(each, RawDataElement):
            value = each.value or b""
            position = base + each.value_tell
            found[where] = Seen(
                None if each.is_implicit_VR else each.VR, each.length, position, value
            )
            # what lies in a value is read again, from the value's first byte on
            inner = position
        else:
            # such as the character set, which it looks at while it reads
            length = UNDEFINED if each.is_undefined_length else None
            found[where] = Seen(each.VR, length, base + (each.file_tell or 0), None)
        if opened(where):
            for number, item in enumerate(dataset[tag].value or ()):
                _elements(item, (*where, number), inner, opened, found)
