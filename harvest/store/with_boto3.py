"""S3 through boto3 (`transport: sdk`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

from ..config import SourceConfig
from . import faults
from .protocol import EmptyObject, Listed, Ranged, Version, unquoted

CONNECT_SECONDS = 10
READ_SECONDS = 60


def open_with_boto3(bucket: str, source: SourceConfig) -> Boto3Store:
    """Open a bucket; anonymous, or with the credentials that boto3 finds."""
    options: dict[str, Any] = {
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": 64,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        # an endpoint in the environment or in ~/.aws must not redirect a public read
        "ignore_configured_endpoint_urls": True,
    }
    if source.anonymous:
        options["signature_version"] = UNSIGNED
    if source.endpoint:
        options["s3"] = {"addressing_style": "path"}
    try:
        session = boto3.session.Session()
    except ProfileNotFound:
        raise faults.no_credentials("AWS") from None
    if not source.anonymous and session.get_credentials() is None:
        raise faults.no_credentials("AWS")
    client = session.client(
        "s3",
        region_name=source.region or "us-east-1",
        endpoint_url=source.endpoint,
        config=ClientConfig(**options),
    )
    return Boto3Store(bucket, client)


class Boto3Store:
    """One S3 bucket through boto3.

    Parameters
    ----------
    bucket
        Its name.
    client
        A boto3 S3 client whose retries are off.
    """

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `ObjectStore.get`."""
        pin = {"IfMatch": version.etag} if version is not None and version.etag else {}
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **pin
            )
            with closing(answer["Body"]) as body:
                first, size = faults.parse_content_range(answer.get("ContentRange"))
                data = body.read()
        except (ClientError, BotoCoreError) as error:
            raise _translated(error) from None
        faults.check_range(start, stop, size, first, len(data))
        return Ranged(data, size, Version(answer["ETag"]))

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List objects; see `ObjectStore.list`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, StartAfter=after or ""
        )
        try:
            for page in pages:
                yield [
                    Listed(found["Key"], found["Size"], unquoted(found.get("ETag")))
                    for found in page.get("Contents", [])
                ]
        except (ClientError, BotoCoreError) as error:
            raise _translated(error) from None


def _translated(error: ClientError | BotoCoreError) -> Exception:
    if isinstance(error, NoCredentialsError):
        return faults.denied()
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return EmptyObject() if status == 416 else faults.by_status(status)
    return faults.unavailable(f"the request failed ({type(error).__name__})")
