"""A whole header as one JSON text: the DICOM JSON Model (PS3.18 Annex F), without loss.

Every element that was kept is written, file meta information (group 0002) and group lengths
included: the model leaves them out, but a header has them. The VR is the file's own; where it has
none, or UN, that of pydicom's dictionaries, private ones included. DS and IS are strings as
written. Numbers read back as the same numbers; binary values are in the file's byte order.

What has no place in the text is pointed at in the object, or told in the issues:

- ``<url>#bytes=<offset>-<length>`` stands for values of binary VRs over `INLINE_BULK_BYTES`, for
  what passed the limits of the walk, and for what its VR cannot hold (which is an issue, too);
- ``<url>#bytes=<offset>-``, without a length, stands for fragments outside the pixel area: they
  begin there with an item's tag and go to the sequence delimiter (PS3.5 section A.4);
- in a deflated data set there are no bytes to point at: the element has no value, and an issue.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring as quote
from struct import calcsize, unpack
from typing import Any, Final, NamedTuple

from pydicom import datadict

from .elements import (
    CREATOR_BYTES,
    LUT_DESCRIPTOR,
    PIXEL_REPRESENTATION,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED,
    DataSet,
    Element,
)
from .header import Header
from .tags import BINARY_VRS, keyword_of
from .values import NUMBER_FORMATS, Encoding, Unfit
from .walk import INLINE_BULK_BYTES, META_GROUP

ISSUES: Final = 1000
"""How many issues are told of one object; a last one says that there are more."""

# Series repeat themselves: members that were written are remembered by tag, VR and value. With
# all of them full they take some 20 MB.
REMEMBERED_VALUE_BYTES: Final = 64
_REMEMBERED_MEMBERS: Final = 8192
_REMEMBERED_SCOPES: Final = 4
_MemberKey = tuple[int, str | None, bytes]
_Members = dict[_MemberKey, str]


class HeaderIssue(NamedTuple):
    """Something that the text cannot say."""

    path: str
    """Keywords joined by dots; the tag where there is no keyword."""
    problem: str
    raw: bytes | None
    """The whole value as encoded; None where nobody kept it."""


@dataclass(frozen=True, slots=True)
class HeaderJson:
    """A header in the DICOM JSON Model."""

    text: str
    """One JSON object, without lone surrogates."""
    issues: tuple[HeaderIssue, ...]
    placed: frozenset[int]
    """Tags of the main data set's elements that point at bytes of the object."""


def header_json(header: Header, url: str) -> HeaderJson:
    """Write a header as JSON (PS3.18 Annex F).

    Parameters
    ----------
    header
        Read with every element kept.
    url
        Of the object, as its row names it.

    Returns
    -------
    HeaderJson
        The text, and what it cannot say.
    """
    writer = _Writer(None if header.deflated else url)
    parts = [header.dataset] if header.little_endian else _meta_and_rest(header.dataset)
    members = [
        writer.members(part, _scope(little_endian, None, False))
        for part, little_endian in zip(parts, (True, False), strict=False)
    ]
    return HeaderJson(
        f"{{{','.join(filter(None, members))}}}", tuple(writer.issues), frozenset(writer.placed)
    )


def bulk_data_of(url: str) -> str:
    """Return how each BulkDataURI of an object begins in the text, with its opening quote."""
    return quote(f"{url}#bytes=")[:-1]


def _meta_and_rest(dataset: DataSet) -> list[DataSet]:
    """Split what is encoded in different byte orders: group 0002 is always little endian."""
    parts: list[DataSet] = [{}, {}]
    for key, element in dataset.items():
        parts[element.tag >> 16 != META_GROUP][key] = element
    return parts


class _Scope(NamedTuple):
    """How values are encoded, in a data set and in the items that say nothing else."""

    encoding: Encoding
    remembered: _Members
    """What was written before of values that are encoded like these."""


def _scope(little_endian: bool, character_set: bytes | None, signed: bool) -> _Scope:
    encoding = Encoding(little_endian, character_set, signed)
    return _Scope(encoding, _remembered(little_endian, character_set))


@lru_cache(maxsize=_REMEMBERED_SCOPES)
def _remembered(little_endian: bool, character_set: bytes | None) -> _Members:
    return {}


class _Writer:
    """Writes the data sets of one object.

    Parameters
    ----------
    url
        Of the object; None where its bytes cannot be pointed at.
    """

    def __init__(self, url: str | None) -> None:
        self._bulk = None if url is None else bulk_data_of(url)
        self._path: list[int] = []
        self.issues: list[HeaderIssue] = []
        self.placed: set[int] = set()

    def members(self, dataset: DataSet, scope: _Scope) -> str:
        """Write the members of an object; `scope` is that of the data set around it."""
        if SPECIFIC_CHARACTER_SET in dataset or PIXEL_REPRESENTATION in dataset:
            scope = self._inner_scope(dataset, scope)
        known = scope.remembered.get
        written: list[str] = []
        ascending, before = True, -1
        for element in dataset.values():
            tag, value = element.tag, element.value
            if value is None:
                written.append(self._without_value(element, dataset, scope))
            else:
                # a hit in most cases, so that this line is most of the work
                member = known((tag, element.vr, value))
                written.append(member or self._member(element, value, dataset, scope))
            if tag <= before:
                ascending = False
            before = tag
        return ",".join(written if ascending else _in_order(dataset, written))

    def _inner_scope(self, dataset: DataSet, outer: _Scope) -> _Scope:
        """Tell the scope of a data set that says something of it (PS3.5 section 7.5.3)."""
        around = outer.encoding
        character_set = dataset.get(SPECIFIC_CHARACTER_SET)
        representation = dataset.get(PIXEL_REPRESENTATION)
        scope = _scope(
            around.little_endian,
            around.character_set if character_set is None else character_set.value,
            around.signed if representation is None else any(representation.value or b""),
        )
        # the main data set's is an issue of the row, with or without this text
        if self._path and character_set is not None and not scope.encoding.known:
            self._issue(SPECIFIC_CHARACTER_SET, "unknown_character_set")
        return scope

    def _without_value(self, element: Element, dataset: DataSet, scope: _Scope) -> str:
        """Write a sequence, or point at a value."""
        tag, items = element.tag, element.items
        if items is None:
            if self._bulk is None:
                self._issue(tag, "deflated")
            return self._pointer(element, _vr(element, dataset, scope.encoding))
        if not items:
            return _start(tag, "SQ") + "}"
        self._path.append(tag)
        objects = "},{".join([self.members(item, scope) for item in items])
        self._path.pop()
        return f'{_start(tag, "SQ")},"Value":[{{{objects}}}]}}'

    def _pointer(self, element: Element, vr: str) -> str:
        start = _start(element.tag, vr)
        if self._bulk is None:
            return start + "}"
        self.placed.add(self._path[0] if self._path else element.tag)
        length = "" if element.length == UNDEFINED else element.length
        return f'{start},"BulkDataURI":{self._bulk}{element.offset}-{length}"}}'

    def _member(self, element: Element, value: bytes, dataset: DataSet, scope: _Scope) -> str:
        """Write an element that has a value, and remember it if it may come again."""
        tag, vr = element.tag, element.vr
        key: _MemberKey = (tag, vr, value)
        if vr is None or vr == "UN":
            vr = _plain_vr(tag)
            if vr is None:
                # other elements decide what the value means: a key that nothing else has
                vr = _vr(element, dataset, scope.encoding)
                key = (-tag, vr, value)
                known = scope.remembered.get(key)
                if known is not None:
                    return known
        try:
            member = _start(tag, vr) + _RESTS.get(vr, _unknown)(value, scope.encoding)
        except _TooLong:
            return self._pointer(element, vr)
        except Unfit as unfit:
            return self._unfit(element, vr, unfit)
        if len(value) <= REMEMBERED_VALUE_BYTES:
            if len(scope.remembered) >= _REMEMBERED_MEMBERS:
                scope.remembered.clear()
            scope.remembered[key] = member
        return member

    def _unfit(self, element: Element, vr: str, unfit: Unfit) -> str:
        self._issue(element.tag, str(unfit), element.value)
        if isinstance(unfit, _Partly):
            return _start(element.tag, vr) + unfit.rest
        return self._pointer(element, vr if vr in _RESTS else "UN")

    def _issue(self, tag: int, problem: str, raw: bytes | None = None) -> None:
        add_issue(self.issues, (*self._path, tag), problem, raw)


def add_issue(
    issues: list[HeaderIssue], path: Iterable[int], problem: str, raw: bytes | None = None
) -> None:
    """Append an issue of the element that the tags lead to, if there are not too many."""
    if len(issues) < ISSUES:
        issues.append(HeaderIssue(".".join(map(keyword_of, path)), problem, raw))
    elif len(issues) == ISSUES:
        issues.append(HeaderIssue("", "more_issues", None))


def _in_order(dataset: DataSet, written: Iterable[str]) -> list[str]:
    """Return the members in ascending order, each once.

    A private element that stands twice, before and behind its creator, may have two keys; as with
    every tag that stands twice, the last one counts.
    """
    by_tag = dict(zip((element.tag for element in dataset.values()), written, strict=True))
    return [by_tag[tag] for tag in sorted(by_tag)]


@lru_cache(maxsize=8192)
def _start(tag: int, vr: str) -> str:
    return f'"{tag:08X}":{{"vr":"{vr}"'


# --- which VR --------------------------------------------------------------------------------


def _vr(element: Element, dataset: DataSet, encoding: Encoding) -> str:
    """Tell an element's VR, by the dictionaries where the file has none (PS3.5 section 6.2.2)."""
    tag, vr = element.tag, element.vr
    if vr is not None and vr != "UN":
        return vr if vr in _RESTS else "UN"
    vr = _plain_vr(tag)
    if vr is None:
        vr = _private_vr(dataset, tag) if tag & 0x10000 else datadict.dictionary_VR(tag)
    if vr == "US or SS":
        return "SS" if encoding.signed else "US"
    if vr == "US or OW" and _lut_has_one_entry(dataset, encoding):
        return "US"
    # the walk knows no sequence of defined length that only the private dictionary knows
    return "UN" if vr == "SQ" and element.items is None else vr if len(vr) == 2 else "OW"


@lru_cache(maxsize=8192)
def _plain_vr(tag: int) -> str | None:
    """Return the dictionary's VR of a tag; None where it depends on other elements."""
    group, number = tag >> 16, tag & 0xFFFF
    if group % 2:
        # PS3.5 section 7.8.1: creators, and elements that no creator can own
        return "LO" if 0x10 <= number <= 0xFF else "UN" if number < 0x100 else None
    if number == 0:
        return "UL"
    try:
        vr = datadict.dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr if len(vr) == 2 else None


def _private_vr(dataset: DataSet, tag: int) -> str:
    creator = dataset.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    if creator is None or not creator.value or creator.length > CREATOR_BYTES:
        return "UN"
    return _private_dictionary_vr(tag, creator.value)


@lru_cache(maxsize=4096)
def _private_dictionary_vr(tag: int, creator: bytes) -> str:
    try:
        return datadict.private_dictionary_VR(tag, creator.decode("latin-1").rstrip(" \0"))
    except KeyError:
        return "UN"


def _lut_has_one_entry(dataset: DataSet, encoding: Encoding) -> bool:
    """Tell whether LUT Data are one number, by their descriptor (PS3.3 section C.11.1.1.1)."""
    descriptor = dataset.get(LUT_DESCRIPTOR)
    entries = b"" if descriptor is None else (descriptor.value or b"")[:2]
    return int.from_bytes(entries, "little" if encoding.little_endian else "big") == 1


# --- values: each function writes what follows the VR ------------------------------------------


class _TooLong(Exception):
    """A binary value that is not written inline."""


class _Partly(Unfit):
    """A value of which JSON cannot hold all; `rest` has what it can hold."""

    def __init__(self, problem: str, rest: str) -> None:
        super().__init__(problem)
        self.rest = rest


def _list(values: str) -> str:
    return f',"Value":[{values}]}}' if values else "}"


def _binary(value: bytes, encoding: Encoding) -> str:
    if len(value) > INLINE_BULK_BYTES:
        raise _TooLong
    if not value:
        return "}"
    return f',"InlineBinary":"{b2a_base64(value, newline=False).decode("ascii")}"}}'


def _no_items(value: bytes, encoding: Encoding) -> str:
    if value:
        raise Unfit("vr_conflict")
    return "}"


def _unknown(value: bytes, encoding: Encoding) -> str:
    raise Unfit("unknown_vr")


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
        raise _Partly("too_many_component_groups", rest)
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
        raise Unfit("wrong_length")
    pairs = zip(words[::2], words[1::2], strict=True)
    return _list(",".join([f'"{group:04X}{element:04X}"' for group, element in pairs]))


def _unpack(value: bytes, code: str, width: int, encoding: Encoding) -> tuple[Any, ...]:
    count, odd = divmod(len(value), width)
    if odd:
        raise Unfit("wrong_length")
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
        raise _Partly("not_finite", _list(",".join(finite)))

    return floats


_RESTS: Final[dict[str, Callable[[bytes, Encoding], str]]] = {
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
    vr for vr, function in _RESTS.items() if function in (_default_text, _stripped)
)
"""VRs of the default repertoire: their text is the value's bytes, as Latin 1."""
