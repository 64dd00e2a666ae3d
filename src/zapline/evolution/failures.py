"""Decides what an answer or an exception of Evolution means: a closed vocabulary, each word with its verdict.

The facts are from the contract, section 1 (error envelope) and section 3 (points 4 to 6 and 12).
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

import httpx2
import msgspec

from zapline.domain.errors import RemoteError


class Verdict(Enum):
    LINE = "line"
    """The line or the server is at fault; nothing was sent; pause, and use up no try of any message."""
    RETRY = "retry"
    """Nothing was sent; the same call may be tried again."""
    REJECTED = "rejected"
    """Nothing was sent, and the same call will never work."""
    UNCERTAIN = "uncertain"
    """Evolution may have acted; a send must not be repeated blindly."""


class EvolutionFailure(RemoteError):
    """A call to Evolution did not do what was asked.

    ``status`` is the HTTP status where there was an answer. ``detail`` is safe to log and to show: it holds
    no URL, no key and no full phone number. ``retry_after`` is in seconds.
    """

    code: ClassVar[str] = "evolution_failure"
    verdict: ClassVar[Verdict] = Verdict.UNCERTAIN
    transient: ClassVar[bool] = False
    """Whether an idempotent call is worth repeating within a second or two."""

    def __init__(self, detail: str = "", *, status: int | None = None, retry_after: float | None = None):
        self.status = status
        self.detail = safe_text(detail)
        self.retry_after = retry_after
        answered = f" ({status})" if status is not None else ""
        super().__init__(f"{self.code}{answered}: {self.detail}")


class Unreachable(EvolutionFailure):
    """Refused, unknown host, or no free connection: the request never left."""

    code = "unreachable"
    verdict = Verdict.LINE
    transient = True


class Throttled(EvolutionFailure):
    """Evolution, a proxy or WhatsApp asks to slow down; nothing was sent."""

    code = "throttled"
    verdict = Verdict.LINE


class ServerNotReady(EvolutionFailure):
    """503: not licensed (2.4 and later), starting, or in maintenance; nothing was sent."""

    code = "server_not_ready"
    verdict = Verdict.LINE


class NotConnected(EvolutionFailure):
    """The instance has no living WhatsApp socket; Evolution says so in four ways, with 400 and with 500."""

    code = "not_connected"
    verdict = Verdict.LINE


class OperationFailed(EvolutionFailure):
    """200 with ``{"error": true}``: restart or connect did not work; the text is of no use."""

    code = "operation_failed"
    verdict = Verdict.LINE


class InstanceUnknown(EvolutionFailure):
    """Evolution does not know the instance; answered before the key is checked."""

    code = "instance_unknown"
    verdict = Verdict.LINE


class RouteUnknown(EvolutionFailure):
    """404 without an instance: another version, or a base URL that is not Evolution's."""

    code = "route_unknown"
    verdict = Verdict.LINE


class Unauthorized(EvolutionFailure):
    """The key is missing or wrong, or may not do this."""

    code = "unauthorized"
    verdict = Verdict.LINE


class InstanceExists(EvolutionFailure):
    """The name is in use."""

    code = "instance_exists"
    verdict = Verdict.REJECTED


class InvalidRequest(EvolutionFailure):
    """Schema or business rule violated, or not available on this channel."""

    code = "invalid_request"
    verdict = Verdict.REJECTED


class NumberNotOnWhatsApp(EvolutionFailure):
    """Evolution says that the number does not exist; sometimes wrong (contract, section 3, point 5)."""

    code = "number_not_on_whatsapp"
    verdict = Verdict.REJECTED


class TooLarge(EvolutionFailure):
    """413: the body is over the limit of Evolution or of a proxy."""

    code = "too_large"
    verdict = Verdict.REJECTED


class MediaUnreachable(EvolutionFailure):
    """Evolution could not fetch the media URL; nothing was sent."""

    code = "media_unreachable"
    verdict = Verdict.RETRY


class NumberCheckTimedOut(EvolutionFailure):
    """The look-up of the number came to no result, which happens before anything is sent."""

    code = "number_check_timed_out"
    verdict = Verdict.RETRY
    transient = True


class ServerError(EvolutionFailure):
    """Evolution itself answers 5xx in its own envelope: it failed before it sent."""

    code = "server_error"
    verdict = Verdict.RETRY
    transient = True


class TimedOutAfterRelay(EvolutionFailure):
    """400 "Error: Timed Out": perhaps delivered, and no echo and no status will ever come."""

    code = "timed_out_after_relay"
    verdict = Verdict.UNCERTAIN


class GatewayFailed(EvolutionFailure):
    """A 5xx that is not Evolution's own: a proxy lost Evolution while it may have been acting."""

    code = "gateway_failed"
    verdict = Verdict.UNCERTAIN
    transient = True


class NoAnswer(EvolutionFailure):
    """Timeout after writing, reset, or closed without an answer: these cannot be told apart from "acted"."""

    code = "no_answer"
    verdict = Verdict.UNCERTAIN
    transient = True


class BadAnswer(EvolutionFailure):
    """An answer that is not JSON, or not of the shape that the contract gives."""

    code = "bad_answer"
    verdict = Verdict.UNCERTAIN


VOCABULARY: tuple[type[EvolutionFailure], ...] = (
    Unreachable, Throttled, ServerNotReady, NotConnected, OperationFailed, InstanceUnknown, RouteUnknown,
    Unauthorized, InstanceExists, InvalidRequest, NumberNotOnWhatsApp, TooLarge, MediaUnreachable,
    NumberCheckTimedOut, ServerError, TimedOutAfterRelay, GatewayFailed, NoAnswer, BadAnswer,
)  # fmt: skip
"""Every failure there is; nothing else leaves this room."""

_NOT_CONNECTED = re.compile(
    r"connection closed|instance is not connected|connection (lost|terminated)"
    # A socket that was never made: `this.client` is undefined when one of its methods is read.
    r"|properties of undefined \(reading '(onWhatsApp|sendMessage|readMessages|user|ws|logout|end)'\)",
    re.IGNORECASE,
)
_MEDIA = re.compile(r"getaddrinfo|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|Request failed with status code")
_THROTTLED = re.compile(r"rate-overlimit|too many requests|\b463\b", re.IGNORECASE)
_TIMED_OUT = re.compile(r"^(Error: )?Timed Out$", re.IGNORECASE)

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_HOST = re.compile(r"\b(getaddrinfo \w+) \S+")
_SECRET = re.compile(r"\b(?=\w*\d)[A-Za-z0-9_-]{24,}\b")
_PHONE = re.compile(r"\d{4,}(\d{4})")
_LONGEST_DETAIL = 240  # enough for every recorded sentence; a stack trace is of no use to a reader


def safe_text(text: str) -> str:
    """The text without URLs, hosts, long tokens and full phone numbers, on one line and of bounded length."""
    text = _URL.sub("[url]", text[: 4 * _LONGEST_DETAIL])
    text = _HOST.sub(r"\1 [host]", text)
    text = _SECRET.sub("[secret]", text)
    text = _PHONE.sub(r"****\1", text)
    return " ".join(text.split())[:_LONGEST_DETAIL]


def failure_of_answer(status: int, body: bytes, headers: Mapping[str, str]) -> EvolutionFailure:
    """What a non-2xx answer, or a 2xx answer with ``{"error": true}``, means. Never raises.

    ``headers`` has lower-case names, or ignores case.
    """
    parsed = _decode(body)
    text, parts = _message(parsed)
    kind = _kind(status, parsed, text, parts)
    detail = kind.__doc__.splitlines()[0] if not text and kind.__doc__ else text
    return kind(detail, status=status, retry_after=_retry_after(headers))


def failure_of_exception(exc: httpx2.HTTPError | httpx2.InvalidURL) -> EvolutionFailure:
    """An exception of the HTTP client: only errors before the write prove that nothing went out."""
    name = type(exc).__name__
    before_writing = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
        httpx2.LocalProtocolError,
    )
    if isinstance(exc, before_writing):
        return Unreachable(name)
    if isinstance(exc, (httpx2.DecodingError, httpx2.TooManyRedirects)):
        return BadAnswer(name)
    return NoAnswer(name)


def _kind(status: int, parsed: Any, text: str, parts: list[Any]) -> type[EvolutionFailure]:
    by_status = _BY_STATUS.get(status)
    if by_status is not None:
        return by_status
    if _THROTTLED.search(text):
        return Throttled
    if status < 300:
        return OperationFailed if isinstance(parsed, dict) and parsed.get("error") is True else BadAnswer
    if status == 403:
        return InstanceExists if "already in use" in text else Unauthorized
    if status == 404:
        return InstanceUnknown if "does not exist" in text or "not found" in text.lower() else RouteUnknown
    if not isinstance(parsed, dict):
        return GatewayFailed if status >= 500 else BadAnswer
    if _NOT_CONNECTED.search(text):
        return NotConnected
    if status >= 500:
        return _server_kind(status, parsed, text)
    if status == 400:
        return _request_kind(parsed, text, parts)
    return InvalidRequest if 400 < status < 500 else BadAnswer


_BY_STATUS: Mapping[int, type[EvolutionFailure]] = {
    401: Unauthorized,
    408: NoAnswer,
    413: TooLarge,
    429: Throttled,
    463: Throttled,  # WhatsApp's own "too many new chats", passed on by some builds
    503: ServerNotReady,
}


def _server_kind(status: int, parsed: dict[str, Any], text: str) -> type[EvolutionFailure]:
    if _TIMED_OUT.match(text):
        return NumberCheckTimedOut
    if _MEDIA.search(text):
        return MediaUnreachable
    if "not available in the" in text:
        return InvalidRequest
    own_envelope = status == 500 and isinstance(parsed.get("response"), dict)
    return ServerError if own_envelope else GatewayFailed


def _request_kind(parsed: dict[str, Any], text: str, parts: list[Any]) -> type[EvolutionFailure]:
    if not parsed:
        return NumberCheckTimedOut  # whatsappNumbers answers a bare {} whatever went wrong
    if any(isinstance(part, dict) and part.get("exists") is False for part in parts):
        return NumberNotOnWhatsApp
    if _TIMED_OUT.match(text):
        return TimedOutAfterRelay
    return InvalidRequest


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _message(parsed: Any) -> tuple[str, list[Any]]:
    """The words of the answer, and its parts; ``message`` is a string or an array of three kinds of parts."""
    if not isinstance(parsed, dict):
        return "", []
    response = parsed.get("response")
    message = response.get("message") if isinstance(response, dict) else None
    if message is None:
        message = parsed.get("code") or parsed.get("message") or parsed.get("error")
    parts = message if isinstance(message, list) else [message]
    words: list[str] = []
    for part in parts:
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, list):
            words.extend(word for word in part if isinstance(word, str))
    return "; ".join(words), parts


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the date form of the header is not understood and counts as absent."""
    given = headers.get("retry-after", "")
    return float(given) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", given) else None
