"""Classifies error responses of Evolution, and exceptions of the HTTP client, as failures.

Sources: the contract, section 1 (error envelope) and section 3 (points 4 to 6 and 12). A 500 comes from before a
message is sent. A 400 comes from before it too, or from the sending part, which turns every exception into a 400, also
those of storing a sent message; so for a 400 only known texts prove that nothing was sent.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from zapline.domain.text import Sentence
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    FailedInside,
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
"""Failures of storing, which follows sending; these texts also hold lines of code and of the message."""
_EXCEPTION = re.compile(r"^\w*(Error|Exception):")
_PRINTING = re.compile(r"serialize a BigInt|circular structure")
"""The response could not be serialised, after everything was done."""
_LOST_BEHIND_PROXY = re.compile(rb"reset before headers|backend fetch failed", re.IGNORECASE)
"""503 of Envoy and Varnish for a forwarded request without a response."""
_NOT_FORWARDED = re.compile(rb"reset reason: (remote )?connection (failure|timeout)", re.IGNORECASE)


def classify_response(status: int, body: bytes, headers: Mapping[str, str]) -> EvolutionFailure:
    """The failure of a non-2xx response, or of a 2xx response with ``{"error": true}``. Never raises.

    ``headers`` has lower-case names, or ignores case.
    """
    decoded = _decode(body)
    text, parts = _error_message(decoded)
    kind = _failure_class(status, decoded, text, parts)
    if kind is ServerNotReady and _LOST_BEHIND_PROXY.search(body) and not _NOT_FORWARDED.search(body):
        kind = GatewayFailed
    uninformative = not text or text == _OPAQUE
    return kind(kind.explanation if uninformative else text, status=status, retry_after=_retry_after(headers))


def classify_exception(exc: httpx2.HTTPError | httpx2.InvalidURL) -> EvolutionFailure:
    """The failure of an exception of the HTTP client: only errors before writing prove that nothing was sent."""
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
    kind: type[EvolutionFailure] = NoAnswer
    if isinstance(exc, before_writing):
        kind = Unreachable
    elif isinstance(exc, (httpx2.DecodingError, httpx2.TooManyRedirects)):
        kind = BadAnswer
    return kind(Sentence("{explanation} ({error})", explanation=kind.explanation, error=name))


_OPAQUE = "[object Object]"
"""The text of a refusal that Evolution throws as an object: an unknown group, before anything is sent."""


def _failure_class(status: int, decoded: Any, text: str, parts: list[Any]) -> type[EvolutionFailure]:
    by_status = _BY_STATUS.get(status)
    if by_status is ServerNotReady and _is_unlicensed(decoded):
        return NotLicensed
    if by_status is not None:
        return by_status
    if status == 400 and _STORING.search(text):
        return FailedInside
    if _THROTTLED.search(text) or (status != 400 and "too many requests" in text.lower()):
        # In a 400 other services, called after the message was sent, may have these words too.
        return Throttled
    if status < 300:
        return OperationFailed if isinstance(decoded, dict) and decoded.get("error") is True else BadAnswer
    if status == 403:
        return InstanceExists if "already in use" in text else Unauthorized
    if status == 404:
        return _class_of_404(text.lower())
    if not isinstance(decoded, dict):
        return GatewayFailed if status >= 500 else BadAnswer
    if _NOT_CONNECTED.search(text):
        return NotConnected
    if status >= 500:
        return _class_of_5xx(status, decoded, text)
    if status == 400:
        return _class_of_400(decoded, text, parts)
    return InvalidRequest if 400 < status < 500 else BadAnswer


def _is_unlicensed(decoded: Any) -> bool:
    return isinstance(decoded, dict) and decoded.get("code") == "LICENSE_REQUIRED"


def _class_of_404(text: str) -> type[EvolutionFailure]:
    if "error fetching group" in text:
        # findGroupInfos answers so to whatever happens to it.
        return NotConnected if _NOT_CONNECTED.search(text) else InvalidRequest
    if "does not exist" not in text and "not found" not in text:
        return RouteUnknown
    return InvalidRequest if "group" in text and "instance" not in text else InstanceUnknown


_BY_STATUS: Mapping[int, type[EvolutionFailure]] = {
    # Redirects of a proxy; 302 and 303 are left out, since they may follow an action that was performed.
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


def _class_of_5xx(status: int, decoded: dict[str, Any], text: str) -> type[EvolutionFailure]:
    if _TIMED_OUT.match(text):
        return NumberCheckTimedOut
    if _PRINTING.search(text):
        return FailedInside
    if _BAD_MEDIA.search(text) or "not available in the" in text:
        return InvalidRequest
    if _MEDIA.search(text):
        return MediaUnreachable
    own_envelope = status == 500 and isinstance(decoded.get("response"), dict)
    return ServerError if own_envelope else GatewayFailed


def _class_of_400(decoded: dict[str, Any], text: str, parts: list[Any]) -> type[EvolutionFailure]:
    if not decoded:
        return NumberCheckTimedOut  # whatsappNumbers answers a bare {} for every error
    if any(isinstance(part, dict) and part.get("exists") is False for part in parts):
        return HiddenNumber if _names_lid(parts) else NumberNotOnWhatsApp
    if _TIMED_OUT.match(text):
        return TimedOutAfterRelay
    if _MEDIA_GONE.match(text):
        return MediaGone
    return FailedInside if _EXCEPTION.match(text) else InvalidRequest


def _names_lid(parts: list[Any]) -> bool:
    """Whether the address that is said not to exist is a LID."""
    missing = [part for part in parts if isinstance(part, dict) and part.get("exists") is False]
    return any(str(part.get(name, "")).endswith("@lid") for part in missing for name in ("jid", "number"))


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _error_message(decoded: Any) -> tuple[str, list[Any]]:
    """The text of the error and its parts; ``message`` is a string or an array of three kinds of parts."""
    if not isinstance(decoded, dict):
        return "", []
    response = decoded.get("response")
    message = response.get("message") if isinstance(response, dict) else None
    if message is None:
        message = decoded.get("code") or decoded.get("message") or decoded.get("error")
    parts = message if isinstance(message, list) else [message]
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            texts.extend(text for text in part if isinstance(text, str))
    return "; ".join(texts), parts


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. A date is relative to the response's ``date``, since the server's clock may differ from ours."""
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value):
        return float(value)
    try:
        pause = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        # TypeError: one of the two has no time zone.
        return None
    return max(0.0, pause.total_seconds())


_FILE_GONE = re.compile(r"re-upload failed|Failed to fetch stream|status code (404|410)\b", re.IGNORECASE)


def is_file_gone(failure: EvolutionFailure) -> bool:
    """Whether WhatsApp no longer has the file that Evolution should fetch; it keeps files for some weeks."""
    return isinstance(failure, FailedInside | MediaUnreachable) and _FILE_GONE.search(failure.detail) is not None
