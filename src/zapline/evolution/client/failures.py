"""Defines the failures of calls to Evolution: a closed vocabulary of codes, each with its verdict.

``zapline.evolution.client.failure_classifier`` chooses among them. ``explanation`` is shown to people where Evolution
gives no text.
"""

import re
from enum import Enum
from typing import ClassVar

from zapline.domain.errors import RemoteError
from zapline.domain.text import Sentence


class FailureVerdict(Enum):
    LINE = "line"
    """Caused by the line or the server; nothing was sent; the line pauses, and no message uses up an attempt."""
    RETRY = "retry"
    """Nothing was sent; the same call may be repeated."""
    REJECTED = "rejected"
    """Nothing was sent, and the same call will never work."""
    UNCERTAIN = "uncertain"
    """Evolution may have acted; a send must not be repeated blindly."""


class EvolutionFailure(RemoteError):
    """A call to Evolution did not do what was asked.

    ``status`` is the HTTP status where there was a response. ``detail`` is safe to log and to show: of Evolution's
    texts it holds no URL, no key and no full phone number; a sentence of our own stays as it is. ``retry_after`` is in
    seconds.
    """

    code: ClassVar[str] = "evolution_failure"
    explanation: ClassVar[Sentence] = Sentence("Evolution did not do what was asked.")
    """For people."""
    verdict: ClassVar[FailureVerdict] = FailureVerdict.UNCERTAIN
    transient: ClassVar[bool] = False
    """Whether an idempotent call should be repeated within a second or two."""

    def __init__(self, detail: str = "", *, status: int | None = None, retry_after: float | None = None):
        self.status = status
        self.why = detail if isinstance(detail, Sentence) else sanitize_detail(detail)
        """``detail`` as it is translated."""
        self.detail = str(self.why)
        self.retry_after = retry_after
        suffix = f" ({status})" if status is not None else ""
        super().__init__(f"{self.code}{suffix}: {self.detail}")

    @property
    def sentence(self) -> Sentence:
        """What callers and operators are told."""
        return Sentence("Evolution did not do it ({code}): {why}", code=self.code, why=self.why)


class Unreachable(EvolutionFailure):
    """Refused, unknown host, or no free connection: the request never left."""

    code = "unreachable"
    explanation = Sentence("The server cannot be reached; nothing was sent.")
    verdict = FailureVerdict.LINE
    transient = True


class Throttled(EvolutionFailure):
    """Evolution, a proxy or WhatsApp asks to slow down; nothing was sent."""

    code = "throttled"
    explanation = Sentence("Evolution or WhatsApp asks to slow down; nothing was sent.")
    verdict = FailureVerdict.LINE


class ServerNotReady(EvolutionFailure):
    """503: starting, or in maintenance; nothing was sent."""

    code = "server_not_ready"
    explanation = Sentence("The server is starting or in maintenance; nothing was sent.")
    verdict = FailureVerdict.LINE


class NotLicensed(ServerNotReady):
    """503: the server's licence is not active (2.4 and later); nothing was sent."""

    code = "not_licensed"
    explanation = Sentence("The server's licence is not active; nothing was sent.")
    verdict = FailureVerdict.LINE


class NotConnected(EvolutionFailure):
    """The instance has no living WhatsApp socket; Evolution says so in four ways, with 400 and with 500."""

    code = "not_connected"
    explanation = Sentence("The line has no connection to WhatsApp.")
    verdict = FailureVerdict.LINE


class OperationFailed(EvolutionFailure):
    """200 with ``{"error": true}``: restart or connect did not work; the text is of no use."""

    code = "operation_failed"
    explanation = Sentence("Evolution could not do it and does not say why.")
    verdict = FailureVerdict.LINE


class InstanceUnknown(EvolutionFailure):
    """Evolution does not know the instance; answered before the key is checked."""

    code = "instance_unknown"
    explanation = Sentence("Evolution does not know the instance.")
    verdict = FailureVerdict.LINE


class RouteUnknown(EvolutionFailure):
    """404 without an instance: another version, or a base URL that is not Evolution's."""

    code = "route_unknown"
    explanation = Sentence(
        "The server does not know this call: another version, or an address that is not Evolution's."
    )
    verdict = FailureVerdict.LINE


class Unauthorized(EvolutionFailure):
    """The key is missing or wrong, or may not do this."""

    code = "unauthorized"
    explanation = Sentence("The key is missing or wrong, or may not do this.")
    verdict = FailureVerdict.LINE


class InstanceExists(EvolutionFailure):
    """The name is in use."""

    code = "instance_exists"
    explanation = Sentence("The name is in use.")
    verdict = FailureVerdict.REJECTED


class InvalidRequest(EvolutionFailure):
    """Schema or business rule violated, or not available on this channel."""

    code = "invalid_request"
    explanation = Sentence("Evolution refuses the request as it is, or this line cannot do it.")
    verdict = FailureVerdict.REJECTED


class NumberNotOnWhatsApp(EvolutionFailure):
    """Evolution says that the number does not exist; sometimes wrong (contract, section 3, point 5)."""

    code = "number_not_on_whatsapp"
    explanation = Sentence("Evolution says that the number is not on WhatsApp; sometimes it is wrong.")
    verdict = FailureVerdict.REJECTED


class HiddenNumber(EvolutionFailure):
    """Evolution before 2.4 says of every hidden number (LID) that it does not exist."""

    code = "hidden_number"
    explanation = Sentence("Evolution before 2.4 cannot write to a contact who hides the number.")
    verdict = FailureVerdict.REJECTED


class MediaGone(EvolutionFailure):
    """Evolution has not stored the message, or WhatsApp no longer keeps its file."""

    code = "media_gone"
    explanation = Sentence("Evolution has not stored the message, or WhatsApp no longer keeps its file.")
    verdict = FailureVerdict.REJECTED


class TooLarge(EvolutionFailure):
    """413: the body is over the limit of Evolution or of a proxy."""

    code = "too_large"
    explanation = Sentence("It is larger than Evolution, or a proxy before it, takes.")
    verdict = FailureVerdict.REJECTED


class MediaUnreachable(EvolutionFailure):
    """Evolution could not fetch the media URL; nothing was sent."""

    code = "media_unreachable"
    explanation = Sentence("Evolution could not fetch the file from its URL; nothing was sent.")
    verdict = FailureVerdict.RETRY


class NumberCheckTimedOut(EvolutionFailure):
    """The look-up of the number came to no result, which happens before anything is sent."""

    code = "number_check_timed_out"
    explanation = Sentence("The look-up of the number came to no result; nothing was sent.")
    verdict = FailureVerdict.RETRY
    transient = True


class ServerError(EvolutionFailure):
    """Evolution itself answers 5xx in its own envelope: it failed before it sent."""

    code = "server_error"
    explanation = Sentence("Evolution failed before it sent anything.")
    verdict = FailureVerdict.RETRY
    transient = True


class TimedOutAfterRelay(EvolutionFailure):
    """400 "Error: Timed Out": perhaps delivered, and no echo and no status will ever come."""

    code = "timed_out_after_relay"
    explanation = Sentence("WhatsApp did not confirm in time; it was perhaps delivered.")
    verdict = FailureVerdict.UNCERTAIN


class FailedInside(EvolutionFailure):
    """400 with an exception's text: Evolution failed while it was sending, or while it stored what it had sent."""

    code = "failed_inside"
    explanation = Sentence("Evolution failed while it was sending, or while it stored what it had sent.")
    verdict = FailureVerdict.UNCERTAIN


class GatewayFailed(EvolutionFailure):
    """A 5xx that is not Evolution's own: a proxy lost Evolution while it may have been acting."""

    code = "gateway_failed"
    explanation = Sentence("A proxy lost Evolution while it may have been acting.")
    verdict = FailureVerdict.UNCERTAIN
    transient = True


class NoAnswer(EvolutionFailure):
    """Timeout after writing, reset, or closed without an answer: these cannot be told apart from "acted"."""

    code = "no_answer"
    explanation = Sentence("Evolution did not answer, and may have acted.")
    verdict = FailureVerdict.UNCERTAIN
    transient = True


class BadAnswer(EvolutionFailure):
    """An answer that is not JSON, or not of the shape that the contract gives."""

    code = "bad_answer"
    explanation = Sentence("Evolution's answer is not of the kind that was expected.")
    verdict = FailureVerdict.UNCERTAIN


ALL_FAILURES: tuple[type[EvolutionFailure], ...] = (
    Unreachable, Throttled, ServerNotReady, NotLicensed, NotConnected, OperationFailed, InstanceUnknown, RouteUnknown,
    Unauthorized, InstanceExists, InvalidRequest, NumberNotOnWhatsApp, HiddenNumber, MediaGone, TooLarge,
    MediaUnreachable, NumberCheckTimedOut, ServerError, TimedOutAfterRelay, FailedInside, GatewayFailed, NoAnswer,
    BadAnswer,
)  # fmt: skip
"""All failures; :class:`EvolutionClient` raises nothing else."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_HOST = re.compile(r"\b(getaddrinfo \w+) \S+")
_SECRET = re.compile(r"\b(?=\w*\d)[A-Za-z0-9_-]{24,}\b")
_PHONE = re.compile(r"\d{4,}(\d{4})")
_LONGEST_DETAIL = 240  # enough for every recorded message, but not for a stack trace


def sanitize_detail(text: str) -> str:
    """The text without URLs, hosts, long tokens and full phone numbers, on one line and of bounded length."""
    text = _URL.sub("[url]", text[: 4 * _LONGEST_DETAIL])
    text = _HOST.sub(r"\1 [host]", text)
    text = _SECRET.sub("[secret]", text)
    text = _PHONE.sub(r"****\1", text)
    return " ".join(text.split())[:_LONGEST_DETAIL]
