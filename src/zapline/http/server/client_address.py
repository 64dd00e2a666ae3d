"""Tells where a request comes from, behind proxies that are ours."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Networks = Sequence[IPv4Network | IPv6Network]


def source_of(scope: Mapping[str, Any], trusted: Networks) -> str:
    """The address of the caller of an ASGI request: the nearest one that is none of our ``trusted`` proxies.

    ``unknown`` where the connection has none.
    """
    nearest = _plain(str((scope.get("client") or ("unknown",))[0]))
    if not trusted:
        return nearest
    given = b",".join(value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
    forwarded = [part.strip() for part in given.decode("latin-1").split(",")]
    for earlier in reversed(forwarded[-10:]):
        if not is_within(nearest, trusted) or _read(earlier) is None:
            break
        nearest = _plain(earlier)
    return nearest


def is_within(address: str, networks: Networks) -> bool:
    """Whether an address lies in one of the networks; what is no address does not."""
    found = _read(address)
    return found is not None and any(found in network for network in networks)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """An address. A socket for both kinds names IPv4 ones as parts of IPv6: all of them would be one party."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _plain(text: str) -> str:
    found = _read(text)
    return str(found) if isinstance(found, IPv4Address) else text


def party_of(source: str) -> str:
    """Who is counted as one: an IPv4 address, or the 64 bits that a single IPv6 subscriber has for himself."""
    if ":" not in source or _read(source) is None:
        return source
    return str(ip_network((source.partition("%")[0], 64), strict=False))
