"""What an ETag tells of an object; test_audit.py has listings of real servers."""

from __future__ import annotations

import base64
import hashlib

import pytest

from harvest.audit.listings import cloud_sources, md5_of
from harvest.config import Config
from harvest.errors import ConfigError

MD5 = hashlib.md5(b"x", usedforsecurity=False)


@pytest.mark.parametrize(
    ("etag", "md5"),
    [
        (MD5.hexdigest(), MD5.hexdigest()),
        (base64.b64encode(MD5.digest()).decode(), MD5.hexdigest()),
        (f"{MD5.hexdigest()}-12", None),  # of an upload in 12 parts
        ("CJ7q5qK5n4kDEAE=", None),  # Google's own
        ("", None),
        (None, None),
    ],
)
def test_md5(etag: str | None, md5: str | None) -> None:
    assert md5_of(etag) == md5


def config(**audit: object) -> Config:
    return Config.model_validate(
        {
            "cohort": {"sql": "SELECT 1"},
            "output": "out",
            "source": {"cloud": "gcs", "endpoint": "http://127.0.0.1:1", "transport": "sdk"},
            "audit": audit,
        }
    )


def test_each_cloud_is_reached_in_its_own_way() -> None:
    sources = cloud_sources(config(other_cloud={"region": "us-east-1"}))
    assert list(sources) == ["aws", "gcs"]
    assert sources["aws"].endpoint is None
    assert sources["aws"].region == "us-east-1"
    assert sources["gcs"].endpoint == "http://127.0.0.1:1"
    assert {source.transport for source in sources.values()} == {"obstore"}


def test_the_other_clouds_endpoint_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"audit\.other_cloud: .*plain http outside loopback"):
        cloud_sources(config(other_cloud={"endpoint": "http://example.org"}))
