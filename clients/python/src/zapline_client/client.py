"""The client that blocks; generated from async_client.py: do not edit."""

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import httpx2

from zapline_client.event_stream import BROKEN, SILENCE_SECONDS, Event, Resumption
from zapline_client.generated import models
from zapline_client.generated.operations import Id, Operations
from zapline_client.requests import TIMEOUT, Call, defaults, new_client_id, result_of
from zapline_client.retries import Patience


class Zapline:
    """Talks to one Zapline with one token; ``api`` has each route. May be used by several threads.

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
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(transport=transport, **defaults(url, token, timeout))
        self.api: Operations = _Api(self._http, patience or Patience())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(
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
        return self.send_message(unit, draft)

    def send_message(self, unit: Id, message: models.NewMessageDraft) -> models.WatchedMessage:
        """Send a message of any kind; as :meth:`send`."""
        return self.api.send_message(
            unit, {**message, "clientMessageId": message.get("clientMessageId") or new_client_id()}
        )

    def messages_since(self, unit: Id, after_seq: int = 0) -> Iterator[models.Message]:
        """All messages behind this place, in the order of their arrival; then it ends. Keep ``seq`` of the last."""
        while True:
            page = self.api.list_messages(unit, after_seq=after_seq, limit=200)
            yield from page["items"]
            after_seq = page["nextAfterSeq"]
            if not page["hasMore"]:
                return

    def pages(
        self,
        ask: Callable[..., Mapping[str, Any]],
        *arguments: Any,
        **query: Any,
    ) -> Iterator[Any]:
        """All entries of a list that has pages: ``client.pages(client.api.list_campaigns, unit)``."""
        cursor: str | None = None
        while True:
            page = ask(*arguments, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return

    @contextmanager
    def events(self, unit: Id, last_event_id: str = "") -> Iterator[Iterator[Event]]:
        """Watch a unit live, across broken connections: ``with client.events(unit) as events: for ...``.

        It goes on behind the last event that was read; where that is too long ago comes ``reset``. Ends never by
        itself. Raises ZaplineProblem where asking again will not help, Unanswered where something else than Zapline
        answers.
        """
        with self.stream("/units/{unit}/events", last_event_id, unit=unit) as events:
            yield events

    @contextmanager
    def stream(
        self, route: str, last_event_id: str = "", query: Mapping[str, object] | None = None, **path: Id
    ) -> Iterator[Iterator[Event]]:
        """The same for any stream: ``client.stream("/organizations/{organization}/events", organization=id)``."""
        watched = self._watch(Call("GET", route, path, query or {}), Resumption(last_event_id, route))
        with closing(watched) as events:
            yield events

    def _watch(self, call: Call, resumption: Resumption) -> Generator[Event, None, None]:
        timeout = httpx2.Timeout(TIMEOUT, read=SILENCE_SECONDS)
        while True:
            try:
                arguments = call.arguments() | {"headers": resumption.headers(), "timeout": timeout}
                with self._http.stream(**arguments) as response:
                    if not resumption.is_stream(response):
                        response.read()
                        wait = resumption.refused(response)
                    else:
                        parser = resumption.parser()
                        for chunk in response.iter_bytes():
                            for event in parser.feed(chunk):
                                resumption.note(parser)
                                yield event
                            resumption.note(parser)  # a place may come without an event
                        wait = resumption.broken(random.random())  # noqa: S311 - spreads clients
            except BROKEN:
                wait = resumption.broken(random.random())  # noqa: S311
            time.sleep(wait)


class _Api(Operations):
    """Makes the requests of ``Operations``."""

    def __init__(self, http: httpx2.Client, patience: Patience) -> None:
        self._http, self._patience = http, patience

    def _call(
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
                response = self._http.request(**arguments)
            except httpx2.TransportError as error:
                wait: float | None = attempts.after_error(error)
            else:
                wait = attempts.after_answer(response)
                if wait is None:
                    return result_of(response, answer, attempts)
            assert wait is not None
            time.sleep(wait)
