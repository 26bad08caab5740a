"""Hosts by name or address: which stay on this machine, and which are never meant."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a host that is an address; an IPv4 one written as IPv6 is what it is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_link_local(host: str) -> bool:
    """Tell whether a host name or address is one where metadata services are."""
    address = _address(host)
    return address.is_link_local if address else host == "metadata.google.internal"


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def is_hidden(address: str) -> bool:
    """Tell whether a Dask address is encrypted, or not reached from outside this machine."""
    parts = urlsplit(address)
    return parts.scheme in ("tls", "inproc") or is_loopback(parts.hostname or "")
