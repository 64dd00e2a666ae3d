"""A CRM's receiver of webhooks, as its developer would write it from the Standard Webhooks' text alone."""

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio


@dataclass(frozen=True)
class Call:
    """One delivery as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is by this secret."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = self.id.encode() + b"." + self.headers["webhook-timestamp"].encode() + b"." + self.body
        right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return any(
            version == "v1" and hmac.compare_digest(given, right)
            for version, _, given in (each.partition(",") for each in self.headers["webhook-signature"].split(" "))
        )


Answer = Callable[[Call], Awaitable[bytes]]


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Crm:
    """The receiver. ``answers`` says what a path is answered, after it was noted; 204 where it says nothing."""

    url: str
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def always(self, path: str, answer: bytes) -> None:
        async def same(call: Call) -> bytes:
            return answer

        self.answers[path] = same

    def at(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    async def until(self, count: int, path: str | None = None, seconds: float = 10) -> list[Call]:
        """Wait for so many deliveries."""
        with trio.fail_after(seconds):
            while len(found := self.calls if path is None else self.at(path)) < count:  # noqa: ASYNC110
                await trio.sleep(0.005)
        return found

    async def serve(self, stream: trio.abc.Stream) -> None:
        try:
            while (call := await _read(stream)) is not None:
                self.calls.append(call)
                answer = self.answers.get(call.path)
                await stream.send_all(await answer(call) if answer is not None else status(204))
        except trio.BrokenResourceError:
            pass


async def _read(stream: trio.abc.Stream) -> Call | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some()
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive_some()
    assert first.startswith("POST ")
    return Call(first.split(" ")[1], headers, body)


@asynccontextmanager
async def crm(context: ssl.SSLContext | None = None) -> AsyncIterator[Crm]:
    """A receiver on loopback; with a context it speaks TLS."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    made = Crm(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
    listening = listener if context is None else trio.SSLListener(listener, context, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, made.serve, [listening])
        yield made
        nursery.cancel_scope.cancel()
