"""S3 through boto3 (`transport: sdk`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import boto3
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..config import SourceConfig, check_endpoint
from ..errors import ErrorKind, ObjectError, OutputError
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

WRITE_ATTEMPTS: Final = 6
"""Of one request of an upload or a removal, which botocore makes again by itself."""
_DELETED_AT_ONCE: Final = 1000


# neither a body that breaks off behind TLS nor a page instead of XML is an error of botocore's
_FAILURES = (ClientError, BotoCoreError, ResponseParserError, HTTPError)


def open_with_boto3(bucket: str, source: SourceConfig, seconds: float) -> Boto3Store:
    """Open a bucket; anonymous, or with the credentials that boto3 finds."""
    options: dict[str, Any] = {
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": 64,
        "connect_timeout": min(CONNECT_SECONDS, seconds),
        "read_timeout": seconds,
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
        """Read a range; see `Readable.get`."""
        pin = {"IfMatch": version.etag} if version is not None and version.etag else {}
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **pin
            )
            with closing(answer["Body"]) as body:
                first, size = faults.parse_content_range(answer.get("ContentRange"))
                data = body.read()
        except _FAILURES as error:
            raise _translated(error, pinned=version is not None) from None
        found = Version(answer.get("ETag"))
        faults.check_version(version, found)
        faults.check_range(start, stop, size, first, len(data))
        return Ranged(data, size, found)

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """List objects; see `Listable.list`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, StartAfter=after or ""
        )
        try:
            for page in pages:
                _check_listing(page)
                yield [
                    Listed(found["Key"], found["Size"], unquoted(found.get("ETag")))
                    for found in page.get("Contents", [])
                ]
        except _FAILURES as error:
            raise _translated(error) from None


def _check_listing(page: dict[str, Any]) -> None:
    """Refuse a page of HTML, which may well be XML, and would be an empty listing."""
    if "IsTruncated" not in page:
        raise faults.unavailable("the answer is no listing")


def _translated(error: Exception, *, pinned: bool = False) -> Exception:
    if isinstance(error, NoCredentialsError):
        return faults.denied()
    if isinstance(error, ClientError):
        status = _status(error)
        if status == 416 and not pinned:
            return EmptyObject()
        return faults.by_status(status, pinned=pinned)
    return faults.unavailable(f"the request failed ({type(error).__name__})")


# --- writing ---------------------------------------------------------------------------------


def open_boto3_bucket(
    bucket: str, endpoint: str | None, region: str | None, *, allow_http: bool
) -> Boto3Bucket:
    """Open a bucket to write to, with the credentials that boto3 finds.

    Parameters
    ----------
    bucket
        Its name.
    endpoint, region
        Where None, boto3's own: AWS_ENDPOINT_URL and AWS_REGION, or those of ~/.aws.
    allow_http
        Allow plain http outside loopback.

    Raises
    ------
    OutputError
        There are no credentials, or the endpoint is not safe.
    """
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": REQUEST_SECONDS,
    }
    if endpoint:
        options["s3"] = {"addressing_style": "path"}
    try:
        session = boto3.session.Session()
        found = session.get_credentials()
    except BotoCoreError:
        found = None
    if found is None:
        raise faults.no_output_credentials("AWS")

    def client(attempts: int) -> Any:
        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = ClientConfig(**options | {"retries": retries})
        return session.client("s3", region_name=region, endpoint_url=endpoint, config=config)

    try:
        once, patient = client(1), client(WRITE_ATTEMPTS)
    except ValueError:
        # botocore repeats what it was given, which may hold a password
        raise OutputError(f"output s3://{bucket}: its endpoint is no URL") from None
    try:
        # the environment's as well: credentials and tables are sent there
        check_endpoint(once.meta.endpoint_url, allow_http=allow_http)
    except ValueError as error:
        raise OutputError(f"output s3://{bucket}: {error}") from None
    return Boto3Bucket(bucket, once, patient)


class Boto3Bucket(Boto3Store):
    """One S3 bucket through boto3, to be written to; see `WritableBucket`.

    Parameters
    ----------
    bucket, client
        As of `Boto3Store`.
    patient
        A client that makes requests again by itself: those of an upload in parts, of which only
        one may have failed, and what follows on a request that came through.
    """

    def __init__(self, bucket: str, client: Any, patient: Any) -> None:
        super().__init__(bucket, client)
        self._patient = patient

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Read a whole object; see `WritableBucket.read`."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with closing(answer["Body"]) as body:
                data = body.read()
        except _FAILURES as error:
            if _code(error) == "NoSuchKey":
                return None
            raise _of_write(error) from None
        if not answer.get("ETag"):
            raise faults.unavailable("the answer is no object")
        return data, answer["ETag"]

    def put(self, key: str, data: bytes, version: str | None, writer: str) -> bool:
        """Write an object in one state only; see `WritableBucket.put`."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, Metadata={WRITER: writer}, **condition
            )
        except _FAILURES as error:
            # S3 says of an absent object that it cannot match
            if _code(error) == "NoSuchKey":
                return False
            if _status(error) == 412:
                return self._writer(key) == writer
            raise _of_write(error) from None
        return True

    def _writer(self, key: str) -> str | None:
        try:
            head = self._patient.head_object(Bucket=self._bucket, Key=key)
        except _FAILURES as error:
            if _status(error) == 404:
                return None
            raise _of_write(error) from None
        found: str | None = head["Metadata"].get(WRITER)
        return found

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file, a large one in parts; see `WritableBucket.upload`."""
        try:
            with path.open("rb") as file:
                self._patient.upload_fileobj(file, self._bucket, key)
        except _FAILURES as error:
            raise _of_write(error) from None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; see `WritableBucket.delete`."""
        rest = list(keys)
        for start in range(0, len(rest), _DELETED_AT_ONCE):
            names = [{"Key": key} for key in rest[start : start + _DELETED_AT_ONCE]]
            try:
                answer = self._patient.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": names, "Quiet": True}
                )
            except _FAILURES as error:
                raise _of_write(error) from None
            for failed in answer.get("Errors", []):
                denied = failed.get("Code") == "AccessDenied"
                raise faults.denied() if denied else faults.unavailable("objects are not removed")

    def entries(self, prefix: str) -> Iterator[list[str]]:
        """List as far as the next slash; see `WritableBucket.entries`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, Delimiter="/"
        )
        try:
            for page in pages:
                _check_listing(page)
                folders = [found["Prefix"] for found in page.get("CommonPrefixes", [])]
                yield folders + [found["Key"] for found in page.get("Contents", [])]
        except _FAILURES as error:
            raise _of_write(error) from None


def _code(error: Exception) -> str:
    return str(error.response["Error"].get("Code")) if isinstance(error, ClientError) else ""


def _status(error: Exception) -> int:
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


# what stays wrong until the user does something about it
_LASTING = (CredentialRetrievalError, ParamValidationError, SSOError, TokenRetrievalError)


def _of_write(error: Exception) -> Exception:
    if isinstance(error, ClientError):
        return faults.of_write(_status(error), _code(error))
    if isinstance(error, _LASTING):
        return ObjectError(ErrorKind.DENIED, type(error).__name__)
    return _translated(error)
