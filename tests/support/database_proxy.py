"""Stands between a daemon and PostgreSQL: passes everything on, refuses, or falls silent as a vanished host does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import trio


@dataclass(eq=False)
class DatabaseProxy:
    """``url`` leads through it. Created by ``database_proxy``."""

    target: tuple[str, int]
    url: str = ""
    _silent: bool = False
    _refusing: bool = False
    _streams: set[trio.SocketStream] = field(default_factory=set)
    _changed: trio.Event = field(default_factory=trio.Event)

    def vanish(self) -> None:
        """From now on nothing is read, answered or closed: connections hang, new ones too."""
        self._silent = True

    async def refuse(self) -> None:
        """Close all connections, and each new one at once."""
        self._refusing = True
        await self._close_all()

    async def come_back(self) -> None:
        """Serve again; what hung knows nobody any more and is closed."""
        self._silent = self._refusing = False
        self._changed.set()
        self._changed = trio.Event()
        await self._close_all()

    async def _close_all(self) -> None:
        for stream in list(self._streams):
            await trio.aclose_forcefully(stream)

    async def serve(self, client: trio.SocketStream) -> None:
        self._streams.add(client)
        try:
            if self._refusing:
                return
            while self._silent:
                await self._changed.wait()
            async with await trio.open_tcp_stream(*self.target) as server, trio.open_nursery() as nursery:
                self._streams.add(server)
                try:
                    nursery.start_soon(self._pass_on, client, server, nursery)
                    await self._pass_on(server, client, nursery)
                finally:
                    self._streams.discard(server)
        finally:
            self._streams.discard(client)
            await trio.aclose_forcefully(client)

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery) -> None:
        try:
            while data := await source.receive_some():
                while self._silent:
                    await self._changed.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def database_proxy(url: str) -> AsyncIterator[DatabaseProxy]:
    """A proxy before the server of this URL, until the block ends."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = DatabaseProxy((parts.hostname, parts.port))
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.url = url.replace(f":{parts.port}/", f":{listener.socket.getsockname()[1]}/")
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
