"""A client of a unit's live events, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import trio


class Stream:
    """A client that reads events."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id: str | None = None

    async def next(self, seconds: float = 60) -> tuple[str, Any]:
        """The next event's kind and data; comments are passed over."""
        fields: dict[str, str] = {}
        with trio.fail_after(seconds):
            async for line in self._lines:
                if not line and "event" in fields:
                    self.last_id = fields["id"]
                    return fields["event"], msgspec.json.decode(fields["data"])
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
        raise EOFError

    async def ends(self) -> None:
        """Return when the server has ended the stream in order."""
        with suppress(EOFError):
            while True:
                await self.next()


@asynccontextmanager
async def watching(api: Any, unit: Any, last_id: str | None = None, **query: str) -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with watching_path(api, f"/units/{unit.id}/events", headers, **query) as stream:
        yield stream


@asynccontextmanager
async def watching_path(api: Any, path: str, headers: dict[str, str], **query: str) -> AsyncIterator[Stream]:
    """The same of any stream."""
    async with api.client.stream("GET", path, headers=headers, params=query) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        yield Stream(answer.aiter_lines())
