"""Every recorded refusal is exactly one word of the vocabulary, by an explicit table."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.many_cases import in_one_test

import zapline.sandbox
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.evolution.client import failures
from zapline.evolution.client.failure_classifier import classify_exception, classify_response, is_file_gone
from zapline.evolution.client.failures import (
    ALL_FAILURES,
    BadAnswer,
    EvolutionFailure,
    FailedInside,
    FailureVerdict,
    GatewayFailed,
    HiddenNumber,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    MediaGone,
    MediaUnreachable,
    NoAnswer,
    NotConnected,
    NotLicensed,
    NumberCheckTimedOut,
    NumberNotOnWhatsApp,
    OperationFailed,
    RouteUnknown,
    ServerError,
    ServerNotReady,
    Throttled,
    TimedOutAfterRelay,
    TooLarge,
    Unauthorized,
    Unreachable,
    sanitize_detail,
)
from zapline.evolution.client.response_parser import parse_sent_message

REST = Path(zapline.sandbox.__file__).parent / "recordings" / "rest"

MEANING = {
    "auth-none": Unauthorized,
    "auth-wrong": Unauthorized,
    "connectionState-after-delete": InstanceUnknown,
    "connectionState-unknown": InstanceUnknown,
    "create-bad-type": InvalidRequest,
    "create-duplicate": InstanceExists,
    "create-invalid-integration": InvalidRequest,
    "create-missing-integration": InvalidRequest,
    "create-noauth": Unauthorized,
    "create-webhook-without-events": InvalidRequest,
    "delete-again": InstanceUnknown,
    "fetch-unknown": InstanceUnknown,
    "getBase64-notfound": MediaGone,
    "http-2.4-license-required-503": NotLicensed,
    "logout-close": NotConnected,
    "markMessageAsRead-never-connected": NotConnected,
    "restart-close": OperationFailed,
    "route-404": RouteUnknown,
    "sendMedia-bad-type": InvalidRequest,
    "sendMedia-document-base64-no-filename": InvalidRequest,
    "sendMedia-invalid-media": InvalidRequest,
    "sendMedia-url-unreachable": MediaUnreachable,
    "sendReaction-invalid": InvalidRequest,
    "sendTemplate-baileys": InvalidRequest,
    "sendText-bad-json": InvalidRequest,
    "sendText-connection-closed-mid-send": NotConnected,
    "sendText-empty-text": InvalidRequest,
    "sendText-never-connected": NotConnected,
    "sendText-number-not-on-whatsapp": NumberNotOnWhatsApp,
    "sendText-onWhatsApp-timeout": NumberCheckTimedOut,
    "sendText-timed-out-after-relay": TimedOutAfterRelay,
    "sendText-unknown-instance": InstanceUnknown,
    "sendText-validation-delay-str": InvalidRequest,
    "sendText-validation-missing": InvalidRequest,
    "sendText-validation-number-int": InvalidRequest,
    "sendText-validation-v1-shape": InvalidRequest,
    "sendText-wa-unreachable": NotConnected,
    "settings-set-invalid": InvalidRequest,
    "webhook-set-invalid-event": InvalidRequest,
    "webhook-set-missing-wrapper": InvalidRequest,
    "webhook-set-noevents": ServerError,
    "whatsappNumbers-error": NumberCheckTimedOut,
    "whatsappNumbers-never-connected": NumberCheckTimedOut,
}


def _answers() -> dict[str, tuple[int, bytes]]:
    recordings = {}
    for path in sorted(REST.glob("*.json")):
        recording = json.loads(path.read_bytes())
        if "_http_status" in recording:
            recordings[path.stem] = (recording.pop("_http_status"), json.dumps(recording).encode())
        elif "response" in recording and recording["response"]["status"] is not None:
            answer = recording["response"]
            recordings[path.stem] = (answer["status"], json.dumps(answer["body"]).encode())
    return recordings


def _refusals() -> dict[str, tuple[int, bytes]]:
    return {
        name: (status, body)
        for name, (status, body) in _answers().items()
        if status >= 300 or (body.startswith(b"{") and json.loads(body).get("error") is True)
    }


def test_the_table_names_every_recorded_refusal_and_nothing_else() -> None:
    assert set(_refusals()) == set(MEANING)


@in_one_test(sorted(MEANING))
def test_a_recorded_refusal_means_what_the_table_says(name: str) -> None:
    status, body = _refusals()[name]
    failure = classify_response(status, body, {})
    assert type(failure) is MEANING[name]
    assert failure.status == status
    assert failure.detail


@pytest.mark.parametrize(
    ("status", "body", "headers", "meaning"),
    [
        (429, b"<html>slow down</html>", {"retry-after": "7"}, Throttled),
        (463, b"{}", {}, Throttled),
        (400, b'{"status":400,"response":{"message":["Error: rate-overlimit"]}}', {}, Throttled),
        (413, b"<html>nginx</html>", {}, TooLarge),
        (502, b"<html>nginx</html>", {}, GatewayFailed),
        (504, b'{"message":"upstream timed out"}', {}, GatewayFailed),
        (503, b"<html>maintenance</html>", {}, ServerNotReady),
        (500, b'{"status":500,"response":{"message":["Internal Server Error"]}}', {}, ServerError),
        (500, b"boom", {}, GatewayFailed),
        (403, b'{"status":403,"response":{"message":["Forbidden"]}}', {}, Unauthorized),
        (404, b"<html>not here</html>", {}, RouteUnknown),
        (302, b"", {}, BadAnswer),
        (303, b"", {}, BadAnswer),
        (301, b"<html>moved</html>", {"location": "https://evo.example/"}, RouteUnknown),
        (308, b"", {"location": "https://evo.example/"}, RouteUnknown),
        (408, b"", {}, NoAnswer),
        (500, b"<html>error</html>", {}, GatewayFailed),
        (504, b"<html>nginx</html>", {}, GatewayFailed),
        (520, b"<html>cloudflare</html>", {}, GatewayFailed),
        (503, b"upstream connect error or disconnect/reset before headers. reset reason: overflow", {}, GatewayFailed),
        (
            503,
            b"upstream connect error or disconnect/reset before headers. reset reason: connection failure",
            {},
            ServerNotReady,
        ),
        (503, b"<html>Error 503 Backend fetch failed</html>", {}, GatewayFailed),
        (400, b"\xff\xfe", {}, BadAnswer),
        (200, b"<html>hello</html>", {}, BadAnswer),
        (200, b"[" * 100_000, {}, BadAnswer),
    ],
)
def test_responses_of_proxies_and_other_servers_are_classified(
    status: int, body: bytes, headers: dict[str, str], meaning: type[EvolutionFailure]
) -> None:
    assert type(classify_response(status, body, headers)) is meaning


SENDING_ERRORS: list[tuple[int, str, type[EvolutionFailure]]] = [
    # What Baileys throws while it prepares, before anything leaves.
    (400, "Error: Connection Closed", NotConnected),
    (400, "Error: Connection Terminated", NotConnected),
    (500, "Connection Closed", NotConnected),
    (500, "Connection Lost", NotConnected),
    (400, "TypeError: Cannot read properties of undefined (reading 'sendMessage')", NotConnected),
    (400, "Error: rate-overlimit", Throttled),
    (500, "rate-overlimit", Throttled),
    (400, "463", Throttled),
    (400, "Error: 463", Throttled),
    (400, "Error: server returned error 463", Throttled),
    (400, "Error: ack 463", Throttled),
    (400, "Error: NackCallerReachoutTimelocked", Throttled),
    (400, "Error: reach-out time-lock is active", Throttled),
    (400, "Error: Your account has been restricted", Throttled),
    (500, "Too Many Requests", Throttled),
    # In the part that sends, and that stores after it has sent.
    (400, "Error: Timed Out", TimedOutAfterRelay),
    (400, "Timed Out", TimedOutAfterRelay),
    (
        400,
        "PrismaClientKnownRequestError: \nInvalid `this.prismaRepository.message.create()` invocation in\n"
        "/evolution/dist/main.js:463:88\n\n  error code: 463 rate-overlimit Connection Closed",
        FailedInside,
    ),
    (400, "PrismaClientInitializationError: Can't reach database server at `postgres:5432`", FailedInside),
    (400, "TypeError: Cannot read properties of undefined (reading 'key')", FailedInside),
    (400, "AxiosError: Request failed with status code 429", FailedInside),
    (400, "RateLimitError: 429 Too Many Requests", FailedInside),
    (400, "Error: Media upload failed on all hosts", FailedInside),
    (500, "Do not know how to serialize a BigInt", FailedInside),
    # Before the part that sends.
    (500, "Timed Out", NumberCheckTimedOut),
    (500, "PrismaClientInitializationError: Can't reach database server", ServerError),
    (500, "Error: getaddrinfo EAI_AGAIN files.example", MediaUnreachable),
    (500, "AxiosError: connect ECONNREFUSED 192.0.2.1:443", MediaUnreachable),
    (500, "AxiosError: Request failed with status code 404", MediaUnreachable),
    (500, "Error: Input buffer contains unsupported image format", InvalidRequest),
    (500, "Error: ffmpeg exited with code 1: Invalid data found when processing input", InvalidRequest),
    (400, "Owned media must be a url or base64", InvalidRequest),
    (400, "[object Object]", InvalidRequest),
    (400, "Message not found", MediaGone),
    (400, "The message is not of the media type", InvalidRequest),
    (404, "Group not found", InvalidRequest),
    (404, "Error fetching group, Error: item-not-found", InvalidRequest),
    (404, "Error fetching group, Error: Connection Closed", NotConnected),
    (404, "Error fetching group, Error: rate-overlimit", Throttled),
    (404, 'The "group" instance does not exist', InstanceUnknown),
    (404, "Instance not found", InstanceUnknown),
    (404, "Cannot POST /message/sendPoll/loja", RouteUnknown),
]


@in_one_test((*error, in_list) for error in SENDING_ERRORS for in_list in (True, False))
def test_the_text_in_the_envelope_decides_whether_anything_was_sent(
    status: int, text: str, expected: type[EvolutionFailure], in_list: bool
) -> None:
    envelope = {"status": status, "error": "x", "response": {"message": [text] if in_list else text}}
    failure = classify_response(status, json.dumps(envelope).encode(), {})
    assert type(failure) is expected
    assert failure.detail not in ("", "[object Object]")


UNANSWERED = {"sendText-client-timeout"}
"""Recordings without an answer: the caller left before."""


def test_every_recorded_send_is_either_sent_or_one_failure_whose_verdict_never_loses_or_repeats_it() -> None:
    verdicts: dict[FailureVerdict, set[str]] = {verdict: set() for verdict in FailureVerdict}
    for path in sorted(REST.glob("send*.json")):
        answer = json.loads(path.read_bytes())["response"]
        if answer["status"] is None:
            assert path.stem in UNANSWERED
            continue
        if answer["status"] == 201:
            assert parse_sent_message(answer["body"]).external_id == answer["body"]["key"]["id"], path.stem
            continue
        verdicts[MEANING[path.stem].verdict].add(path.stem)
    assert verdicts[FailureVerdict.UNCERTAIN] == {"sendText-timed-out-after-relay"}
    assert verdicts[FailureVerdict.RETRY] == {"sendMedia-url-unreachable", "sendText-onWhatsApp-timeout"}
    assert verdicts[FailureVerdict.LINE] == {
        "sendText-connection-closed-mid-send",
        "sendText-never-connected",
        "sendText-unknown-instance",
        "sendText-wa-unreachable",
    }
    assert len(verdicts[FailureVerdict.REJECTED]) == 12


@pytest.mark.parametrize(("given", "seconds"), [("7", 7.0), ("0.5", 0.5), ("Wed, 21 Oct", None), ("", None)])
def test_retry_after_is_read_where_it_is_in_seconds(given: str, seconds: float | None) -> None:
    assert classify_response(429, b"", {"retry-after": given}).retry_after == seconds


@pytest.mark.parametrize(
    ("until", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:30", None),
        ("Wed, 99 Oct 2026 07:28:30 GMT", None),
    ],
)
def test_a_date_in_retry_after_counts_from_the_date_of_the_answer(until: str, seconds: float | None) -> None:
    headers = {"retry-after": until, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert classify_response(429, b"", headers).retry_after == seconds
    assert classify_response(429, b"", {"retry-after": until}).retry_after is None


@pytest.mark.parametrize(
    ("exc", "meaning"),
    [
        (httpx2.ConnectError("x"), Unreachable),
        (httpx2.ConnectTimeout("x"), Unreachable),
        (httpx2.PoolTimeout("x"), Unreachable),
        (httpx2.ReadTimeout("x"), NoAnswer),
        (httpx2.WriteTimeout("x"), NoAnswer),
        (httpx2.WriteError("x"), NoAnswer),
        (httpx2.ReadError("x"), NoAnswer),
        (httpx2.RemoteProtocolError("x"), NoAnswer),
        (httpx2.CloseError("x"), NoAnswer),
        (httpx2.UnsupportedProtocol("x"), Unreachable),
        (httpx2.DecodingError("x"), BadAnswer),
    ],
)
def test_only_errors_before_the_write_prove_that_nothing_was_sent(
    exc: httpx2.HTTPError, meaning: type[EvolutionFailure]
) -> None:
    failure = classify_exception(exc)
    assert type(failure) is meaning
    assert (failure.verdict is FailureVerdict.UNCERTAIN) == (meaning is not Unreachable)


def test_all_failures_are_listed_and_each_has_its_own_code_and_a_verdict() -> None:
    defined = {
        value
        for value in vars(failures).values()
        if isinstance(value, type) and issubclass(value, EvolutionFailure) and value is not EvolutionFailure
    }
    assert defined == set(ALL_FAILURES)
    assert len({word.code for word in ALL_FAILURES}) == len(ALL_FAILURES)
    for word in ALL_FAILURES:
        assert {"code", "verdict"} <= set(vars(word)), word
        assert word.__doc__


OURS = {
    "crashed",
    "disk_refuses",
    "expired",
    "opted_out",
    "campaign_cancelled",
    "cancelled",
    "given_up",
    "id_taken",
    "no_receipts",
    "upload_missing",
    "unreadable",
    "whatsapp_refused",
    "whatsapp_refused_463",
}


def test_every_code_has_one_plain_sentence_that_says_whether_anything_was_sent() -> None:
    assert set(FAILURE_TEXTS) == {word.code for word in ALL_FAILURES} | OURS
    assert len(set(FAILURE_TEXTS.values())) == len(FAILURE_TEXTS)
    for word in ALL_FAILURES:
        text = FAILURE_TEXTS[word.code]
        assert text[0].isupper()
        assert text.endswith(".")
        assert ("may have been delivered" in text) == (word.verdict is FailureVerdict.UNCERTAIN), word
    assert failure_text("no_answer") == FAILURE_TEXTS["no_answer"]
    assert "code" in failure_text("of_another_version")


def test_a_file_that_whatsapp_no_longer_has_differs_from_one_that_cannot_be_fetched() -> None:
    assert is_file_gone(FailedInside("Error: Failed to fetch stream from https://mmg.whatsapp.net/x"))
    assert is_file_gone(FailedInside("AxiosError: Request failed with status code 410"))
    assert is_file_gone(FailedInside("Error: Media re-upload failed by device (404)"))
    assert not is_file_gone(FailedInside("AxiosError: Request failed with status code 500"))
    assert not is_file_gone(NotConnected("Connection Closed, status code 404"))


def test_a_detail_never_holds_a_url_a_key_or_a_full_phone_number() -> None:
    text = (
        "failed for 5511999990001@s.whatsapp.net at https://evo.example/x?apikey=1 "
        "with 67CAED2F-9529-452E-80E7-0CF38E434B30\nand getaddrinfo ENOTFOUND files.example"
    )
    safe = sanitize_detail(text)
    for secret in ("5511999990001", "evo.example", "67CAED2F", "files.example", "\n"):
        assert secret not in safe
    assert "****0001" in safe
    assert str(NoAnswer(text)).count("5511999990001") == 0
    assert len(sanitize_detail("word " * 1000)) <= 240


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({"jid": "210000000000009@lid", "exists": False, "number": "210000000000009@lid"}, HiddenNumber),
        ({"jid": "210000000000009@s.whatsapp.net", "exists": False, "number": "210000000000009@lid"}, HiddenNumber),
        ({"jid": "5511900000000@s.whatsapp.net", "exists": False, "number": "5511900000000"}, NumberNotOnWhatsApp),
    ],
)
def test_a_hidden_number_is_not_a_wrong_one(missing: dict[str, Any], expected: type[EvolutionFailure]) -> None:
    envelope = {"status": 400, "error": "Bad Request", "response": {"message": [missing]}}
    assert type(classify_response(400, json.dumps(envelope).encode(), {})) is expected
    assert "Nothing is wrong with the number" in FAILURE_TEXTS[HiddenNumber.code]
