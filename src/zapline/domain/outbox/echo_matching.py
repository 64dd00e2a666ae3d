"""Decides which echo belongs to which call whose answer is missing: one to one, never against the clock.

Evolution has no idempotency key (contract, section 3, point 4): recipient, content and time are all there is.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from zapline.domain.ids import ExternalId

CLOCK_SKEW = 60.0
"""Seconds by which Evolution's clock may differ from ours. Its times are whole seconds."""
STORE_CLOCK_SKEW = 5.0
"""The same for what is read back from the store, where nothing but its clock says when it was."""
ACTS_WITHIN = 300.0
"""Seconds after which a call that we gave up is not carried out any more."""
ANSWERED_WITHIN = 5.0
"""The same where Evolution did answer, with "Timed Out": it had relayed the message before."""


@dataclass(frozen=True, slots=True)
class UnansweredCall:
    """A call without an id. ``ended_at`` None: it is still under way. ``conversation`` is the root's."""

    attempt: UUID
    conversation: UUID
    fingerprint: str
    started_at: float
    ended_at: float | None
    answered: bool = False
    """It ended with an answer that says it may have been delivered."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message of ours that nobody owns. ``received_at`` is by our clock, ``sent_at`` by Evolution's."""

    external_id: ExternalId
    conversation: UUID
    fingerprint: str
    sent_at: float
    received_at: float
    backfilled: bool


@dataclass(slots=True)
class EchoMatches:
    """``waiting``: a call under way may own it. ``foreign``: nobody of ours sent it."""

    pairs: list[tuple[UUID, ExternalId]] = field(default_factory=list)
    waiting: list[ExternalId] = field(default_factory=list)
    foreign: list[ExternalId] = field(default_factory=list)


def match_echoes(calls: Iterable[UnansweredCall], sightings: Iterable[Sighting]) -> EchoMatches:
    """Pair the sightings of one unit with its open calls.

    Each sighting goes to the latest call before it. While a call with the same content is under way, what may be
    its echo waits: its own answer says better which id is its.
    """
    groups: defaultdict[tuple[UUID, str], list[UnansweredCall]] = defaultdict(list)
    for call in calls:
        groups[call.conversation, call.fingerprint].append(call)
    made = EchoMatches()
    for seen in sorted(sightings, key=lambda each: (each.sent_at, each.external_id)):
        group = groups[seen.conversation, seen.fingerprint]
        fitting = [call for call in group if _fits(call, seen)]
        if any(call.ended_at is None for call in fitting):
            made.waiting.append(seen.external_id)
        elif fitting:
            chosen = max(fitting, key=lambda call: (call.started_at <= seen.sent_at + 1, call.started_at))
            group.remove(chosen)
            made.pairs.append((chosen.attempt, seen.external_id))
        else:
            made.foreign.append(seen.external_id)
    return made


def _fits(call: UnansweredCall, seen: Sighting) -> bool:
    """Whether the message may have been sent by this call, as far as time tells."""
    if seen.backfilled:
        if seen.sent_at < call.started_at - 1 - STORE_CLOCK_SKEW:
            return False
    elif seen.received_at < call.started_at or seen.sent_at < call.started_at - CLOCK_SKEW:
        return False
    if call.ended_at is None:
        return True
    return seen.sent_at <= call.ended_at + (ANSWERED_WITHIN + CLOCK_SKEW if call.answered else ACTS_WITHIN)
