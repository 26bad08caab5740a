"""What the examples share: the page's own way to open an object, and what each way costs."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import ssl
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from harvest.errors import HarvestError, ObjectError

SERIES = "79f38b50-4df4-4358-9271-f28aeac573d7"
# a slide of cmb_mml, the same on both clouds, with an Extended Offset Table
SLIDE = f"idc-open-data/{SERIES}/23b9272a-34ef-49ca-833f-84329a18c1e4.dcm"


@dataclass
class Cost:
    """What one way of doing a task took."""

    task: str
    way: str
    requests: int = 0
    bytes: int = 0
    """Received."""
    seconds: float = 0.0


class Comparison:
    """Does tasks in several ways, and prints what each took.

    Parameters
    ----------
    description
        Of the example.
    urls
        Of the objects, where the command line names none.
    **more
        Further options, by name: what `argparse.ArgumentParser.add_argument` takes.
    """

    def __init__(self, description: str | None, urls: list[str], **more: dict[str, Any]) -> None:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("urls", nargs="*", help="s3://bucket/key or gs://bucket/key")
        parser.add_argument("--endpoint", help="an S3-compatible server or GCS emulator")
        for name, option in more.items():
            parser.add_argument(f"--{name}", **option)
        parser.add_argument("--json", action="store_true", help="print JSON")
        self.options = parser.parse_args()
        if self.options.endpoint and not self.options.urls:
            parser.error("name the URL of an object of that endpoint: the default is one of IDC's")
        self.urls: list[str] = self.options.urls or urls
        self.endpoint: str | None = self.options.endpoint
        self.costs: list[Cost] = []
        warnings.simplefilter("ignore")  # pydicom's, of values that are a little odd

    @contextmanager
    def page(self, task: str, way: str) -> Iterator[None]:
        """Do a task as the page does it; counts what this process sends and receives."""
        cost = Cost(task, way)
        began = time.monotonic()
        with _counting(cost):
            yield
        cost.seconds = round(time.monotonic() - began, 3)
        self.costs.append(cost)

    @contextmanager
    def harvest(self, task: str, way: str) -> Iterator[Cost]:
        """Do a task by harvest, whose objects count for themselves: fill in what they say."""
        cost = Cost(task, way)
        began = time.monotonic()
        yield cost
        cost.seconds = round(time.monotonic() - began, 3)
        self.costs.append(cost)

    def show(self, **found: Any) -> None:
        """Print what was found, and what it took."""
        if self.options.json:
            print(json.dumps({**found, "costs": [asdict(cost) for cost in self.costs]}))
            return
        for name, value in found.items():
            print(f"{name}: {value}")
        print(f"\n{'task':34} {'way':42} {'requests':>9} {'MB':>9} {'seconds':>8}")
        for each in self.costs:
            megabytes = f"{each.bytes / 1e6:.3f}"
            print(f"{each.task:34} {each.way:42} {each.requests:9} {megabytes:>9} {each.seconds:8}")


def opened_by_page(url: str, endpoint: str | None = None) -> Any:
    """Open an object as the page does: a GCS blob, or an S3 object by smart_open and boto3."""
    parts = urlsplit(url)
    if parts.scheme == "gs":
        return blob_of(url, endpoint).open("rb")
    import smart_open

    return smart_open.open(url, "rb", transport_params={"client": s3_client(endpoint)})


def blob_of(url: str, endpoint: str | None = None) -> Any:
    """Return a blob of a public bucket of Google Cloud Storage."""
    from google.cloud import storage

    client = storage.Client.create_anonymous_client()
    if endpoint:
        client = storage.Client(
            project="example",
            credentials=client._credentials,
            client_options={"api_endpoint": endpoint},
        )
    parts = urlsplit(url)
    return client.bucket(parts.netloc).blob(parts.path.lstrip("/"))


def s3_client(endpoint: str | None = None) -> Any:
    """Return a client for public buckets of S3."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    style: Any = {"addressing_style": "path"} if endpoint else {}
    config = Config(signature_version=UNSIGNED, s3=style)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


def first_object(url: str, endpoint: str | None = None) -> str:
    """Return the first object of a series where the URL ends with a slash."""
    if not url.endswith("/"):
        return url
    parts = urlsplit(url)
    listed = s3_client(endpoint).list_objects_v2(
        Bucket=parts.netloc, Prefix=parts.path.lstrip("/"), MaxKeys=1
    )
    return f"s3://{parts.netloc}/{listed['Contents'][0]['Key']}"


@contextmanager
def mistakes_told() -> Iterator[None]:
    """End with a line where an object, or what was asked of it, is wrong."""
    try:
        yield
    except (HarvestError, ObjectError, ValueError) as error:
        sys.exit(f"{error}")


@contextmanager
def _counting(cost: Cost) -> Iterator[None]:
    """Count requests, and the bytes that sockets give, of http.client and what is built on it."""
    put_request = http.client.HTTPConnection.putrequest
    receiving = {kind: kind.recv_into for kind in (socket.socket, ssl.SSLSocket)}

    def counted_request(self: Any, *args: Any, **kwargs: Any) -> None:
        cost.requests += 1
        put_request(self, *args, **kwargs)

    def counted(receive: Any) -> Any:
        def recv_into(self: Any, *args: Any, **kwargs: Any) -> int:
            received: int = receive(self, *args, **kwargs)
            cost.bytes += received
            return received

        return recv_into

    http.client.HTTPConnection.putrequest = counted_request  # type: ignore[method-assign]
    for kind, receive in receiving.items():
        kind.recv_into = counted(receive)  # type: ignore[method-assign]
    try:
        yield
    finally:
        http.client.HTTPConnection.putrequest = put_request  # type: ignore[method-assign]
        for kind, receive in receiving.items():
            kind.recv_into = receive  # type: ignore[method-assign]
