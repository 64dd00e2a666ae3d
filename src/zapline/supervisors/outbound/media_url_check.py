"""Checks that a media URL leads to public addresses only, before Evolution is told to fetch it.

Evolution resolves the name again and follows redirections, so its host needs firewall rules of its own as well.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable

import trio
from trio.lowlevel import RunVar

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.network_addresses import parse_media_url, refusal_reason
from zapline.domain.text import Sentence

Resolver = Callable[[str, int], Awaitable[Iterable[str]]]
"""Resolves a host name and a port to addresses. Raises ``OSError`` if there are none."""

LOOKUP_TIMEOUT = 5.0
"""Seconds."""
_MAX_LOOKUPS = 8
"""At a time. An abandoned lookup keeps its thread for as long as the system's resolver waits."""


class MediaUrlRefused(LocalError):
    """The URL leads to an address that nothing is fetched from. The text names no address."""


class MediaUrlUnresolvable(RemoteError):
    """The host's name has no address, or the lookup took too long; it may succeed later."""


_lookup_limiter: RunVar[trio.CapacityLimiter] = RunVar("zapline_look_ups")


async def resolve_host(host: str, port: int, limiter: trio.CapacityLimiter | None = None) -> list[str]:
    """Return the addresses from the system's resolver. Abandons the thread when cancelled. Raises ``OSError``.

    ``limiter``: for a caller whose lookups must not share the common limit of 8 at a time.
    """
    limiter = limiter or _shared_limiter()
    infos = await trio.to_thread.run_sync(
        lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), abandon_on_cancel=True, limiter=limiter
    )
    return [str(address[0]) for *_, address in infos]


def _shared_limiter() -> trio.CapacityLimiter:
    try:
        return _lookup_limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MAX_LOOKUPS)
        _lookup_limiter.set(limiter)
        return limiter


async def check_media_url(url: str, resolver: Resolver = resolve_host) -> str:
    """Return the URL in its normal form, to be passed to Evolution. Every address of its host must be public.

    Raises :class:`InvalidMediaUrl`, :class:`MediaUrlRefused`, :class:`MediaUrlUnresolvable`.
    """
    read = parse_media_url(url)
    addresses = [read.host] if read.is_address else await _resolve(read.host, read.port, resolver)
    if any(refusal_reason(address) is not None for address in addresses):
        raise MediaUrlRefused("The URL leads into a private or reserved network; only public addresses are fetched.")
    return read.url


async def _resolve(host: str, port: int, resolver: Resolver) -> list[str]:
    try:
        with trio.fail_after(LOOKUP_TIMEOUT):
            addresses = list(await resolver(host, port))
    except trio.TooSlowError:
        raise MediaUrlUnresolvable(
            Sentence("The host in the URL was not found within {seconds} seconds.", seconds=f"{LOOKUP_TIMEOUT:g}")
        ) from None
    except (OSError, UnicodeError):
        # UnicodeError: a name that the system's own encoding refuses.
        addresses = []
    if not addresses:
        raise MediaUrlUnresolvable("The host in the URL is not known.")
    return addresses
