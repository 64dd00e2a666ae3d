"""A CRM's webhook receiver, as its developer would write it from the Standard Webhooks specification."""

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
class ReceivedCall:
    """One delivery as it was received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is by this secret."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = self.id.encode() + b"." + self.headers["webhook-timestamp"].encode() + b"." + self.body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return any(
            version == "v1" and hmac.compare_digest(signature, expected)
            for version, _, signature in (each.partition(",") for each in self.headers["webhook-signature"].split(" "))
        )


Responder = Callable[[ReceivedCall], Awaitable[bytes]]


def response(code: int, *headers: str, body: bytes = b"") -> bytes:
    """A whole HTTP response."""
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class CrmReceiver:
    """Records each call, then answers with the responder of its path, else with 204."""

    url: str
    calls: list[ReceivedCall] = field(default_factory=list)
    responders: dict[str, Responder] = field(default_factory=dict)

    def respond(self, path: str, answer: bytes) -> None:
        async def same(call: ReceivedCall) -> bytes:
            return answer

        self.responders[path] = same

    def calls_to(self, path: str) -> list[ReceivedCall]:
        return [call for call in self.calls if call.path == path]

    async def wait_for_calls(self, count: int, path: str | None = None, seconds: float = 60) -> list[ReceivedCall]:
        """Wait for so many calls."""
        with trio.fail_after(seconds):
            while len(found := self.calls if path is None else self.calls_to(path)) < count:  # noqa: ASYNC110
                await trio.sleep(0.005)
        return found

    async def serve(self, stream: trio.abc.Stream) -> None:
        try:
            while (call := await _read(stream)) is not None:
                self.calls.append(call)
                responder = self.responders.get(call.path)
                await stream.send_all(await responder(call) if responder is not None else response(204))
        except trio.BrokenResourceError:
            pass


async def _read(stream: trio.abc.Stream) -> ReceivedCall | None:
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
    return ReceivedCall(first.split(" ")[1], headers, body)


@asynccontextmanager
async def crm_receiver(context: ssl.SSLContext | None = None) -> AsyncIterator[CrmReceiver]:
    """Run a receiver on loopback, with TLS if there is a context."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    receiver = CrmReceiver(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
    listening = listener if context is None else trio.SSLListener(listener, context, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, receiver.serve, [listening])
        yield receiver
        nursery.cancel_scope.cancel()
