"""The ways to read headers that people use today, each a small function; nothing of harvest.

``python ways.py WAY --endpoint URL`` reads a list of objects as JSON from standard input,
``[[bucket, key, size, header_bytes], ...]``, and prints what reading them cost as JSON. The first
object is read once before anything counts: imports, clients and connections are not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

RANGE_BYTES = 16 * 1024
GROWTH = 4
"""Of a range that did not hold the whole header."""
THREADS = 16


class Target(NamedTuple):
    """An object to read."""

    bucket: str
    key: str
    size: int
    header_bytes: int


Read = Callable[[Sequence[Target]], Iterable[str]]
"""Reads objects; returns the SOPInstanceUIDs found, or for the floor their keys."""


class Setup(NamedTuple):
    """What all ways are told."""

    endpoint: str
    threads: int
    insecure: bool
    """Do not check the certificate; for clients that cannot be told of one."""


def _uid(header: Any) -> str:
    return str(header.get("SOPInstanceUID", ""))


def _parse(data: bytes, size: int) -> Any:
    """Parse the start of an object; None if its header goes on behind it."""
    from pydicom import dcmread

    buffer = BytesIO(data)
    try:
        header = dcmread(buffer, stop_before_pixels=True)
    except Exception:
        # what pydicom raises for a header that is cut depends on where
        if len(data) >= size:
            raise
        return None
    # pydicom goes back to the pixels' tag where it found one; otherwise it took all there was
    return None if buffer.tell() >= len(data) and len(data) < size else header


def _by_range(get: Callable[[Target, int, int], bytes], target: Target) -> Any:
    """Read a header by ranges from the start, each several times as long as all before it."""
    data = get(target, 0, min(RANGE_BYTES, target.size))
    while (header := _parse(data, target.size)) is None:
        stop = min(GROWTH * len(data), target.size)
        data += get(target, len(data), stop)
    return header


def _threaded(threads: int, read: Callable[[Target], str]) -> Read:
    pool = ThreadPoolExecutor(threads)
    return lambda targets: pool.map(read, targets)


def _s3(setup: Setup, connections: int = 10) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=setup.endpoint,
        region_name="us-east-1",
        config=Config(
            signature_version=UNSIGNED,
            max_pool_connections=connections,
            s3={"addressing_style": "path"},
        ),
    )


# --- the ways --------------------------------------------------------------------------------


def gcs_open(setup: Setup) -> Read:
    """Open blobs as google-cloud-storage's files, one after the other."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from pydicom import dcmread

    client = storage.Client(
        project="bench",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": setup.endpoint},
    )

    def read(targets: Sequence[Target]) -> Iterator[str]:
        for target in targets:
            with client.bucket(target.bucket).blob(target.key).open("rb") as file:
                yield _uid(dcmread(file, stop_before_pixels=True))

    return read


def boto3_whole(setup: Setup) -> Read:
    """Get whole objects with boto3, one after the other, as IDC's page advises."""
    from pydicom import dcmread

    client = _s3(setup)

    def read(targets: Sequence[Target]) -> Iterator[str]:
        for target in targets:
            answer = client.get_object(Bucket=target.bucket, Key=target.key)
            yield _uid(dcmread(BytesIO(answer["Body"].read()), stop_before_pixels=True))

    return read


def _boto3_get(setup: Setup) -> Callable[[Target, int, int], bytes]:
    client = _s3(setup, setup.threads)

    def get(target: Target, start: int, stop: int) -> bytes:
        wanted = f"bytes={start}-{stop - 1}"
        answer = client.get_object(Bucket=target.bucket, Key=target.key, Range=wanted)
        return bytes(answer["Body"].read())

    return get


def boto3_range(setup: Setup) -> Read:
    """Get 16 KiB with boto3, from threads."""
    get = _boto3_get(setup)
    return _threaded(setup.threads, lambda target: _uid(_by_range(get, target)))


def boto3_range_json(setup: Setup) -> Read:
    """Get 16 KiB with boto3, from threads, and make each header DICOM JSON."""
    get = _boto3_get(setup)

    def read(target: Target) -> str:
        header = _by_range(get, target)
        # large values as URIs, as harvest writes them: the cheapest that pydicom offers
        with suppress(ValueError):
            # which pydicom raises for values that break their VR's rules
            header.to_json_dict(
                bulk_data_threshold=1024,
                bulk_data_element_handler=_bulk,
                suppress_invalid_tags=True,
            )
        return _uid(header)

    return _threaded(setup.threads, read)


def _bulk(_: Any) -> str:
    return "bulk"


def smart_open(setup: Setup) -> Read:
    """Open objects with smart_open, one after the other."""
    from pydicom import dcmread
    from smart_open import open as open_url

    client = _s3(setup)

    def read(targets: Sequence[Target]) -> Iterator[str]:
        for target in targets:
            url = f"s3://{target.bucket}/{target.key}"
            with open_url(url, "rb", transport_params={"client": client}) as file:
                yield _uid(dcmread(file, stop_before_pixels=True))

    return read


def s5cmd(setup: Setup) -> Read:
    """Download the series with s5cmd, then read the files."""
    from pydicom import dcmread

    program = shutil.which("s5cmd", path=sysconfig.get_path("scripts")) or "s5cmd"
    common = [program, "--no-sign-request", "--endpoint-url", setup.endpoint, "--log", "error"]

    def read(targets: Sequence[Target]) -> Iterator[str]:
        series = dict.fromkeys((each.bucket, each.key.partition("/")[0]) for each in targets)
        with tempfile.TemporaryDirectory() as folder:
            commands = [f"cp s3://{bucket}/{name}/* {folder}/{name}/" for bucket, name in series]
            subprocess.run([*common, "run"], input="\n".join(commands), text=True, check=True)
            wanted = {each.key for each in targets}
            for path in sorted(Path(folder).rglob("*.dcm")):
                if path.relative_to(folder).as_posix() in wanted:
                    yield _uid(dcmread(path, stop_before_pixels=True))

    return read


def _obstore_get(setup: Setup) -> Callable[[Target, int, int], bytes]:
    import obstore
    from obstore.store import S3Store

    stores: dict[str, S3Store] = {}

    def get(target: Target, start: int, stop: int) -> bytes:
        store = stores.get(target.bucket)
        if store is None:
            store = stores[target.bucket] = S3Store(
                target.bucket,
                endpoint=setup.endpoint,
                skip_signature=True,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": setup.endpoint.startswith("http://"),
                    "allow_invalid_certificates": setup.insecure,
                },
            )
        return bytes(obstore.get_range(store, target.key, start=start, end=stop))

    return get


def obstore_range(setup: Setup) -> Read:
    """Get 16 KiB with obstore, from threads."""
    get = _obstore_get(setup)
    return _threaded(setup.threads, lambda target: _uid(_by_range(get, target)))


def floor(setup: Setup) -> Read:
    """Get exactly the header's bytes with obstore, from threads, and do nothing with them."""
    get = _obstore_get(setup)

    def read(target: Target) -> str:
        data = get(target, 0, target.header_bytes)
        assert len(data) == target.header_bytes
        return target.key

    return _threaded(setup.threads, read)


WAYS: dict[str, Callable[[Setup], Read]] = {
    "gcs_open": gcs_open,
    "boto3_whole": boto3_whole,
    "boto3_range": boto3_range,
    "boto3_range_json": boto3_range_json,
    "smart_open": smart_open,
    "s5cmd": s5cmd,
    "obstore_range": obstore_range,
    "floor": floor,
}
THREADED = {"boto3_range", "boto3_range_json", "obstore_range", "floor"}


# --- measuring -------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in spent)


def measure(
    way: str, setup: Setup, targets: Sequence[Target], *, warm: bool = True
) -> dict[str, Any]:
    """Read objects, and tell what it cost.

    Parameters
    ----------
    way
        One of `WAYS`.
    setup
        Of the way.
    targets
        What to read.
    warm
        Read the first object before anything counts, once for each thread.

    Returns
    -------
    dict
        ``objects``, ``cpu`` and ``wall`` in seconds, and the ``found`` UIDs or keys.
    """
    read = WAYS[way](setup)
    if warm and way != "s5cmd":
        # clients load their parts lazily, and open a connection for each thread
        list(read(list(targets[:1]) * (setup.threads if way in THREADED else 1)))
    cpu, wall = cpu_seconds(), time.monotonic()
    found = list(read(targets))
    spent = {"wall": time.monotonic() - wall, "cpu": cpu_seconds() - cpu}
    return {"way": way, "objects": len(found), **spent, "found": found}


def main() -> None:
    """Measure one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--insecure", action="store_true", help="do not check certificates")
    parser.add_argument("--cold", action="store_true", help="read nothing before it counts")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    # the odd values of odd files are not worth a line each
    warnings.simplefilter("ignore")
    targets = [Target(*each) for each in json.load(sys.stdin)]
    setup = Setup(options.endpoint, options.threads, options.insecure)
    print(json.dumps(measure(options.way, setup, targets, warm=not options.cold)))


if __name__ == "__main__":
    main()
