"""GCS through google-cloud-storage (`transport: sdk`).

Listings go through its client. Ranges go through the authorized session of google-auth, to the
same media URL that the client itself uses: the client hides the status and Content-Range of an
answer, without which a short or wrong one cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import DEFAULT_REFRESH_STATUS_CODES
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from requests.adapters import HTTPAdapter

from ..config import SourceConfig
from . import faults
from .protocol import EmptyObject, Listed, Ranged, Version, unquoted

PUBLIC_ENDPOINT = "https://storage.googleapis.com"
TIMEOUT_SECONDS = (10, 60)
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"


def open_with_google(bucket: str, source: SourceConfig) -> GoogleStore:
    """Open a bucket; anonymous, or with the application default credentials."""
    endpoint = source.endpoint or PUBLIC_ENDPOINT
    credentials: Any
    if source.anonymous:
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    else:
        try:
            credentials, _ = google.auth.default(scopes=[_READ_ONLY])
        except GoogleAuthError:
            raise faults.no_credentials("Google") from None
    # there is nothing to refresh in no credentials
    refreshed = () if source.anonymous else DEFAULT_REFRESH_STATUS_CODES
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
    return GoogleStore(bucket, client, session, endpoint)


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
    """

    def __init__(
        self, bucket: str, client: storage.Client, session: AuthorizedSession, endpoint: str
    ) -> None:
        self._bucket = bucket
        self._client = client
        self._session = session
        self._endpoint = endpoint.rstrip("/")

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        """Read a range; see `ObjectStore.get`."""
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
                timeout=TIMEOUT_SECONDS,
                stream=True,  # a whole object sent for a range is not downloaded
            )
            with answer:
                if answer.status_code == 416:
                    raise EmptyObject
                if answer.status_code != 206:
                    raise faults.by_status(answer.status_code)
                first, size = faults.parse_content_range(answer.headers.get("Content-Range"))
                data = answer.content
        except (requests.RequestException, GoogleAuthError) as error:
            raise faults.unavailable(f"the request failed ({type(error).__name__})") from None
        faults.check_range(start, stop, size, first, len(data))
        found = Version(answer.headers.get("ETag"), answer.headers.get("X-Goog-Generation"))
        # fake servers ignore ifGenerationMatch
        if version is not None and found.generation != version.generation:
            raise faults.changed()
        return Ranged(data, size, found)

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List objects; see `ObjectStore.list`."""
        blobs = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            start_offset=after,
            fields="items(name,size,etag),nextPageToken",
            retry=None,
            timeout=TIMEOUT_SECONDS,
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
