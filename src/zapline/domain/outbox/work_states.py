"""Defines the work states of an outgoing message, the allowed transitions between them, and the two lanes."""

from collections.abc import Mapping
from enum import StrEnum


class Lane(StrEnum):
    """Replies go before campaigns. The names sort that way in SQL too, descending."""

    REPLY = "reply"
    CAMPAIGN = "campaign"


class WorkState(StrEnum):
    """How far the sending of a message has come; how far it is on its way to the reader is its ``DeliveryStatus``."""

    QUEUED = "queued"
    """To be sent when it is due. A crash changes nothing."""
    LEASED = "leased"
    """A sender has claimed it and may have called Evolution. A crash makes it uncertain."""
    UNCERTAIN = "uncertain"
    """It may have been delivered, so it is not sent again blindly. An echo, Evolution's store or a person decides."""
    SETTLED = "settled"
    """Evolution accepted it."""
    DEAD = "dead"
    """Refused, or failed three times for reasons of its own; nothing was sent."""
    CANCELLED = "cancelled"
    """A person cancelled it while it was queued, or gave it up while it was uncertain."""
    EXPIRED = "expired"
    """It expired before it could be sent."""


WORK_TRANSITIONS: Mapping[WorkState, frozenset[WorkState]] = {
    WorkState.QUEUED: frozenset({WorkState.LEASED, WorkState.CANCELLED, WorkState.EXPIRED, WorkState.SETTLED}),
    WorkState.LEASED: frozenset({WorkState.QUEUED, WorkState.SETTLED, WorkState.DEAD, WorkState.UNCERTAIN}),
    WorkState.UNCERTAIN: frozenset({WorkState.QUEUED, WorkState.SETTLED, WorkState.CANCELLED}),
    # A late echo proves that it was delivered after all.
    WorkState.DEAD: frozenset({WorkState.SETTLED, WorkState.QUEUED}),
    WorkState.CANCELLED: frozenset({WorkState.SETTLED}),
    WorkState.EXPIRED: frozenset({WorkState.SETTLED}),
    WorkState.SETTLED: frozenset(),
}
"""``QUEUED`` to ``SETTLED``: the echo of an earlier call arrives while the message waits for another call."""

MAX_TRIES = 3
RESEND_PREFIX = "console:again:"
"""Prefix of the client ids of messages that are sent again; the id of the failed message follows."""
FAILED_DAYS = 7
"""Days for which a failed message is shown."""
