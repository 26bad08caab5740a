"""From a header's elements to values by column name.

Which columns there are is known before, or is found while headers are read: where every attribute
is wanted, or every member of a sequence, whatever appears becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any, Final, NamedTuple

from ..errors import Problem
from .dictionary import appeared, keyword_of
from .elements import (
    META_GROUP,
    NUMBER_OF_FRAMES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    TRANSFER_SYNTAX_UID,
    DataSet,
    Element,
    creator_of,
    text_of,
)
from .header import Header
from .paths import parse_path
from .tags import Attribute, Key, PrivateTag, Wanted, tag_order
from .values import Encoding, NotPlain, Unfit, convert, plain_converter
from .vrs import BINARY_VRS

# Of sequences inside each other that become columns; Arrow's formats end a few levels below
_MOST_LEVELS: Final = 24
MOST_FOUND: Final = 10_000
"""Attributes that become columns of one part without having been named."""
RAW_BYTES: Final = 1024
"""How much of a value that does not fit is kept in ``issues``."""

Columns = dict[str, Any]
"""Values by column name; what is absent is null."""
Issue = dict[str, Any]
Misfits = dict[int, list[Issue]]
"""What does not fit its column, by the tag of the main data set's element."""

(_FRAMES,) = parse_path("NumberOfFrames")
_REQUIRED: Final = (TRANSFER_SYNTAX_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, SERIES_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class Values:
    """What the columns of a profile hold of one header."""

    columns: Columns
    """Of the attributes."""
    missing: tuple[int, ...]
    """Tags that every object must have, and this one has not."""
    misfits: Misfits
    odd: list[Issue]
    """Of the header as a whole."""
    encoding: Encoding
    """Of the main data set."""
    series_instance_uid: str
    """Empty where there is none."""
    number_of_frames: int
    """1 where the header gives none that can be read."""

    def issues(self, changed: Changed | None = None) -> list[Issue]:
        """Return the issues of the header, or of one that differs from it."""
        misfits = self.misfits
        if changed is not None and (misfits or changed.misfits):
            same = {tag: misfits[tag] for tag in misfits.keys() - changed.tags}
            misfits = dict(sorted((same | changed.misfits).items()))
        missing = [issue(keyword_of(tag), Problem.MISSING) for tag in self.missing]
        return [*missing, *chain.from_iterable(misfits.values()), *self.odd]


class Changed(NamedTuple):
    """In what a header differs from one whose values are known."""

    columns: Columns
    """Those that may differ."""
    tags: frozenset[int]
    """Of the elements that may differ."""
    misfits: Misfits
    """Among them."""


class Converter:
    """Makes values of headers; one thread at a time.

    Parameters
    ----------
    wanted
        What becomes columns.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._level = _Level(wanted.attributes, wanted.everything, "", wanted.skipped, count(1))

    def attributes(self) -> tuple[Attribute, ...]:
        """Return the attributes that are wanted, and those that were wanted and have appeared."""
        return self._level.attributes()

    def values(self, header: Header) -> Values:
        """Convert the wanted attributes of a header."""
        encoding = root_encoding(header)
        dataset = header.dataset
        odd = []
        if not encoding.known_character_set:
            odd.append(issue("SpecificCharacterSet", Problem.UNKNOWN_CHARACTER_SET))
        if header.odd_bytes_at_end:
            odd.append(issue("", Problem.ZERO_BYTES_AT_THE_END))
        columns, misfits = self.columns(dataset, dataset, encoding)
        return Values(
            columns,
            tuple(tag for tag in _REQUIRED if tag not in dataset or not dataset[tag].value),
            misfits,
            odd,
            encoding,
            text_of(dataset.get(SERIES_INSTANCE_UID)),
            number_of_frames(header),
        )

    def columns(
        self, elements: DataSet, dataset: DataSet, encoding: Encoding
    ) -> tuple[Columns, Misfits]:
        """Convert the wanted attributes among some elements of a data set.

        Parameters
        ----------
        elements
            Of the main data set of an object.
        dataset
            That holds their private creators.
        encoding
            Of their values.
        """
        columns: Columns = {}
        misfits: Misfits = {}
        issues: list[Issue] = []
        for key, element in self._level.candidates(elements):
            column = self._level.column(key, element, dataset)
            if column is not None:
                if column.problem:
                    misfits[element.tag] = [_refused(element, column, "")]
                    continue
                columns[column.attribute.name] = _top_value(element, column, encoding, issues)
                if issues:
                    misfits[element.tag] = issues
                    issues = []
        return columns, dict(sorted(misfits.items()))

    def changed(self, changed: DataSet, dataset: DataSet, values: Values) -> Changed | None:
        """Convert the elements in which a header differs from one whose values are known.

        Parameters
        ----------
        changed
            The elements that may differ.
        dataset
            Of the other header; its private creators are this one's, too.
        values
            Of the other header; nothing that it misses is among these elements.

        Returns
        -------
        Changed or None
            None where something is missing.
        """
        if any(key in changed and not changed[key].value for key in _REQUIRED):
            return None
        columns, misfits = self.columns(changed, dataset, values.encoding)
        # what no dictionary knows may hold items here and a value there: two columns
        theirs = {key: dataset[key] for key in changed if key in dataset}
        gone = self._level.names(theirs, dataset) - columns.keys()
        columns.update(dict.fromkeys(gone))
        tags = frozenset(element.tag for element in changed.values())
        return Changed(columns, tags, misfits)


class _Column(NamedTuple):
    """Of an attribute."""

    attribute: Attribute
    plain: Callable[[bytes], Any] | None
    """The fast way to a value."""
    items: _Level | None = None
    """Of a sequence."""
    problem: Problem | None = None
    """Why it is no column in spite of all."""


_Place = tuple[int, bytes, bool, bool]
"""Tag, private creator, whether it holds items, and whether only a dictionary can type it."""


class _Level:
    """The columns of the main data set, or of the items of one sequence.

    Parameters
    ----------
    attributes
        Those that are named.
    everything
        Whether whatever appears becomes a column, too.
    path
        Of the sequence.
    skipped
        Paths of attributes that do not.
    found
        Counts the columns that appear, at all levels.
    levels
        Of sequences around.
    """

    def __init__(
        self,
        attributes: tuple[Attribute, ...],
        everything: bool,
        path: str,
        skipped: frozenset[str],
        found: count[int],
        levels: int = 0,
    ) -> None:
        self._everything = everything and path not in skipped
        self._found = found
        self._levels = levels
        self._path = path
        self._skipped = skipped
        self._named = {each.key: self._column(each) for each in attributes}
        self._appeared: dict[tuple[Key, bool], _Column | None] = {}
        self._places: dict[_Place, _Column | None] = {}

    def _column(self, attribute: Attribute) -> _Column:
        if attribute.vr != "SQ":
            return _Column(attribute, plain_converter(attribute))
        everything = self._everything or attribute.open
        items = _Level(
            attribute.members,
            everything,
            attribute.path,
            self._skipped,
            self._found,
            self._levels + 1,
        )
        return _Column(attribute, None, items)

    def candidates(self, elements: DataSet) -> Iterable[tuple[Key, Element]]:
        """Return the elements that may become columns."""
        if self._everything or len(elements) <= len(self._named):
            return elements.items()
        return [(key, elements[key]) for key in self._named if key in elements]

    def column(self, key: Key, element: Element, dataset: DataSet) -> _Column | None:
        """Return the column of an element, None where it becomes none."""
        named = self._named.get(key)
        if named is not None or not self._everything:
            return named
        creator = creator_of(element.tag, dataset) if element.tag & 0x10000 else b""
        untyped = element.vr is None or element.vr in BINARY_VRS
        items = element.items is not None or element.vr == "SQ"
        place = element.tag, creator, items, untyped
        try:
            return self._places[place]
        except KeyError:
            column = self._places[place] = self._find(*place)
            return column

    def names(self, elements: DataSet, dataset: DataSet) -> set[str]:
        """Return the columns of some elements; nothing where they are known beforehand."""
        if not self._everything:
            return set()
        found = (self.column(key, element, dataset) for key, element in elements.items())
        return {each.attribute.name for each in found if each is not None and not each.problem}

    def _find(self, tag: int, creator: bytes, items: bool, untyped: bool) -> _Column | None:
        key: Key = tag
        if creator:
            key = PrivateTag(tag >> 16, creator.decode("latin-1"), tag & 0xFF)
            if key in self._named:
                return self._named[key]
        attribute = appeared(key, self._path, items=items)
        if attribute is None or attribute.path in self._skipped:
            return None
        if attribute.vr == "UN" and untyped:
            return None
        found = key, attribute.vr == "SQ"
        if found not in self._appeared:
            self._appeared[found] = self._new(attribute)
        return self._appeared[found]

    def _new(self, attribute: Attribute) -> _Column:
        if attribute.vr == "SQ" and self._levels >= _MOST_LEVELS:
            return _Column(attribute, None, problem=Problem.TOO_DEEP)
        if next(self._found) > MOST_FOUND:
            return _Column(attribute, None, problem=Problem.TOO_MANY_COLUMNS)
        return self._column(replace(attribute, open=attribute.vr == "SQ"))

    def attributes(self) -> tuple[Attribute, ...]:
        """Return the attributes of the columns: the named ones, then the others in tag order."""
        others = [each for each in self._appeared.values() if each and not each.problem]
        others.sort(key=lambda column: tag_order(column.attribute))
        return tuple(_with_items(column) for column in (*self._named.values(), *others))


def _with_items(column: _Column) -> Attribute:
    if column.items is None:
        return column.attribute
    members = sorted(column.items.attributes(), key=tag_order)
    return replace(column.attribute, members=tuple(members))


def _top_value(element: Element, column: _Column, encoding: Encoding, issues: list[Issue]) -> Any:
    """Convert an element that is in no item, the fast way if that will do."""
    attribute, plain = column.attribute, column.plain
    if plain is not None and element.value and element.vr in (attribute.vr, None):
        try:
            return plain(element.value)
        except NotPlain:
            pass
    if element.tag >> 16 == META_GROUP and not encoding.little_endian:
        encoding = encoding._replace(little_endian=True)  # PS3.10 section 7.1
    return _value(element, column, encoding, issues, "")


def _value(
    element: Element, column: _Column, encoding: Encoding, issues: list[Issue], prefix: str
) -> Any:
    """Convert an element to the value of its column; what does not fit goes to `issues`.

    Parameters
    ----------
    element, column
        What is there, and what becomes of it.
    encoding
        Of the data set that holds the element.
    issues
        Is appended to.
    prefix
        Path of the sequence that holds the data set, with its dot.
    """
    if column.items is not None:
        return _items(element, column, encoding, issues, prefix)
    try:
        return convert(element, column.attribute, encoding)
    except Unfit as unfit:
        path = f"{prefix}{keyword_of(column.attribute.key)}"
        issues.append(issue(path, unfit.problem, element.value))
        return None


def _items(
    element: Element, column: _Column, encoding: Encoding, issues: list[Issue], prefix: str
) -> list[Columns] | None:
    path = f"{prefix}{keyword_of(column.attribute.key)}"
    if element.items is None:
        if element.length:
            issues.append(issue(path, Problem.VR_CONFLICT, element.value))
        return None
    assert column.items is not None
    level = column.items
    return [_item(item, level, encoding, issues, f"{path}.") for item in element.items] or None


def _item(
    item: DataSet, level: _Level, around: Encoding, issues: list[Issue], prefix: str
) -> Columns:
    encoding = around.inside(item)
    values: Columns = {}
    for key, element in level.candidates(item):
        column = level.column(key, element, item)
        if column is None:
            continue
        if column.problem:
            issues.append(_refused(element, column, prefix))
        else:
            values[column.attribute.name] = _value(element, column, encoding, issues, prefix)
    return values


def _refused(element: Element, column: _Column, prefix: str) -> Issue:
    """Tell of what is no column in spite of all."""
    assert column.problem is not None
    path = f"{prefix}{keyword_of(column.attribute.key)}"
    return issue(path, column.problem, element.value)


def issue(path: str, problem: str, raw: bytes | None = None) -> Issue:
    """Build one entry of ``issues``."""
    return {"path": path, "problem": str(problem), "raw": None if raw is None else raw[:RAW_BYTES]}


def number_of_frames(header: Header) -> int:
    """Return Number of Frames, 1 where the header gives none that can be read."""
    element = header.dataset.get(NUMBER_OF_FRAMES)
    if element is None:
        return 1
    try:
        frames = convert(element, _FRAMES, Encoding(header.little_endian))
    except Unfit:
        return 1
    return frames if isinstance(frames, int) and frames > 0 else 1


def root_encoding(header: Header) -> Encoding:
    """Tell how the values of a header's main data set are encoded."""
    return Encoding(header.little_endian).inside(header.dataset)
