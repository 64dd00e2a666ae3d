"""Stays subscribed to notification channels, over every loss of the server."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn, Unpack

import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.driver import Connection, ConnectOptions, connect

# The first try again comes quickly (a restarted server is back in a second); a long outage is asked every
# 5 s.
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
# A silent connection is tested this often: a server that vanished without a word would be
# waited for without end.
PING_SECONDS = 30.0


async def listen(
    url: str,
    channels: Sequence[str],
    *,
    on_connect: Callable[[], Awaitable[None]],
    on_notify: Callable[[str, str], Awaitable[None]],
    **options: Unpack[ConnectOptions],
) -> NoReturn:
    """Run until cancelled. ``options`` are those of ``connect``; the URL must not lead to a pooler.

    ``on_connect()`` runs after every (re)connect, when the channels are subscribed: notifications of the
    time between are lost, so it reads the tables again. ``on_notify(channel, payload)`` runs for each
    notification in order; while it runs, no other is read. ``DatabaseUnavailable`` out of either means
    that something may have been missed: it leads to a new connection. Any other error ends the task.
    """
    delay = FIRST_DELAY
    while True:
        try:
            async with await connect(url, **options) as connection:
                await connection.listen(channels)
                await on_connect()
                delay = FIRST_DELAY
                await _dispatch(connection, on_notify)
        except DatabaseUnavailable:
            await trio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)


async def _dispatch(connection: Connection, on_notify: Callable[[str, str], Awaitable[None]]) -> NoReturn:
    while True:
        heard: list[tuple[str, str]] = []
        with trio.move_on_after(PING_SECONDS):
            heard = await connection.notifications()
        if not heard:
            await connection.ping()
        for channel, payload in heard:
            await on_notify(channel, payload)
