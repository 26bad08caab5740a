"""The walk against pydicom, element by element, and its two loops against each other.

Wherever a header is whole for the walk and pydicom reads it, both must have found the same
elements at the same places. ``HARVEST_WALKS`` is how many changed inputs are made of each seed.
"""

from __future__ import annotations

import csv
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pydicom.data
import pytest

from harvest.dicom.elements import UNDEFINED, DataSet, Selection
from harvest.dicom.header import Header, read_header
from harvest.dicom.walk import LEAPT_BYTES, HeaderLimits, Walk
from harvest.dicom.window import Window
from harvest.errors import ErrorKind, ObjectError
from tests.faults import fuzz
from tests.faults.hostile import CASES
from tests.support import oracle
from tests.support.build import (
    BIG,
    DEFLATED,
    EVERYTHING,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    LITTLE,
    Syntax,
    identity,
    image,
    part10,
    report,
    series,
    window_of,
)
from tests.support.oracle import Seen, Where

META_GROUP: Final = 0x0002
FUNCTIONAL_GROUPS: Final = 0x52009230
PIXEL_GROUP: Final = 0x7FE0
PIXEL_BYTES: Final = 64
"""Kept of a real file behind its header, where it is changed."""
MUTATED_BYTES: Final = 12_000
"""Longest header that is changed: pydicom takes a millisecond for 4 KB."""
WALKS: Final = int(os.environ.get("HARVEST_WALKS", "40"))
LIMITS: Final = HeaderLimits(header_bytes=2**22, elements=100_000, depth=40)


COLUMNS: Final = Selection(fuzz.columns())
BARE: Final = Selection()


# what both see


def elements_of(dataset: DataSet, around: Where = ()) -> Iterator[tuple[Where, Seen]]:
    """Yield our elements as the oracle does."""
    for element in dataset.values():
        where = (*around, element.tag)
        yield where, Seen(element.vr, element.length, element.offset, element.value)
        for number, item in enumerate(element.items or ()):
            yield from elements_of(item, (*where, number))


def with_items(dataset: DataSet, around: Where = ()) -> Iterator[Where]:
    for element in dataset.values():
        where = (*around, element.tag)
        if element.items is not None:
            yield where
        for number, item in enumerate(element.items or ()):
            yield from with_items(item, (*where, number))


def before_pixels(found: dict[Where, Seen]) -> dict[Where, Seen]:
    """Leave out what lies in the pixel area or behind it, where pydicom reads on."""
    main = {where[0]: found[where].position for where in found if len(where) == 1}
    area = [position for tag, position in main.items() if tag >> 16 == PIXEL_GROUP]
    end = min(area, default=2**63)
    # of a deflated file, whose file meta is counted from another byte
    gone = {tag for tag, position in main.items() if position >= end and tag >> 16 != META_GROUP}
    return {where: seen for where, seen in found.items() if where[0] not in gone}


def same(ours: Seen, theirs: Seen, *, items: bool) -> bool:
    """Tell whether two elements are one."""
    if ours.position != theirs.position:
        return False
    if theirs.length is None:
        return ours.vr in (theirs.vr, None, "UN") and ours.length != UNDEFINED
    if theirs.value is None:
        return items and ours.length == theirs.length
    if (ours.vr, ours.length) != (theirs.vr, theirs.length):
        return False
    return items or ours.value is None or ours.value == theirs.value


def has_command_set(header: Header) -> bool:
    """Tell whether the data set begins with group 0000.

    No file has one (PS3.10 section 7.2). pydicom takes such elements for a message's command set
    (PS3.7 section 6.3), which is in implicit VR, and judges the VR by what follows.
    """
    main = (each for each in header.dataset.values() if each.tag >> 16 != META_GROUP)
    first = min(main, key=lambda each: each.offset, default=None)
    return first is not None and not first.tag >> 16


def differences(data: bytes) -> list[str] | None:
    """Compare the elements of an object; None where one of both does not read it."""
    try:
        header = read_header(window_of(data), EVERYTHING, LIMITS)
    except ObjectError:
        return None
    assert isinstance(header, Header)
    if has_command_set(header):
        return None
    sequences = set(with_items(header.dataset))
    # behind the header pydicom would read on, and lose all where it finds no end
    whole = data if header.deflated else data[: header.end]
    theirs = oracle.read_elements(whole, sequences.__contains__)
    if theirs is None:
        return None
    if header.deflated:
        theirs = before_pixels(theirs)
    ours = dict(elements_of(header.dataset))
    told = [f"{_text(where)} is ours alone: {ours[where]}" for where in ours.keys() - theirs.keys()]
    told += [
        f"{_text(where)} is theirs alone: {theirs[where]}" for where in theirs.keys() - ours.keys()
    ]
    told += [
        f"{_text(where)}: {ours[where]} and {theirs[where]}"
        for where in ours.keys() & theirs.keys()
        if not same(ours[where], theirs[where], items=where in sequences)
    ]
    return told


def _text(where: Where) -> str:
    return ".".join(
        f"{each:08X}" if number % 2 == 0 else str(each) for number, each in enumerate(where)
    )


# the two loops of the walk


def walked(data: bytes, known: int, selection: Selection, limits: HeaderLimits) -> Any:
    """Walk over an object of which so many bytes are known, as `outcome` tells it."""
    window = Window(len(data))
    window.add(0, data[:known])
    return outcome(window, selection, limits)


def outcome(window: Window, selection: Selection, limits: HeaderLimits) -> Any:
    """Return all that comes of a walk: a header, what is missing, or an error with its text."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    try:
        return read_header(window, selection, limits, tick), ticks
    except ObjectError as error:
        return error.kind, error.detail, ticks


def loops_differ(data: bytes, chance: random.Random, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Walk with and without the loops for what is simple, for columns and for everything."""
    tight = HeaderLimits(
        header_bytes=chance.choice([2**22, chance.randrange(200 + 2 * len(data))]),
        depth=chance.randrange(4),
        elements=chance.choice([100_000, chance.randrange(20 + len(data) // 16)]),
        value_bytes=chance.choice([2**20, chance.randrange(50)]),
        kept=chance.choice([1000, chance.randrange(40)]),
        kept_bytes=chance.choice([2**20, chance.randrange(500)]),
    )
    known = chance.choice([len(data), chance.randrange(132, 133 + len(data))])
    wanted = (EVERYTHING, COLUMNS, BARE)
    ways = [(known, each, limits) for each in wanted for limits in (LIMITS, tight)]
    found = [walked(data, *way) for way in ways]
    with the_long_way(monkeypatch):
        return found != [walked(data, *way) for way in ways]


@contextmanager
def the_long_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Walk without the loops for what is simple."""
    with monkeypatch.context() as patch:
        patch.setattr(Walk, "_simple", lambda self, position, level: (position, 0))
        patch.setattr(Walk, "_pass_over", lambda self, position, depth: None)
        yield


# inputs


def built() -> dict[str, bytes]:
    """Return what is built: images and reports in each syntax, and the hostile catalogue."""
    syntaxes = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
    found = {f"image {syntax}": image(syntax) for syntax in syntaxes}
    found |= {f"report {syntax}": report(syntax) for syntax in syntaxes}
    return found | {name: case.data for name, case in CASES.items() if isinstance(case.data, bytes)}


def nested() -> dict[str, bytes]:
    """Return objects with sequences in sequences, as those of many frames have them."""
    made = {}
    for seed in range(30):
        chance = random.Random(seed)
        code = chance.choice([LITTLE, LITTLE, LITTLE, IMPLICIT, BIG])
        groups = code.sequence(
            FUNCTIONAL_GROUPS,
            [_group(chance, code, 3) for _ in range(chance.randrange(1, 12))],
            defined=chance.random() < 0.2,
        )
        behind = code.element(0x56000010, "US", bytes(2)) * chance.randrange(8)
        dataset = identity(code) + series(code) + groups + behind
        if chance.random() < 0.5:
            dataset += code.element(0x7FE00010, "OW", bytes(8))
        syntax = {LITTLE: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE, BIG: EXPLICIT_BIG}[code]
        made[f"nested {seed}"] = part10(dataset, syntax)
    return made


def _group(chance: random.Random, code: Syntax, depth: int) -> bytes:
    """Encode an item of elements of all kinds."""
    content = b""
    for tag in sorted(chance.sample(range(0x00180000, 0x00189999), chance.randrange(4))):
        kind = chance.randrange(6 if depth else 4)
        if kind > 3:
            items = [_group(chance, code, depth - 1) for _ in range(chance.randrange(3))]
            content += code.sequence(tag, items, defined=chance.random() < 0.2)
        elif kind == 3:
            content += code.element(tag, chance.choice(["UT", "OB", "UN"]), bytes(2))
        else:
            content += code.element(tag, chance.choice(["DS", "FD", "IS"]), bytes(8 * kind))
    return code.item(content, defined=chance.random() < 0.2)


def packaged() -> dict[str, bytes]:
    """Return pydicom's own files that come with it."""
    folder = Path(str(pydicom.data.get_testdata_file("CT_small.dcm"))).parent
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}


def corpus() -> dict[str, bytes]:
    folder = os.environ.get("HARVEST_CORPUS")
    if not folder:
        return {}
    with (Path(folder) / "manifest.csv").open() as file:
        paths = [Path(folder) / entry["path"] for entry in csv.DictReader(file)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(132, len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(132, len(data))]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(132, len(data))
    return data[:at] + chance.randbytes(chance.choice([1, 2, 4, 8, 12])) + data[at:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(132, len(data))
    return data[:at] + data[at + chance.choice([1, 2, 4, 8, 12]) :]


CHANGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (
    *(_flip, _flip, _cut, _insert, _remove),
    *(fuzz.mutate, fuzz.mutate, fuzz.mutate, fuzz.mutate, fuzz.mutate),
)


def changed(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 1, 2])):
        if len(data) > 133:
            data = chance.choice(CHANGES)(data, chance)
    return data[: 4 * MUTATED_BYTES]


def shortened(data: bytes) -> bytes | None:
    """Return a file's header with some bytes of its pixels; None if it is too long or none."""
    try:
        header = read_header(window_of(data), EVERYTHING, LIMITS)
    except ObjectError:
        return data if len(data) <= MUTATED_BYTES else None
    assert isinstance(header, Header)
    end = len(data) if header.deflated else header.end + PIXEL_BYTES
    return data[:end] if end <= MUTATED_BYTES else None


# the tests


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """pydicom tells what is wrong with each value."""
    caplog.set_level(logging.CRITICAL, "pydicom")


def check(inputs: dict[str, bytes]) -> int:
    """Compare all inputs; return how many were read by both."""
    compared = 0
    wrong: list[Any] = []
    for name, data in inputs.items():
        told = differences(data)
        if told is None:
            continue
        compared += 1
        if told:
            wrong.append((name, told[:5]))
    assert not wrong
    return compared


def test_built_objects() -> None:
    assert check(built()) > 70


def test_nested_sequences() -> None:
    assert check(nested()) == 30


def test_packaged_files() -> None:
    assert check(packaged()) > 30


def test_what_was_fuzzed() -> None:
    assert check({path.name: path.read_bytes() for path in fuzz.CORPUS.iterdir()}) > 20


@pytest.mark.skipif(
    not os.environ.get("HARVEST_CORPUS"), reason="HARVEST_CORPUS names no folder of real files"
)
def test_real_files() -> None:
    assert check(corpus()) > 300


SOURCES: Final = pytest.mark.parametrize(
    "source",
    [built, nested, packaged, corpus],
    ids=["built", "nested", "packaged", "corpus"],
)
Source = Callable[[], dict[str, bytes]]


def changed_inputs(source: Source, count: int) -> Iterator[tuple[str, bytes]]:
    for name, data in source().items():
        seed = shortened(data)
        for number in range(count if seed else 0):
            assert seed is not None
            yield f"{name} {number}", changed(seed, random.Random(f"{name} {number}"))


@SOURCES
def test_changed_objects(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    wrong: list[tuple[str, list[str]]] = []
    for name, data in changed_inputs(source, WALKS):
        told = differences(data)
        counts["inputs"] += 1
        counts["compared"] += told is not None
        if told:
            wrong.append((name, told[:5]))
    with capsys.disabled():
        print(f"\n{source.__name__}: {dict(counts)}, {len(wrong)} differ")
    assert not wrong
    # pydicom or the walk refuses many of them
    assert counts["compared"] >= counts["inputs"] / 8


@SOURCES
def test_both_loops_do_the_same(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most elements take the short loop: it must be as the long one, limits and errors included."""
    wrong = []
    count = WALKS if source is nested else WALKS // 4
    for name, data in (*source().items(), *changed_inputs(source, count)):
        if len(data) <= 10 * MUTATED_BYTES and loops_differ(data, random.Random(name), monkeypatch):
            wrong.append(name)
    assert not wrong


def functional_groups(code: Syntax) -> bytes:
    """Encode two items with one of each shape that they are passed over by."""
    short = code.element(0x00189074, "DT", b"20240229")
    long = code.element(0x00189075, "OB", bytes(6))
    inner = code.item(short, defined=False) + code.item(long + short) + code.item(b"")
    nested = code.sequence(0x00209111, [inner], defined=False)
    empty = code.sequence(0x00209113, defined=False)
    known = code.sequence(0x00209116, [code.item(short)])
    deep = code.sequence(0x00209222, [code.item(nested + long, defined=False)], defined=False)
    items = [code.item(short + nested + empty + known + deep, defined=False)] * 2
    return code.sequence(FUNCTIONAL_GROUPS, items, defined=False)


def multiframe(code: Syntax, before: bytes = b"") -> bytes:
    """Build an object with functional groups, and elements before and behind them."""
    dataset = identity(code) + before + series(code) + functional_groups(code)
    dataset += code.element(0x56000010, "US", bytes(2)) + code.element(0x7FE00010, "OW", bytes(8))
    return part10(dataset, EXPLICIT_LITTLE if code is LITTLE else EXPLICIT_BIG)


EXPLICIT: Final = pytest.mark.parametrize("code", [LITTLE, BIG], ids=["little", "big"])
SELECTED: Final = pytest.mark.parametrize(
    "selection", [EVERYTHING, COLUMNS, BARE], ids=["everything", "columns", "bare"]
)


@EXPLICIT
def test_functional_groups_that_nobody_wants_take_no_call_for_each(
    code: Syntax, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = multiframe(code)
    with the_long_way(monkeypatch):
        expected = walked(data, len(data), BARE, LIMITS)
    calls: list[int] = []
    monkeypatch.setattr(Walk, "_sequence", lambda *_: calls.append(1))
    assert walked(data, len(data), BARE, LIMITS) == expected
    assert not calls


def test_what_cannot_be_passed_over_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else sequences in sequences would be walked over once for each level."""
    empty = LITTLE.sequence(0x00209113, [LITTLE.item(b"", defined=False)], defined=False)
    made = empty
    for _ in range(5):
        made = LITTLE.sequence(0x00209222, [LITTLE.item(made, defined=False)], defined=False)
    calls: list[int] = []
    pass_over = Walk._pass_over

    def counted(self: Walk, position: int, depth: int) -> int | None:
        calls.append(position)
        return pass_over(self, position, depth)

    monkeypatch.setattr(Walk, "_pass_over", counted)
    walked(part10(identity() + made), 10_000, BARE, LIMITS)
    assert len(calls) == 1


@EXPLICIT
def test_plain_elements_take_no_call_for_each(
    code: Syntax, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = part10(
        identity(code) + series(code) + code.element(0x7FE00010, "OW", bytes(8)),
        EXPLICIT_LITTLE if code is LITTLE else EXPLICIT_BIG,
    )
    with the_long_way(monkeypatch):
        expected = walked(data, len(data), COLUMNS, LIMITS)
    calls: list[int] = []
    monkeypatch.setattr(Walk, "_step", lambda *_: calls.append(1))
    assert walked(data, len(data), COLUMNS, LIMITS) == expected
    assert not calls


@SELECTED
@pytest.mark.parametrize(
    "limit", ["header_bytes", "depth", "elements", "value_bytes", "kept", "kept_bytes"]
)
def test_each_limit_ends_both_loops_at_the_same_element(
    limit: str, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = multiframe(LITTLE)
    most = {"header_bytes": len(data), "kept_bytes": 400}.get(limit, 80)
    ways = [
        (len(data), selection, replace(LIMITS, **{limit: allowed})) for allowed in range(most + 1)
    ]
    found = [walked(data, *way) for way in ways]
    with the_long_way(monkeypatch):
        assert found == [walked(data, *way) for way in ways]
    assert found[-1] == walked(data, len(data), selection, LIMITS)


@SELECTED
@pytest.mark.parametrize("limit", range(6))
def test_a_sequence_without_items_is_as_deep_as_any(
    limit: int, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = LITTLE.sequence(0x00209113, defined=False)
    for _ in range(3):
        made = LITTLE.sequence(0x00209222, [LITTLE.item(made, defined=False)], defined=False)
    data = part10(identity() + made)
    found = walked(data, len(data), selection, replace(LIMITS, depth=limit))
    assert (found[0] == ErrorKind.TOO_LARGE) is (limit < 4)
    with the_long_way(monkeypatch):
        assert found == walked(data, len(data), selection, replace(LIMITS, depth=limit))


@EXPLICIT
@SELECTED
def test_both_loops_miss_the_same_bytes(
    selection: Selection, code: Syntax, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = multiframe(code)
    ways = [(known, selection, LIMITS) for known in range(132, len(data))]
    found = [walked(data, *way) for way in ways]
    with the_long_way(monkeypatch):
        assert found == [walked(data, *way) for way in ways]


@SELECTED
def test_both_loops_count_no_bytes_that_were_leapt_over(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind each long value the known bytes begin anew."""
    long = b"x" * (LEAPT_BYTES + 2)
    first = LITTLE.element(0x00091010, "OB", long)
    data = multiframe(LITTLE, first + LITTLE.element(0x00091011, "OB", long))
    at = data.index(long)
    second = at + len(first)
    known = [(0, at), (at + len(long), second), (second + len(long), len(data))]
    header_bytes = range(at, len(data) - 2 * len(long) + 1)
    limits = [replace(LIMITS, header_bytes=most) for most in header_bytes]

    def found() -> list[Any]:
        outcomes = []
        for each in limits:
            window = Window(len(data))
            for start, stop in known:
                window.add(start, data[start:stop])
            outcomes.append(outcome(window, selection, each))
        return outcomes

    short = found()
    with the_long_way(monkeypatch):
        assert short == found()
    header, _ = short[-1]
    assert isinstance(header, Header)


@pytest.mark.parametrize(
    ("implicit", "code"), [(False, LITTLE), (True, IMPLICIT)], ids=["explicit", "implicit"]
)
def test_an_element_may_be_walked_over_alone(implicit: bool, code: Syntax) -> None:
    text = b"x" * int.from_bytes(b"TM", "little")  # a length that looks like a VR
    items = code.sequence(0x0040A730, [code.item(code.element(0x0040A160, "UT", text))])
    data = items + code.element(0x0040DB00, "CS", b"2000")
    walk = Walk(window_of(data), LIMITS, little_endian=True)
    found: DataSet = {}
    stop = walk.element(walk.element_header(0, implicit), implicit, EVERYTHING, found)
    assert data[stop:] == code.element(0x0040DB00, "CS", b"2000")
    assert [(*where, seen.value) for where, seen in elements_of(found)] == [
        (0x0040A730, None),
        (0x0040A730, 0, 0x0040A160, text),
    ]


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an element at another place, or of another one, the difference is told."""
    data = report()
    assert differences(data) == []
    found = oracle.read_elements(data, lambda where: False)
    assert found is not None
    for change in ({"position": 1}, {"length": 1}, {"vr": "XX"}, {"value": b"other"}):
        where = (0x00100010,)
        other = {**found, where: found[where]._replace(**change)}
        monkeypatch.setattr(oracle, "read_elements", lambda *_, other=other: other)
        assert differences(data)
