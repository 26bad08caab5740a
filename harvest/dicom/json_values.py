"""Values in the DICOM JSON Model (PS3.18 section F.2): each function writes what follows the VR."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring as quote
from struct import calcsize, unpack
from typing import Any, Final

from ..errors import Problem
from .values import Encoding, Unfit
from .vrs import BINARY_VRS, NUMBER_FORMATS
from .walk import INLINE_BULK_BYTES


class TooLong(Exception):
    """A binary value that is not written inline."""


class Partly(Unfit):
    """A value of which JSON cannot hold all; `rest` has what it can hold."""

    def __init__(self, problem: Problem, rest: str) -> None:
        super().__init__(problem)
        self.rest = rest


def _list(values: str) -> str:
    return f',"Value":[{values}]}}' if values else "}"


def _binary(value: bytes, encoding: Encoding) -> str:
    if len(value) > INLINE_BULK_BYTES:
        raise TooLong
    if not value:
        return "}"
    return f',"InlineBinary":"{b2a_base64(value, newline=False).decode("ascii")}"}}'


def _no_items(value: bytes, encoding: Encoding) -> str:
    if value:
        raise Unfit(Problem.VR_CONFLICT)
    return "}"


def unknown(value: bytes, encoding: Encoding) -> str:
    """Refuse a value of a VR that is none."""
    raise Unfit(Problem.UNKNOWN_VR)


def _default_text(value: bytes, encoding: Encoding) -> str:
    """Write text of the default repertoire; its parts keep their spaces, as in pydicom."""
    text = value.decode("latin-1").rstrip(" \0")
    if "\\" not in text:
        return f',"Value":[{quote(text)}]}}' if text else "}"
    if "\\\\" in text or text[0] == "\\" or text[-1] == "\\":
        return _strings(text.split("\\"))
    # in quoted text two backslashes in a row are one of the value, and nothing else is
    return _list(quote(text).replace("\\\\", '","'))


def _strings(parts: Iterable[str]) -> str:
    # PS3.18 section F.2.5: empty parts are null
    return _list(",".join([quote(part) if part else "null" for part in parts]))


def _stripped(value: bytes, encoding: Encoding) -> str:
    """Write text whose parts have no spaces that matter (PS3.5 section 6.2), as in pydicom."""
    text = value.decode("latin-1").rstrip(" \0").strip()
    if "\\" not in text:
        return f',"Value":[{quote(text)}]}}' if text else "}"
    return _strings([part.strip() for part in text.split("\\")])


def _text(value: bytes, encoding: Encoding) -> str:
    return _single(encoding.text(value))


def _single(text: str) -> str:
    text = text.rstrip("\0 ")
    return f',"Value":[{quote(text)}]}}' if text else "}"


def _texts(value: bytes, encoding: Encoding) -> str:
    text = encoding.text(value)
    if "\\" not in text:
        return _single(text)
    return _strings([part.rstrip("\0 ") for part in text.split("\\")])


COMPONENT_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def _names(value: bytes, encoding: Encoding) -> str:
    text = encoding.text(value.rstrip(b"\0 "))
    if not text.strip("="):
        return "}"
    names = [name.rstrip("=").split("=") for name in text.split("\\")]
    rest = _list(",".join(map(_name, names)))
    if max(map(len, names)) > len(COMPONENT_GROUPS):
        raise Partly(Problem.TOO_MANY_COMPONENT_GROUPS, rest)
    return rest


def _name(groups: list[str]) -> str:
    members = [
        f'"{kind}":{quote(group)}'
        for kind, group in zip(COMPONENT_GROUPS, groups, strict=False)
        if group
    ]
    return "{" + ",".join(members) + "}" if members else "null"


def _tags(value: bytes, encoding: Encoding) -> str:
    words = _unpack(value, "H", 2, encoding)
    if len(words) % 2:
        raise Unfit(Problem.WRONG_LENGTH)
    pairs = zip(words[::2], words[1::2], strict=True)
    return _list(",".join([f'"{group:04X}{element:04X}"' for group, element in pairs]))


def _unpack(value: bytes, code: str, width: int, encoding: Encoding) -> tuple[Any, ...]:
    count, odd = divmod(len(value), width)
    if odd:
        raise Unfit(Problem.WRONG_LENGTH)
    return unpack(f"{'<' if encoding.little_endian else '>'}{count}{code}", value)


def _numbers(code: str) -> Callable[[bytes, Encoding], str]:
    width = calcsize(f"={code}")

    def integers(value: bytes, encoding: Encoding) -> str:
        return _list(",".join(map(repr, _unpack(value, code, width, encoding))))

    return integers


def _floats(code: str) -> Callable[[bytes, Encoding], str]:
    width = calcsize(f"={code}")

    def floats(value: bytes, encoding: Encoding) -> str:
        numbers = list(map(repr, _unpack(value, code, width, encoding)))
        written = ",".join(numbers)
        # only nan and inf have an n, and JSON has neither
        if "n" not in written:
            return _list(written)
        finite = ["null" if "n" in number else number for number in numbers]
        raise Partly(Problem.NOT_FINITE, _list(",".join(finite)))

    return floats


JSON_VALUES: Final[dict[str, Callable[[bytes, Encoding], str]]] = {
    **dict.fromkeys((vr for vr in BINARY_VRS if len(vr) == 2), _binary),
    **{vr: _numbers(NUMBER_FORMATS[vr]) for vr in ("SL", "SS", "SV", "UL", "US", "UV")},
    **{vr: _floats(NUMBER_FORMATS[vr]) for vr in ("FD", "FL")},
    **dict.fromkeys(("AS", "CS", "DA", "DS", "DT", "IS", "TM"), _default_text),
    **dict.fromkeys(("AE", "UI"), _stripped),
    **dict.fromkeys(("LO", "SH", "UC"), _texts),
    # a URI is ASCII; where one is not, the character set tells more than Latin 1, as in columns
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _text),
    "AT": _tags,
    "PN": _names,
    "SQ": _no_items,
}
LATIN_1_VRS: Final = frozenset(
    vr for vr, function in JSON_VALUES.items() if function in (_default_text, _stripped)
)
"""VRs of the default repertoire: their text is the value's bytes, as Latin 1."""
