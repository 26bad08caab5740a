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

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Final, NamedTuple

from ..errors import Problem
from .dictionary import keyword_of
from .elements import (
    META_GROUP,
    PIXEL_REPRESENTATION,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED,
    DataSet,
    Element,
)
from .header import Header
from .json_values import JSON_VALUES, Partly, TooLong, unknown
from .values import Encoding, Unfit
from .vrs import plain_vr, written_vr

ISSUES: Final = 1000
"""How many issues are told of one object; a last one says that there are more."""

# Series repeat themselves: members that were written are remembered by tag, VR and value. With
# all of them full they take some 20 MB.
_REMEMBERED_VALUE_BYTES: Final = 64
_REMEMBERED_MEMBERS: Final = 8192
_REMEMBERED_SCOPES: Final = 4
_MemberKey = tuple[int, str | None, bytes]
_Members = dict[_MemberKey, str]


class HeaderIssue(NamedTuple):
    """Something that the text cannot say."""

    path: str
    """Keywords joined by dots; the tag where there is no keyword."""
    problem: Problem
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
        writer.members(part, _scope(Encoding(little_endian)))
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


def _scope(encoding: Encoding) -> _Scope:
    return _Scope(encoding, _remembered(encoding.little_endian, encoding.character_set))


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
        """Tell the scope of a data set that says something of it."""
        scope = _scope(outer.encoding.inside(dataset))
        # the main data set's is an issue of the row, with or without this text
        own = self._path and SPECIFIC_CHARACTER_SET in dataset
        if own and not scope.encoding.known_character_set:
            self._issue(SPECIFIC_CHARACTER_SET, Problem.UNKNOWN_CHARACTER_SET)
        return scope

    def _without_value(self, element: Element, dataset: DataSet, scope: _Scope) -> str:
        """Write a sequence, or point at a value."""
        tag, items = element.tag, element.items
        if items is None:
            if self._bulk is None:
                self._issue(tag, Problem.DEFLATED)
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
            vr = plain_vr(tag)
            if vr is None:
                # other elements decide what the value means: a key that nothing else has
                vr = _vr(element, dataset, scope.encoding)
                key = (-tag, vr, value)
                known = scope.remembered.get(key)
                if known is not None:
                    return known
        try:
            member = _start(tag, vr) + JSON_VALUES.get(vr, unknown)(value, scope.encoding)
        except TooLong:
            return self._pointer(element, vr)
        except Unfit as unfit:
            return self._unfit(element, vr, unfit)
        if len(value) <= _REMEMBERED_VALUE_BYTES:
            if len(scope.remembered) >= _REMEMBERED_MEMBERS:
                scope.remembered.clear()
            scope.remembered[key] = member
        return member

    def _unfit(self, element: Element, vr: str, unfit: Unfit) -> str:
        self._issue(element.tag, unfit.problem, element.value)
        if isinstance(unfit, Partly):
            return _start(element.tag, vr) + unfit.rest
        return self._pointer(element, vr if vr in JSON_VALUES else "UN")

    def _issue(self, tag: int, problem: Problem, raw: bytes | None = None) -> None:
        add_issue(self.issues, (*self._path, tag), problem, raw)


def add_issue(
    issues: list[HeaderIssue], path: Iterable[int], problem: Problem, raw: bytes | None = None
) -> None:
    """Append an issue of the element that the tags lead to, if there are not too many."""
    if len(issues) < ISSUES:
        issues.append(HeaderIssue(".".join(map(keyword_of, path)), problem, raw))
    elif len(issues) == ISSUES:
        issues.append(HeaderIssue("", Problem.MORE_ISSUES, None))


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


def _vr(element: Element, dataset: DataSet, encoding: Encoding) -> str:
    return written_vr(
        element, dataset, signed=encoding.signed, little_endian=encoding.little_endian
    )
