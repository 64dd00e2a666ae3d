"""What the client makes of answers and of none, of webhooks and of streams: decisions, without a server."""

import itertools
import json
import time
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.many_cases import in_one_test

from zapline.domain.crm_webhook_signature import format_secret, sign_webhook
from zapline_client import Zapline
from zapline_client.errors import InvalidWebhook, StreamTooLarge, Unanswered, ZaplineProblem
from zapline_client.event_stream import MAX_EVENT, Event, EventParser, Resumption
from zapline_client.requests import Call, result_of
from zapline_client.retries import Attempts, Patience
from zapline_client.webhooks import Webhooks

PATIENT = Patience(tries=3, seconds=100, first=1, longest=10)
MESSAGE = {"clientMessageId": "order-4711"}


def attempts(method: str = "GET", body: object = None, clock: Any = lambda: 0.0) -> Attempts:
    made = Call(method, "/x", body=body, names_itself=body is not None).attempts(PATIENT)
    made.clock, made.draw = clock, lambda: 0.0
    made.started = clock()
    return made


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx2.Response:
    told = {"code": code, "detail": "why", "retryable": retryable}
    return httpx2.Response(status, headers={"content-type": "application/problem+json", **headers}, json=told)


# -- tries -----------------------------------------------------------------------------------------------------

BUSY = problem(503, "database_busy", retryable=True)
UNKNOWN = problem(503, "outcome_unknown")
FAILED = problem(502, "evolution_failed", retryable=True)
PAGE = httpx2.Response(502, text="<html>")
RESET, REFUSED = httpx2.RemoteProtocolError("gone"), httpx2.ConnectError("refused")


@in_one_test(
    [
        ("POST", None, BUSY, 1.0),  # it is retryable, and no problem behind which the thing may have been done
        ("POST", MESSAGE, BUSY, 1.0),
        ("POST", None, problem(429, "busy", retryable=True, **{"retry-after": "7"}), 7.0),
        ("GET", None, PAGE, 1.0),
        ("PUT", {}, PAGE, 1.0),
        ("POST", MESSAGE, PAGE, 1.0),
        ("POST", MESSAGE, UNKNOWN, 1.0),
        ("POST", MESSAGE, FAILED, 1.0),
        ("GET", None, FAILED, 1.0),
        ("POST", None, FAILED, ZaplineProblem),  # retryable, but Evolution may have done it
        ("DELETE", None, FAILED, ZaplineProblem),
        ("GET", None, problem(502, "evolution_failed"), ZaplineProblem),  # Evolution refuses
        ("GET", None, RESET, 1.0),
        ("POST", MESSAGE, RESET, 1.0),
        ("POST", None, REFUSED, 1.0),  # it never left
        ("POST", None, PAGE, Unanswered),
        ("DELETE", None, PAGE, Unanswered),
        ("POST", {"text": "no name"}, RESET, Unanswered),
        ("POST", {"clientCampaignId": None}, RESET, Unanswered),
        ("POST", {"clientCampaignId": ""}, RESET, Unanswered),
        ("POST", None, UNKNOWN, ZaplineProblem),
        ("GET", None, problem(404, "unit_not_found"), ZaplineProblem),
        ("POST", MESSAGE, problem(409, "client_message_id_taken"), ZaplineProblem),
        ("GET", None, httpx2.Response(404, text="not Zapline"), Unanswered),
        ("GET", None, httpx2.Response(503, headers={"content-type": "application/problem+json"}, text="["), 1.0),
        ("GET", None, httpx2.Response(200), None),
        ("GET", None, httpx2.Response(304), None),
        ("GET", None, httpx2.Response(301, headers={"location": "https://elsewhere.test/"}), Unanswered),
        ("POST", None, problem(503, "unavailable", retryable=True, **{"retry-after": "3600"}), ZaplineProblem),
    ]
)
def test_only_what_may_be_repeated_is_tried_again(method: str, body: object, came: Any, wanted: Any) -> None:
    made = attempts(method, body)

    def decide() -> float | None:
        return made.after_answer(came) if isinstance(came, httpx2.Response) else made.after_error(came)

    if isinstance(wanted, type):
        with pytest.raises(wanted) as caught:
            decide()
        assert wanted is ZaplineProblem or caught.value.safe_to_repeat is (method == "GET")
    else:
        assert decide() == wanted


def test_a_page_in_the_place_of_an_answer_is_no_answer() -> None:
    page = httpx2.Response(200, html="<h1>It works!</h1>")
    with pytest.raises(Unanswered, match="is the address right"):
        result_of(page, "json", attempts())
    assert result_of(page, "bytes", attempts()).startswith(b"<h1>")
    assert result_of(httpx2.Response(204), "nothing", attempts()) is None


def test_patience_ends_by_tries_and_by_time_and_the_error_names_the_message() -> None:
    made = attempts("POST", MESSAGE)
    assert [made.after_error(RESET), made.after_error(RESET)] == [1.0, 2.0]
    with pytest.raises(Unanswered) as caught:
        made.after_error(RESET)
    assert caught.value.client_id == "order-4711"
    assert caught.value.safe_to_repeat
    now = iter([0.0, 99.5])
    late = Attempts(PATIENT, "GET", "/x", False, clock=lambda: next(now), draw=lambda: 0.0)
    with pytest.raises(ZaplineProblem):
        late.after_answer(BUSY)


@in_one_test(["", ".", ".."])
def test_an_id_cannot_lead_to_another_route(id: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        Call("GET", "/units/{unit}", {"unit": id}).arguments()


def test_ids_are_quoted_and_bodies_hold_times_and_ids() -> None:
    made = Call("GET", "/units/{unit}/x", {"unit": "a/../b?c"}, {"on": True, "none": None, "text": "a&b"}).arguments()
    assert made == {"method": "GET", "url": "/units/a%2F..%2Fb%3Fc/x", "params": {"on": "true", "text": "a&b"}}


# -- webhooks --------------------------------------------------------------------------------------------------

KEY, OLD = bytes(range(32)), bytes(range(1, 33))
BODY = json.dumps({"type": "message.received", "timestamp": "t", "data": {"text": "oi"}}).encode()


def signed(body: bytes = BODY, *keys: bytes, age: int = 0) -> dict[str, str]:
    at = int(time.time()) - age
    signature = sign_webhook(keys or [KEY], "msg_1", at, body)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}


def test_what_zapline_signs_is_verified_in_any_form_of_headers_and_while_a_key_is_rotated() -> None:
    webhooks = Webhooks(format_secret(KEY))
    headers = signed()
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    wsgi = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    for given_headers in (headers, {name.title(): value for name, value in headers.items()}, raw, wsgi):
        delivery = webhooks.verify(given_headers, BODY)
        assert (delivery.id, delivery.event["type"]) == ("msg_1", "message.received")
    assert webhooks.verify(signed(BODY, OLD, KEY), BODY.decode()).id == "msg_1"
    assert Webhooks(format_secret(OLD), format_secret(KEY)).verify(signed(), BODY).id == "msg_1"
    strange = headers | {"webhook-signature": f"v2,abc nonsense v1 v1,?? v1a,QQ== {headers['webhook-signature']}"}
    assert webhooks.verify(strange, BODY).id == "msg_1"


@in_one_test(
    [
        (signed() | {"webhook-signature": "v1"}, BODY),
        (signed() | {"webhook-signature": "v1,é"}, BODY),
        (signed() | {"webhook-timestamp": "nan"}, BODY),
        (signed() | {"webhook-timestamp": "9" * 400}, BODY),
        (signed() | {"webhook-id": "msg_2"}, BODY),
        (signed() | {"webhook-id": ""}, BODY),
        (signed(BODY, OLD), BODY),
        (signed(age=400), BODY),
        (signed(age=-400), BODY),
        (signed(), BODY + b" "),
        (signed(b"\xff"), b"\xff"),
        (signed(b"[]"), b"[]"),
        (signed(b"{"), b"{"),
        ({}, BODY),
    ]
)
def test_whatever_else_comes_is_one_error(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(InvalidWebhook):
        Webhooks(format_secret(KEY)).verify(headers, body)


@in_one_test(["", "whsec_", "whsec_not base64!", "secret?"])
def test_what_is_no_secret_is_refused_when_it_is_configured(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        Webhooks(secret)


# -- the stream ------------------------------------------------------------------------------------------------

STREAM = (
    'retry: 3000\n\nid: e1-1\nevent: hello\ndata: {"status": "connected"}\n\n: \n\n'
    'id: e1-2\r\nevent: message\r\ndata: {"text":\r\ndata: "olá"}\r\n\r\ndata: plain\r\rid: bad\0\ndata\n\n'
)
EVENTS = [
    Event("e1-1", "hello", {"status": "connected"}),
    Event("e1-2", "message", {"text": "olá"}),
    Event("e1-2", "message", "plain"),
    Event("e1-2", "message", ""),
]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_a_stream_reads_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    raw, parser, found = STREAM.encode(), EventParser(), []
    places = sorted({0, *cuts, len(raw)})
    for start, end in itertools.pairwise(places):
        found += list(parser.feed(raw[start:end]))
    assert found == EVENTS
    assert parser.retry_seconds == 3


def test_an_event_that_never_ends_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(StreamTooLarge):
        list(parser.feed(b"data: " + b"x" * (MAX_EVENT + 1)))


def test_a_stream_goes_on_behind_what_was_read_and_gives_up_only_where_asking_is_of_no_use() -> None:
    resumption = Resumption("")
    assert "last-event-id" not in resumption.headers()
    parser = resumption.parser()
    for _ in parser.feed(STREAM.encode()):
        resumption.note(parser)
    assert resumption.headers()["last-event-id"] == "e1-2"
    assert resumption.broken(0.0) == 3.0
    assert list(parser.feed(b"id: e1-9\n: \n\n")) == []
    resumption.note(parser)
    assert resumption.headers()["last-event-id"] == "e1-9"
    assert [resumption.broken(0.0) for _ in range(9)][-1] == 30.0
    assert resumption.refused(problem(429, "too_many_streams", retryable=True, **{"retry-after": "60"})) == 60.0
    assert resumption.refused(PAGE) > 0
    for refusal in (problem(401, "unauthorized"), problem(404, "unit_not_found")):
        with pytest.raises(ZaplineProblem):
            resumption.refused(refusal)


class Scripted(httpx2.BaseTransport):
    """A network that answers so, in order."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def stream_of(*answers: httpx2.Response | Exception) -> Event:
    """The first event of a stream that is answered so."""
    with Zapline("http://zapline.test", transport=Scripted(*answers)) as client, client.events("u1", "a-1") as events:
        return next(events)


def test_only_the_network_has_a_stream_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("zapline_client.client.time.sleep", waits.append)
    head = {"content-type": "text/event-stream; charset=utf-8"}
    good = httpx2.Response(200, headers=head, content=b"id: a-2\ndata: {}\n\n")
    empty = httpx2.Response(200, headers=head)
    assert stream_of(RESET, PAGE, httpx2.ReadTimeout("silent"), empty, good) == Event("a-2", "message", {})
    assert len(waits) == 4
    others = [
        httpx2.Response(200, html="<h1>It works!</h1>"),
        httpx2.Response(204),
        httpx2.Response(302, headers={"location": "https://elsewhere.test/"}),
        httpx2.Response(404, text="not here"),
    ]
    for other in others:
        with pytest.raises(Unanswered, match="is the address right"):
            stream_of(other)
    with pytest.raises(httpx2.LocalProtocolError):
        stream_of(httpx2.LocalProtocolError("two lines in a header"))
    assert len(waits) == 4
