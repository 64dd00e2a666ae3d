"""The client to be awaited, under asyncio and trio; ``client`` has the same that blocks."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import httpx2

from zapline_client.event_stream import BROKEN, SILENCE_SECONDS, Event, Resumption
from zapline_client.generated import models
from zapline_client.generated.async_operations import AsyncOperations, Id
from zapline_client.requests import TIMEOUT, Call, defaults, new_client_id, result_of
from zapline_client.retries import Patience


class AsyncZapline:
    """Talks to one Zapline with one token; ``api`` has each route. A call that is cancelled may have been done.

    All calls raise ZaplineProblem and Unanswered; what may be repeated is repeated as ``patience`` says. ``timeout``:
    seconds in which the network says nothing, after which a try has failed. ``transport``: of httpx2, for tests.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: Patience | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(transport=transport, **defaults(url, token, timeout))
        self.api: AsyncOperations = _Api(self._http, patience or Patience())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def send(
        self,
        unit: Id,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
    ) -> models.WatchedMessage:
        """Send a text to a phone, once, however often it takes to be told so.

        Give a ``client_message_id`` of your own, as ``order-4711``, where the message must not be sent again after
        your program has ended in the middle; without one the client makes one for this call.
        """
        draft: models.NewMessageDraft = {"to": to, "text": text}
        if client_message_id is not None:
            draft["clientMessageId"] = client_message_id
        return await self.send_message(unit, draft)

    async def send_message(self, unit: Id, message: models.NewMessageDraft) -> models.WatchedMessage:
        """Send a message of any kind; as :meth:`send`."""
        return await self.api.send_message(
            unit, {**message, "clientMessageId": message.get("clientMessageId") or new_client_id()}
        )

    async def messages_since(self, unit: Id, after_seq: int = 0) -> AsyncIterator[models.Message]:
        """All messages behind this place, in the order of their arrival; then it ends. Keep ``seq`` of the last."""
        while True:
            page = await self.api.list_messages(unit, after_seq=after_seq, limit=200)
            for item in page["items"]:
                yield item
            after_seq = page["nextAfterSeq"]
            if not page["hasMore"]:
                return

    async def pages(
        self,
        ask: Callable[..., Awaitable[Mapping[str, Any]]],
        *arguments: Any,
        **query: Any,
    ) -> AsyncIterator[Any]:
        """All entries of a list that has pages: ``client.pages(client.api.list_campaigns, unit)``."""
        cursor: str | None = None
        while True:
            page = await ask(*arguments, **query, **({"cursor": cursor} if cursor else {}))
            for item in page["items"]:
                yield item
            cursor = page.get("nextCursor")
            if cursor is None:
                return

    @asynccontextmanager
    async def events(self, unit: Id, last_event_id: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """Watch a unit live, across broken connections: ``async with client.events(unit) as events: async for ...``.

        It goes on behind the last event that was read; where that is too long ago comes ``reset``. Ends never by
        itself. Raises ZaplineProblem where asking again will not help, Unanswered where something else than Zapline
        answers.
        """
        async with self.stream("/units/{unit}/events", last_event_id, unit=unit) as events:
            yield events

    @asynccontextmanager
    async def stream(
        self, route: str, last_event_id: str = "", query: Mapping[str, object] | None = None, **path: Id
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """The same for any stream: ``client.stream("/organizations/{organization}/events", organization=id)``."""
        watched = self._watch(Call("GET", route, path, query or {}), Resumption(last_event_id, route))
        async with aclosing(watched) as events:
            yield events

    async def _watch(self, call: Call, resumption: Resumption) -> AsyncGenerator[Event, None]:
        timeout = httpx2.Timeout(TIMEOUT, read=SILENCE_SECONDS)
        while True:
            try:
                arguments = call.arguments() | {"headers": resumption.headers(), "timeout": timeout}
                async with self._http.stream(**arguments) as response:
                    if not resumption.is_stream(response):
                        await response.aread()
                        wait = resumption.refused(response)
                    else:
                        parser = resumption.parser()
                        async for chunk in response.aiter_bytes():
                            for event in parser.feed(chunk):
                                resumption.note(parser)
                                yield event
                            resumption.note(parser)  # a place may come without an event
                        wait = resumption.broken(random.random())  # noqa: S311 - spreads clients
            except BROKEN:
                wait = resumption.broken(random.random())  # noqa: S311
            await anyio.sleep(wait)


class _Api(AsyncOperations):
    """Makes the requests of ``AsyncOperations``."""

    def __init__(self, http: httpx2.AsyncClient, patience: Patience) -> None:
        self._http, self._patience = http, patience

    async def _call(
        self,
        method: str,
        route: str,
        *,
        path: Mapping[str, object] | None = None,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content_type: str | None = None,
        answer: Literal["json", "bytes", "nothing"] = "json",
        names_itself: bool = False,
    ) -> Any:
        call = Call(method, route, path or {}, query or {}, body, content_type, names_itself)
        attempts, arguments = call.attempts(self._patience), call.arguments()
        while True:
            try:
                response = await self._http.request(**arguments)
            except httpx2.TransportError as error:
                wait: float | None = attempts.after_error(error)
            else:
                wait = attempts.after_answer(response)
                if wait is None:
                    return result_of(response, answer, attempts)
            assert wait is not None
            await anyio.sleep(wait)
