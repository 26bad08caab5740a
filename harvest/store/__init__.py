"""The only package that talks to buckets: URL to object store."""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from ..config import SourceConfig
from .protocol import ObjectStore
from .urls import ObjectUrl, Scheme


def open_store(url: ObjectUrl, source: SourceConfig) -> ObjectStore:
    """Open the bucket of a URL, or the local files; once per process.

    Parameters
    ----------
    url
        Of an object or a prefix.
    source
        Transport, endpoint and whether to send credentials.
    """
    # connections do not survive a fork: another process opens its own
    with _opening:
        return _open(url.scheme, url.bucket, source, os.getpid())


_opening = threading.Lock()


@lru_cache(maxsize=64)
def _open(scheme: Scheme, bucket: str, source: SourceConfig, process: int) -> ObjectStore:
    # each transport is imported where it is used: the clouds' SDKs cost half a second
    if scheme == "file":
        from .with_files import FileStore

        return FileStore()
    if source.transport == "obstore":
        from .with_obstore import open_with_obstore

        return open_with_obstore(scheme, bucket, source)
    if scheme == "gs":
        from .with_google import open_with_google

        return open_with_google(bucket, source)
    from .with_boto3 import open_with_boto3

    return open_with_boto3(bucket, source)
