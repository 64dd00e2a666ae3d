"""Requests that are answered without hypercorn: what is taken, that nobody can tell, and that every limit holds.

Time is virtual, as in ``test_serve.py``.
"""

from typing import Any

import h11
import pytest
import structlog
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from support.listening_server import closed, read_answer, read_head, serving, small_app
from trio.testing import MockClock, wait_all_tasks_blocked

from zapline.http.server.fair_places import hold_for
from zapline.http.server.plain_requests import Answer, PlainRequests

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /direct/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
BY_H11 = b"POST /direct/%s HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\nContent-Length: %d\r\n\r\n%s"
"""The same for the application; but it is h11 that reads it."""
MAX_HEAD = 16 * 1024


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=5.0)


class Direct:
    """Answers what is below ``/direct/`` with the body it got; the rest is the small application's."""

    direct_prefix = "/direct/"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes | None]] = []
        """The way (``direct`` or ``asgi``), the path and the body of each request; None: it never came to an end."""
        self.rest = small_app()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].startswith(self.direct_prefix):
            await self.rest(scope, receive, send)
            return
        answer = await self.answer(scope, receive)
        if answer is not None:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def answer(self, scope: Any, receive: Any) -> Answer | None:
        way, path, body, more = "asgi" if "type" in scope else "direct", scope["path"], b"", True
        assert len(scope["client"]) == 2
        if path.endswith("known"):
            hold_for(scope, ["unit", 1])
        if path.endswith("slow"):
            await trio.sleep(0.5)
        while more and not path.endswith("hasty"):
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.append((way, path, None))
                return None
            body, more = body + message["body"], message["more_body"]
        self.seen.append((way, path, body))
        if path.endswith("broken"):
            raise RuntimeError("planted")
        headers = [value for name, value in scope["headers"] if name == b"x-told"]
        body = b" ".join([path.encode(), *headers, body])
        length = (b"content-length", b"%d" % len(body))
        if path.endswith("again"):
            return Answer(503, ((b"retry-after", b"30"), length), body)
        return Answer(200, ((b"content-type", b"application/json"), length), body)

    @property
    def ways(self) -> list[str]:
        return [way for way, _, _ in self.seen]


async def all_bytes(stream: trio.SocketStream, ended: bytes = b"") -> bytes:
    """What comes until the connection ends, or until ``ended``."""
    data = b""
    with trio.fail_after(30):
        while not (ended and data.endswith(ended)):
            try:
                chunk = await stream.receive_some(65536)
            except trio.BrokenResourceError:
                break
            if not chunk:
                break
            data += chunk
    return data


# -- what is taken -----------------------------------------------------------------------------------------

_LINES = st.sampled_from(
    [
        *(b"Host: x", b"host:x", b"HOST:  x \t", b"Content-Length: 5", b"content-length:5", b"Content-Length: 05"),
        *(b"Content-Length: 4", b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 0x5"),
        *(b"Content-Length:", b"Content-Length : 5", b" Content-Length: 5", b"Content-Length: 5\t "),
        *(b"Content-Length: 99999999999999999999", b"Content_Length: 5", b"Content-Length\0: 5"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding: identity"),
        *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding", b"Transfer-Encoding : chunked"),
        *(b"Connection: close", b"Connection: keep-alive, Close", b"Connection: closed", b"Connection: upgrade"),
        *(b"Upgrade: h2c", b"Expect: 100-continue", b"X-A: b", b"X-A:", b"X-A: \xff\x80", b"X-A: \x01", b"X-A: b\rc"),
        *(b" folded", b"\tfolded", b": b", b"X A: b", b"X-A: b\nContent-Length: 4", b"", b"X-B: \x7f", b"X-B: b\x0c"),
    ]
)
_REQUEST_LINES = st.sampled_from(
    [
        *(b"POST /direct/x HTTP/1.1", b"POST /direct/x HTTP/1.0", b"POST //direct/%2f?a=b HTTP/1.1"),
        *(b"POST /direct/ HTTP/1.1", b"POST /direct/x HTTP/1.2", b"post /direct/x HTTP/1.1", b"GET /direct/x HTTP/1.1"),
        *(b"POST  /direct/x HTTP/1.1", b"POST /direct/x  HTTP/1.1", b"POST /direct/x HTTP/1.1 ", b"POST /direct/x"),
        *(b"POST /direct/\xc3\xa9 HTTP/1.1", b"POST /direct/a b HTTP/1.1", b"POST http://x/direct/x HTTP/1.1"),
        *(b" POST /direct/x HTTP/1.1", b"\r\nPOST /direct/x HTTP/1.1", b"POST /direct/\0 HTTP/1.1"),
    ]
)
_ENDS = st.sampled_from([b"\r\n"] * 40 + [b"\n", b"\r", b"\r\r\n", b"\r\n\r\n"])
_BODIES = st.sampled_from([b"hello", b"hel", b"", b"helloPOST /direct/y HTTP/1.1\r\n", b"5\r\nhello\r\n0\r\n\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests that are nearly in order, with the oddities by which parsers have been set against each other."""
    usual = [b"Host: x", b"Content-Length: 5"] if draw(st.integers(0, 3)) else []
    lines = draw(st.permutations([*usual, *draw(st.lists(_LINES, max_size=3))]))
    first = draw(_REQUEST_LINES) if draw(st.booleans()) else b"POST /direct/x HTTP/1.1"
    data = b"".join(line + draw(_ENDS) for line in [first, *lines]) + draw(_ENDS)
    if draw(st.integers(0, 6)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    return data + draw(_BODIES)


@given(requests())
@example(POST % (b"x", 5, b"hello"))
@example(POST % (b"x", 5, b"hel"))
@example((POST % (b"x", 5, b"hello")).replace(b"Host: x", b"Host: x\r\nConnection: a, CLOSE\t"))
def test_what_is_taken_would_have_been_read_by_h11_in_the_same_way(data: bytes) -> None:
    head = PlainRequests("/direct/", MAX_HEAD).head(data)
    if head is None:
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert not connection.they_are_waiting_for_100_continue
    assert (request.method, request.target) == (b"POST", head.target)
    assert list(request.headers) == head.headers
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert body == data[head.ends : head.ends + head.length]
    if isinstance(event, h11.EndOfMessage):
        assert connection.trailing_data[0] == data[head.ends + head.length :]
        assert (connection.their_state is h11.MUST_CLOSE) == head.close
    else:
        assert (event, len(body) < head.length) == (h11.NEED_DATA, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nX-A: a\r\n folded"),
        (b"Content-Length: 5", b"Content-Length:\r\n 5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nExpect: 100-continue"),
        (b"Host: x\r\n", b"Host: x\n"),
        (b"Host: x\r\n", b""),
        (b"Host: x", b"Host: x\r\nHost: y"),
        (b"Host: x", b"Host : x"),
        (b"Host: x", b"Host: x\r\nX-A: " + b"a" * MAX_HEAD),
        (b"POST", b"PUT"),
        (b"/direct/", b"/%64irect/"),
        (b"/direct/", b"http://x/direct/"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_all_that_could_be_read_in_two_ways_is_left_to_h11(old: bytes, new: bytes) -> None:
    plain, data = PlainRequests("/direct/", MAX_HEAD), POST % (b"x", 5, b"hello")
    assert plain.head(data) is not None
    assert plain.head(data.replace(old, new)) is None


def test_a_long_head_is_refused_in_a_time_that_grows_with_its_length() -> None:
    plain = PlainRequests("/direct/", MAX_HEAD)
    for fill in (b"X-A: b\r\n", b"a:\r\n", b"a: \t \t\r\n", b"/", b"POST /direct/"):
        data = b"POST /direct/x HTTP/1.1\r\nHost: x\r\n" + fill * (2**20 // len(fill))
        assert plain.head(data) is None


# -- that nobody can tell ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST % (b"x", 5, b"hello"),
        POST % (b"x", 0, b""),
        POST % (b"a%20b?c=d", 2, b"{}"),
        POST % (b"again", 2, b"{}"),
        POST % (b"broken", 2, b"{}"),
        (POST % (b"broken", 2, b"{}")).replace(b"Host: x", b"Host: x\r\nConnection: close"),
        (POST % (b"x", 2, b"{}")).replace(b"Host: x", b"Host: x\r\nConnection: Keep-Alive, Close"),
        (POST % (b"x", 2, b"{}")).replace(b"Host: x", b"Host: x\r\nX-Told: a\xe9 b \r\nx-told:\tc"),
        (POST % (b"x", 2, b"{}")).replace(b"HTTP/1.1", b"HTTP/1.0"),
        (POST % (b"x", 2, b"{}")).replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host", b"Connection: keep-alive\r\nHost"),
        POST % (b"hasty", 9, b"hello"),
        POST % (b"cut", 9, b"hello"),
        (POST % (b"cut", 9, b"hello")).replace(b"Host: x", b"Host: x\r\nConnection: close"),
    ],
)
async def test_both_ways_answer_alike_to_the_byte(
    clock: MockClock, request_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that comes in two pieces is read by h11, one that comes whole is not."""
    monkeypatch.setattr("hypercorn.config.time", lambda: 1_800_000_000.0)
    app, answers = Direct(), []
    async with serving(clock, app=app) as server:
        for pieces in ((request_bytes,), (request_bytes[:20], request_bytes[20:])):
            stream = await server.dial()
            for piece in pieces:
                await stream.send_all(piece)
                await wait_all_tasks_blocked()
            await stream.send_eof()
            answers.append(await all_bytes(stream))
    if app.seen[0][2] is None:  # hypercorn cancels the application of a body that ends too early
        app.seen.append(("asgi", *app.seen[0][1:]))
    assert app.ways == ["direct", "asgi"]
    assert app.seen[0][1:] == app.seen[1][1:]
    assert answers[0] == answers[1]
    assert b"\r\ndate: Fri, 15 Jan 2027" in answers[0]


async def test_one_connection_takes_turns_between_both_ways(clock: MockClock) -> None:
    """Also where all is sent at once, with a webhook in pieces at the end."""
    app = Direct()
    chunked = b"POST /direct/chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    turns = [
        (POST % (b"1", 1, b"a"), b"/direct/1 a"),
        (GET % b"hello", b"hello"),
        (POST % (b"2", 0, b""), b"/direct/2 "),
        (chunked, b"/direct/chunked abc"),
        (POST % (b"3", 2, b"bc"), b"/direct/3 bc"),
        (BY_H11 % (b"4", 1, b"d"), b"/direct/4 d"),
        (POST % (b"5", 1, b"e"), b"/direct/5 e"),
    ]
    async with serving(clock, app=app) as server:
        stream = await server.dial()
        for request, body in turns:
            await stream.send_all(request)
            assert (await read_answer(stream)).endswith(b"\r\n\r\n" + body)
        assert app.ways == ["direct", "direct", "asgi", "direct", "asgi", "direct"]
        app.seen.clear()
        stream = await server.dial()
        await stream.send_all(b"".join(request for request, _ in turns) + POST % (b"6", 9, b"in pi"))
        answers = await all_bytes(stream, b"/direct/5 e")
        assert [line.rpartition(b"\r\n")[2] for line in answers.split(b"HTTP/1.1 200 ")[1:]] == [
            body for _, body in turns
        ]
        await stream.send_all(b"eces")
        assert (await read_answer(stream)).endswith(b"/direct/6 in pieces")
        assert app.ways[0] == "direct"
        assert await server.ends_at_once()
    assert [body for _, _, body in app.seen] == [b"a", b"", b"abc", b"bc", b"d", b"e", b"in pieces"]


async def test_who_sends_many_requests_at_once_takes_turns_with_all_others(clock: MockClock) -> None:
    app = Direct()
    async with serving(clock, app=app) as server:
        streams = [await server.dial() for _ in range(2)]
        for name, stream in zip((b"a", b"b"), streams, strict=True):
            await stream.send_all((POST % (name, 1, b"x")) * 200)
        for name, stream in zip((b"a", b"b"), streams, strict=True):
            answers = b""
            while answers.count(b"/direct/%b x" % name) < 200:
                answers += await stream.receive_some(65536)
    paths = [path for _, path, _ in app.seen]
    assert sorted(paths) == ["/direct/a"] * 200 + ["/direct/b"] * 200
    begun, ended = paths.index("/direct/b"), 399 - paths[::-1].index("/direct/a")
    assert begun < ended
    assert paths[begun:ended].count("/direct/a") > 50
    assert set(app.ways) == {"direct"}


async def test_who_asks_whether_to_continue_is_told_so(clock: MockClock) -> None:
    app = Direct()
    async with serving(clock, app=app) as server:
        stream = await server.dial()
        for _ in range(2):
            await stream.send_all(
                b"POST /direct/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert (await read_head(stream)).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(b"{}")
            assert (await read_answer(stream)).endswith(b"/direct/x {}")
            await stream.send_all(POST % (b"x", 2, b"{}"))
            assert (await read_answer(stream)).endswith(b"/direct/x {}")
    assert app.ways == ["asgi", "direct"] * 2


async def test_a_connection_serves_a_thousand_requests_whichever_way_they_go(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypercorn.config.time", lambda: 1_800_000_000.0)
    async with serving(clock, app=Direct()) as server:
        goodbyes = set()
        for last in (POST, BY_H11):
            stream = await server.dial()
            await stream.send_all(GET % b"hello")
            await read_answer(stream)
            await stream.send_all((POST % (b"x", 1, b"a")) * 998)
            answers = b""
            while answers.count(b"/direct/x a") < 998:
                answers += await stream.receive_some(65536)
            assert b"onnection" not in answers
            await stream.send_all((last % (b"x", 1, b"a")) * 2)
            goodbyes.add(await all_bytes(stream))
        assert [goodbye.count(b"connection: close") for goodbye in goodbyes] == [1]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello", 400),
        (b"Content-Length: 5, 4\r\n\r\nhello", 400),
        (b"Content-Length: +5\r\n\r\nhello", 400),
        (b"Content-Length: -5\r\n\r\nhello", 400),
        (b"Content-Length: 0x5\r\n\r\nhello", 400),
        (b"Content-Length : 5\r\n\r\nhello", 400),
        (b"Content-Length: 5\r\nHost: y\r\n\r\nhello", 400),
        (b"Content-Length: 5\r\nX-A: b\rc\r\n\r\nhello", 400),
        (b"Content-Length: 5\r\nX-A: b\0\r\n\r\nhello", 400),
        (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n", 400),
    ],
)
async def test_a_request_of_uncertain_length_is_refused_and_nothing_behind_it_is_a_request(
    clock: MockClock, request_bytes: bytes, status: int
) -> None:
    app = Direct()
    async with serving(clock, app=app) as server:
        for before in (b"", POST % (b"first", 1, b"a")):
            stream = await server.dial()
            behind = POST % (b"behind", 1, b"a")
            await stream.send_all(before + b"POST /direct/x HTTP/1.1\r\nHost: x\r\n" + request_bytes + behind)
            answers = await all_bytes(stream)
            assert answers.rpartition(b"HTTP/1.1 ")[2].startswith(b"%d " % status)
            assert b"connection: close" in answers.lower()
            assert answers.count(b"HTTP/1.1 ") == (2 if before else 1)
    assert not any("behind" in path for _, path, _ in app.seen)


@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (b"X-Told: a\r\n folded\r\nContent-Length: 5\r\n\r\nhello", b"a folded hello"),
        (b"X-Told: a\nContent-Length: 5\n\nhello", b"a hello"),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding:\r\n chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: Chunked\r\n\r\n00005;a=b\r\nhello\r\n0\r\nX-Told: b\r\n\r\n", b"hello"),
    ],
)
async def test_what_is_odd_but_certain_is_read_in_one_way_and_what_follows_is_the_next(
    clock: MockClock, request_bytes: bytes, body: bytes
) -> None:
    app = Direct()
    async with serving(clock, app=app) as server:
        stream = await server.dial()
        behind = POST % (b"behind", 1, b"a")
        await stream.send_all(b"POST /direct/x HTTP/1.1\r\nHost: x\r\n" + request_bytes + behind)
        assert (await all_bytes(stream, b"/direct/behind a")).count(b"/direct/x " + body + b"HTTP/1.1 200 ") == 1
    assert [path for _, path, _ in app.seen] == ["/direct/x", "/direct/behind"]


# -- that every limit holds --------------------------------------------------------------------------------


async def test_a_body_that_trickles_is_given_up_and_an_idle_connection_is_closed(clock: MockClock) -> None:
    app = Direct()
    async with serving(clock, app=app, body_seconds=0.5, keep_alive=0.8) as server:
        idle = await server.dial()
        await idle.send_all(POST % (b"x", 1, b"a"))
        await read_answer(idle)
        slow = await server.dial()
        await slow.send_all(POST % (b"x", 100, b""))
        for _ in range(4):
            await slow.send_all(b"x")
            await server.pass_time(0.1)
        assert not app.seen[1:]
        await server.pass_time(0.2)
        assert await closed(slow)
        await server.pass_time(0.3)
        assert await closed(idle)
        assert app.ways[0] == "direct"


async def test_who_ends_before_his_body_does_is_told_and_nothing_of_it_is_kept(clock: MockClock) -> None:
    app = Direct()
    async with serving(clock, app=app) as server:
        stream = await server.dial()
        await stream.send_all(POST % (b"x", 100, b"x"))
        await stream.send_eof()
        assert (await all_bytes(stream)).startswith(b"HTTP/1.1 400 ")
    assert app.seen == [("direct", "/direct/x", None)]


async def test_the_end_waits_for_a_request_in_hand_and_for_no_idle_connection(clock: MockClock) -> None:
    app = Direct()
    async with serving(clock, app=app, grace=3.0) as server:
        idle, busy = await server.dial(), await server.dial()
        await idle.send_all(POST % (b"x", 1, b"a"))
        await read_answer(idle)
        await busy.send_all((POST % (b"slow", 1, b"a")) * 2)
        await server.pass_time(0.1)
        assert not await server.ends_at_once()
        assert await closed(idle)
        await server.pass_time(0.4)
        assert (await all_bytes(busy)).count(b"HTTP/1.1 200 ") == 1
        assert await server.ends_at_once()
    assert app.ways == ["direct", "direct"]


async def test_a_body_that_never_ends_is_cut_at_the_end_of_the_grace(clock: MockClock) -> None:
    async with serving(clock, app=Direct(), grace=0.5) as server:
        stream = await server.dial()
        await stream.send_all(POST % (b"x", 100, b"x"))
        assert not await server.ends_at_once()
        await server.pass_time(0.5)
        assert await server.ends_at_once()


async def test_who_waits_for_a_body_gives_way_and_who_has_proven_whose_it_is_does_not(clock: MockClock) -> None:
    async with serving(clock, app=Direct(), connections=4) as server:
        known = await server.dial()
        await known.send_all(POST % (b"known", 2, b"x"))
        for _ in range(20):
            stranger = await server.dial()
            await stranger.send_all(POST % (b"x", 2, b"x"))
            await wait_all_tasks_blocked()
        await known.send_all(b"y")
        assert (await read_answer(known)).endswith(b"/direct/known xy")
        assert await server.ends_at_once() is False


async def test_an_error_is_told_in_the_log_and_ends_its_own_connection_alone(clock: MockClock) -> None:
    async with serving(clock, app=Direct()) as server:
        stream, other = await server.dial(), await server.dial()
        with structlog.testing.capture_logs():
            await stream.send_all(POST % (b"broken", 1, b"a"))
            answer = await all_bytes(stream)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"connection: close" in answer
        await other.send_all(POST % (b"x", 1, b"a"))
        assert b" 200 " in await read_answer(other)
