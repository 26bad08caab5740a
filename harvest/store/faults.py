"""Faults of a store as the errors of an object, whichever client met them."""

from __future__ import annotations

from ..errors import ConfigError, ErrorKind, ObjectError


def no_credentials(cloud: str) -> ConfigError:
    """Say that the config wants credentials and the environment has none."""
    return ConfigError(
        f"the environment has no {cloud} credentials that can be used: provide them (AWS_PROFILE "
        "must name a profile that exists), or set source.anonymous: true"
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


def by_status(status: int) -> ObjectError:
    """Turn the HTTP status of a failed answer into an error."""
    if status == 404:
        return not_found()
    if status in (401, 403):
        return denied()
    if status == 301:
        return ObjectError(
            ErrorKind.DENIED, "the bucket is in another region: name it in source.region"
        )
    if status == 412:
        return changed()
    return unavailable(f"the store answered with status {status}")


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
