"""Defines the events of webhooks to the CRM, and decides when a failed delivery is retried or a hook disabled."""

import re
from collections.abc import Mapping
from enum import StrEnum

from zapline.domain.errors import InvalidField
from zapline.domain.text import Sentence


class CrmWebhookEvent(StrEnum):
    """What a hook may be told."""

    MESSAGE_RECEIVED = "message.received"
    MESSAGE_SENT = "message.sent"
    """Written by the unit's people on a phone; messages that Zapline sends are reported by their deliveries."""
    MESSAGE_DELIVERY = "message.delivery"
    MESSAGE_EDITED = "message.edited"
    MESSAGE_DELETED = "message.deleted"
    MESSAGE_REACTION = "message.reaction"
    POLL_VOTE = "poll.vote"
    CALL_CHANGED = "call.changed"
    """A call has come in, or what is known of it has changed."""
    CONTACT_CHANGED = "contact.changed"
    GROUP_CHANGED = "group.changed"
    UNIT_STATUS = "unit.status"
    CAMPAIGN_STATE = "campaign.state"


TEST_EVENT = "hook.test"
"""The event that a person requests to test a hook; every hook receives it."""

_RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 6 * 3600.0, 6 * 3600.0)
"""Seconds before each retry: short at first for a restart of the CRM, a day in all for a night without staff."""
_JITTER = 0.2
"""Random part by which a delay is shortened, so that deliveries that failed together do not return together."""
MAX_RETRY_AFTER = 3600.0
"""Longest Retry-After, in seconds, that is honoured."""
DISABLE_AFTER_DAYS = 3.0
"""Days without a successful delivery after which a hook is disabled."""
PAUSE_AFTER_FAILURES = 3
"""Consecutive failures after which the endpoint, not one delivery, is taken to be at fault."""
_LONGEST_PAUSE = 60.0
"""Seconds between two attempts at an endpoint that keeps failing."""


class DeliveryVerdict(StrEnum):
    """What a response of the CRM means for a delivery."""

    DELIVERED = "delivered"
    GONE = "gone"
    """The CRM wants no more deliveries (410)."""
    FAILED = "failed"


def verdict_of_status(status: int) -> DeliveryVerdict:
    """The verdict of an HTTP status. A redirection fails: a body signed for one address is not sent to another."""
    if 200 <= status < 300:
        return DeliveryVerdict.DELIVERED
    return DeliveryVerdict.GONE if status == 410 else DeliveryVerdict.FAILED


def retry_delay(failures: int, spread: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next attempt after ``failures`` failures; None: there is none.

    ``spread`` in 0..1 is drawn by the caller; ``retry_after`` is what the CRM asked for.
    """
    if failures > len(_RETRY_DELAYS):
        return None
    delay = _RETRY_DELAYS[failures - 1] * (1 - _JITTER * spread)
    return max(delay, min(retry_after, MAX_RETRY_AFTER)) if retry_after is not None else delay


def endpoint_pause(failures: int) -> float:
    """Seconds without any delivery to an endpoint after so many consecutive failures."""
    over = failures - PAUSE_AFTER_FAILURES
    return min(2.0 ** min(over, 10), _LONGEST_PAUSE) if over >= 0 else 0.0


MAX_HEADERS = 10
"""Headers of its own that a hook may have."""
MAX_HEADER_VALUE = 1024
"""Characters of one."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OWN_HEADERS = frozenset(
    {
        *("host", "content-type", "content-length", "content-encoding", "user-agent", "date"),
        *("connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
    }
)
"""Headers that Zapline writes itself, or that belong to the connection."""


class InvalidHeader(InvalidField):
    """A header of a hook is not acceptable; the text says why."""


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go with each delivery of a hook. Raises InvalidHeader; no value is in its text."""
    if len(headers) > MAX_HEADERS:
        raise InvalidHeader(Sentence("holds at most {limit} headers", limit=MAX_HEADERS), "headers")
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidHeader("names a header twice", "headers")
    for name, value in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise InvalidHeader("holds a name that no header has", "headers")
        if name.lower() in _OWN_HEADERS or name.lower().startswith(("webhook-", "proxy-")):
            raise InvalidHeader(Sentence("holds {name}, which Zapline writes itself", name=name), "headers")
        if not (
            1 <= len(value) <= MAX_HEADER_VALUE and value.isascii() and value.isprintable() and value == value.strip()
        ):
            raise InvalidHeader("holds a value that is not one line of 1 to 1024 plain characters", "headers")
    return dict(headers)
