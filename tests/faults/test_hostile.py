"""Every hostile file is one row, within the limits, and its values reach no log and no name."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from harvest.dicom.converter import Converter
from harvest.dicom.elements import CREATOR_BYTES, Selection
from harvest.dicom.header import Header, read_header
from harvest.dicom.offsets import Pixels, locate_pixels
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.tags import Attribute, PrivateTag, Wanted
from harvest.dicom.walk import TICK_ELEMENTS, HeaderLimits
from harvest.dicom.window import NeedMore, Window
from harvest.errors import ErrorKind, ObjectError
from harvest.store.fetch import Traffic
from harvest.table.parts import table_of
from harvest.table.rows import Planned, Row, ok_row
from harvest.table.schema import instances_schema
from tests import conftest
from tests.faults import fuzz
from tests.faults.hostile import (
    CANARY,
    CASES,
    CONTENT,
    LEAF,
    OK,
    PROFILES,
    REFERENCED,
    TAGS,
    TEXT,
    corrupt_behind_header,
    ended,
    item_of,
    problems_of,
    reader,
    write_cases,
)
from tests.support import oracle
from tests.support.build import (
    DEFLATED,
    EVERYTHING,
    LITTLE,
    PIXEL_DATA,
    deflate,
    header_of,
    identity,
    part10,
    series,
    window_of,
)
from tests.support.profiles import resolve_attributes
from tests.support.reading import read_row

TRACED_BYTES = 2 * 2**20
"""Of larger files the memory is not watched: Python needs ten times as long for it."""
COLUMNS = resolve_attributes(PROFILES, TAGS)


def read_case(name: str, folder: Path) -> tuple[Row, int | None]:
    """Read a case from a file; return its row and the peak of memory in bytes."""
    path = folder / "case.dcm"
    path.write_bytes(CASES[name].build())
    using, planned = reader(), Planned(path.as_uri(), None, None)
    if path.stat().st_size > TRACED_BYTES:
        return read_row(using, planned), None
    tracemalloc.start()
    try:
        return read_row(using, planned), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_one_row(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    case = CASES[name]
    row, peak = read_case(name, tmp_path)
    assert ended(row) in case.expected, row.get("error_detail")
    problems = list(problems_of(row))
    assert all(any(wanted in problem for problem in problems) for wanted in case.problems)
    told = [row.get("error_detail") or "", *problems, caplog.text]
    told += [issue["path"] for issue in row.get("issues") or ()]
    assert CANARY not in "".join(told)
    stored(row)
    size = (tmp_path / "case.dcm").stat().st_size
    assert row["bytes_read"] <= size
    assert row["requests"] <= 12
    if peak is not None:
        print(f"{name}: {row['bytes_read']} of {size} bytes read, {peak} bytes of memory")
        inflated = HeaderLimits().header_bytes if "deflate" in name else 0
        assert peak <= inflated + 16 * (row["bytes_read"] + 2**20)


def stored(row: Row) -> dict[str, Any]:
    """Return a row as it comes back from a table."""
    (back,) = table_of([row], instances_schema(COLUMNS)).to_pylist()
    assert isinstance(back, dict)
    return back


UNLIKE_PYDICOM = {
    "a deflated stream that is corrupt behind the header": "it raises zlib.error",
    "value US of three bytes": "it raises",
    "value US of text": "it raises",
    "value FD of text": "it raises",
    "value IS 1.5": "it warns, and the oracle takes 1",
    "value IS past 64 bits": "Python's integers have no end, a column's have",
    "value a sequence for text": "the oracle shows the sequence as text",
    "value text for a sequence": "the oracle takes the letters for items",
    "2^63 - 1 frames and a table": "it takes IS for a float first: 2^63 frames",
    "character set: with a NUL inside": "it raises",
    **{
        name: "it replaces what it cannot decode"
        for name, case in CASES.items()
        if "undecodable" in case.problems
    },
}


@pytest.mark.parametrize(
    "name",
    # over the large ones, which are built late, pydicom takes minutes
    [
        name
        for name, case in CASES.items()
        if case.expected == (OK,) and name not in UNLIKE_PYDICOM and isinstance(case.data, bytes)
    ],
)
def test_values_are_those_of_pydicom(name: str, tmp_path: Path) -> None:
    path = tmp_path / "case.dcm"
    path.write_bytes(CASES[name].build())
    row = stored(read_row(reader(), Planned(path.as_uri(), None, None)))
    theirs = oracle.read_without_force(path)
    assert theirs is not None
    paths = [path for profile in PROFILES for path in oracle.profile_paths(profile)]
    paths += [path for path in TAGS if not path.startswith("(")]
    values, unreadable = oracle.expected_values(theirs, paths)
    assert {column: row[column] for column in values} == values
    assert {issue["path"] for issue in row["issues"] or () if issue["raw"]} == unreadable


# limits


def refusal(data: bytes, selection: Selection, limits: HeaderLimits) -> ErrorKind | None:
    try:
        header_of(data, selection, limits)
    except ObjectError as error:
        return error.kind
    return None


def selected(*paths: str) -> Selection:
    return Selection(merge_paths(parse_path(path) for path in paths))


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("wanted", [selected("ContentSequence.TextValue"), EVERYTHING])
def test_what_is_kept_is_limited(wanted: Selection, defined: bool) -> None:
    """Two elements are kept of the file meta, three of the data set, and two for each item."""
    items = [item_of(LEAF, defined=defined)] * 50
    data = part10(identity() + LITTLE.sequence(CONTENT, items, defined=defined))
    assert refusal(data, wanted, HeaderLimits(kept=103)) is None
    assert refusal(data, wanted, HeaderLimits(kept=102)) == ErrorKind.TOO_LARGE


@pytest.mark.parametrize("defined", [True, False])
def test_what_nobody_wants_is_not_kept(defined: bool) -> None:
    items = [item_of(LEAF, defined=defined)] * 50
    data = part10(identity() + LITTLE.sequence(REFERENCED, items, defined=defined))
    assert refusal(data, selected("TextValue"), HeaderLimits(kept=10)) is None


def test_values_are_limited_together() -> None:
    """Those over the limit are told, and cost the others nothing."""
    attributes = merge_paths([parse_path("ContentSequence.TextValue"), parse_path("PatientID")])
    item = item_of(LITTLE.element(TEXT, "UT", b"x" * 100))
    data = part10(LITTLE.element(0x00100020, "LO", b"1234") + LITTLE.sequence(CONTENT, [item] * 3))
    limits = HeaderLimits(kept_bytes=4 + 250)
    window = window_of(data)
    header = header_of(data, Selection(attributes), limits)
    pixels = locate_pixels(window, header, 1)
    assert isinstance(pixels, Pixels)
    values = Converter(Wanted(attributes)).values(header)
    row = ok_row(Planned("file:///x", None, None), Traffic(), header.end, pixels, values)
    assert [found.get("TextValue") for found in row["ContentSequence"]] == ["x" * 100] * 2 + [None]
    assert row["PatientID"] == "1234"
    assert [found["path"] for found in row["issues"] if found["problem"] == "too_long"] == [
        "ContentSequence.TextValue"
    ]


def test_half_a_million_empty_items_take_little_memory() -> None:
    """4 MB, of which pydicom makes 242; all of them are wanted."""
    window = window_of(CASES["500,000 empty items"].build())
    tracemalloc.start()
    header = read_header(window, Selection(COLUMNS))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(header, Header)
    items = header.dataset[CONTENT].items
    assert items is not None
    assert len(items) == 500_000
    print(f"{peak} bytes")
    assert peak < 64 * 2**20


@pytest.mark.parametrize("megabytes", [1, 8])
def test_a_deflate_bomb_holds_no_more_than_its_limit(megabytes: int) -> None:
    window = window_of(CASES["a deflate bomb"].build())
    limits = HeaderLimits(header_bytes=megabytes * 2**20)
    tracemalloc.start()
    with pytest.raises(ObjectError) as caught:
        read_header(window, EVERYTHING, limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.kind == ErrorKind.TOO_LARGE
    # 4 KiB at once inflate to 4 MiB, twice in memory while they are joined
    assert peak < limits.header_bytes * 9 // 8 + 9 * 2**20


@pytest.mark.parametrize("over", [False, True])
def test_inflated_bytes_are_limited_to_the_byte(over: bool) -> None:
    dataset = identity() + LITTLE.element(TEXT, "UT", bytes(100_000))
    data = part10(deflate(dataset + LITTLE.element(PIXEL_DATA, "OW", bytes(10_000))), DEFLATED)
    # the walk ends with the first 12 bytes of the pixel element
    limits = HeaderLimits(header_bytes=len(dataset) + 12 - over)
    assert refusal(data, EVERYTHING, limits) == (ErrorKind.TOO_LARGE if over else None)


@pytest.mark.parametrize("known", [200, 300, 450])
def test_a_corrupt_end_is_seen_through_however_much_was_read(known: int) -> None:
    data = corrupt_behind_header()
    window = Window(len(data))
    window.add(0, data[:known])
    answer = read_header(window, EVERYTHING)
    if isinstance(answer, NeedMore):
        window.add(answer.start, data[answer.start :])
        answer = read_header(window, EVERYTHING)
    assert answer == header_of(data)


@pytest.mark.parametrize("over", [0, 2])
def test_a_private_creator_has_a_longest_name(over: int) -> None:
    creator = "A" * (CREATOR_BYTES + over)
    wanted = PrivateTag(0x0043, creator, 0x39)
    selection = Selection((Attribute(wanted, "name", "path", "IS", "1", "description"),))
    data = part10(identity() + LITTLE.private(0x0043, 0x10, creator, (0x39, "IS", b"6 ")))
    assert (wanted in header_of(data, selection).dataset) is not bool(over)


def test_a_long_walk_ticks() -> None:
    count = 3 * TICK_ELEMENTS + 1
    data = part10(identity() + LITTLE.element(TEXT, "UT") * count)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    read_header(window_of(data), EVERYTHING, tick=tick)
    assert ticks == 3


def test_what_a_tick_raises_ends_the_walk() -> None:
    def tick() -> None:
        raise ObjectError(ErrorKind.TOO_SLOW, "it took over 0 seconds")

    dataset = identity() + LITTLE.sequence(CONTENT, [item_of(b"")] * TICK_ELEMENTS)
    for data in (part10(dataset), part10(deflate(dataset), DEFLATED)):
        with pytest.raises(ObjectError) as caught:
            read_header(window_of(data), EVERYTHING, tick=tick)
        assert caught.value.kind == ErrorKind.TOO_SLOW


def test_a_walk_of_one_request_has_its_deadline(tmp_path: Path) -> None:
    """15 KB inflate to almost two million elements: seconds of work, and no further request."""
    path = tmp_path / "long.dcm"
    path.write_bytes(part10(deflate(identity() + series() + bytes(15 * 10**6)), DEFLATED))
    assert path.stat().st_size < 16_000
    row = read_row(reader(seconds=0.2), Planned(path.as_uri(), None, None))
    assert (row["error"], row["retryable"]) == ("too_slow", True)


# the corpus of the fuzzer, and the catalogue as it


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if isinstance(case.data, bytes)]
)
def test_each_case_in_pieces(name: str) -> None:
    """As in one: the same row or error, the same header, for columns and for everything."""
    fuzz.examine(CASES[name].build())


@pytest.mark.parametrize("path", sorted(fuzz.CORPUS.iterdir()), ids=lambda path: path.stem)
def test_what_was_fuzzed_is_still_in_order(path: Path) -> None:
    fuzz.examine(path.read_bytes())


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in fuzz.CORPUS.iterdir()]
    assert 20 < len(sizes) <= fuzz.KEPT_FILES
    assert max(sizes) < 4096
    assert sum(sizes) < 400 * 2**10


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invariants are no formality: a wrong limit breaks them."""
    data = part10(identity() + LITTLE.sequence(CONTENT, [item_of(LEAF)] * 50))
    fuzz.examine(data)
    small = HeaderLimits(kept=10)
    with pytest.raises(fuzz.Broken):
        fuzz.check_limits(header_of(data), EVERYTHING, small)


# one cohort of everything


def corpus_files() -> list[Path]:
    """List the real files that the environment names, by their manifest."""
    folder = os.environ.get("HARVEST_CORPUS")
    if not folder:
        return []
    with (Path(folder) / "manifest.csv").open() as file:
        return [Path(folder) / entry["path"] for entry in csv.DictReader(file)]


def test_all_of_them_in_one_cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run ends, one row each, exit code 2, and the status tells how many of which error."""
    files = write_cases(tmp_path / "cohort" / "built")
    real = [path for path in corpus_files() if path.is_file()]
    (tmp_path / "cohort" / "real").mkdir()
    for number, path in enumerate(real):
        (tmp_path / "cohort" / "real" / f"{number:03d}.dcm").symlink_to(path)
    out = tmp_path / "out"
    config = tmp_path / "config.yaml"
    content = {
        "cohort": {"prefix": str(tmp_path / "cohort")},
        "read": {"profile": list(PROFILES), "tags": list(TAGS)},
        "output": str(out),
        "cluster": {"workers": 2},
    }
    config.write_text(yaml.safe_dump(content))
    # the large cases are slow on a busy machine
    run = subprocess.run(
        [*conftest.HARVEST, "run", config], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 2, run.stderr
    rows = {Path(unquote(row["url"])): row for row in conftest.instances(out)}
    assert len(rows) == len(files) + len(real)
    found = {name: rows[Path(path.as_uri())] for name, path in files.items()}
    wrong = {
        name: ended(row) for name, row in found.items() if ended(row) not in CASES[name].expected
    }
    assert not wrong
    status = conftest.harvest("status", out, "--json")
    told = json.loads(status.stdout)
    errors = Counter(row["error"] for row in rows.values() if row["status"] == "error")
    assert (told["state"], told["rows"], told["done"]) == ("complete", len(rows), len(rows))
    assert told["errors"] == dict(errors)
    assert told["ok"] == len(rows) - errors.total()
    assert ErrorKind.INTERNAL not in errors
    assert ErrorKind.KILLED_WORKER not in errors
    assert CANARY not in run.stdout + run.stderr + status.stdout + status.stderr
    assert not [path for path in out.rglob("*") if CANARY in path.name]
    assert {path.name for path in tmp_path.iterdir()} == {"cohort", "out", "config.yaml"}
    with capsys.disabled():
        print(f"\n{len(files)} built and {len(real)} real files: {told['ok']} ok, {dict(errors)}")
