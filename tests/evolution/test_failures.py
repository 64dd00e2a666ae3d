"""Every recorded refusal is exactly one word of the vocabulary, by an explicit table."""

import json
from pathlib import Path

import httpx2
import pytest

import zapline.sandbox
from zapline.evolution import failures
from zapline.evolution.failures import (
    VOCABULARY,
    BadAnswer,
    EvolutionFailure,
    GatewayFailed,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    MediaUnreachable,
    NoAnswer,
    NotConnected,
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
    Verdict,
    failure_of_answer,
    failure_of_exception,
    safe_text,
)

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
    "getBase64-notfound": InvalidRequest,
    "http-2.4-license-required-503": ServerNotReady,
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
    found = {}
    for path in sorted(REST.glob("*.json")):
        recording = json.loads(path.read_bytes())
        if "_http_status" in recording:
            found[path.stem] = (recording.pop("_http_status"), json.dumps(recording).encode())
        elif "response" in recording and recording["response"]["status"] is not None:
            answer = recording["response"]
            found[path.stem] = (answer["status"], json.dumps(answer["body"]).encode())
    return found


def _refusals() -> dict[str, tuple[int, bytes]]:
    return {
        name: (status, body)
        for name, (status, body) in _answers().items()
        if status >= 300 or (body.startswith(b"{") and json.loads(body).get("error") is True)
    }


def test_the_table_names_every_recorded_refusal_and_nothing_else() -> None:
    assert set(_refusals()) == set(MEANING)


@pytest.mark.parametrize("name", sorted(MEANING))
def test_a_recorded_refusal_means_what_the_table_says(name: str) -> None:
    status, body = _refusals()[name]
    failure = failure_of_answer(status, body, {})
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
        (400, b"\xff\xfe", {}, BadAnswer),
        (200, b"<html>hello</html>", {}, BadAnswer),
        (200, b"[" * 100_000, {}, BadAnswer),
    ],
)
def test_answers_of_proxies_and_strangers_have_a_word_too(
    status: int, body: bytes, headers: dict[str, str], meaning: type[EvolutionFailure]
) -> None:
    assert type(failure_of_answer(status, body, headers)) is meaning


@pytest.mark.parametrize(("given", "seconds"), [("7", 7.0), ("0.5", 0.5), ("Wed, 21 Oct", None), ("", None)])
def test_retry_after_is_read_where_it_is_in_seconds(given: str, seconds: float | None) -> None:
    assert failure_of_answer(429, b"", {"retry-after": given}).retry_after == seconds


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
        (httpx2.DecodingError("x"), BadAnswer),
    ],
)
def test_only_errors_before_the_write_prove_that_nothing_was_sent(
    exc: httpx2.HTTPError, meaning: type[EvolutionFailure]
) -> None:
    failure = failure_of_exception(exc)
    assert type(failure) is meaning
    assert (failure.verdict is Verdict.UNCERTAIN) == (meaning is not Unreachable)


def test_the_vocabulary_is_closed_and_every_word_has_its_own_code_and_a_verdict() -> None:
    defined = {
        value
        for value in vars(failures).values()
        if isinstance(value, type) and issubclass(value, EvolutionFailure) and value is not EvolutionFailure
    }
    assert defined == set(VOCABULARY)
    assert len({word.code for word in VOCABULARY}) == len(VOCABULARY)
    for word in VOCABULARY:
        assert {"code", "verdict"} <= set(vars(word)), word
        assert word.__doc__


def test_a_detail_never_holds_a_url_a_key_or_a_full_phone_number() -> None:
    text = (
        "failed for 5511999990001@s.whatsapp.net at https://evo.example/x?apikey=1 "
        "with 67CAED2F-9529-452E-80E7-0CF38E434B30\nand getaddrinfo ENOTFOUND files.example"
    )
    safe = safe_text(text)
    for secret in ("5511999990001", "evo.example", "67CAED2F", "files.example", "\n"):
        assert secret not in safe
    assert "****0001" in safe
    assert str(NoAnswer(text)).count("5511999990001") == 0
    assert len(safe_text("word " * 1000)) <= 240
