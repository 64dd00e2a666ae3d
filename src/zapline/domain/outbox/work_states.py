"""Defines the work states of an outgoing message, the allowed transitions between them, and the two lanes."""

from collections.abc import Mapping
from enum import StrEnum


class Lane(StrEnum):
    """Replies go before campaigns. The names sort that way in SQL too, descending."""

    REPLY = "reply"
    CAMPAIGN = "campaign"


class WorkState(StrEnum):
    """Where the work on a message stands; how far it has come to its reader is its delivery, another matter."""

    QUEUED = "queued"
    """To be sent when it is due. A crash changes nothing."""
    LEASED = "leased"
    """A sender has claimed it and may have called Evolution. A crash makes it uncertain."""
    UNCERTAIN = "uncertain"
    """It may have been delivered: never sent again blindly. An echo, Evolution's store or a person decides."""
    SETTLED = "settled"
    """Evolution took it."""
    DEAD = "dead"
    """Refused, or failed three times by its own fault; nothing was sent."""
    CANCELLED = "cancelled"
    """A person took it back while it was queued, or gave up an uncertain one."""
    EXPIRED = "expired"
    """Its time was over before it could be sent."""


WORK_TRANSITIONS: Mapping[WorkState, frozenset[WorkState]] = {
    WorkState.QUEUED: frozenset({WorkState.LEASED, WorkState.CANCELLED, WorkState.EXPIRED, WorkState.SETTLED}),
    WorkState.LEASED: frozenset({WorkState.QUEUED, WorkState.SETTLED, WorkState.DEAD, WorkState.UNCERTAIN}),
    WorkState.UNCERTAIN: frozenset({WorkState.QUEUED, WorkState.SETTLED, WorkState.CANCELLED}),
    # A late echo shows that it was delivered all the same: the truth wins.
    WorkState.DEAD: frozenset({WorkState.SETTLED, WorkState.QUEUED}),
    WorkState.CANCELLED: frozenset({WorkState.SETTLED}),
    WorkState.EXPIRED: frozenset({WorkState.SETTLED}),
    WorkState.SETTLED: frozenset(),
}
"""The allowed moves. ``QUEUED`` to ``SETTLED``: the echo of an earlier call came while it waited for another."""

MAX_TRIES = 3
