"""The server: it reports its addresses, closes idle and slow connections, and stops in time whatever its clients do.

Time is virtual and passes only where a test says so; a test that hangs is ended by a jump after five idle seconds.
"""

import socket
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.listening_server import LARGE, closed, read_answer, read_head, serving, small_app
from trio.testing import MockClock, wait_all_tasks_blocked

from zapline.domain.errors import ConfigurationError
from zapline.http.server.fair_places import Place, give_way, hold_for
from zapline.http.server.serve import _Connections, serve, shield_last_message

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
CLEANUP_SECONDS = 0.75
"""What handlers get after the grace period; as in the server."""
MANY_CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=5.0)


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Never reads its body, never answers."""
    await trio.sleep_forever()


async def hasty(scope: Any, receive: Any, send: Any) -> None:
    """Answers without reading its body."""
    await trio.sleep(0.2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def test_an_idle_connection_serves_again_and_is_closed_when_it_idles_too_long(clock: MockClock) -> None:
    async with serving(clock, keep_alive=0.5) as server:
        stream = await server.dial()
        for _ in range(3):
            await stream.send_all(GET % b"hello")
            assert b"hello" in await read_answer(stream)
            await server.pass_time(0.4)
        await server.pass_time(0.15)
        assert await closed(stream)


@pytest.mark.parametrize("target", ["http://other.example:81/where?a=b", "HTTP://user@other.example:81/where?a=b#c"])
async def test_an_absolute_target_is_served_and_overrules_the_host(clock: MockClock, target: str) -> None:
    async with serving(clock) as server:
        stream = await server.dial()
        for _ in range(2):
            await stream.send_all(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            assert (await read_answer(stream)).endswith(b"other.example:81 /where a=b")


async def test_an_absolute_target_without_a_path_means_the_root(clock: MockClock) -> None:
    async with serving(clock) as server:
        stream = await server.dial()
        await stream.send_all(b"GET http://other.example HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in (await read_head(stream)).partition(b"\r\n")[0]


async def test_idle_connections_do_not_hold_up_the_end(clock: MockClock) -> None:
    async with serving(clock, grace=5.0) as server:
        streams = [await server.dial() for _ in range(40)]
        for stream in streams[:30]:  # the others never say a word
            await stream.send_all(GET % b"hello")
            await read_answer(stream)
        assert await server.ends_at_once()
        for stream in streams:
            assert await closed(stream)


async def test_a_request_in_hand_is_answered_within_the_grace(clock: MockClock) -> None:
    async with serving(clock, grace=3.0) as server:
        stream = await server.dial()
        await stream.send_all(GET % b"slow")
        await server.pass_time(0.1)
        assert not await server.ends_at_once()
        await server.pass_time(0.4)
        assert b"done" in await read_answer(stream)
        assert await server.ends_at_once()


async def test_a_client_that_stops_reading_does_not_hold_up_the_end(clock: MockClock) -> None:
    async with serving(clock, grace=0.5) as server:
        stream = await server.dial()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET % b"large")
        await wait_all_tasks_blocked(0.05)
        assert not await server.ends_at_once()
        await server.pass_time(0.5 + CLEANUP_SECONDS)
        assert server.ended.is_set()


async def test_a_cancelled_server_ends_though_a_client_does_not_read(clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def run(task_status: Any) -> None:
            try:
                await serve(small_app(), ["127.0.0.1:0"], trio.Event(), 30.0, task_status=task_status)
            finally:
                ended.set()

        (address,) = await nursery.start(run)
        stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
        await stream.send_all(GET % b"large")
        await wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
        with trio.move_on_after(3, shield=True):
            await ended.wait()
        stream.socket.close()  # else a server that hangs would hang the test
        assert ended.is_set()


async def test_nobody_is_let_in_after_the_end(clock: MockClock) -> None:
    async with serving(clock) as server:
        assert await server.ends_at_once()
        with pytest.raises(OSError, match="connect"):
            await server.dial()


async def test_a_body_that_trickles_is_given_up(clock: MockClock) -> None:
    async with serving(clock, body_seconds=0.5) as server:
        stream = await server.dial()
        await stream.send_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        started = trio.current_time()
        with suppress(trio.BrokenResourceError):
            while trio.current_time() - started < 2:
                await stream.send_all(b"x")
                await server.pass_time(0.1)
        assert 0.5 < trio.current_time() - started < 1


async def test_headers_that_trickle_or_swell_are_given_up(clock: MockClock) -> None:
    async with serving(clock, keep_alive=0.5) as server:
        slow = await server.dial()
        await slow.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-A: ")
        await server.pass_time(0.6)
        assert await closed(slow)
        large = await server.dial()
        await large.send_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 60_000)
        assert b" 431 " in await read_head(large)


async def test_what_is_no_http_ends_its_own_connection_alone(clock: MockClock) -> None:
    async with serving(clock) as server:
        other = await server.dial()
        for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"nonsense\r\n\r\n", b"GET  HTTP/9.9\r\n\r\n", b"\0" * 100):
            stream = await server.dial()
            await stream.send_all(nonsense)
            await stream.aclose()
        upgrade = await server.dial()
        await upgrade.send_all(
            b"GET /hello HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 200 " in await read_head(upgrade)  # a wish to upgrade may be passed over (RFC 9110, 7.8)
        await other.send_all(GET % b"hello")
        assert b"hello" in await read_answer(other)


async def test_answers_do_not_name_the_server(clock: MockClock) -> None:
    async with serving(clock) as server:
        stream = await server.dial()
        await stream.send_all(GET % b"hello")
        head = await read_head(stream)
        assert b"hypercorn" not in head.lower()
        assert b"server:" not in head.lower()


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"cannot listen on {bind}"):
            await serve(small_app(), ["127.0.0.1:0", bind], trio.Event(), 1.0)


async def test_it_takes_a_socket_that_listens_already() -> None:
    inherited = socket.socket()
    inherited.bind(("127.0.0.1", 0))
    inherited.listen()
    stop = trio.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(
                partial(serve, small_app(), [f"fd://{inherited.detach()}", "127.0.0.1:0"], stop, 1.0)
            )
            assert len(addresses) == 2
            for address in addresses:
                stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
                await stream.send_all(GET % b"hello")
                assert b"hello" in await read_answer(stream)
                await stream.aclose()
            stop.set()


async def test_a_handler_that_never_reads_its_body_does_not_hold_up_the_end(clock: MockClock) -> None:
    async with serving(clock, grace=0.5, app=deaf) as server:
        stream = await server.dial()
        await stream.send_all(MANY_CHUNKS)
        await wait_all_tasks_blocked(0.05)
        assert not await server.ends_at_once()
        await server.pass_time(0.5 + CLEANUP_SECONDS)
        assert server.ended.is_set()


async def test_a_body_that_nobody_reads_is_given_up_and_the_end_still_comes(clock: MockClock) -> None:
    async with serving(clock, grace=0.5, app=deaf, body_seconds=0.3) as server:
        stream, other = await server.dial(), await server.dial()
        for deaf_one in (stream, other):  # the sweep goes on after the first
            await deaf_one.send_all(MANY_CHUNKS)
            await server.pass_time(0.4)
            assert await closed(deaf_one)
        await server.pass_time(CLEANUP_SECONDS)
        assert await server.ends_at_once()


async def test_an_answer_without_reading_the_body_ends_the_connection(clock: MockClock) -> None:
    async with serving(clock, grace=0.5, app=shield_last_message(hasty)) as server:
        stream = await server.dial()
        await stream.send_all(MANY_CHUNKS)
        await server.pass_time(0.3)
        assert await closed(stream)
        assert await server.ends_at_once()


async def test_a_client_that_does_not_read_its_answer_is_cut(clock: MockClock) -> None:
    async with serving(clock, write_seconds=0.4) as server:
        stream = await server.dial()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET % b"large")
        await wait_all_tasks_blocked(0.05)
        await server.pass_time(0.5)
        received = 0
        with trio.fail_after(30):
            try:
                while chunk := await stream.receive_some(65536):
                    received += len(chunk)
            except trio.BrokenResourceError:
                pass
        assert received < LARGE


async def test_who_comes_when_all_connections_are_being_served_waits_for_one_to_end(clock: MockClock) -> None:
    async with serving(clock, connections=2) as server:
        first, second = [await server.dial() for _ in range(2)]
        for stream in (first, second):
            await stream.send_all(GET % b"slow")
        await wait_all_tasks_blocked(0.05)
        third = await server.dial()
        await third.send_all(GET % b"hello")
        await wait_all_tasks_blocked(0.05)
        with pytest.raises(BlockingIOError):
            third.socket._sock.recv(1)
        await server.pass_time(0.6)
        assert b"done" in await read_answer(first)
        await server.pass_time(0.3)  # its connection is idle now, and gives way
        assert b"hello" in await read_answer(third)
        await server.dial()
        assert await server.ends_at_once()


STALLED = (
    b"",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nX-",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
)


@pytest.mark.parametrize("stalled", STALLED)
async def test_strangers_who_hold_all_connections_keep_nobody_waiting(clock: MockClock, stalled: bytes) -> None:
    """No time passes: nobody waits for them to be given up."""
    async with serving(clock, connections=8) as server:
        with structlog.testing.capture_logs() as lines:
            for _ in range(12):
                stream = await server.dial()
                if stalled:
                    await stream.send_all(stalled)
            began = trio.current_time()
            for _ in range(3):
                stream = await server.dial()
                await stream.send_all(GET % b"hello")
                assert b"hello" in await read_answer(stream)
            assert trio.current_time() == began
        assert sum("All connections are taken" in line["event"] for line in lines) == 1


async def proven(scope: Any, receive: Any, send: Any) -> None:
    """Knows who ``/known`` comes from, and answers with the size of the body."""
    if scope["path"] == "/known":
        hold_for(scope, ["unit", 1])
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"%3d" % size})


async def test_a_slow_request_that_has_proven_whose_it_is_outlives_strangers_of_its_address(clock: MockClock) -> None:
    async with serving(clock, app=proven, connections=4) as server:
        known = await server.dial()
        await known.send_all(b"POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
        for _ in range(20):
            stranger = await server.dial()
            await stranger.send_all(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
            await wait_all_tasks_blocked()
        await known.send_all(b"y")
        assert b"  2" in await read_answer(known)


def test_who_holds_the_most_gives_way_first_and_the_oldest_of_his() -> None:
    places = {
        "a1": Place("a", 5.0),
        "a2": Place("a", 3.0),
        "a3": Place("a", None),
        "b1": Place("b", 1.0),
        "b2": Place("b", 2.0),
        "c1": Place("c", 0.0),
        **{f"d{number}": Place("d", None) for number in range(9)},
    }
    assert give_way(places, 100) == ["a2", "b1", "a1", "c1", "b2"]
    assert give_way(places, 1) == ["a2"]
    assert give_way({}, 1) == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.floats(0, 9)), max_size=40), st.integers(1, 40))
def test_nobody_gives_way_while_another_who_could_holds_more(held: list[tuple[str, float | None]], number: int) -> None:
    places = {index: Place(*place) for index, place in enumerate(held)}
    freed = give_way(places, number)
    assert len(freed) == len(set(freed)) == min(number, sum(place.waits_since is not None for place in places.values()))
    for index in freed:
        can = {place.holder for place in places.values() if place.waits_since is not None}
        count = Counter(place.holder for place in places.values())
        assert count[places[index].holder] == max(count[holder] for holder in can)
        del places[index]


async def test_a_connection_that_got_a_request_while_others_were_closed_is_spared() -> None:
    class Idle:
        idle, shuts = 1.0, 0
        other: Any = None

        def idle_for(self, now: float) -> float:
            return self.idle

        async def shut(self) -> None:
            self.shuts += 1
            await trio.lowlevel.checkpoint()
            self.other.idle = -1.0

    first, second = Idle(), Idle()
    first.other = second
    connections: Any = _Connections()
    with connections.track(1, first), connections.track(2, second):
        await connections.close_idle()
    assert (first.shuts, second.shuts) == (1, 0)
