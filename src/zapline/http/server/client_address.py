"""Finds the address of a client behind trusted proxies."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(scope: Mapping[str, Any], trusted: Networks) -> str:
    """The address of the client of an ASGI request: the nearest one that is not a ``trusted`` proxy.

    ``unknown`` if the connection has no address.
    """
    nearest = _normalise(str((scope.get("client") or ("unknown",))[0]))
    if not trusted:
        return nearest
    header = b",".join(value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
    forwarded = [part.strip() for part in header.decode("latin-1").split(",")]
    for earlier in reversed(forwarded[-10:]):
        if not is_within(nearest, trusted) or _parse(earlier) is None:
            break
        nearest = _normalise(earlier)
    return nearest


def is_within(address: str, networks: Networks) -> bool:
    """Whether the address is in one of the networks; False for text that is not an address."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address; IPv4 ones mapped into IPv6 by a dual-stack socket become IPv4, or all of them would be one
    client."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _normalise(text: str) -> str:
    address = _parse(text)
    return str(address) if isinstance(address, IPv4Address) else text


def rate_limit_key(source: str) -> str:
    """What attempts are counted by: an IPv4 address, or the /64 network of one IPv6 subscriber."""
    if ":" not in source or _parse(source) is None:
        return source
    return str(ip_network((source.partition("%")[0], 64), strict=False))
