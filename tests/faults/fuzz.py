"""Fuzzing of the header walk: whatever the bytes, a row or a kind of error, within the limits.

`examine` is the target. It needs no fuzzer, and the suite runs it over the saved corpus. To fuzz,
guided by coverage (with the extra ``fuzz`` installed)::

    python -m tests.faults.fuzz --seconds 1800 --seed 1 --corpus FOLDER

The seeds are the built catalogue and, if given, the headers of a folder of real files. Findings
are saved, and the same seed runs the same inputs again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from harvest.dicom.converter import Converter, number_of_frames
from harvest.dicom.elements import DataSet, Selection
from harvest.dicom.header import Header, read_header
from harvest.dicom.offsets import Pixels, locate_pixels
from harvest.dicom.tags import Attribute, Wanted
from harvest.dicom.walk import HeaderLimits
from harvest.dicom.window import NeedMore, Window
from harvest.errors import ErrorKind, ObjectError
from harvest.store.fetch import Traffic
from harvest.table.rows import Planned, Row, ok_row
from harvest.table.schema import instances_schema
from tests.faults.hostile import CASES, OK, PROFILES, TAGS
from tests.support import oracle
from tests.support.build import DEFLATED, EVERYTHING, LITTLE, UNDEFINED, deflate, header_of
from tests.support.profiles import resolve_attributes

CORPUS: Final = Path(__file__).parent / "corpus"
"""Inputs that the suite examines: the smallest of each outcome, grown from built files alone."""
KEPT_FILES: Final = 200
KEPT_BYTES: Final = 2 * 2**10
"""Largest input in the corpus."""
LIMITS: Final = HeaderLimits(
    header_bytes=2**20, elements=20_000, value_bytes=2**14, kept=2_000, kept_bytes=2**17
)
"""The reader's, scaled down to the size of the inputs."""
INPUT_BYTES: Final = 2**13
SECONDS_PER_INPUT: Final = 5
RSS_MEBIBYTES: Final = 1024
PROCESSES: Final = 20
"""So many, one after the other, before a run gives up."""
PIXEL_BYTES: Final = 64
"""Kept of a real file behind its header."""
COMPARED: Final = 500
"""Every so many inputs pydicom reads the same bytes."""
KINDS: Final = {
    ErrorKind.NOT_DICOM,
    ErrorKind.TRUNCATED,
    ErrorKind.MALFORMED,
    ErrorKind.TOO_LARGE,
}
_PLANNED: Final = Planned("file:///fuzzed", None, None)


class Broken(Exception):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an input."""

    ended: str
    """`OK` or the kind of error."""
    detail: str = ""
    header: Header | None = None
    row: Row | None = None


@cache
def columns() -> tuple[Attribute, ...]:
    """Return the columns of a fuzzed harvest."""
    return resolve_attributes(PROFILES, TAGS)


@cache
def _wanted() -> Selection:
    return Selection(columns())


@cache
def _schema() -> pa.Schema:
    return instances_schema(columns())


# the target


def examine(data: bytes) -> tuple[Outcome, Outcome]:
    """Read bytes as an object, whole and in pieces, for columns and for everything.

    Raises
    ------
    Broken
        An invariant does not hold. Any other exception is a finding too.
    """
    chance = random.Random(zlib.crc32(data))
    found = []
    for selection in (_wanted(), EVERYTHING):
        whole = _outcome(data, selection, len(data), None)
        first = chance.choice([1, 132, 400, 1000, 4000])
        pieces = _outcome(data, selection, first, chance)
        if (whole.ended, whole.header, whole.row) != (pieces.ended, pieces.header, pieces.row):
            raise Broken(f"whole it is {whole.ended}, in pieces {pieces.ended}")
        found.append(whole)
    if found[0].row is not None:
        pa.RecordBatch.from_pylist([found[0].row], schema=_schema())
    return found[0], found[1]


def _outcome(
    data: bytes, selection: Selection, first: int, chance: random.Random | None
) -> Outcome:
    window = Window(len(data))
    window.add(0, data[:first])
    try:
        header, pixels = _read(window, data, selection, chance)
        values = Converter(Wanted(columns())).values(header)
        row = ok_row(_PLANNED, Traffic(len(data)), header.end, pixels, values)
    except ObjectError as error:
        if error.kind not in KINDS:
            raise Broken(f"an object alone cannot be {error.kind}") from error
        return Outcome(str(error.kind), error.detail)
    check_limits(header, selection)
    return Outcome(OK, "", header, row)


def _read(
    window: Window, data: bytes, selection: Selection, chance: random.Random | None
) -> tuple[Header, Pixels]:
    """Read as `ObjectReader` does: the start, then what is missing and some bytes more."""
    while True:
        found: Header | NeedMore | Pixels = read_header(window, selection, LIMITS)
        if isinstance(found, Header):
            header = found
            found = locate_pixels(window, header, number_of_frames(header))
            if isinstance(found, Pixels):
                return header, found
        assert isinstance(found, NeedMore)
        if chance is None or not 0 <= found.start < found.stop <= len(data):
            raise Broken(f"bytes {found.start} to {found.stop} of {len(data)} are asked for")
        # more and more, or the time goes into beginning again
        more = chance.choice([0, 1, 16, window.held, window.held])
        window.add(found.start, data[found.start : max(found.stop, found.start + more)])


def check_limits(header: Header, selection: Selection, limits: HeaderLimits = LIMITS) -> None:
    """Raise `Broken` if a header holds more than the limits allow."""
    # file meta information is walked over for itself
    kept, size = _kept(header.dataset, limits.depth)
    if kept > 2 * limits.kept:
        raise Broken(f"{kept} elements and items are kept")
    longest = limits.header_bytes if selection.everything else 2 * limits.kept_bytes
    if size > longest:
        raise Broken(f"{size} bytes of values are kept")


def _kept(dataset: DataSet, depth: int) -> tuple[int, int]:
    """Count elements and items, and the bytes of their values."""
    if depth < 0:
        raise Broken("sequences are nested too deep")
    kept = len(dataset)
    size = 0
    for element in dataset.values():
        size += len(element.value or b"")
        for item in element.items or ():
            inner, inner_size = _kept(item, depth - 1)
            kept += inner + 1
            size += inner_size
    return kept, size


def disagreement(data: bytes, outcome: Outcome) -> str | None:
    """Compare identity and modality with pydicom's; None where both see the same.

    Only of objects that are ok without an issue: of others pydicom may have read less.
    """
    if outcome.row is None or outcome.row["issues"] is not None:
        return None
    try:
        theirs = oracle.read_without_force(BytesIO(data))
        if theirs is None:
            return "pydicom refuses it"
        values, _ = oracle.expected_values(theirs, ("SOPInstanceUID", "Modality"))
    except Exception:  # pydicom has its own findings
        return None
    ours = {name: outcome.row.get(name) for name in values}
    return None if ours == values else f"{sorted(values)} differ"


# mutations that know DICOM


_VR: Final = re.compile(rb"[A-Z]{2}")
_VRS: Final = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB"),
    *(b"OF", b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"SV", b"TM", b"UC", b"UI"),
    *(b"UL", b"UN", b"UR", b"US", b"UT", b"UV", b"ZZ", b"A\xff", b"\0\0"),
)
_LENGTHS: Final = (0, 1, 2, 3, 7, 8, 0xFF, 0xFFFE, 0xFFFF, 2**31, UNDEFINED - 1, UNDEFINED)
_TAGS: Final = (
    *(0x00020000, 0x00020010, 0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00081140),
    *(0x0020000E, 0x00280008, 0x00280010, 0x00280103, 0x00280120, 0x00430010, 0x00431039),
    *(0x0040A730, 0x52009230, 0x7FE00001, 0x7FE00002, 0x7FE00008, PIXELS := 0x7FE00010),
    *(0xFFFCFFFC, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD),
)
_MARKS: Final = (
    *(LITTLE.item_end, LITTLE.sequence_end, LITTLE.item(b""), LITTLE.mark(0xE000, UNDEFINED)),
    *(LITTLE.element(0x00081140, "SQ", length=UNDEFINED), LITTLE.element(0x0040A730, "SQ")),
    *(LITTLE.encapsulated([b"\xff\xd8\xff\xd9"], [0]), LITTLE.extended([0, 12], [4, 4])),
    *(LITTLE.private(0x0043, 0x10, "GEMS_PARM_01", (0x39, "IS", b"6 ")), b"\x1b$B", b"\\"),
)
_DEFLATED: Final = DEFLATED.encode() + b"\0" * (len(DEFLATED) % 2)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Change an input in one way that means something in DICOM; inside, where it is deflated."""
    at = data.find(_DEFLATED)
    if at >= 0 and chance.random() < 0.7:
        start = at + len(_DEFLATED)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            inside = inflater.decompress(data[start:], INPUT_BYTES)
        except zlib.error:
            return _change(data, chance)
        return data[:start] + deflate(_change(inside, chance))
    return _change(data, chance)


def _change(data: bytes, chance: random.Random) -> bytes:
    heads = [match.start() for match in _VR.finditer(data) if match.start() >= 4]
    vr = chance.choice(heads) if heads else min(4, len(data))
    other = chance.choice(heads) if heads else len(data)
    order = "<" if chance.random() < 0.9 else ">"
    tag = chance.choice(_TAGS)
    length = chance.choice([*_LENGTHS, chance.randrange(64), len(data)])
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: _over(data, vr, chance.choice(_VRS)),
        lambda: _over(data, vr - 4, struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)),
        lambda: _over(data, vr + 2, struct.pack(f"{order}H", length & 0xFFFF)),
        lambda: _over(data, vr + 4, struct.pack(f"{order}L", length)),
        lambda: data[: vr - 4] + chance.choice(_MARKS) + data[vr - 4 :],
        lambda: data[: vr - 4] + data[min(vr, other) - 4 : max(vr, other) - 4] + data[vr - 4 :],
        lambda: data[: min(vr, other) - 4] + data[max(vr, other) - 4 :],
        lambda: data[: chance.randrange(len(data) + 1)],
        lambda: data[: vr - 4] + data[vr - 4 : other] * chance.choice([2, 10, 100]) + data[other:],
        lambda: data + bytes(chance.choice([1, 8, 1000])),
    )
    return chance.choice(ways)()


def _over(data: bytes, at: int, piece: bytes) -> bytes:
    at = max(0, at)
    return data[:at] + piece + data[at + len(piece) :]


# the run


def seeds(corpus: Path | None) -> Iterator[bytes]:
    """Yield the built cases and the headers of real files, those that are small enough."""
    for case in CASES.values():
        data = case.build()
        if len(data) <= INPUT_BYTES:
            yield data
    for path in sorted(corpus.rglob("*")) if corpus else ():
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            header = header_of(data, _wanted())
        except ObjectError:
            continue
        end = len(data) if header.deflated else header.end + PIXEL_BYTES
        if end <= INPUT_BYTES:
            yield data[:end]


@dataclass
class Counts:
    """What a run has done so far."""

    inputs: int = 0
    ok: int = 0
    compared: int = 0
    longest_seconds: float = 0.0
    peak_mebibytes: float = 0.0
    findings: int = 0

    def with_those_of(self, other: Counts) -> Counts:
        """Add what another process did."""
        return Counts(
            self.inputs + other.inputs,
            self.ok + other.ok,
            self.compared + other.compared,
            max(self.longest_seconds, other.longest_seconds),
            max(self.peak_mebibytes, other.peak_mebibytes),
            self.findings + other.findings,
        )


class _Target:
    """Examines inputs, counts them, and saves the first input of each finding."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self._written = time.monotonic()
        self.counts = Counts()

    def __call__(self, data: bytes) -> None:
        begun = time.monotonic()
        try:
            outcome, _ = examine(data)
            self._compare(data, outcome)
        except Exception as error:  # whatever it is, it is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._save(data, f"{type(error).__name__} in {where.name}: {error}", where.name)
        else:
            self.counts.ok += outcome.ended == OK
        now = time.monotonic()
        self.counts.inputs += 1
        self.counts.longest_seconds = max(self.counts.longest_seconds, now - begun)
        if now - self._written > 1:
            self._written = now
            self.write()

    def _compare(self, data: bytes, outcome: Outcome) -> None:
        if self.counts.inputs % COMPARED:
            return
        self.counts.compared += 1
        differs = disagreement(data, outcome)
        if differs is not None:
            self._save(data, f"unlike pydicom: {differs}", differs)

    def _save(self, data: bytes, text: str, key: str) -> None:
        kind = hashlib.sha256((text.split(":")[0] + key).encode()).hexdigest()[:12]
        if kind in self._seen:
            return
        self._seen.add(kind)
        self.counts.findings += 1
        (self._folder / f"finding-{kind}.dcm").write_bytes(data)
        (self._folder / f"finding-{kind}.txt").write_text(text + "\n")

    def write(self) -> None:
        """Write the counts down: a fuzzer's process ends without a word."""
        # getrusage would count what the parent held when it forked
        high = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        self.counts.peak_mebibytes = int(high[1]) / 2**10 if high else float("nan")
        counts = self._folder / "counts.json"
        fresh = counts.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self.counts)))
        fresh.replace(counts)


def fuzz(arguments: list[str], folder: Path) -> None:
    """Run libFuzzer in this process; it does not return.

    Parameters
    ----------
    arguments
        Of libFuzzer.
    folder
        For findings and counts.
    """
    import atheris

    target = _Target(folder)
    target.write()

    def mutator(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.4:
            return bytes(atheris.Mutate(data, longest))
        for _ in range(chance.choice([1, 1, 2, 4])):
            data = mutate(data, chance)
        return data[:longest]

    atheris.Setup([sys.argv[0], *arguments], target, custom_mutator=mutator)
    atheris.Fuzz()


_CHILD: Final = """
import sys, atheris
from pathlib import Path
with atheris.instrument_imports(include=["harvest"]):
    from tests.faults import fuzz
fuzz.fuzz(sys.argv[2:], Path(sys.argv[1]))
"""


def run(seconds: int, inputs: int, seed: int, corpus: Path | None, folder: Path) -> int:
    """Fuzz in processes of their own, print what was done, return how many findings there are.

    libFuzzer ends at an input that takes too long or too much memory; the next process goes on
    with the next seed.
    """
    grown, given = folder / "grown", folder / "seeds"
    for each in (grown, given):
        each.mkdir(parents=True, exist_ok=True)
    for data in seeds(corpus):
        (given / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"seed {seed}, {len(list(given.iterdir()))} seed inputs, findings in {folder}")
    begun = time.monotonic()
    total = Counts()
    for attempt in range(PROCESSES):
        left = seconds - round(time.monotonic() - begun)
        if left <= 0 or 0 <= inputs <= total.inputs:
            break
        code, counts = _process(
            left, max(inputs - total.inputs, -1), seed + attempt, folder, (grown, given)
        )
        total = total.with_those_of(counts)
        if not code:
            break
    taken = time.monotonic() - begun
    findings = sorted(path for path in folder.glob("finding-*") if path.suffix != ".txt")
    print(
        f"{total.inputs} inputs in {taken:.0f} s ({total.inputs / taken:.0f}/s), "
        f"{total.ok} of them ok, {total.compared} compared with pydicom; "
        f"peak {total.peak_mebibytes:.0f} MiB, longest input {total.longest_seconds:.2f} s; "
        f"{len(findings)} findings"
    )
    for path in findings:
        text = path.with_suffix(".txt")
        print(f"  {path.name}: {text.read_text().strip() if text.exists() else 'a limit'}")
    return len(findings)


def _process(
    seconds: int, inputs: int, seed: int, folder: Path, inputs_in: tuple[Path, Path]
) -> tuple[int, Counts]:
    """Run one process of the fuzzer; return its exit code and what it did."""
    with (folder / "libfuzzer.log").open("a") as log:
        ended = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-c", _CHILD, folder),
                *(f"-max_total_time={seconds}", f"-runs={inputs}", f"-seed={seed}"),
                *(f"-max_len={INPUT_BYTES}", f"-timeout={SECONDS_PER_INPUT}"),
                *(f"-rss_limit_mb={RSS_MEBIBYTES}", f"-artifact_prefix={folder}/finding-"),
                *inputs_in,
            ],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdout=log,
            stderr=log,
            check=False,
        )
    return ended.returncode, Counts(**json.loads((folder / "counts.json").read_text()))


def keep(folder: Path, corpus: Path = CORPUS) -> int:
    """Keep the smallest input of each different outcome as the corpus; return how many."""
    smallest: dict[str, bytes] = {}
    for path in (*folder.iterdir(), *(corpus.iterdir() if corpus.exists() else ())):
        data = path.read_bytes()
        if len(data) > KEPT_BYTES:
            continue
        signature = _signature(data)
        if signature not in smallest or len(data) < len(smallest[signature]):
            smallest[signature] = data
    chosen = sorted(smallest.values(), key=lambda data: (len(data), data))[:KEPT_FILES]
    corpus.mkdir(exist_ok=True)
    for path in corpus.iterdir():
        path.unlink()
    for data in chosen:
        (corpus / f"{hashlib.sha256(data).hexdigest()[:16]}.dcm").write_bytes(data)
    return len(chosen)


def _signature(data: bytes) -> str:
    parts = []
    for outcome in examine(data):
        row: Mapping[str, Any] = outcome.row or {}
        parts += [
            outcome.ended,
            re.sub(r"\d+", "n", outcome.detail),
            row.get("offset_table"),
            re.sub(r"\d+", "n", row.get("offset_table_problem") or ""),
            sorted({issue["problem"] for issue in row.get("issues") or ()}),
            sorted(name for name, value in row.items() if value is not None),
        ]
        if outcome.header is not None:
            header = outcome.header
            parts += [header.implicit, header.little_endian, header.deflated]
    return repr(parts)


def main() -> int:
    """Run from the command line; exit with 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inputs", type=int, default=-1, help="no limit if not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of real files")
    parser.add_argument("--findings", type=Path, help="folder; a new one if not given")
    parser.add_argument("--keep", action="store_true", help="renew the corpus of the suite")
    asked = parser.parse_args()
    if asked.keep and asked.corpus:
        parser.error("what grows from real files is not kept: give --keep without --corpus")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install 'harvest[fuzz]'")
    folder = asked.findings or Path(tempfile.mkdtemp(prefix="harvest-fuzz-"))
    findings = run(asked.seconds, asked.inputs, asked.seed, asked.corpus, folder.absolute())
    if asked.keep:
        print(f"{keep(folder / 'grown')} inputs kept in {CORPUS}")
    return min(1, findings)


if __name__ == "__main__":
    sys.exit(main())
