"""What the tests share: one lab, one scheduler, and a gate that counts and breaks requests."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from harvest.config import Config
from tests.lab import Lab, servers
from tests.lab import lab as running_lab
from tests.lab.files import Series, corpus_from_environment
from tests.lab.servers import Upload

HARVEST: Final = (sys.executable, "-m", "harvest")
SQL_GENERATED: Final = "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'lab_generated'"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), corpus=corpus_from_environment()) as started:
        yield started


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a Dask scheduler with two worker processes."""
    servers.bypass_proxies()
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield str(cluster.scheduler_address)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy, endpoint or credential of the machine decide a test."""
    servers.bypass_proxies()
    for name in os.environ:
        known = name.startswith(("AWS_", "GOOGLE_", "STORAGE_EMULATOR"))
        if known or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)


# --- configs and outputs ---------------------------------------------------------------------


def source_of(lab: Lab, cloud: str = "aws", **more: Any) -> dict[str, Any]:
    """Return the config's source section for one of the lab's clouds."""
    endpoint = lab.s3.endpoint if cloud == "aws" else lab.gcs.endpoint
    return {"cloud": cloud, "endpoint": endpoint, **more}


def config_of(
    output: Path | str,
    cohort: dict[str, Any],
    source: dict[str, Any] | None = None,
    *,
    scheduler: str | None = None,
    **sections: Any,
) -> Config:
    """Build a config; one worker process where no scheduler is given."""
    cluster = {"address": scheduler} if scheduler else {"workers": 1}
    content = {"cohort": cohort, "output": str(output), "cluster": cluster, **sections}
    return Config.model_validate({**content, "source": source or {}})


def instances(output: Path) -> list[dict[str, Any]]:
    """Read the table ``instances`` as anyone would, in the order of its rows."""
    return table(f"SELECT * FROM '{output}/instances/*.parquet'")


def table(sql: str) -> list[dict[str, Any]]:
    """Run SQL in a DuckDB of its own."""
    with duckdb.connect() as connection:
        found = connection.execute(sql).to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with changes, for a child."""
    return {**os.environ, **more}


def harvest(
    *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*HARVEST, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=90
    )


# --- data ------------------------------------------------------------------------------------


def series_of(lab: Lab, description: str) -> Series:
    """Find one of the lab's generated series."""
    (found,) = (
        each
        for each in lab.series
        if each.collection_id == "lab_generated"
        and each.attributes["SeriesDescription"] == description
    )
    return found


def write_dicom(path: Path, series: str, *, header: int = 0, instance: str = "1") -> Path:
    """Write a small CT image whose header has at least `header` bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{series}.{instance}"
    image.SeriesInstanceUID = series
    image.StudyInstanceUID = "1.2.3"
    image.Modality = "CT"
    image.PatientID = "SECRET-PATIENT"
    image.TextValue = "x" * header
    image.Rows = image.Columns = 4
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.SamplesPerPixel = 1
    image.PixelRepresentation = 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(16)
    image["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


@dataclass(frozen=True)
class OwnSeries:
    """A series of a test's own on both of the lab's clouds."""

    uid: str
    uuid: str
    bucket: str
    keys: tuple[str, ...]
    paths: tuple[Path, ...]


def own_series(
    lab: Lab, folder: Path, count: int, *, bucket: str = "idc-open-data", header: int = 0
) -> OwnSeries:
    """Put a series of new objects into a public bucket of both clouds."""
    uid = f"2.25.{uuid.uuid4().int}"
    name = str(uuid.uuid4())
    paths = [
        write_dicom(
            folder / name / f"{uuid.uuid5(uuid.NAMESPACE_OID, f'{name}/{number}')}.dcm",
            uid,
            header=header + number,
            instance=str(number + 1),
        )
        for number in range(count)
    ]
    paths.sort()
    keys = tuple(f"{name}/{path.name}" for path in paths)
    put(lab, bucket, dict(zip(keys, paths, strict=True)))
    return OwnSeries(uid, name, bucket, keys, tuple(paths))


def put(lab: Lab, bucket: str, files: dict[str, Path]) -> None:
    """Put files into a bucket of both clouds, named as on AWS."""
    uploads = [Upload(key, path) for key, path in files.items()]
    servers.put_s3(lab.s3, bucket, uploads)
    servers.put_gcs(lab.gcs, GCS_NAMES.get(bucket, bucket), uploads)


GCS_NAMES: Final = {"idc-open-data-two": "idc-open-idc1", "idc-open-data-cr": "idc-open-cr"}


def index_of(lab: Lab, path: Path, rows: Iterable[tuple[OwnSeries, int]]) -> Path:
    """Write an index of one's own with the columns of IDC's.

    Parameters
    ----------
    lab
        Whose index's columns are taken.
    path
        File to write.
    rows
        Series, and the instanceCount to say of them.
    """
    schema = pq.read_schema(lab.index)
    content = [
        {
            "collection_id": "own",
            "Modality": "CT",
            "SeriesInstanceUID": series.uid,
            "crdc_series_uuid": series.uuid,
            "aws_bucket": series.bucket,
            "series_aws_url": f"s3://{series.bucket}/{series.uuid}/*",
            "instanceCount": count,
            "series_size_MB": 0.1,
        }
        for series, count in rows
    ]
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path)
    return path


# --- a gate before a real server -------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A request that passed the gate."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    status: int
    body_bytes: int
    """Of the answer, as sent."""


@dataclass(frozen=True)
class Answer:
    """What is about to be answered."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None
    """Send only so many bytes of the body, and close."""
    reset: bool = False
    """Reset the connection instead."""


Fault = Callable[[Answer], Answer]


@dataclass
class Gate:
    """A reverse proxy on a free port; honest unless told otherwise."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    """One for each of the next requests."""
    always: Fault | None = None
    """For every request, when `faults` are used up."""
    only: str = ""
    """Faults are for requests whose path holds this."""
    on_request: Callable[[int], None] | None = None
    """Called before the request of this number, from 0, is passed on."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, key: str) -> list[Seen]:
        """Return the requests whose path holds a text."""
        return [each for each in self.seen if key in unquote(each.path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    opened: Gate
    upstream: str

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        # a client may leave, or be thrown out by `reset`
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        opened = self.opened
        with opened.lock:
            number = len(opened.seen)
            fault = None
            if opened.only in unquote(self.path):
                fault = opened.faults.popleft() if opened.faults else opened.always
            # its place is taken before the answer is known: requests come from many threads
            opened.seen.append(Seen(self.command, self.path, {}, 0, 0))
        if opened.on_request is not None:
            opened.on_request(number)
        answer = self._ask()
        if fault is not None:
            answer = fault(answer)
        sent = answer.body if answer.sent is None else answer.body[: answer.sent]
        headers = {name.lower(): value for name, value in self.headers.items()}
        opened.seen[number] = Seen(self.command, self.path, headers, answer.status, len(sent))
        self._send(answer, sent)

    def _ask(self) -> Answer:
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            # fake-gcs-server answers to its own name alone; a signature holds for the name signed
            signed = "Authorization" in self.headers
            connection.putheader("Host", self.headers["Host"] if signed else target.netloc)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "proxy-connection", "host"):
                    connection.putheader(name, value)
            connection.endheaders(self.rfile.read(int(self.headers["Content-Length"] or 0)))
            answer = connection.getresponse()
            dropped = ("connection", "transfer-encoding", "content-length")
            headers = {
                name: value for name, value in answer.getheaders() if name.lower() not in dropped
            }
            return Answer(answer.status, headers, answer.read())

    def _send(self, answer: Answer, sent: bytes) -> None:
        if answer.reset:
            no_wait = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_wait)
            self.connection.close()
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = answer.sent is not None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no failure of a test."""


@contextlib.contextmanager
def gate(upstream: str) -> Iterator[Gate]:
    """Run a gate before a server."""

    class Handler(_Handler):
        pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        opened = Gate(f"http://127.0.0.1:{server.server_address[1]}")
        Handler.upstream, Handler.opened = upstream, opened
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield opened
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def s3_gate(lab: Lab) -> Iterator[Gate]:
    with gate(lab.s3.endpoint) as opened:
        yield opened


@pytest.fixture
def gcs_gate(lab: Lab) -> Iterator[Gate]:
    with gate(lab.gcs.endpoint) as opened:
        yield opened


def status(code: int, body: bytes = b"<Error/>") -> Fault:
    """Answer with another status."""
    return lambda answer: Answer(code, {"Content-Type": "application/xml"}, body)


def moved_range(answer: Answer) -> Answer:
    """Say that the bytes are of another place."""
    name = next(name for name in answer.headers if name.lower() == "content-range")
    extent, _, size = answer.headers[name].removeprefix("bytes ").partition("/")
    first, _, last = extent.partition("-")
    moved = f"bytes {int(first) + 2}-{int(last) + 2}/{size}"
    return replace(answer, headers={**answer.headers, name: moved})


def shorter_range(answer: Answer) -> Answer:
    """Serve less than asked for, and say so consistently."""
    name = next(name for name in answer.headers if name.lower() == "content-range")
    extent, _, size = answer.headers[name].removeprefix("bytes ").partition("/")
    first = extent.partition("-")[0]
    body = answer.body[:-10]
    said = f"bytes {first}-{int(first) + len(body) - 1}/{size}"
    return replace(answer, headers={**answer.headers, name: said}, body=body)


def whole_object(content: bytes) -> Fault:
    """Ignore the range, as some proxies do."""

    def fault(answer: Answer) -> Answer:
        headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-range"}
        return replace(answer, status=200, headers=headers, body=content)

    return fault


def short_body(answer: Answer) -> Answer:
    """Break off in the middle of the body."""
    return replace(answer, sent=len(answer.body) // 2)


def reset(answer: Answer) -> Answer:
    """Reset the connection."""
    return replace(answer, reset=True)


def many(fault: Fault, times: int) -> Sequence[Fault]:
    """Repeat a fault."""
    return [fault] * times
