"""Posts webhooks as Evolution does: independently, and retried from memory until they are acknowledged."""

import random
from collections.abc import Sequence
from contextlib import suppress

import trio

from ..environment import wait_until_none
from .webhook_ledger import Event, WebhookLedger
from .webhook_traffic import WebhookTraffic

CONNECTIONS = 64
MAX_PENDING = 6000
"""Webhooks in memory; above it no new scenario starts."""
TIMEOUT = 25.0
"""Seconds for one response: above the 20 that the daemon may delay it."""
FIRST_DELAY, LAST_DELAY = 0.05, 0.4
"""Seconds between attempts: Evolution's 5 to 300 are too long for a run."""


class WebhookSender:
    """``load`` posts new scenarios at a rate; ``wait_until_idle`` waits until all are acknowledged."""

    def __init__(
        self, nursery: trio.Nursery, port: int, paths: Sequence[str], traffic: WebhookTraffic, ledger: WebhookLedger
    ) -> None:
        self._nursery = nursery
        self._address = ("127.0.0.1", port)
        self._paths = paths
        self._traffic = traffic
        self._ledger = ledger
        self._rng = random.Random(1)
        self._limiter = trio.CapacityLimiter(CONNECTIONS)
        self._idle: list[trio.SocketStream] = []
        self.pending = 0

    async def load(self, rate: float) -> None:
        """Post about ``rate`` webhooks a second until cancelled."""
        due = trio.current_time()
        while True:
            await trio.sleep_until(due)
            if self.pending > MAX_PENDING:
                due = trio.current_time() + 0.1
                continue
            scenario = self._traffic.scenario()
            for scheduled in scenario:
                self.pending += 1
                self._nursery.start_soon(self._deliver, scheduled.event, scheduled.delay)
            due += len(scenario) / rate

    async def wait_until_idle(self, patience: float) -> bool:
        """Wait until no webhook is pending; False where none was acknowledged for ``patience`` seconds."""

        async def pending() -> int:
            return self.pending

        return await wait_until_none(pending, patience)

    async def _deliver(self, event: Event, delay: float) -> None:
        await trio.sleep(delay)
        self._ledger.record_post(event)
        pause = FIRST_DELAY
        try:
            while not await self._attempt(event):
                await trio.sleep(pause * self._rng.uniform(0.8, 1.2))
                pause = min(pause * 2, LAST_DELAY)
        finally:
            self.pending -= 1

    async def _attempt(self, event: Event) -> bool:
        async with self._limiter:
            self._ledger.attempts += 1
            started = trio.current_time()
            status = await self._post(self._paths[event.unit], event.body)
            if status != 200:
                return False
            self._ledger.record_acknowledgement(event, trio.current_time() - started)
            return True

    async def _post(self, path: str, body: bytes) -> int | None:
        """Return the status, or None without a complete response."""
        stream = self._idle.pop() if self._idle else None
        try:
            with trio.fail_after(TIMEOUT):
                if stream is None:
                    stream = await trio.open_tcp_stream(*self._address)
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: zapline\r\nContent-Type: application/json\r\n"
                    f"User-Agent: axios/1.7\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await stream.send_all(head.encode() + body)
                status, reusable = await _read_response(stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ValueError):
            status, reusable = None, False
        except BaseException:
            if stream is not None:
                stream.socket.close()
            raise
        if reusable and stream is not None:
            self._idle.append(stream)
        elif stream is not None:
            stream.socket.close()
        return status

    def close(self) -> None:
        for stream in self._idle:
            with suppress(OSError):
                stream.socket.close()
        self._idle.clear()


async def _read_response(stream: trio.SocketStream) -> tuple[int | None, bool]:
    """Return the status, and whether the connection is reusable. Raises ``ValueError`` for a truncated response."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await stream.receive_some(4096)
        if not chunk:
            raise ValueError("no response")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(rest) < length:
        chunk = await stream.receive_some(4096)
        if not chunk:
            raise ValueError("a truncated response")
        rest += chunk
    return int(lines[0].split()[1]), b"connection: close" not in lines
