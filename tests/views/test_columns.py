"""Columns that are made later, of the headers that a harvest has kept."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harvest
from harvest.config import OutputConfig
from harvest.config.profile import resolve_wanted
from harvest.config.ready import ready_files
from harvest.dicom.dictionary import column_name
from harvest.dicom.elements import Selection
from harvest.dicom.json_dataset import json_dataset
from harvest.dicom.tags import Attribute, PrivateTag, Wanted
from harvest.driver.progress import Progress
from harvest.errors import OutputError
from harvest.output import open_output
from harvest.views import columns as module
from harvest.views.columns import NewColumns, write_columns
from tests import conftest
from tests.lab.laboratory import Lab
from tests.support import build
from tests.support.build import (
    BIG,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    LITTLE,
    Syntax,
    even,
    identity,
    part10,
)

READY = list(ready_files("profiles"))


def later(
    output: Path,
    file: Path | str,
    *tags: str,
    profiles: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
) -> NewColumns:
    return write_columns(OutputConfig(url=str(output)), resolve_wanted(profiles, tags, skip), file)


def harvested(folder: Path | str, output: Path, **read: Any) -> Path:
    config = conftest.config_of(
        output, {"prefix": str(folder)}, read=read, limits={"max_error_rate": 1}
    )
    harvest.run(config)
    return output


def check_same(first: pa.Table, second: pa.Table) -> int:
    """Check that a file of columns has what the harvest has; return how many values differ."""
    told = 0
    assert second["url"].to_pylist() == first["url"].to_pylist()
    columns = [name for name in second.schema.names if name not in ("url", "issues")]
    assert second.select(columns).schema == first.select(columns).schema
    ours, theirs = first.to_pylist(), second.to_pylist()
    for row, later_row in zip(ours, theirs, strict=True):
        issues = {issue["path"] for issue in later_row["issues"] or ()}
        for name in columns:
            if same(row[name], later_row[name]):
                continue
            # what the JSON model cannot hold was told of when the header was written
            known = issues | {issue["path"] for issue in row["issues"] or ()}
            assert known, (row["url"], name, row[name], later_row[name])
            told += 1
    return told


def same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return first == second or (math.isnan(first) and math.isnan(second))
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return bool(first == second)


@pytest.fixture(scope="module")
def kept(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harvest of all kinds of objects with every ready profile and the headers."""
    folder = tmp_path_factory.mktemp("kept")
    for number, series in enumerate(lab.series[:40]):
        for instance in series.instances[:3]:
            target = folder / "objects" / f"{number:02}" / f"{instance.crdc_instance_uuid}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(instance.path)
    return harvested(folder / "objects", folder / "out", profile=READY, header="json")


def test_columns_are_those_of_a_harvest(kept: Path, tmp_path: Path) -> None:
    made = later(kept, tmp_path / "new.parquet", profiles=tuple(READY))
    first = pq.read_table(kept / "instances")
    second = pq.read_table(tmp_path / "new.parquet")
    assert made.rows == first.num_rows == second.num_rows
    assert second.schema.names == ["url", "issues", *made.columns]
    check_same(first, second)


def test_one_tag_joins_by_url(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.parquet"
    assert later(kept, file, "StudyID").columns == ("StudyID",)
    rows = conftest.table(
        f"SELECT count(*) AS n FROM '{kept}/instances/*.parquet' JOIN '{file}' USING (url)"
    )
    assert rows == [{"n": pq.read_metadata(file).num_rows}]


def test_all_that_appears(kept: Path, tmp_path: Path) -> None:
    made = later(kept, tmp_path / "all.parquet", profiles=("all",))
    assert {"SOPInstanceUID", "TransferSyntaxUID", "Rows"} < set(made.columns)


def test_an_output_without_headers_says_what_to_do(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "objects").mkdir()
    source = next((kept.parent / "objects").rglob("*.dcm"))
    (tmp_path / "objects" / "a.dcm").write_bytes(source.read_bytes())
    harvested(tmp_path / "objects", tmp_path / "out")
    with pytest.raises(OutputError, match=r"no header column.*read\.header: json"):
        later(tmp_path / "out", tmp_path / "new.parquet", "StudyID")
    with pytest.raises(OutputError, match="no finished harvest"):
        later(tmp_path / "objects", tmp_path / "new.parquet", "StudyID")
    assert not (tmp_path / "new.parquet").exists()


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_columns_of_real_files_are_those_of_a_harvest(tmp_path: Path) -> None:
    folder = os.environ["HARVEST_CORPUS"]
    harvested(folder, tmp_path / "out", profile="all", header="json")
    later(tmp_path / "out", tmp_path / "new.parquet", profiles=("all",))
    first = pq.read_table(tmp_path / "out" / "instances")
    second = pq.read_table(tmp_path / "new.parquet")
    assert check_same(first, second) < 20


# --- values that JSON has otherwise than the file ----------------------------------------------

CODE = 0x00211001
CREATOR = 0x00210010


def whole(elements: dict[int, bytes], syntax: Syntax = LITTLE) -> bytes:
    """Build an object of these encoded elements and of what every object has."""
    all_of_them = {0x00080016: identity(syntax), 0x0020000E: build.series(syntax), **elements}
    dataset = b"".join(all_of_them[tag] for tag in sorted(all_of_them))
    return part10(dataset, EXPLICIT_BIG if syntax is BIG else EXPLICIT_LITTLE)


def one(tag: int, vr: str, value: bytes, character_set: str = "", *more: bytes) -> bytes:
    """Build an object of one element more; `more` goes behind it."""
    elements = {tag: LITTLE.element(tag, vr, even(value)) + b"".join(more)}
    if character_set:
        elements[0x00080005] = LITTLE.element(0x00080005, "CS", even(character_set.encode()))
    return whole(elements)


def block(creator: bytes, character_set: str = "") -> bytes:
    """Build an object with a private element."""
    return one(CREATOR, "LO", creator, character_set, LITTLE.element(CODE, "LO", b"mine"))


def lut(syntax: Syntax) -> bytes:
    descriptor = syntax.element(0x00283002, "US", syntax.pack("3H", 4, 0, 16))
    table = syntax.element(0x00283006, "OW", syntax.pack("4H", 1, 2, 3, 4))
    return syntax.sequence(0x00283000, [syntax.item(descriptor + table)])


def utf8_item() -> bytes:
    """Build an item whose character set is its own, with a private block."""
    return LITTLE.item(
        LITTLE.element(0x00080005, "CS", b"ISO_IR 192")
        + LITTLE.element(CREATOR, "LO", even("ACMÉ".encode()))
        + LITTLE.element(CODE, "LO", b"item")
    )


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


NAN_ITEM = LITTLE.item(LITTLE.element(0x00189087, "FD", doubles(math.nan)))
ODD = {
    "cs": one(0x00180015, "CS", b"K\xd6RPER"),
    "cs_utf8": one(0x00180015, "CS", "KÖRPER".encode(), "ISO_IR 192"),
    "ae": one(0x00080055, "AE", b" ST\xc4TION"),
    "ur_utf8": one(0x00081190, "UR", "http://é/".encode(), "ISO_IR 192"),
    "ur_latin": one(0x00081190, "UR", b"http://\xe9/", "ISO_IR 100"),
    "ur_none": one(0x00081190, "UR", b"http://\xff/", "ISO_IR 192"),
    "lo_cyrillic": one(0x00081030, "LO", "Голова".encode("iso8859-5"), "ISO_IR 144"),
    "big": whole(
        {
            0x00280009: BIG.element(0x00280009, "AT", BIG.pack("2H", 0x18, 0x1063)),
            0x00280010: BIG.element(0x00280010, "US", BIG.pack("2H", 1, 2)),
            0x00280030: BIG.element(0x00280030, "DS", b"1.5\\2.5 "),
            0x00283000: lut(BIG),
        },
        BIG,
    ),
    "little": whole({0x00283000: lut(LITTLE)}),
    "creator": block(b"ACM\xc9"),
    "creator_latin": block(b"ACM\xc9", "ISO_IR 100"),
    "creator_utf8": block("ACMÉ".encode(), "ISO_IR 192"),
    "creator_cyrillic": block("ЖЩЯ".encode("iso8859-5"), "ISO_IR 144"),
    "creator_item": whole(
        {
            0x00080005: LITTLE.element(0x00080005, "CS", b"ISO_IR 100"),
            0x0040A730: LITTLE.sequence(0x0040A730, [utf8_item()]),
        }
    ),
    "nan": one(0x00189087, "FD", doubles(math.nan)),
    "nan_list": one(0x00189089, "FD", doubles(1.5, math.nan, -2)),
    "infinite": one(0x00189089, "FD", doubles(1.5, math.nan, math.inf)),
    "nan_item": whole({0x00189117: LITTLE.sequence(0x00189117, [LITTLE.item(b""), NAN_ITEM])}),
    "nan_private": one(
        CREATOR, "LO", b"ACME", "", LITTLE.element(CODE, "FL", struct.pack("<2f", 0.5, math.nan))
    ),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harvest of objects that JSON does not hold as they are."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "objects").mkdir()
    for name, data in ODD.items():
        (folder / "objects" / f"{name}.dcm").write_bytes(data)
    return harvested(folder / "objects", folder / "out", profile="all", header="json")


@pytest.fixture(scope="module")
def odd_later(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    file = tmp_path_factory.mktemp("later") / "all.parquet"
    later(odd, file, profiles=("all",))
    return pq.read_table(file)


def row_of(table: pa.Table, name: str) -> dict[str, Any]:
    (row,) = (each for each in table.to_pylist() if each["url"].endswith(f"/{name}.dcm"))
    return dict(row)


def test_odd_objects_have_the_columns_of_their_harvest(odd: Path, odd_later: pa.Table) -> None:
    first = pq.read_table(odd / "instances")
    assert first["status"].to_pylist() == ["ok"] * len(ODD)
    found = [field.name for field in first.schema if field.metadata and b"path" in field.metadata]
    assert odd_later.schema.names == ["url", "issues", *found]
    told = {"infinite"}  # becomes NaN
    kept = pa.array([not url.endswith("/infinite.dcm") for url in first["url"].to_pylist()])
    assert check_same(first.filter(kept), odd_later.filter(kept)) == 0
    assert check_same(first, odd_later) == len(told)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("cs", "BodyPartExamined", "KÖRPER"),
        ("cs_utf8", "BodyPartExamined", "KÖRPER".encode().decode("latin-1")),
        ("ae", "StationAETitle", "STÄTION"),
        ("ur_utf8", "RetrieveURL", "http://é/"),
        ("ur_latin", "RetrieveURL", "http://é/"),
        ("ur_none", "RetrieveURL", None),
        ("lo_cyrillic", "StudyDescription", "Голова"),
        ("big", "FrameIncrementPointer", ["00181063"]),
        ("big", "PixelSpacing", [1.5, 2.5]),
        ("nan_list", "DiffusionGradientOrientation", [1.5, math.nan, -2.0]),
        ("infinite", "DiffusionGradientOrientation", [1.5, math.nan, math.nan]),
        ("nan", "DiffusionBValue", math.nan),
        ("nan_private", "private_0021_ACME_01", ["0.5", "nan"]),
        # the letters of the file's bytes, each as Latin 1
        ("creator", "private_0021_ACM__01", ["mine"]),
        ("creator_latin", "private_0021_ACM__01", ["mine"]),
        ("creator_utf8", "private_0021_ACM___01", ["mine"]),
        ("creator_cyrillic", "private_0021_____01", ["mine"]),
    ],
)
def test_a_value_is_the_files(odd_later: pa.Table, name: str, column: str, value: Any) -> None:
    assert same(row_of(odd_later, name)[column], value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ur_utf8", {"vr": "UR", "Value": ["http://é/"]}),
        ("ur_latin", {"vr": "UR", "Value": ["http://é/"]}),
    ],
)
def test_the_header_has_a_uri_as_its_column_has(
    odd: Path, name: str, expected: dict[str, Any]
) -> None:
    row = row_of(pq.read_table(odd / "instances"), name)
    assert json.loads(row["header"])["00081190"] == expected
    assert row["RetrieveURL"] == expected["Value"][0]


@pytest.mark.parametrize("name", ["big", "little"])
def test_words_are_in_the_byte_order_of_the_file(odd_later: pa.Table, name: str) -> None:
    (item,) = row_of(odd_later, name)["ModalityLUTSequence"]
    assert item["LUTDescriptor"] == [4, 0, 16]
    assert item["LUTData"] == [1, 2, 3, 4]


def test_a_value_that_does_not_fit_is_kept_in_the_byte_order_of_the_file(
    odd: Path, odd_later: pa.Table
) -> None:
    for table in (pq.read_table(odd / "instances"), odd_later):
        (issue,) = row_of(table, "big")["issues"]
        assert issue == {"path": "Rows", "problem": "several_values", "raw": b"\0\1\0\2"}


def test_a_creator_in_an_item_has_the_items_character_set(odd_later: pa.Table) -> None:
    (item,) = row_of(odd_later, "creator_item")["ContentSequence"]
    assert item["private_0021_ACM___01"] == ["item"]


@pytest.mark.parametrize(
    ("creator", "expected"),
    [
        ("ACMÉ", {"creator", "creator_latin"}),
        ("ACMÉ".encode().decode("latin-1"), {"creator_utf8"}),
        ("ЖЩЯ".encode("iso8859-5").decode("latin-1"), {"creator_cyrillic"}),
    ],
)
def test_a_creator_is_found_by_the_letters_of_its_bytes(
    odd: Path, tmp_path: Path, creator: str, expected: set[str]
) -> None:
    key = PrivateTag(0x0021, creator, 1)
    column = column_name(key)
    wanted = Wanted((Attribute(key, column, str(key), "LO", "1", ""),))
    write_columns(OutputConfig(url=str(odd)), wanted, tmp_path / "new.parquet")
    rows = pq.read_table(tmp_path / "new.parquet").to_pylist()
    assert {Path(row["url"]).stem for row in rows if row[column] == "mine"} == expected


def test_a_creator_beyond_the_first_character_set_is_some_text() -> None:
    # pydicom's default repertoire has no such letters
    members: dict[str, dict[str, Any]] = {
        "00080005": {"vr": "CS", "Value": [None, "ISO 2022 IR 87"]},
        "00210010": {"vr": "LO", "Value": ["山"]},
    }
    dataset, encoding, issues = json_dataset(members, Selection(everything=True))
    assert dataset[CREATOR].value == "山".encode()
    assert encoding.text(dataset[CREATOR].value or b"") == "山"
    assert issues == ()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nan", "DiffusionBValue"),
        ("nan_list", "DiffusionGradientOrientation"),
        ("infinite", "DiffusionGradientOrientation"),
        ("nan_item", "MRDiffusionSequence.DiffusionBValue"),
        ("nan_private", "(0021,1001)"),
    ],
)
def test_what_is_not_finite_is_an_issue(
    odd: Path, odd_later: pa.Table, name: str, path: str
) -> None:
    assert row_of(odd_later, name)["issues"] == [
        {"path": path, "problem": "not_finite", "raw": None}
    ]
    (first,) = row_of(pq.read_table(odd / "instances"), name)["issues"]
    assert (first["path"], first["problem"]) == (path, "not_finite")


# --- which columns -----------------------------------------------------------------------------


def test_what_is_skipped_is_no_column(odd: Path, tmp_path: Path) -> None:
    skip = ("MRDiffusionSequence", "ModalityLUTSequence.LUTData")
    made = later(odd, tmp_path / "new.parquet", profiles=("all",), skip=skip)
    every = later(odd, tmp_path / "all.parquet", profiles=("all",))
    assert set(every.columns) - set(made.columns) == {"MRDiffusionSequence"}
    rows = pq.read_table(tmp_path / "new.parquet")
    assert row_of(rows, "big")["ModalityLUTSequence"] == [{"LUTDescriptor": [4, 0, 16]}]


# --- the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["instances/00000.parquet", "instances/mine.parquet", "manifest.json", "x.parquet", "a/b.c"],
)
def test_a_harvest_is_never_written_into(odd: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "linked").symlink_to(odd)
    before = conftest.tree(odd)
    for folder in (odd, tmp_path / "linked", odd / "series" / ".."):
        with pytest.raises(OutputError, match=r"is part of the harvest in .*: name a file outside"):
            later(odd, f"{folder}/{name}", "StudyID")
    assert conftest.tree(odd) == before


def test_an_unfinished_harvest_is_never_written_into(odd: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "_harvest" / "plan").mkdir(parents=True)
    with pytest.raises(OutputError, match="is part of the harvest in"):
        later(odd, tmp_path / "other" / "instances" / "00000.parquet", "StudyID")
    assert list((tmp_path / "other").iterdir()) == [tmp_path / "other" / "_harvest"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("s3://bucket/a.parquet", "is in a bucket.*name one, and copy it there"),
        ("gs://bucket/a.parquet", "is in a bucket"),
        ("ftp://host/a.parquet", "is no s3://.*name a local file"),
        ("/proc/a.parquet", "/proc/a.parquet cannot be written .*: name another file"),
        ("/dev/null/a.parquet", "cannot be written .File exists.: name another file"),
        ("", "is a folder: name a file in it"),
        ("new/", "is a folder: name a file in it"),
    ],
)
def test_where_no_file_can_be(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=message):
        later(odd, file, "StudyID")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_beside_the_file(odd: Path, tmp_path: Path) -> None:
    later(odd, tmp_path / "new" / "a.parquet", "StudyID")
    (tmp_path / "b.parquet").write_text("old")
    later(odd, f"file://{tmp_path}/b.parquet", "StudyID")
    assert sorted(conftest.tree(tmp_path)) == ["b.parquet", "new/a.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.parquet", "new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.parquet"]
    assert pq.read_metadata(tmp_path / "b.parquet").num_rows == len(ODD)


def test_an_interruption_leaves_nothing(odd: Path, tmp_path: Path) -> None:
    class Interrupted(Progress):
        def message(self, text: str) -> None:
            if text == "making the columns":
                raise KeyboardInterrupt

    wanted = resolve_wanted((), ("StudyID",))
    (tmp_path / "a.parquet").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_columns(OutputConfig(url=str(odd)), wanted, tmp_path / "a.parquet", Interrupted())
    assert conftest.tree(tmp_path) == {"a.parquet": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_few_headers_are_looked_at_at_once(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By bytes, since a header may have twelve megabytes, and by rows; at least one."""
    later(kept, tmp_path / "large.parquet", "StudyID", "Rows")
    table = pq.read_table(kept / "instances", columns=["url", "header"])
    lengths = [len((text or "").encode()) for text in table["header"].to_pylist()]
    most = sorted(lengths)[-3]  # two headers are longer
    monkeypatch.setattr(module, "_HEADER_BYTES", most)
    monkeypatch.setattr(module, "_ROWS", 4)
    files = [f"instances/{path.name}" for path in sorted((kept / "instances").iterdir())]
    batches = list(module._batches(open_output(str(kept)), files))
    assert pa.Table.from_batches(batches).equals(table)
    rows = [batch.num_rows for batch in batches]
    sizes = [
        sum(len((text or "").encode()) for text in batch["header"].to_pylist()) for batch in batches
    ]
    assert all(size <= most or count == 1 for size, count in zip(sizes, rows, strict=True))
    assert max(sizes) == max(lengths)
    assert max(rows) == 4
    # none could have taken the first row of the next
    firsts = [len((batch["header"][0].as_py() or "").encode()) for batch in batches[1:]]
    full = zip(sizes, rows, firsts, strict=False)
    assert all(size + first > most or count == 4 for size, count, first in full)
    later(kept, tmp_path / "small.parquet", "StudyID", "Rows")
    assert pq.read_table(tmp_path / "small.parquet").equals(
        pq.read_table(tmp_path / "large.parquet")
    )


# --- the command -------------------------------------------------------------------------------


def test_the_command_writes_what_is_not_skipped(odd: Path, tmp_path: Path) -> None:
    skip = ("--skip", "MRDiffusionSequence", "--skip", "ModalityLUTSequence")
    ended = conftest.harvest(
        "columns", odd, "--profile", "all", *skip, "--dest", tmp_path / "a.parquet", "--json"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    names = pq.read_schema(tmp_path / "a.parquet").names
    assert (found["path"], found["rows"]) == (str(tmp_path / "a.parquet"), len(ODD))
    assert ["url", "issues", *found["columns"]] == names
    assert "DiffusionBValue" in names
    assert not {"MRDiffusionSequence", "ModalityLUTSequence"} & set(names)


def test_the_command_ends_on_a_signal(tmp_path: Path) -> None:
    code = (
        "import signal\n"
        "from harvest import cli\nfrom harvest.views import columns\n"
        "columns.write_columns = lambda *_: signal.raise_signal(signal.SIGTERM)\n"
        "cli.main(['columns', 'out', '--tags', 'StudyID', '--dest', 'a.parquet'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert ended.returncode == 75
    assert "interrupted; run the same command again" in ended.stderr
