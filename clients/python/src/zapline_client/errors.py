"""What can go wrong for a caller: a problem that Zapline names, no answer at all, a webhook that is not Zapline's."""

from collections.abc import Mapping, Sequence
from typing import Any


class ZaplineError(Exception):
    """All errors of this client."""


class ZaplineProblem(ZaplineError):
    """Zapline's own answer that it cannot be done (RFC 9457). ``code`` is for programs and keeps its meaning.

    ``retryable``: the same request may succeed later, after ``retry_after`` seconds where that is told.
    ``errors`` names the fields of a request that does not validate.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if detail else f"{status} {code}")
        self.status, self.code, self.detail = status, code, detail
        self.retryable, self.retry_after, self.errors = retryable, retry_after, errors


class Unanswered(ZaplineError):
    """No answer came, so nobody knows whether it was done. Asking again is safe where ``safe_to_repeat``.

    A message or a campaign is repeated under its own name: give ``client_id`` as ``client_message_id`` again.
    """

    def __init__(self, text: str, *, safe_to_repeat: bool, client_id: str | None = None) -> None:
        super().__init__(text)
        self.safe_to_repeat, self.client_id = safe_to_repeat, client_id


class InvalidWebhook(ZaplineError):
    """Not signed with one of the secrets, too old, or no event: answer 400 and do nothing. The text says which."""


class StreamTooLarge(ZaplineError):
    """An event of the stream is larger than any of Zapline's: this is not its stream."""
