"""Performs the look-up that shows whether a media URL leads out of our network.

It is a check, not a fence: Evolution looks the name up again and follows redirections, so its host needs rules of
its own against connections into the network.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable

import trio
from trio.lowlevel import RunVar

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.network_addresses import read_media_url, refusal_of

Resolver = Callable[[str, int], Awaitable[Iterable[str]]]
"""From a host's name and a port to its addresses. Raises ``OSError`` where there are none."""

LOOK_UP = 5.0
"""Seconds; a name that takes longer keeps the caller waiting for nothing."""
_MOST_LOOK_UPS = 8
"""At a time. An abandoned look-up keeps its thread for as long as the system's resolver waits."""


class MediaUrlRefused(LocalError):
    """The URL leads to an address that nothing is fetched from. The text names no address."""


class MediaUrlUnresolvable(RemoteError):
    """The host's name has no address, or none was told in time; later it may have one."""


_look_ups: RunVar[trio.CapacityLimiter] = RunVar("zapline_look_ups")


async def look_up(host: str, port: int, room: trio.CapacityLimiter | None = None) -> list[str]:
    """The addresses that the system's resolver tells. Abandons the thread when cancelled. Raises ``OSError``.

    ``room``: for a caller who shares the look-ups at a time with nobody else.
    """
    limiter = room or _shared_room()
    found = await trio.to_thread.run_sync(
        lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), abandon_on_cancel=True, limiter=limiter
    )
    return [str(address[0]) for *_, address in found]


def _shared_room() -> trio.CapacityLimiter:
    try:
        return _look_ups.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MOST_LOOK_UPS)
        _look_ups.set(limiter)
        return limiter


async def check_media_url(url: str, resolver: Resolver = look_up) -> str:
    """The URL in its plain form, to be handed to Evolution. Every address of its host must be public.

    Raises :class:`InvalidMediaUrl`, :class:`MediaUrlRefused`, :class:`MediaUrlUnresolvable`.
    """
    read = read_media_url(url)
    addresses = [read.host] if read.is_address else await _resolved(read.host, read.port, resolver)
    if any(refusal_of(address) is not None for address in addresses):
        raise MediaUrlRefused("The URL leads into a private or reserved network; only public addresses are fetched.")
    return read.url


async def _resolved(host: str, port: int, resolver: Resolver) -> list[str]:
    try:
        with trio.fail_after(LOOK_UP):
            addresses = list(await resolver(host, port))
    except trio.TooSlowError:
        raise MediaUrlUnresolvable(f"The host in the URL was not found within {LOOK_UP:g} seconds.") from None
    except (OSError, UnicodeError):
        # UnicodeError: a name that the system's own encoding refuses.
        addresses = []
    if not addresses:
        raise MediaUrlUnresolvable("The host in the URL is not known.")
    return addresses
