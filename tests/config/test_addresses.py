"""Endpoints and schedulers that are safe, and those that are not."""

from __future__ import annotations

import pytest

from harvest.config import check_endpoint, parse_config
from tests.support.configs import LEAST, mistakes

ALLOWED = [
    "https://s3.example.org",
    "http://127.0.0.1:9000",
    "http://localhost:9000",
    "http://[::1]:9000",
    "https://10.0.0.1",
]

REFUSED = {
    "http://example.org": "plain http",
    "http://10.0.0.1:9000": "plain http",
    "http://0.0.0.0:9000": "plain http",
    "http://127.0.0.1.example.org": "plain http",
    "http://localhost.example.org": "plain http",
    "http://169.254.169.254/latest": "link-local",
    "https://169.254.169.254": "link-local",
    "http://[fe80::1]:80": "link-local",
    "https://metadata.google.internal": "link-local",
    "https://[::ffff:169.254.169.254]": "link-local",
    "ftp://example.org": "no http",
    "example.org:9000": "no http",
    "http://": "no http",
    "": "no http",
}


@pytest.mark.parametrize("endpoint", ALLOWED)
def test_endpoints_that_are_safe(endpoint: str) -> None:
    check_endpoint(endpoint, allow_http=False)
    assert parse_config(f"{LEAST}source: {{endpoint: '{endpoint}'}}\n").source.endpoint == endpoint


@pytest.mark.parametrize("endpoint", REFUSED)
def test_endpoints_that_are_not(endpoint: str) -> None:
    (found,) = mistakes(f"{LEAST}source:\n  endpoint: '{endpoint}'\n")
    assert REFUSED[endpoint] in found


@pytest.mark.parametrize("endpoint", ["http://example.org", "http://169.254.169.254"])
def test_endpoints_that_the_user_means(endpoint: str) -> None:
    check_endpoint(endpoint, allow_http=True)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated() -> None:
    for allow in ("true", "false"):
        (found,) = mistakes(
            f"{LEAST}source: {{endpoint: 'https://me:hunter2@host', allow_http: {allow}}}\n"
        )
        assert "credentials" in found
        assert "hunter2" not in found
