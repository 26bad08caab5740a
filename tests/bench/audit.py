"""``python -m tests.bench.audit``: an audit without changes, and one with 3 % of it new.

The objects are only listed: a server on this machine tells of as many as are asked for, and counts
what it is asked. The rows of the first snapshot, and of what is new in the third, are made and not
read, so that what is measured is the audit's own work. Each audit is a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from harvest.audit.auditor import audit
from harvest.config import Config
from harvest.driver.progress import Progress
from harvest.table.arrow import partition_name, read_arrow
from harvest.table.parts import Part, write_part
from harvest.table.union import TableColumns
from harvest.worker.partition import PartitionRead, partition_read
from tests.lab import servers
from tests.support.snapshots import index_schema

IN_A_SERIES: Final = 125
SETS: Final = ("completeness", "identity", "geometry", "offset_tables", "licence")
NEW: Final = 0.03
_STEPS: Final = {
    "listing the cohort": "list",
    "carrying over what has not changed": "carry over",
    "writing the tables": "publish",
    "comparing it with the snapshot before": "diff",
    "checking the rules": "rules and report",
}
_CT: Final = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Audit:
    """What an audit cost."""

    name: str
    instances: int
    carried: int
    seconds: float
    cpu_seconds: float
    """Of the driver, which others on the machine do not change."""
    steps: dict[str, float]
    """Seconds of each step."""
    peak_mb: float
    """Resident memory of the driver."""
    listing_requests: int
    object_requests: int


# --- a bucket that is only listed --------------------------------------------------------------


def _uuid(text: str) -> str:
    return str(UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), version=4))


@cache
def _series(number: int) -> str:
    return _uuid(f"series {number}")


@dataclass
class Bucket:
    """The series that it tells of, and the requests."""

    series: dict[str, int] = field(default_factory=dict)
    """Numbers by UUID."""
    listings: int = 0
    others: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> bytes:
        """Return the listing of a series."""
        query = parse_qs(urlsplit(path).query)
        prefix = query.get("prefix", [""])[0]
        with self.lock:
            self.listings += "list-type" in query
            self.others += "list-type" not in query
        number = self.series.get(prefix.rstrip("/"))
        objects = range(IN_A_SERIES) if number is not None else ()
        entries = "".join(
            f"<Contents><Key>{prefix}{_uuid(f'{number}/{each}')}.dcm</Key><Size>{500_000 + each}"
            f"</Size><ETag>&quot;{each:032x}&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for each in objects
        )
        return (
            '<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>'
            f"<Prefix>{prefix}</Prefix><KeyCount>{len(objects)}</KeyCount>{entries}"
            "</ListBucketResult>"
        ).encode()


@contextmanager
def _served(bucket: Bucket) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bucket.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _write_index(path: Path, numbers: Sequence[int]) -> None:
    rows = [
        {
            "collection_id": "made",
            "Modality": "CT",
            "PatientID": f"P{number // 8}",
            "StudyInstanceUID": f"1.2.9.{number // 4}",
            "SeriesInstanceUID": f"1.2.8.{number}",
            "crdc_series_uuid": _series(number),
            "aws_bucket": "idc-open-data",
            "instanceCount": IN_A_SERIES,
            "series_size_MB": sum(500_000 + each for each in range(IN_A_SERIES)) / 1e6,
            "license_short_name": "CC BY 4.0",
            "source_DOI": "10.1/made",
        }
        for number in numbers
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=index_schema()), path)


# --- rows that are made and not read -----------------------------------------------------------


def _made(columns: TableColumns, planned: pa.Table) -> pa.Table:
    """Return the rows of planned objects, as if they had been read: CT slices in their places."""
    schema = columns.fixed
    assert schema is not None
    uids = planned["series_instance_uid"].to_pylist()
    numbers = [int(uid.rpartition(".")[2]) for uid in uids]
    places = [int(etag, 16) for etag in planned["etag"].to_pylist()]
    count = planned.num_rows
    known: dict[str, list[Any]] = {
        "SOPInstanceUID": [f"{u}.{p}" for u, p in zip(uids, places, strict=True)],
        "SeriesInstanceUID": uids,
        "StudyInstanceUID": [f"1.2.9.{number // 4}" for number in numbers],
        "PatientID": [f"P{number // 8}" for number in numbers],
        "FrameOfReferenceUID": [f"{uid}.0.1" for uid in uids],
        "InstanceNumber": places,
        "ImagePositionPatient": [[0.0, 0.0, 2.5 * place] for place in places],
    }
    known["MediaStorageSOPInstanceUID"] = known["SOPInstanceUID"]
    same: dict[str, Any] = {
        "status": "ok",
        "retryable": False,
        "header_bytes": 4000,
        "bytes_read": 4000,
        "requests": 1,
        "pixel_data_offset": 4012,
        "offset_table": "native",
        "SOPClassUID": _CT,
        "MediaStorageSOPClassUID": _CT,
        "TransferSyntaxUID": "1.2.840.10008.1.2.1",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [0.7, 0.7],
        "SliceThickness": 2.5,
        "Rows": 16,
        "Columns": 16,
        "BitsAllocated": 16,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "SpecificCharacterSet": ["ISO_IR 100"],
        "WindowCenter": [40.0],
        "WindowWidth": [400.0],
    }
    arrays = []
    for each in schema:
        if each.name in planned.column_names:
            arrays.append(planned[each.name].combine_chunks())
        elif each.name in known:
            arrays.append(pa.array(known[each.name], each.type))
        else:
            arrays.append(pa.array([same.get(each.name, _text(each))] * count, each.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _text(column: pa.Field) -> str | None:
    """Return a value for attributes of free text: rows are as long as real ones."""
    told = column.metadata or {}
    free = told.get(b"vr") in (b"LO", b"SH", b"LT") and told.get(b"vm") == b"1"
    return column.name if free else None


class _Steps(Progress):
    """Notes when each step began."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []

    def message(self, text: str) -> None:
        """Take note of a step."""
        self.begun.append((_STEPS.get(text, ""), time.monotonic()))


def _audited(config: Config, sender: Any) -> None:
    """Audit in a process of its own; send what it cost."""

    def read_on(run: Any, cluster: Any, parts: Sequence[Part]) -> None:
        for part in parts:
            planned = read_arrow(run._output, partition_name(part.partition))
            if part.rows is not None:
                planned = planned.take(pa.array(part.rows))
            table = _made(run._columns, planned)
            write_part(run._output, part, table)
            read: PartitionRead = partition_read(part.partition, table, 0.0)
            run._progress.partition(read)

    steps = _Steps()
    begun = time.monotonic()
    with patch("harvest.driver.runner._Run._read_on", read_on):
        ended = audit(config, steps)
    seconds = time.monotonic() - begun
    times = [*steps.begun, ("", time.monotonic())]
    spent: dict[str, float] = {}
    for (name, start), (_, stop) in pairwise(times):
        if name:
            spent[name] = spent.get(name, 0.0) + stop - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
    report = ended.report
    broken = [rule.name for rule in report.rules if rule.state != "kept" and rule.rows]
    assert broken == [], broken
    sender.send((report.rows, report.carried, seconds, cpu, spent, peak))


def _measure(name: str, config: Config, bucket: Bucket) -> Audit:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    bucket.listings = bucket.others = 0
    process = context.Process(target=_audited, args=(config, sender))
    process.start()
    sender.close()
    rows, carried, seconds, cpu, spent, peak = receiver.recv()
    process.join()
    return Audit(name, rows, carried, seconds, cpu, spent, peak, bucket.listings, bucket.others)


def measured(instances: int, folder: Path) -> list[Audit]:
    """Audit a made cohort three times: at first, without changes, and with 3 % of it new."""
    servers.bypass_proxies()
    numbers = range(instances // IN_A_SERIES)
    added = range(len(numbers), len(numbers) + round(NEW * len(numbers)))
    bucket = Bucket()
    found = []
    with _served(bucket) as url:
        for name, present in (
            ("first", numbers),
            ("nothing new", numbers),
            ("3 % new", [*numbers, *added][len(added) :]),
        ):
            bucket.series = {_series(number): number for number in present}
            index = folder / "index.parquet"
            _write_index(index, present)
            config = Config.model_validate(
                {
                    "cohort": {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
                    "source": {"endpoint": url},
                    "output": str(folder / "audits"),
                    "cluster": {"workers": 1},
                    "audit": {"rule_sets": list(SETS)},
                }
            )
            assert not config.read.wanted.open
            found.append(_measure(name, config, bucket))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.audit", description=__doc__)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harvest-bench-") as folder:
        found = measured(options.instances, Path(folder))
    if options.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    table = Table(
        "audit",
        "instances",
        "carried over",
        "listings",
        "objects",
        "seconds",
        "CPU s",
        "of them",
        "peak MB",
    )
    for each in found:
        steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in each.steps.items())
        table.add_row(
            each.name,
            f"{each.instances:,}",
            f"{each.carried:,}",
            f"{each.listing_requests:,}",
            f"{each.object_requests:,}",
            f"{each.seconds:.1f}",
            f"{each.cpu_seconds:.1f}",
            steps,
            f"{each.peak_mb:,.0f}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
