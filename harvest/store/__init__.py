"""The only package that talks to buckets: URL to object store.

In the order of their use: `protocol`, `with_obstore`, `with_boto3`, `with_google`, `with_files`,
`faults`, `patience`, `fetch`, `ranged_file`.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from ..config import OutputConfig, SourceConfig
from ..urls import ObjectUrl, Scheme
from .protocol import REQUEST_SECONDS, ObjectStore, WritableBucket


def open_store(
    url: ObjectUrl, source: SourceConfig, object_seconds: float = 2 * REQUEST_SECONDS
) -> ObjectStore:
    """Open the bucket of a URL, or the local files; once per process.

    Parameters
    ----------
    url
        Of an object or a prefix.
    source
        Transport, endpoint and whether to send credentials.
    object_seconds
        Longest time for one object. A request takes at most half of it and is ``unavailable``
        then, so that one that stalls leaves time for another.
    """
    # connections do not survive a fork: another process opens its own
    with _opening:
        seconds = min(object_seconds / 2, REQUEST_SECONDS)
        return _open(url.scheme, url.bucket, source, seconds, os.getpid())


_opening = threading.Lock()


@lru_cache(maxsize=64)
def _open(
    scheme: Scheme, bucket: str, source: SourceConfig, seconds: float, process: int
) -> ObjectStore:
    # each transport is imported where it is used: the clouds' SDKs cost half a second
    if scheme == "file":
        from .with_files import FileStore

        return FileStore()
    if source.transport == "obstore":
        from .with_obstore import open_with_obstore

        return open_with_obstore(scheme, bucket, source, seconds)
    if scheme == "gs":
        from .with_google import open_with_google

        return open_with_google(bucket, source, seconds)
    from .with_boto3 import open_with_boto3

    return open_with_boto3(bucket, source, seconds)


def open_bucket(url: ObjectUrl, output: OutputConfig) -> WritableBucket:
    """Open the bucket of an output with the environment's credentials; once per process.

    Parameters
    ----------
    url
        ``s3`` or ``gs``.
    output
        Endpoint and region; where they are not given, those of the environment.

    Raises
    ------
    OutputError
        The environment has no credentials, or an endpoint that is not safe.
    """
    with _opening:
        return _open_bucket(
            url.scheme, url.bucket, output.endpoint, output.region, output.allow_http, os.getpid()
        )


@lru_cache(maxsize=16)
def _open_bucket(
    scheme: Scheme,
    bucket: str,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    process: int,
) -> WritableBucket:
    if scheme == "gs":
        from .with_google import open_google_bucket

        return open_google_bucket(bucket, endpoint, allow_http=allow_http)
    from .with_boto3 import open_boto3_bucket

    return open_boto3_bucket(bucket, endpoint, region, allow_http=allow_http)
