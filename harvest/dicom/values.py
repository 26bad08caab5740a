"""From an element's bytes to the value of its column.

pydicom's dictionary says what a value is, pydicom's character sets decode text, and padding is
removed as pydicom removes it. What does not fit its column raises `Unfit`: the column is then
null and the bytes are kept in ``issues``.
"""

from __future__ import annotations

import codecs
import datetime as dt
import logging
import math
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache, partial
from typing import Any, Final, Literal, NamedTuple

from pydicom import charset

from ..errors import Problem
from .elements import PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET, DataSet, Element
from .tags import Attribute
from .vrs import NUMBER_FORMATS, column_vr

_INTEGER_VRS: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "US or SS", "US or OW"})
_FLOAT_VRS: Final = frozenset({"DS", "FD", "FL"})
_DEFAULT_REPERTOIRE_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_SINGLE_VALUED_TEXT_VRS: Final = frozenset({"LT", "ST", "UR", "UT"})
# Longest Specific Character Set that is believed; all that PS3.3 defines take 500 bytes
_CHARACTER_SET_BYTES: Final = 1024
# pydicom takes Python's names too; these two codecs take hours for a megabyte
_SLOW_CODECS: Final = frozenset({"idna", "punycode"})
_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)

Value = str | int | float | dt.date | dt.time


class Unfit(ValueError):
    """A value that its column cannot hold."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class Encoding(NamedTuple):
    """How the values of one data set are encoded."""

    little_endian: bool
    """Byte order of binary numbers."""
    character_set: bytes | None = None
    """Bytes of Specific Character Set; None for the default repertoire."""
    signed: bool = False
    """Whether Pixel Representation says that ambiguous pixel values are signed."""
    everywhere: bool = False
    """Whether the character set is this one whatever an item says."""

    def inside(self, dataset: DataSet) -> Encoding:
        """Tell how the values of a data set inside this one are encoded (PS3.5 section 7.5.3)."""
        character_set = dataset.get(SPECIFIC_CHARACTER_SET)
        representation = dataset.get(PIXEL_REPRESENTATION)
        if self.everywhere:
            character_set = None
        return Encoding(
            self.little_endian,
            self.character_set if character_set is None else character_set.value,
            self.signed if representation is None else any(representation.value or b""),
            self.everywhere,
        )

    def text(self, data: bytes) -> str:
        """Decode text of a VR that Specific Character Set governs (PS3.5 section 6.1.2)."""
        if data.isascii() and b"\x1b" not in data:
            return data.decode("ascii")
        text = _decode(data, python_encodings(self.character_set)[0])
        # of half a surrogate pair, which some codecs give, no column can be written
        if not text.isascii() and not _is_unicode(text):
            raise Unfit(Problem.UNDECODABLE)
        return text

    @property
    def known_character_set(self) -> bool:
        """Whether Specific Character Set names only what there is."""
        return python_encodings(self.character_set)[1]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# filters of the warnings module are the process's: one thread at a time may change them
_filters = threading.Lock()
_logger = logging.getLogger("pydicom")


@contextmanager
def _warnings_of_pydicom(action: Literal["always", "error"]) -> Iterator[list[str]]:
    """Collect pydicom's warnings, or raise the first; they hold tag values, so no log has them."""
    with _filters, warnings.catch_warnings(record=True) as warned:
        # those of others, which may come from other threads meanwhile, are never raised
        warnings.filterwarnings(action, category=UserWarning, module=r"pydicom\.charset")
        disabled, _logger.disabled = _logger.disabled, True
        texts: list[str] = []
        try:
            yield texts
        finally:
            _logger.disabled = disabled
            texts += [str(warning.message) for warning in warned]


@lru_cache(maxsize=256)
def python_encodings(character_set: bytes | None) -> tuple[tuple[str, ...], bool]:
    """Map Specific Character Set to Python's codecs, pydicom's corrections included.

    Returns
    -------
    tuple of tuple of str and bool
        The codecs, and whether all names are known; Latin 1 stands for unknown ones.
    """
    if len(character_set or b"") > _CHARACTER_SET_BYTES:
        return (charset.default_encoding,), False
    names = (character_set or b"").decode("latin-1").rstrip(" \0").split("\\")
    try:
        with _warnings_of_pydicom("always") as texts:
            encodings = charset.convert_encodings([name.strip() for name in names])
    except ValueError:  # Python names no codec with a NUL in it
        return (charset.default_encoding,), False
    return tuple(encodings), not any("Unknown encoding" in text for text in texts)


def _decode(data: bytes, encodings: tuple[str, ...]) -> str:
    if any(codecs.lookup(encoding).name in _SLOW_CODECS for encoding in encodings):
        raise Unfit(Problem.UNDECODABLE)
    try:
        if len(encodings) == 1 and b"\x1b" not in data:
            return data.decode(encodings[0])
        # pydicom replaces what it cannot decode, and only warns
        with _warnings_of_pydicom("error"):
            return charset.decode_bytes(data, list(encodings), charset.TEXT_VR_DELIMS)
    except (UnicodeError, LookupError, UserWarning):
        raise Unfit(Problem.UNDECODABLE) from None


def convert(element: Element, attribute: Attribute, encoding: Encoding) -> Any:
    """Convert an element to the value of its column.

    Parameters
    ----------
    element
        Of the file, with its value.
    attribute
        Of the dictionary: it fixes the type.
    encoding
        Of the data set that holds the element.

    Returns
    -------
    None, value, or list of values
        None for empty; a list where the dictionary's VM is not 1, with None for empty entries.

    Raises
    ------
    Unfit
        The value does not fit, and why.
    """
    if element.length == 0:
        return None
    if element.value is None:
        raise Unfit(Problem.NOT_A_VALUE if element.items is not None else Problem.TOO_LONG)
    vr = column_vr(element.vr, attribute.vr, signed=encoding.signed)
    fit = _FITS[column_kind(attribute.vr)]
    raws = _decoded(element.value, vr, encoding)
    if attribute.vm == "1" and len(raws) == 1:
        return None if raws[0] in ("", None) else fit(raws[0])
    values = [None if raw in ("", None) else fit(raw) for raw in raws]
    if values.count(None) == len(values):
        return None
    if attribute.vm != "1":
        return values
    if len(values) > 1:
        raise Unfit(Problem.SEVERAL_VALUES)
    return values[0]


class NotPlain(Exception):
    """A value that has to be looked at closely."""


def plain_converter(attribute: Attribute) -> Callable[[bytes], Any] | None:
    """Return what converts most values of an attribute as `convert` does, and faster.

    Nine of ten values are ASCII, or numbers that Python reads. What is returned raises `NotPlain`
    for the others; there is none for some VRs.
    """
    plain = _PLAIN.get(attribute.vr)
    if plain is None:
        return None
    return partial(_plain_value if attribute.vm == "1" else _plain_values, plain)


def _plain_value(plain: Callable[[bytes], Any], data: bytes) -> Any:
    text = data.rstrip(b" \0")
    if b"\\" in text:
        raise NotPlain
    return plain(text) if text else None


def _plain_values(plain: Callable[[bytes], Any], data: bytes) -> Any:
    values = [plain(part) if part else None for part in data.rstrip(b" \0").split(b"\\")]
    return None if values.count(None) == len(values) else values


def _plain_code(part: bytes) -> str:
    return part.decode("latin-1")


def _plain_text(part: bytes) -> str | None:
    if not part.isascii() or b"\x1b" in part:
        raise NotPlain
    return part.rstrip(b" \0").decode("ascii") or None


def _plain_integer(part: bytes) -> int | None:
    digits = part.strip(b" ")
    if len(digits) > 18 or not digits.removeprefix(b"-").isdigit():
        raise NotPlain
    return int(digits)


def _plain_float(part: bytes) -> float | None:
    number = part.strip(b" ")
    if not _DECIMAL.fullmatch(number):
        raise NotPlain
    return float(number)


_DECIMAL: Final = re.compile(
    rb"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?"
)
_PLAIN: Final[dict[str, Callable[[bytes], str | int | float | None]]] = {
    **dict.fromkeys(("AS", "CS", "DT", "UI"), _plain_code),
    **dict.fromkeys(("LO", "SH"), _plain_text),
    "IS": _plain_integer,
    "DS": _plain_float,
}


@cache
def column_kind(vr: str) -> str:
    """Name the kind of column that a VR of the dictionary becomes.

    Returns
    -------
    str
        ``text``, ``int``, ``uint``, ``float``, ``date`` or ``time``; ``any`` for ``UN``, which
        stands for what no dictionary knows.
    """
    if vr in _INTEGER_VRS or vr == "US or SS or OW":
        return "int"
    if vr in _FLOAT_VRS:
        return "float"
    return {"DA": "date", "TM": "time", "UN": "any", "UV": "uint"}.get(vr, "text")


def _decoded(data: bytes, vr: str, encoding: Encoding) -> list[Any]:
    """Decode the bytes of a value by the VR that the file gives it."""
    if vr in NUMBER_FORMATS:
        return _numbers(data, NUMBER_FORMATS[vr], encoding.little_endian)
    if vr == "AT":
        words = _numbers(data, "H", encoding.little_endian)
        if len(words) % 2:
            raise Unfit(Problem.WRONG_LENGTH)
        return [f"{words[i]:04X}{words[i + 1]:04X}" for i in range(0, len(words), 2)]
    if vr in _DEFAULT_REPERTOIRE_VRS:
        parts = data.decode("latin-1").rstrip(" \0").split("\\")
        return [part.strip() for part in parts] if vr in ("AE", "DS", "IS") else parts
    if vr in _SINGLE_VALUED_TEXT_VRS:
        return [encoding.text(data).rstrip("\0 ")]
    if vr in _TEXT_VRS:
        parts = encoding.text(data.rstrip(b"\0 ")).split("\\")
        return parts if vr == "PN" else [part.rstrip("\0 ") for part in parts]
    raise Unfit(Problem.VR_CONFLICT)


def _numbers(data: bytes, code: str, little_endian: bool) -> list[Any]:
    order = "<" if little_endian else ">"
    width = struct.calcsize(order + code)
    if len(data) % width:
        raise Unfit(Problem.WRONG_LENGTH)
    return list(struct.unpack(f"{order}{len(data) // width}{code}", data))


def _fit_text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise Unfit(Problem.VR_CONFLICT)
    return raw


def _fit_integer(raw: Any, allowed: range = _INT64) -> int:
    try:
        number = int(raw) if isinstance(raw, int) else _integer_text(raw)
    except (ValueError, InvalidOperation, OverflowError):
        raise Unfit(Problem.NOT_AN_INTEGER) from None
    if number not in allowed:
        raise Unfit(Problem.NOT_AN_INTEGER)
    return number


def _integer_text(raw: str | float) -> int:
    text = str(raw).strip()
    # int() would take 1_000
    if "_" in text or len(text) > 64:
        raise ValueError
    number = Decimal(text)
    # int() of 1E1000000 takes a minute
    if not number.is_finite() or number.adjusted() > 20 or number != int(number):
        raise ValueError
    return int(number)


def _fit_unsigned(raw: Any) -> int:
    return _fit_integer(raw, _UINT64)


def _fit_float(raw: Any) -> float:
    if isinstance(raw, (int, float)):
        return float(raw)  # FL and FD may hold NaN and infinity
    try:
        number = float(raw)
    except ValueError:
        raise Unfit(Problem.NOT_A_NUMBER) from None
    if "_" in raw or not math.isfinite(number):
        raise Unfit(Problem.NOT_A_NUMBER)
    return number


# PS3.5 table 6.2-1, and of ACR-NEMA's older forms the one that pydicom takes
_DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)")
_TIME = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?")


@lru_cache(maxsize=4096)
def _fit_date(raw: Any) -> dt.date:
    match = _DATE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise Unfit(Problem.NOT_A_DATE)
    try:
        return dt.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        raise Unfit(Problem.NOT_A_DATE) from None


@lru_cache(maxsize=4096)
def _fit_time(raw: Any) -> dt.time:
    match = _TIME.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise Unfit(Problem.NOT_A_TIME)
    hour, minute, second = (int(match[group] or 0) for group in (1, 2, 3))
    if second == 60:  # a leap second becomes the one before it, as in pydicom
        second = 59
    try:
        return dt.time(hour, minute, second, int((match[4] or "0").ljust(6, "0")))
    except ValueError:
        raise Unfit(Problem.NOT_A_TIME) from None


def _fit_any(raw: Any) -> str:
    return raw if isinstance(raw, str) else repr(raw)


_FITS: Final[dict[str, Callable[[Any], Value]]] = {
    "any": _fit_any,
    "text": _fit_text,
    "int": _fit_integer,
    "uint": _fit_unsigned,
    "float": _fit_float,
    "date": _fit_date,
    "time": _fit_time,
}
