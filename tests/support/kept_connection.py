"""A connection for a test's own questions that stays open: a new one costs the server more than most questions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.postgres.connection import Connection, connect


class KeptConnection:
    """Opened with the first question, and anew after it was cut. Created by ``kept_connection``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = trio.Lock()
        self.open: Connection | None = None

    async def fetch(self, query: str) -> list[Any]:
        """The rows. Where the connection was cut, it is asked again. Raises what ``connect`` and ``fetch`` raise."""
        async with self._lock:
            if self.open is not None:
                try:
                    return await self.open.fetch(query)
                except DatabaseUnavailable:
                    await self.close()
            self.open = await connect(self._url, prepare=False)
            return await self.open.fetch(query)

    async def close(self) -> None:
        if self.open is not None:
            await self.open.close()
            self.open = None


@asynccontextmanager
async def kept_connection(url: str) -> AsyncIterator[KeptConnection]:
    kept = KeptConnection(url)
    try:
        yield kept
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await kept.close()
