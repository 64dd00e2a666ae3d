"""Answers ``POST /units/{unit}/messages`` without the framework, whose dispatch costs more than the message itself.

The route in ``messages`` means the same, and takes what is not plain here: a query, a body that comes late or in
parts, any form of it but JSON of a known length.
"""

import re
from uuid import UUID

import msgspec
import trio

from zapline.domain.ids import UnitId
from zapline.http.api.framework.authentication import authenticate_caller, quota_headers
from zapline.http.api.framework.json_bodies import decode_body
from zapline.http.api.framework.problems import Problem, encode_problem, result_or_problem
from zapline.http.api.framework.route_table import Access
from zapline.http.api.framework.security_headers import SECURITY_HEADERS
from zapline.http.api.messages.message_requests import NewMessage, send_request
from zapline.http.api.messages.message_responses import watched_body
from zapline.http.api.messages.messages import message_location
from zapline.http.server.asgi import App, Message, Receive, Scope, Send
from zapline.sql.conversations.conversations import TrackedMessage
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.request_limits import RequestLimits
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

_PATH = re.compile(r"/units/([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})/messages")
_LARGEST = 256 * 1024
"""Bytes; a longer body hardly comes in one piece."""
_PROMPT_SECONDS = 1.0
"""Seconds for the body; later the framework waits for it, which refuses strangers at once and tells who is late."""
_READ = (b"authorization", b"content-type", b"content-length")
_COMMON = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class SendEndpoint:
    """The endpoint. ``unit_of`` says whether a request is for it; ``answer`` answers a request with its whole body."""

    def __init__(
        self, identity: Authentication, limits: RequestLimits, commands: UnitCommands, outgoing: Submissions
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._commands = commands
        self._outgoing = outgoing

    async def answer(self, scope: Scope, unit: UUID, authorization: str, body: bytes, send: Send) -> None:
        """202 with the message and its state, or a problem."""
        result = await result_or_problem(self._send(scope, unit, authorization, body))
        if isinstance(result, Problem):
            status = result.status
            content, headers = encode_problem(result)
        else:
            status, content = 202, msgspec.json.encode(watched_body(result))
            headers = {"Content-Type": "application/json", "Location": message_location(unit, result.message.id)}
        headers.update(quota_headers(scope))
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw += [(b"content-length", b"%d" % len(content)), *_COMMON]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    async def _send(self, scope: Scope, unit: UUID, authorization: str, body: bytes) -> TrackedMessage:
        await authenticate_caller(self._identity, self._limits, authorization, scope, unit, Access.SEND)
        id = self._commands.find(UnitId(unit)).id
        stored, _ = await self._outgoing.send(id, send_request(decode_body(body, NewMessage)))
        return stored


def answer_first(endpoint: SendEndpoint, rest: App) -> App:
    """The application that answers plain requests by ``endpoint``, and all others by ``rest``."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        plain = _plain_request(scope)
        if plain is None:
            await rest(scope, receive, send)
            return
        unit, authorization, length = plain
        read: list[Message] = []
        body = await _prompt_body(receive, read, length)
        if body is None:
            await rest(scope, _after(read, receive), send)
        else:
            await endpoint.answer(scope, unit, authorization, body, send)

    return dispatch


async def _prompt_body(receive: Receive, read: list[Message], length: int) -> bytes | None:
    """The body, if it comes promptly and in one piece; ``read`` gets the messages that were read."""
    body, more = b"", True
    with trio.move_on_after(_PROMPT_SECONDS):
        while more:
            message = await receive()
            read.append(message)
            body = body or message.get("body", b"")
            if message["type"] != "http.request" or len(body) != length:
                return None
            more = message.get("more_body", False)
    return None if more else body


def _plain_request(scope: Scope) -> tuple[UUID, str, int] | None:
    """Unit, authorization and length of the body of a plain request to send."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"] or scope.get("root_path"):
        return None
    path = _PATH.fullmatch(scope["path"])
    if path is None:
        return None
    read: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in read:
                return None
            read[name] = value
    length, media = read.get(b"content-length", b""), read.get(b"content-type", b"application/json")
    if media != b"application/json" or not (length.isdigit() and 0 < int(length) <= _LARGEST):
        return None
    return UUID(path[1]), read.get(b"authorization", b"").decode("latin-1"), int(length)


def _after(first: list[Message], receive: Receive) -> Receive:
    """Messages that were read already, and then the others."""
    waiting = first[::-1]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
