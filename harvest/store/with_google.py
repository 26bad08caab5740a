"""GCS through google-cloud-storage (`transport: sdk`).

Listings go through its client. Ranges go through the authorized session of google-auth, to the
same media URL that the client itself uses: the client hides the status and Content-Range of an
answer, without which a short or wrong one cannot be told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import google.auth
import requests
from google.api_core.exceptions import (
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport import DEFAULT_REFRESH_STATUS_CODES
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from ..config import SourceConfig, check_endpoint
from ..errors import OutputError
from ..hosts import is_loopback
from . import faults
from .protocol import (
    CONNECT_SECONDS,
    REQUEST_SECONDS,
    WRITER,
    EmptyObject,
    Listed,
    Ranged,
    Version,
    unquoted,
)

PUBLIC_ENDPOINT = "https://storage.googleapis.com"
EMULATOR = "STORAGE_EMULATOR_HOST"
WRITE_SECONDS: Final = 60.0
"""For one upload with its retries; a resumable one, for each of its requests."""
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
_READ_WRITE = "https://www.googleapis.com/auth/devstorage.read_write"
_THREADS = 16


def open_with_google(bucket: str, source: SourceConfig, seconds: float) -> GoogleStore:
    """Open a bucket; anonymous, or with the application default credentials."""
    endpoint = source.endpoint or PUBLIC_ENDPOINT
    credentials = None if source.anonymous else _credentials(_READ_ONLY)
    if credentials is None and not source.anonymous:
        raise faults.no_credentials("Google")
    client, session = _connect(endpoint, credentials)
    return GoogleStore(bucket, client, session, endpoint, (min(CONNECT_SECONDS, seconds), seconds))


def _credentials(scope: str) -> Any:
    """Return the application default credentials, None where there are none."""
    try:
        found, _ = google.auth.default(scopes=[scope])
    except GoogleAuthError:
        return None
    return found


def _connect(endpoint: str, credentials: Any) -> tuple[storage.Client, AuthorizedSession]:
    """Build a client whose own retries are off, and the session that it sends through.

    Parameters
    ----------
    endpoint
        URL of the server.
    credentials
        None to send none.
    """
    # there is nothing to refresh in no credentials
    refreshed = () if credentials is None else DEFAULT_REFRESH_STATUS_CODES
    credentials = credentials or AnonymousCredentials()  # type: ignore[no-untyped-call]
    session = AuthorizedSession(credentials, refresh_status_codes=refreshed, max_refresh_attempts=1)  # type: ignore[no-untyped-call]
    session.mount(endpoint, HTTPAdapter(pool_maxsize=64, max_retries=0))
    # requests would add a password from ~/.netrc to a request that has no credentials
    session.auth = _as_it_is
    client = storage.Client(
        # a project is needed to build a client and never sent for these requests
        project="harvest",
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
        _http=session,
    )
    return client, session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class GoogleStore:
    """One GCS bucket through google-cloud-storage.

    Parameters
    ----------
    bucket
        Its name.
    client
        For listings.
    session
        For ranges; adds the credentials.
    endpoint
        URL of the server.
    timeout
        Longest time to connect, and to wait for an answer, in seconds.
    """

    def __init__(
        self,
        bucket: str,
        client: storage.Client,
        session: AuthorizedSession,
        endpoint: str,
        timeout: tuple[float, float],
    ) -> None:
        self._bucket = bucket
        self._client = client
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._timeout = timeout

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `Readable.get`."""
        url = f"{self._endpoint}/download/storage/v1/b/{self._bucket}/o/{quote(key, safe='')}"
        parameters = {"alt": "media"}
        if version is not None and version.generation is not None:
            parameters["ifGenerationMatch"] = version.generation
        try:
            answer = self._session.get(
                url,
                params=parameters,
                # gzip on the way would make the range one of the compressed bytes
                headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
                timeout=self._timeout,
                stream=True,  # a whole object sent for a range is not downloaded
            )
            with answer:
                if answer.status_code == 416 and version is None:
                    raise EmptyObject
                if answer.status_code != 206:
                    raise faults.by_status(answer.status_code, pinned=version is not None)
                first, size = faults.parse_content_range(answer.headers.get("Content-Range"))
                data = answer.content
        except (requests.RequestException, GoogleAuthError) as error:
            raise faults.unavailable(f"the request failed ({type(error).__name__})") from None
        found = Version(answer.headers.get("ETag"), answer.headers.get("X-Goog-Generation"))
        faults.check_version(version, found)
        faults.check_range(start, stop, size, first, len(data))
        return Ranged(data, size, found)

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List objects; see `Listable.list`."""
        blobs = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            start_offset=after,
            fields="items(name,size,etag),nextPageToken",
            retry=None,
            timeout=self._timeout,
        )
        try:
            for page in blobs.pages:
                yield [
                    Listed(blob.name, blob.size, unquoted(blob.etag))
                    for blob in page
                    if blob.name != after  # Google's start is part of the listing
                ]
        except GoogleAPICallError as error:
            raise faults.by_status(error.code or 0) from None
        except (requests.RequestException, GoogleAuthError) as error:
            raise faults.unavailable(f"the listing failed ({type(error).__name__})") from None


# --- writing ---------------------------------------------------------------------------------


def open_google_bucket(bucket: str, endpoint: str | None, *, allow_http: bool) -> GoogleBucket:
    """Open a bucket to write to, with the application default credentials.

    Parameters
    ----------
    bucket
        Its name.
    endpoint
        Where None, STORAGE_EMULATOR_HOST if it is set, or the public one. That variable, or an
        endpoint on loopback, says that it is an emulator, to which no credentials are sent.
    allow_http
        Allow plain http outside loopback.

    Raises
    ------
    OutputError
        There are no credentials, or the endpoint is not safe.
    """
    emulator = endpoint is None and bool(os.environ.get(EMULATOR))
    endpoint = endpoint or os.environ.get(EMULATOR) or PUBLIC_ENDPOINT
    try:
        check_endpoint(endpoint, allow_http=allow_http)
    except ValueError as error:
        raise OutputError(f"output gs://{bucket}: {error}") from None
    emulator = emulator or is_loopback(urlsplit(endpoint).hostname or "")
    credentials = None if emulator else _credentials(_READ_WRITE)
    if credentials is None and not emulator:
        raise faults.no_output_credentials("Google")
    client, session = _connect(endpoint, credentials)
    try:
        client.bucket(bucket)
    except ValueError as error:
        raise OutputError(f"output gs://{bucket}: {error}") from None
    return GoogleBucket(bucket, client, session, endpoint, (CONNECT_SECONDS, REQUEST_SECONDS))


class GoogleBucket(GoogleStore):
    """One GCS bucket through google-cloud-storage, to be written to; see `WritableBucket`."""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Read a whole object; see `WritableBucket.read`."""
        blob = self._blob(key)
        try:
            data: bytes = blob.download_as_bytes(retry=None, timeout=self._timeout)
        except NotFound as error:
            if _names_bucket(error):
                raise faults.not_found() from None
            return None
        except _FAILURES as error:
            raise _of_write(error) from None
        return data, str(blob.generation)

    def put(self, key: str, data: bytes, version: str | None, writer: str) -> bool:
        """Write an object in one state only; see `WritableBucket.put`."""
        blob = self._blob(key)
        blob.metadata = {WRITER: writer}
        try:
            blob.upload_from_string(
                data,
                "application/octet-stream",
                if_generation_match=int(version or 0),
                retry=None,
                timeout=self._timeout,
            )
        except PreconditionFailed:
            found = self._current(key)
            return found is not None and (found.metadata or {}).get(WRITER) == writer
        except _FAILURES as error:
            raise _of_write(error) from None
        return True

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file; see `WritableBucket.upload`.

        A precondition makes it safe to send again. Where it fails, either the answer to our own
        write was lost, or another writer came between: as if ours had been there just before.
        """
        present = self._current(key)
        try:
            self._blob(key).upload_from_filename(
                str(path),
                "application/octet-stream",
                if_generation_match=present.generation if present else 0,
                retry=DEFAULT_RETRY.with_timeout(WRITE_SECONDS),
                timeout=self._timeout,
            )
        except PreconditionFailed:
            return
        except _FAILURES as error:
            raise _of_write(error) from None

    def _blob(self, key: str) -> storage.Blob:
        return self._client.bucket(self._bucket).blob(key)

    def _current(self, key: str) -> storage.Blob | None:
        retry = DEFAULT_RETRY.with_timeout(WRITE_SECONDS)
        try:
            return self._client.bucket(self._bucket).get_blob(
                key, retry=retry, timeout=self._timeout
            )
        except _FAILURES as error:
            raise _of_write(error) from None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, several at a time; see `WritableBucket.delete`."""
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(self._delete, keys))

    def _delete(self, key: str) -> None:
        try:
            self._blob(key).delete(
                retry=DEFAULT_RETRY.with_timeout(WRITE_SECONDS), timeout=self._timeout
            )
        except NotFound:
            return
        except _FAILURES as error:
            raise _of_write(error) from None

    def entries(self, prefix: str) -> Iterator[list[str]]:
        """List as far as the next slash; see `WritableBucket.entries`."""
        blobs = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            delimiter="/",
            fields="items(name),prefixes,nextPageToken",
            retry=None,
            timeout=self._timeout,
        )
        try:
            for page in blobs.pages:
                yield [*page.prefixes, *(blob.name for blob in page)]
        except _FAILURES as error:
            raise _of_write(error) from None


_FAILURES = (GoogleAPIError, requests.RequestException, GoogleAuthError, DataCorruption)


def _names_bucket(error: NotFound) -> bool:
    return "bucket does not exist" in str(error)


def _of_write(error: Exception) -> Exception:
    if isinstance(error, GoogleAPICallError):
        return faults.of_write(error.code or 0)
    if isinstance(error, RefreshError) and not error.retryable:
        return faults.denied()
    return faults.unavailable(f"the request failed ({type(error).__name__})")
