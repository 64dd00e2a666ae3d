"""Decides about webhooks to the CRM: their events, their signature, and when what failed is tried again."""

from enum import StrEnum


class CrmWebhookEvent(StrEnum):
    """What a hook may be told."""

    MESSAGE_RECEIVED = "message.received"
    MESSAGE_SENT = "message.sent"
    """Written by the line's own people on a phone; what was asked of Zapline is told by its deliveries."""
    MESSAGE_DELIVERY = "message.delivery"
    MESSAGE_EDITED = "message.edited"
    MESSAGE_DELETED = "message.deleted"
    UNIT_STATUS = "unit.status"
    CAMPAIGN_STATE = "campaign.state"


TEST_EVENT = "hook.test"
"""What a person asks for; no hook is without it."""

_WAITS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 6 * 3600.0, 6 * 3600.0)
"""Seconds before each further try: soon for a restart of the CRM, a day in all for a night without anybody."""
_JITTER = 0.2
"""Part of a wait that chance takes away, so that what failed together does not come back together."""
MAX_RETRY_AFTER = 3600.0
"""Seconds that a CRM may ask us to wait by Retry-After."""
DISABLE_AFTER_DAYS = 3.0
"""After so many days without a success a hook is disabled: nobody is there."""
PAUSE_AFTER_FAILURES = 3
"""Failures in a row after which it is the CRM that is ill, not one delivery."""
_LONGEST_REST = 60.0
"""Seconds between two tries of a CRM that is ill, whatever waits for it."""


class DeliveryVerdict(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    GONE = "gone"
    """The CRM wants no more of it, ever (410)."""
    FAILED = "failed"


def verdict_of_status(status: int) -> DeliveryVerdict:
    """What a status means. A redirection is a failure: what is signed for one address is for no other."""
    if 200 <= status < 300:
        return DeliveryVerdict.DELIVERED
    return DeliveryVerdict.GONE if status == 410 else DeliveryVerdict.FAILED


def retry_delay(tries: int, spread: float, asked: float | None = None) -> float | None:
    """Seconds until the next try after ``tries`` failures; None: it was the last one.

    ``spread`` in 0..1 is drawn by the caller. ``asked``: what the CRM asked for.
    """
    if tries > len(_WAITS):
        return None
    wait = _WAITS[tries - 1] * (1 - _JITTER * spread)
    return max(wait, min(asked, MAX_RETRY_AFTER)) if asked is not None else wait


def endpoint_pause(failures: int) -> float:
    """Seconds for which a CRM is left alone after so many failures in a row."""
    over = failures - PAUSE_AFTER_FAILURES
    return min(2.0 ** min(over, 10), _LONGEST_REST) if over >= 0 else 0.0
