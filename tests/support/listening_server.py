"""A server on virtual time, the clients that have connected to it, and an application that needs nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from quart import Response, request
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from zapline.http.server.serve import ServerLimits, serve, shield_last_message

LARGE = 32 * 2**20


def small_app() -> Any:
    app = QuartTrio("small")

    async def hello() -> Response:
        return Response(b"hello")

    async def large() -> Response:
        return Response(b"x" * LARGE)

    async def slow() -> Response:
        await trio.sleep(0.5)
        return Response(b"done")

    async def echo() -> Response:
        return Response(await request.get_data())

    async def where() -> Response:
        return Response(f"{request.host} {request.path} {request.query_string.decode()}")

    app.add_url_rule("/where", "where", where, methods=["POST"])
    app.add_url_rule("/hello", "hello", hello)
    app.add_url_rule("/large", "large", large)
    app.add_url_rule("/slow", "slow", slow)
    app.add_url_rule("/echo", "echo", echo, methods=["POST"])
    return shield_last_message(app)  # type: ignore[arg-type]


class Server:
    """A running server and the clients that have connected to it."""

    def __init__(self, clock: MockClock, port: int, stop: trio.Event, ended: trio.Event) -> None:
        self.clock, self.port, self.stop, self.ended = clock, port, stop, ended
        self.dialled: list[trio.SocketStream] = []

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of a sweep at most, each seen by all tasks."""
        passed = 0.0
        while passed < seconds - 1e-9:
            step = min(0.02, seconds - passed)
            await wait_all_tasks_blocked()
            self.clock.jump(step)
            passed += step
        await wait_all_tasks_blocked()

    async def dial(self) -> trio.SocketStream:
        self.dialled.append(await trio.open_tcp_stream("127.0.0.1", self.port))
        return self.dialled[-1]

    async def ends_at_once(self) -> bool:
        """Stop the server; whether it ends without any time passing."""
        self.stop.set()
        await wait_all_tasks_blocked(0.05)
        return self.ended.is_set()


@asynccontextmanager
async def serving(clock: MockClock, grace: float = 1.0, app: Any = None, **limits: Any) -> AsyncIterator[Server]:
    stop, ended = trio.Event(), trio.Event()

    async def run(task_status: Any) -> None:
        served = app or small_app()
        await serve(served, ["127.0.0.1:0"], stop, grace, limits=ServerLimits(**limits), task_status=task_status)
        ended.set()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(run)
            assert address.startswith("http://127.0.0.1:")
            server = Server(clock, int(address.rpartition(":")[2]), stop, ended)
            try:
                yield server
            finally:
                for stream in server.dialled:
                    stream.socket.close()
            stop.set()


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Head and body."""
    data = await read_head(stream)
    length = int(data.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    with trio.fail_after(120):
        while len(data.partition(b"\r\n\r\n")[2]) < length:
            data += await stream.receive_some(65536)
    return data


async def read_head(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(120):
        while b"\r\n\r\n" not in data:
            chunk = await stream.receive_some(4096)
            if not chunk:
                break
            data += chunk
    return data


async def closed(stream: trio.SocketStream) -> bool:
    """Whether the server closes this connection without any more time passing."""
    with trio.move_on_after(1):
        while True:
            try:
                if not await stream.receive_some(65536):
                    return True
            except trio.BrokenResourceError:
                return True
    return False
