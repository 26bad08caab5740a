"""Faults of a store as the errors of an object, whichever client met them."""

from __future__ import annotations

from ..errors import ConfigError, ErrorKind, ObjectError, OutputError, StoreUnavailable
from .protocol import Version


def no_credentials(cloud: str) -> ConfigError:
    """Say that the config wants credentials and the environment has none."""
    return ConfigError(
        f"the environment has no {cloud} credentials that can be used: provide them (AWS_PROFILE "
        "must name a profile that exists), or set source.anonymous: true"
    )


def no_output_credentials(cloud: str) -> OutputError:
    """Say that an output needs credentials and the environment has none."""
    return OutputError(
        f"the environment has no {cloud} credentials that can be used, and an output in a bucket "
        "is never written without: provide them (AWS_PROFILE must name a profile that exists), "
        "or name a folder"
    )


def store_unavailable(where: str, error: ObjectError, setting: str) -> StoreUnavailable:
    """Say what it means that a store is silent about something that the whole run needs.

    Parameters
    ----------
    where
        What is silent: a bucket, an output, a manifest.
    error
        The last fault.
    setting
        That tells where it is.
    """
    return StoreUnavailable(
        f"{where} does not answer ({error.detail}): check the network and {setting}, "
        "then run the same command again"
    )


def not_found() -> ObjectError:
    """The object, or its bucket, is not there."""
    return ObjectError(ErrorKind.NOT_FOUND, "the store has no such object or bucket")


def denied() -> ObjectError:
    """The store refuses."""
    return ObjectError(ErrorKind.DENIED, "the store denies access")


def changed() -> ObjectError:
    """The object is no longer what an earlier request saw."""
    return ObjectError(ErrorKind.CHANGED, "the object was replaced while it was read")


def unavailable(reason: str) -> ObjectError:
    """The request failed in a way that may pass; `reason` holds no URL and no header."""
    return ObjectError(ErrorKind.UNAVAILABLE, reason)


def by_status(status: int, *, pinned: bool = False) -> ObjectError:
    """Turn the HTTP status of a failed answer into an error.

    Parameters
    ----------
    status
        Of the answer.
    pinned
        One state of the object was insisted on: that it is gone or ends earlier is a change too.
    """
    if pinned and status in (404, 416):
        return changed()
    if status == 404:
        return not_found()
    if status in (401, 403):
        return denied()
    if status == 301:
        return ObjectError(
            ErrorKind.DENIED, "the bucket is in another region: name it in the config"
        )
    if status == 412:
        return changed()
    return unavailable(f"the store answered with status {status}")


# of S3: the request was broken on its way, or an upload's end was told twice
_PASSING_CODES = frozenset({"RequestTimeout", "BadDigest", "IncompleteBody", "NoSuchUpload"})


def of_write(status: int, code: str = "") -> ObjectError:
    """Turn the HTTP status of a write that failed into an error.

    Parameters
    ----------
    status
        Of the answer.
    code
        The store's word for it, such as ``ExpiredToken``.
    """
    if code in _PASSING_CODES:
        return unavailable(f"status {status} {code}")
    # 408 and 429 ask for patience, and so does S3's 409 (ConditionalRequestConflict)
    if 400 <= status < 500 and status not in (404, 408, 409, 429):
        return ObjectError(ErrorKind.DENIED, f"status {status} {code}".rstrip())
    return by_status(status)


def check_range(start: int, stop: int, size: int, first: int, received: int) -> None:
    """Check that an answer holds the bytes asked for, as far as the object has them.

    Parameters
    ----------
    start, stop
        Absolute offsets asked for.
    size
        Bytes of the object, by the answer.
    first
        Absolute offset of the answer's first byte, by the answer.
    received
        Bytes received.

    Raises
    ------
    ObjectError
        ``unavailable``: the answer is another range, or short.
    """
    if first != start or received != min(stop, size) - start:
        raise unavailable(
            f"the answer holds {received} bytes from offset {first} "
            f"where {min(stop, size) - start} from {start} were asked for"
        )


def check_version(pinned: Version | None, found: Version) -> None:
    """Check that an answer is the store's own, and of the state insisted on.

    Parameters
    ----------
    pinned
        The state insisted on; None for a first read.
    found
        That of the answer.

    Raises
    ------
    ObjectError
        ``unavailable``: it names no state, as every answer of S3 and GCS does and a page that a
        network puts in its place does not; ``changed``: it is of another state, from a server
        that ignores the condition.
    """
    if found.etag is None:
        raise unavailable("the answer has no ETag: it is not the store's")
    if pinned is None:
        return
    # GCS renews the ETag with the metadata, the generation with the content alone
    by_generation = pinned.generation is not None
    if by_generation and pinned.generation != found.generation:
        raise changed()
    if not by_generation and pinned.etag != found.etag:
        raise changed()


def parse_content_range(value: str | None) -> tuple[int, int]:
    """Return (first byte, bytes of the object) of a Content-Range header (RFC 9110 section 14.4).

    Raises
    ------
    ObjectError
        ``unavailable``: there is none, or it is malformed.
    """
    unit, _, rest = (value or "").partition(" ")
    extent, _, size = rest.partition("/")
    first = extent.partition("-")[0]
    if unit != "bytes" or not first.isdigit() or not size.isdigit():
        raise unavailable("the answer to a range has no usable Content-Range")
    return int(first), int(size)
