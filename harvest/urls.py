"""URLs of objects, and IDC's bucket names on its two clouds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from .errors import WrongArgument
from .sql import quoted

Scheme = Literal["s3", "gs", "file"]
Cloud = Literal["aws", "gcs"]

AWS_TO_GCS: Final = {
    "idc-open-data": "idc-open-data",
    "idc-open-data-two": "idc-open-idc1",
    "idc-open-data-cr": "idc-open-cr",
}
"""IDC's buckets: the keys in them are the same."""
# IDC's manifests for GCS say s3://, since s5cmd reads them through Google's S3 interface
_ONLY_ON_GCS = {"public-datasets-idc", *AWS_TO_GCS.values()} - AWS_TO_GCS.keys()

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDC_KEY = re.compile(rf"(?:.*/)?({_UUID})/({_UUID})\.dcm")
_IDC_PREFIX = re.compile(rf"(?:.*/)?({_UUID})/?\*?")


class ObjectUrl(NamedTuple):
    """Where an object, or a prefix of objects, is."""

    scheme: Scheme
    bucket: str
    """Empty for files."""
    key: str
    """Of the object, without a leading slash; for files the absolute path."""

    def __str__(self) -> str:
        if self.scheme == "file":
            # a name on disk is bytes: those that are no UTF-8 are quoted as they are
            return "file://" + quote(os.fsencode(self.key))
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def cloud(self) -> Cloud:
        """Which of IDC's two clouds has such URLs."""
        return "gcs" if self.scheme == "gs" else "aws"

    @property
    def folder(self) -> ObjectUrl:
        """The prefix that the object lies in, with its slash; no key at the top of a bucket."""
        return self.with_key(self.key[: self.key.rfind("/") + 1])

    @property
    def place(self) -> str:
        """What is listed or closed as a whole, for messages: the bucket; of files the path."""
        return str(self) if self.scheme == "file" else f"{self.scheme}://{self.bucket}"

    def with_key(self, key: str) -> ObjectUrl:
        """Return the URL of another key in the same bucket."""
        return ObjectUrl(self.scheme, self.bucket, key)


def parse_url(text: str) -> ObjectUrl:
    """Parse ``s3://``, ``gs://`` and ``file://`` URLs, and local paths.

    Raises
    ------
    WrongArgument
        Another scheme, or no bucket.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return ObjectUrl("file", "", _absolute(text))
    if scheme == "file":
        return ObjectUrl("file", "", os.fsdecode(unquote_to_bytes(rest)))
    if scheme not in ("s3", "gs"):
        raise WrongArgument(f"{text!r} is no s3://, gs:// or file:// URL, nor a local path")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise WrongArgument(f"{text!r} names no bucket")
    return ObjectUrl("gs" if bucket in _ONLY_ON_GCS or scheme == "gs" else "s3", bucket, key)


def is_idc(bucket: str) -> bool:
    """Tell whether a bucket is one of IDC's own, which nobody else writes to."""
    return bucket.startswith("idc-open-") or bucket in _ONLY_ON_GCS


def _absolute(path: str) -> str:
    absolute = str(Path(path).expanduser().absolute())
    return absolute + "/" if path.endswith("/") and absolute != "/" else absolute


def gcs_bucket_sql(aws_bucket: str) -> str:
    """Write the SQL of a bucket's name on GCS.

    Parameters
    ----------
    aws_bucket
        SQL of its name on AWS, as the index has it.
    """
    cases = " ".join(f"WHEN {quoted(aws)} THEN {quoted(gcs)}" for aws, gcs in AWS_TO_GCS.items())
    return f"CASE {aws_bucket} {cases} ELSE {aws_bucket} END"


def idc_uuids(key: str) -> tuple[str | None, str | None]:
    """Return the series and instance UUID that IDC's keys are made of, None where they are not."""
    match = _IDC_KEY.fullmatch(key)
    return (match[1], match[2]) if match else (None, None)


def idc_series_uuid(prefix: str) -> str | None:
    """Return the series UUID that a prefix ends on, None if it ends otherwise."""
    match = _IDC_PREFIX.fullmatch(prefix)
    return match[1] if match else None
