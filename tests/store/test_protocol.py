"""The words of all transports."""

from __future__ import annotations

from harvest.store.protocol import Version, unquoted


def test_versions_are_values() -> None:
    assert Version('"a"') == Version('"a"')
    assert unquoted('"a"') == unquoted("a") == "a"
    assert unquoted(None) is None
