"""Decides which failure an answer or an exception of Evolution means.

The facts are from the contract, section 1 (error envelope) and section 3 (points 4 to 6 and 12). What decides is
when Evolution says it: 500 comes from before it sends. 400 comes from before too, or from the part that sends,
which turns any exception into one, also those of storing what was sent; so there only known words prove anything.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    FailedInside,
    GatewayFailed,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    MediaGone,
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
)

_NOT_CONNECTED = re.compile(
    r"connection closed|instance is not connected|connection (lost|terminated)"
    # A socket that was never made: `this.client` is undefined when one of its methods is read.
    r"|properties of undefined \(reading '(onWhatsApp|sendMessage|readMessages|user|ws|logout|end)'\)",
    re.IGNORECASE,
)
_MEDIA = re.compile(
    r"getaddrinfo|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|Request failed with status code"
    r"|Failed to fetch stream"
)
_BAD_MEDIA = re.compile(r"unsupported image format|ffmpeg exited|Invalid data found|Invalid media type", re.IGNORECASE)
_THROTTLED = re.compile(
    r"rate-overlimit|reach-?out|time-?lock|account (has been|is) restricted"
    # A bare 463 may be a line of a stack trace.
    r"|^(\w*Error: )?463$|\b(error|code|status|ack)\W{1,3}463\b",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"^(Error: )?Timed Out$", re.IGNORECASE)
_MEDIA_GONE = re.compile(r"^(Error: )?Message not found$", re.IGNORECASE)
_STORING = re.compile(r"^Prisma|prismaRepository|invocation in")
"""Evolution stores a message after it has sent it; these texts also hold lines of code and of the message."""
_EXCEPTION = re.compile(r"^\w*(Error|Exception):")
_PRINTING = re.compile(r"serialize a BigInt|circular structure")
"""The answer could not be written, after everything was done."""
_LOST_BEHIND_PROXY = re.compile(rb"reset before headers|backend fetch failed", re.IGNORECASE)
"""503 of Envoy and Varnish, where a request that was passed on got no answer."""
_NEVER_PASSED_ON = re.compile(rb"reset reason: (remote )?connection (failure|timeout)", re.IGNORECASE)


def classify_response(status: int, body: bytes, headers: Mapping[str, str]) -> EvolutionFailure:
    """What a non-2xx answer, or a 2xx answer with ``{"error": true}``, means. Never raises.

    ``headers`` has lower-case names, or ignores case.
    """
    parsed = _decode(body)
    text, parts = _message(parsed)
    kind = _kind(status, parsed, text, parts)
    if kind is ServerNotReady and _LOST_BEHIND_PROXY.search(body) and not _NEVER_PASSED_ON.search(body):
        kind = GatewayFailed
    useless = not text or text == _OPAQUE
    detail = kind.__doc__.splitlines()[0] if useless and kind.__doc__ else text
    return kind(detail, status=status, retry_after=_retry_after(headers))


def classify_exception(exc: httpx2.HTTPError | httpx2.InvalidURL) -> EvolutionFailure:
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


_OPAQUE = "[object Object]"
"""A refusal of Evolution's own, thrown where it expects exceptions: an unknown group, before anything is sent."""


def _kind(status: int, parsed: Any, text: str, parts: list[Any]) -> type[EvolutionFailure]:
    by_status = _BY_STATUS.get(status)
    if by_status is not None:
        return by_status
    if status == 400 and _STORING.search(text):
        return FailedInside
    if _THROTTLED.search(text) or (status != 400 and "too many requests" in text.lower()):
        # In a 400 these are the words of other services too, asked after the message was sent.
        return Throttled
    if status < 300:
        return OperationFailed if isinstance(parsed, dict) and parsed.get("error") is True else BadAnswer
    if status == 403:
        return InstanceExists if "already in use" in text else Unauthorized
    if status == 404:
        return _missing_kind(text.lower())
    if not isinstance(parsed, dict):
        return GatewayFailed if status >= 500 else BadAnswer
    if _NOT_CONNECTED.search(text):
        return NotConnected
    if status >= 500:
        return _server_kind(status, parsed, text)
    if status == 400:
        return _request_kind(parsed, text, parts)
    return InvalidRequest if 400 < status < 500 else BadAnswer


def _missing_kind(words: str) -> type[EvolutionFailure]:
    if "does not exist" not in words and "not found" not in words:
        return RouteUnknown
    return InvalidRequest if "group" in words and "instance" not in words else InstanceUnknown


_BY_STATUS: Mapping[int, type[EvolutionFailure]] = {
    # A proxy sends us elsewhere; 302 and 303 may also follow something that was done.
    301: RouteUnknown,
    307: RouteUnknown,
    308: RouteUnknown,
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
    if _PRINTING.search(text):
        return FailedInside
    if _BAD_MEDIA.search(text) or "not available in the" in text:
        return InvalidRequest
    if _MEDIA.search(text):
        return MediaUnreachable
    own_envelope = status == 500 and isinstance(parsed.get("response"), dict)
    return ServerError if own_envelope else GatewayFailed


def _request_kind(parsed: dict[str, Any], text: str, parts: list[Any]) -> type[EvolutionFailure]:
    if not parsed:
        return NumberCheckTimedOut  # whatsappNumbers answers a bare {} whatever went wrong
    if any(isinstance(part, dict) and part.get("exists") is False for part in parts):
        return NumberNotOnWhatsApp
    if _TIMED_OUT.match(text):
        return TimedOutAfterRelay
    if _MEDIA_GONE.match(text):
        return MediaGone
    return FailedInside if _EXCEPTION.match(text) else InvalidRequest


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
    """Seconds. A date counts from the answer's own ``date``: the server's clock is not ours."""
    given = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", given):
        return float(given)
    try:
        pause = parsedate_to_datetime(given) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        # TypeError: one of the two says nothing of its zone.
        return None
    return max(0.0, pause.total_seconds())


_FILE_GONE = re.compile(r"re-upload failed|Failed to fetch stream|status code (404|410)\b", re.IGNORECASE)


def is_file_gone(failure: EvolutionFailure) -> bool:
    """Whether WhatsApp no longer has the file that Evolution was to fetch: it keeps files for some weeks."""
    return isinstance(failure, FailedInside | MediaUnreachable) and _FILE_GONE.search(failure.detail) is not None
