"""Posts webhooks as Evolution does: each on its own, tried again from memory until it is answered."""

import random
from collections.abc import Sequence
from contextlib import suppress

import trio

from .ledger import Event, Ledger
from .traffic import Traffic

CONNECTIONS = 64
PENDING = 6000
"""Webhooks in memory; above it no new stories begin."""
TIMEOUT = 25.0
"""Seconds for one answer: above the 20 that the daemon may hold it."""
FIRST_DELAY, LAST_DELAY = 0.05, 0.4
"""Seconds between attempts: Evolution waits for 5 to 300, which is too long to watch."""


class Sender:
    """``load`` posts new stories at a rate; ``quiet`` waits until all are answered."""

    def __init__(
        self, nursery: trio.Nursery, port: int, paths: Sequence[str], traffic: Traffic, ledger: Ledger
    ) -> None:
        self._nursery = nursery
        self._address = ("127.0.0.1", port)
        self._paths = paths
        self._traffic = traffic
        self._ledger = ledger
        self._chance = random.Random(1)
        self._room = trio.CapacityLimiter(CONNECTIONS)
        self._lines: list[trio.SocketStream] = []
        self._answered_all = trio.Event()
        self.pending = 0

    async def load(self, rate: float) -> None:
        """Post about ``rate`` webhooks a second until cancelled."""
        due = trio.current_time()
        while True:
            await trio.sleep_until(due)
            if self.pending > PENDING:
                due = trio.current_time() + 0.1
                continue
            story = self._traffic.story()
            for posting in story:
                self.pending += 1
                self._nursery.start_soon(self._deliver, posting.event, posting.delay)
            due += len(story) / rate

    async def quiet(self) -> None:
        """Return when every webhook that was begun is answered."""
        while self.pending:
            self._answered_all = trio.Event()
            await self._answered_all.wait()

    async def _deliver(self, event: Event, delay: float) -> None:
        await trio.sleep(delay)
        self._ledger.post(event)
        pause = FIRST_DELAY
        try:
            while not await self._attempt(event):
                await trio.sleep(pause * self._chance.uniform(0.8, 1.2))
                pause = min(pause * 2, LAST_DELAY)
        finally:
            self.pending -= 1
            if not self.pending:
                self._answered_all.set()

    async def _attempt(self, event: Event) -> bool:
        async with self._room:
            self._ledger.attempts += 1
            started = trio.current_time()
            status = await self._post(self._paths[event.unit], event.body)
            if status != 200:
                return False
            self._ledger.answer(event, trio.current_time() - started)
            return True

    async def _post(self, path: str, body: bytes) -> int | None:
        """The status, or None where no whole answer came."""
        line = self._lines.pop() if self._lines else None
        try:
            with trio.fail_after(TIMEOUT):
                if line is None:
                    line = await trio.open_tcp_stream(*self._address)
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: zapline\r\nContent-Type: application/json\r\n"
                    f"User-Agent: axios/1.7\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await line.send_all(head.encode() + body)
                status, reusable = await _answer(line)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ValueError):
            status, reusable = None, False
        except BaseException:
            if line is not None:
                line.socket.close()
            raise
        if reusable and line is not None:
            self._lines.append(line)
        elif line is not None:
            line.socket.close()
        return status

    def close(self) -> None:
        for line in self._lines:
            with suppress(OSError):
                line.socket.close()
        self._lines.clear()


async def _answer(line: trio.SocketStream) -> tuple[int | None, bool]:
    """Status, and whether the connection may be used again. Raises ValueError for an answer cut short."""
    told = b""
    while b"\r\n\r\n" not in told:
        chunk = await line.receive_some(4096)
        if not chunk:
            raise ValueError("no answer")
        told += chunk
    head, _, rest = told.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(one[15:]) for one in lines if one.startswith(b"content-length:")), 0)
    while len(rest) < length:
        chunk = await line.receive_some(4096)
        if not chunk:
            raise ValueError("half an answer")
        rest += chunk
    return int(lines[0].split()[1]), b"connection: close" not in lines
