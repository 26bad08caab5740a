"""The default transport: obstore's blocking calls, which cost the least CPU per request."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, S3Store

from ..config import SourceConfig
from ..errors import ErrorKind, ObjectError
from ..urls import Scheme
from . import faults
from .protocol import CONNECT_SECONDS, EmptyObject, Listed, Ranged, Version, unquoted

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import GCSConfig

# what is not found, or cannot be a key, is Python's own exception and none of obstore's
_FAILURES = (BaseError, FileNotFoundError, ValueError)
PAGE_KEYS: Final = 1000
"""Of a full page of a listing, on either cloud."""
# obstore opens the file that it names even where it is to send no credentials
_GOOGLE_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"


def open_with_obstore(
    scheme: Scheme, bucket: str, source: SourceConfig, seconds: float
) -> ObstoreStore:
    """Open a bucket.

    Parameters
    ----------
    scheme
        ``s3`` or ``gs``.
    bucket
        Its name.
    source
        Endpoint, region and whether to send credentials.
    seconds
        Longest time for one request.
    """
    # the clients' own retries are off: every request is counted, and backing off is ours
    common: dict[str, Any] = {
        "retry_config": {"max_retries": 0},
        "client_options": {
            "allow_http": bool(source.endpoint and source.endpoint.startswith("http://")),
            "connect_timeout": f"{min(CONNECT_SECONDS, seconds)}s",
            "timeout": f"{seconds}s",
        },
    }
    if scheme == "gs":
        return ObstoreStore(_gcs(bucket, source, common))
    return ObstoreStore(_s3(bucket, source, common))


def _s3(bucket: str, source: SourceConfig, common: dict[str, Any]) -> S3Store:
    region = source.region or "us-east-1"
    # obstore would take an endpoint from AWS_ENDPOINT_URL: say it always
    endpoint = source.endpoint or f"https://{bucket}.s3.{region}.amazonaws.com"
    options: dict[str, Any] = {
        "endpoint": endpoint,
        "region": region,
        "virtual_hosted_style_request": source.endpoint is None,
        **common,
    }
    if source.anonymous:
        return S3Store(bucket, skip_signature=True, **options)
    from boto3.session import Session
    from botocore.exceptions import ProfileNotFound
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = Session(region_name=region)
    except ProfileNotFound:
        raise faults.no_credentials("AWS") from None
    if session.get_credentials() is None:
        raise faults.no_credentials("AWS")
    return S3Store(bucket, credential_provider=Boto3CredentialProvider(session), **options)


def _gcs(bucket: str, source: SourceConfig, common: dict[str, Any]) -> GCSStore:
    config: GCSConfig = {"base_url": source.endpoint or "https://storage.googleapis.com"}
    if source.anonymous:
        with _without(_GOOGLE_CREDENTIALS):
            return GCSStore(bucket, config={**config, "skip_signature": True}, **common)
    from google.auth.exceptions import DefaultCredentialsError
    from obstore.auth.google import GoogleCredentialProvider

    try:
        provider = GoogleCredentialProvider()
    except DefaultCredentialsError:
        raise faults.no_credentials("Google") from None
    return GCSStore(bucket, config=config, credential_provider=provider, **common)


@contextmanager
def _without(variable: str) -> Iterator[None]:
    """Hide an environment variable; stores are opened by one thread at a time."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value


class ObstoreStore:
    """One bucket through obstore.

    Parameters
    ----------
    store
        An S3Store or GCSStore whose retries are off.
    """

    def __init__(self, store: S3Store | GCSStore) -> None:
        self._store = store
        self._google = isinstance(store, GCSStore)

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `Readable.get`."""
        options: GetOptions = {"range": (start, stop)}
        if version is not None and version.generation is not None:
            options["version"] = version.generation
        elif version is not None and version.etag is not None:
            options["if_match"] = version.etag
        try:
            result = self._store.get(key, options=options)
            data = bytes(result.bytes())
            meta = result.meta  # made anew each time
        except _FAILURES as error:
            raise _translated(error, pinned=version is not None) from None
        # a version of S3 is no generation: to read by it takes a right of its own
        generation = meta["version"] if self._google else None
        found = Version(meta["e_tag"], generation)
        faults.check_version(version, found)
        size = meta["size"]
        faults.check_range(start, stop, size, result.range[0], len(data))
        return Ranged(data, size, found)

    def _pages(self, prefix: str, after: str | None) -> Iterator[list[Listed]]:
        try:
            for page in self._store.list(prefix or None, offset=after, chunk_size=PAGE_KEYS):
                yield [Listed(meta["path"], meta["size"], unquoted(meta["e_tag"])) for meta in page]
        except _FAILURES as error:
            raise _translated(error, pinned=False) from None

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List objects; see `Listable.list`."""
        # obstore takes a page of HTML for an empty page of a listing, and so for its end: an end
        # that may be such a one is believed when there is nothing behind it at a second look
        listed = looks = 0
        last = after or ""
        more = True
        while more:
            before, start = listed, last
            for page in self._pages(prefix, start or None):
                # emulators may ignore where to begin; servers that keep folders order otherwise
                new = [entry for entry in page if not before or entry.key > start]
                last = max([last, *(entry.key for entry in new)])
                listed += len(new)
                yield new
            looks += 1
            more = listed % PAGE_KEYS == 0 and (listed > before or looks == 1)
        if not listed:
            self._check_store(prefix)

    def _check_store(self, prefix: str) -> None:
        """Check that whoever lists nothing is a store, and not a page that happens to be XML.

        Raises
        ------
        ObjectError
            ``unavailable``: it serves what no store has.
        """
        try:
            self._store.head(f"{prefix}{uuid4()}")
        except (FileNotFoundError, PermissionDeniedError, UnauthenticatedError):
            return
        except _FAILURES as error:
            raise _translated(error, pinned=False) from None
        raise faults.unavailable("the answer is no listing")


# obstore exposes no status: its text is all there is
_STATUS = re.compile(r"status code: (\d{3})")


def _translated(error: Exception, *, pinned: bool) -> Exception:
    if isinstance(error, (ValueError, InvalidPathError)):
        return ObjectError(
            ErrorKind.UNSUPPORTED, "obstore cannot name this key: read it with transport: sdk"
        )
    if isinstance(error, FileNotFoundError):
        # GCS has no other answer for a generation that is gone
        return faults.changed() if pinned else faults.not_found()
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return faults.denied()
    if isinstance(error, PreconditionError):
        return faults.changed()
    # the text holds URLs and bodies of answers, and is not passed on
    text = str(error)
    status = _STATUS.search(text)
    if status is None:
        return faults.unavailable(f"the request failed ({type(error).__name__})")
    if status[1] == "416" and not pinned:
        return EmptyObject()
    if "no bucket named" in text:  # fake-gcs-server says so with status 500
        return faults.not_found()
    return faults.by_status(int(status[1]), pinned=pinned)
