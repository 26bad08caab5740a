"""Hosts by name and by address, in every way that one may be written."""

from __future__ import annotations

import pytest

from harvest.hosts import is_hidden, is_link_local, is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert not is_link_local(host)
    assert is_hidden(f"tcp://{f'[{host}]' if ':' in host else host}:8786")


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.nip.io"]
)
def test_other_machines(host: str) -> None:
    assert not is_loopback(host)
    assert not is_link_local(host)
    assert not is_hidden(f"tcp://{host}:8786")
    assert is_hidden(f"tls://{host}:8786")


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "metadata.google.internal"],
)
def test_metadata_services(host: str) -> None:
    assert is_link_local(host)
    assert not is_loopback(host)
