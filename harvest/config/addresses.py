"""Addresses that a config may name: no metadata service, nothing in the clear by accident."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from ..hosts import is_link_local, is_loopback


def check_endpoint(endpoint: str, *, allow_http: bool) -> None:
    """Refuse an endpoint that could leak data or reach a metadata service.

    Parameters
    ----------
    endpoint
        URL of a server.
    allow_http
        The user's explicit word.

    Raises
    ------
    ValueError
        It is no http(s) URL; or plain http outside loopback, or a link-local address, and not
        allowed.
    """
    if "@" in endpoint:
        raise ValueError("endpoint holds credentials: use anonymous: false and the environment's")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"endpoint {endpoint!r} is no http:// or https:// URL")
    if allow_http:
        return
    if is_link_local(parts.hostname):
        raise ValueError(f"endpoint {endpoint} is link-local; set allow_http: true if you mean it")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            f"endpoint {endpoint} is plain http outside loopback; use https, "
            "or set allow_http: true if you mean it"
        )


def check_scheduler(address: str, *, allow_insecure: bool) -> None:
    """Refuse a Dask scheduler that is reached without TLS from outside this machine.

    Parameters
    ----------
    address
        ``tcp://host:port`` or ``tls://host:port``.
    allow_insecure
        The user's explicit word.

    Raises
    ------
    ValueError
        It is no such address; or not encrypted, outside loopback, and not allowed.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"address {address!r} is no tcp://host:port or tls://host:port")
    if parts.scheme == "tcp" and not is_loopback(parts.hostname) and not allow_insecure:
        raise ValueError(
            f"scheduler {address} is not encrypted; use tls://, "
            "or set allow_insecure: true if the network is yours alone"
        )


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of a URL can be one, or is left out."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False
