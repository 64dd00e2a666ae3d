"""The connections to Evolution, against a server that answers byte by byte what a test tells it."""

import gzip
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
import trio

from zapline.domain.errors import TooLateToCall
from zapline.evolution.client.http_transport import KeptConnections

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def scripted(answers: Sequence[bytes], **options: float) -> AsyncIterator[tuple[httpx2.AsyncClient, list[int]]]:
    """A client of a server that gives these answers, one a request, and closes after an empty one.

    The list has the number of each request's connection.
    """
    waiting, connections, used = list(answers), 0, list[int]()

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal connections
        number = connections = connections + 1
        async with stream:
            while received := await stream.receive_some():
                if not received.isascii():
                    return  # it speaks no TLS
                while b"\r\n\r\n" not in received:
                    received += await stream.receive_some()
                used.append(number)
                if not waiting or not (answer := waiting.pop(0)):
                    return
                await stream.send_all(answer)
                if b"connection: close" in answer or answer.endswith(b"-"):
                    return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        limits = {"limit": 4, "keep": 5.0, "longest": 1000} | options
        transport = KeptConnections(ssl.create_default_context(), **limits)  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client, used
        nursery.cancel_scope.cancel()


async def test_answers_of_every_form_are_read_whole_and_connections_are_kept() -> None:
    packed = gzip.compress(b"packed")
    answers = {
        OK: b"{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n": b"abcde",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 1\r\n\r\nx": b"x",
        b"HTTP/1.1 204 No Content\r\n\r\n": b"",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s" % (len(packed), packed): b"packed",
        b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nto the end": b"to the end",
    }
    async with scripted(list(answers)) as (client, used):
        with trio.fail_after(30):
            for answer, content in answers.items():
                response = await client.post("/x", content=b"{}")
                assert (response.content, str(response.status_code)) == (
                    content,
                    answer.rpartition(b"HTTP/1.1 ")[2][:3].decode(),
                )
        assert used == [1] * len(answers)


async def test_what_may_have_arrived_is_never_written_again() -> None:
    cut = [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf-", b"nonsense\r\n\r\n-"]
    async with scripted(cut) as (client, used):
        with trio.fail_after(30):
            for _ in cut:
                with pytest.raises(httpx2.RemoteProtocolError):
                    await client.post("/x", content=b"{}")
        assert len(used) == len(cut)


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    async with scripted([OK, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n-", OK]) as (client, used):
        with trio.fail_after(30):
            for _ in range(2):
                await client.post("/x", content=b"{}")
            await trio.testing.wait_all_tasks_blocked()
            await client.post("/x", content=b"{}")
        assert used == [1, 1, 2]


async def test_nobody_waits_for_a_connection_longer_than_he_is_told_nor_reads_without_end() -> None:
    long = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
    async with scripted([long, OK], limit=1) as (client, used):
        with trio.fail_after(30):
            assert 1000 < len((await client.post("/x", content=b"{}")).content) <= 5000
            assert (await client.post("/x", content=b"{}")).content == b"{}"
            assert used == [1, 2]
            transport = client._transport
            assert isinstance(transport, KeptConnections)
            await transport._slots.acquire()
            with pytest.raises(httpx2.PoolTimeout):
                await client.post("/x", content=b"{}", timeout=httpx2.Timeout(30, pool=0.01))
            transport._slots.release()


async def test_errors_before_the_first_byte_say_so() -> None:
    async with scripted([]) as (client, used):
        with trio.fail_after(30):
            with pytest.raises(httpx2.ConnectError):
                await client.post("http://127.0.0.1:1/x", content=b"{}")
            with pytest.raises(httpx2.ConnectError):  # it speaks no TLS
                await client.post(str(client.base_url).replace("http:", "https:"), content=b"{}")
        assert used == []


async def test_right_before_the_first_byte_the_caller_may_still_refuse() -> None:
    async with scripted([OK, OK]) as (client, used):
        asked = 0

        def begin() -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise TooLateToCall("refused")

        request = partial(client.build_request, "POST", "/", content=b"x", extensions={"before_first_byte": begin})
        with pytest.raises(TooLateToCall):
            await client.send(request())
        assert (await client.send(request())).content == b"{}"
        assert (asked, used) == (2, [2])  # on the first connection nothing was written
