"""Matches echoes of our messages with calls whose answer is missing, one to one.

Evolution has no idempotency key (contract, section 3, point 4), so recipient, content and time decide.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from zapline.domain.ids import ExternalId

CLOCK_SKEW = 60.0
"""Seconds by which Evolution's clock may differ from ours. Its times are whole seconds."""
STORE_CLOCK_SKEW = 5.0
"""The same for messages read from Evolution's store, whose time is known by Evolution's clock alone."""
ACTS_WITHIN = 300.0
"""Seconds after which Evolution no longer carries out a call that we gave up."""
ANSWERED_WITHIN = 5.0
"""The same where Evolution did answer "Timed Out": it had relayed the message before."""


@dataclass(frozen=True, slots=True)
class UnansweredCall:
    """A call without a message id. ``ended_at`` None: it is still under way. ``conversation``: of the merge root."""

    attempt: UUID
    conversation: UUID
    fingerprint: str
    started_at: float
    ended_at: float | None
    answered: bool = False
    """Whether it ended with an answer that says it may have been delivered."""
    hidden: bool = False
    """Whether only the LID of its chat is known, which may be that of any phone."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A message of ours that no call owns. ``received_at`` is by our clock, ``sent_at`` by Evolution's."""

    external_id: ExternalId
    conversation: UUID
    fingerprint: str
    sent_at: float
    received_at: float
    backfilled: bool
    hidden: bool = False
    """As of a call."""


@dataclass(slots=True)
class EchoMatches:
    """``waiting``: a call under way may own the message. ``foreign``: no call of ours sent it.

    ``unlinked``: a call of another chat may own it, should both chats turn out to be one person's.
    """

    pairs: list[tuple[UUID, ExternalId]] = field(default_factory=list)
    waiting: list[ExternalId] = field(default_factory=list)
    foreign: list[ExternalId] = field(default_factory=list)
    unlinked: list[ExternalId] = field(default_factory=list)


def match_echoes(calls: Iterable[UnansweredCall], sightings: Iterable[Sighting]) -> EchoMatches:
    """Pair the sightings of one unit with its unanswered calls.

    Each sighting goes to the latest call before it. While a call with the same content is under way, its possible
    echoes wait, because its answer will name its id.
    """
    groups: defaultdict[tuple[UUID, str], list[UnansweredCall]] = defaultdict(list)
    elsewhere: defaultdict[tuple[str, bool], list[UnansweredCall]] = defaultdict(list)
    for call in calls:
        groups[call.conversation, call.fingerprint].append(call)
        elsewhere[call.fingerprint, call.hidden].append(call)
    matches = EchoMatches()
    for seen in sorted(sightings, key=lambda sighting: (sighting.sent_at, sighting.external_id)):
        group = groups[seen.conversation, seen.fingerprint]
        candidates = [call for call in group if _may_be_echo(call, seen)]
        if any(call.ended_at is None for call in candidates):
            matches.waiting.append(seen.external_id)
        elif candidates:
            chosen = max(candidates, key=lambda call: (call.started_at <= seen.sent_at + 1, call.started_at))
            group.remove(chosen)
            matches.pairs.append((chosen.attempt, seen.external_id))
        elif any(_may_be_echo(call, seen) for call in elsewhere[seen.fingerprint, not seen.hidden]):
            matches.unlinked.append(seen.external_id)
        else:
            matches.foreign.append(seen.external_id)
    return matches


def _may_be_echo(call: UnansweredCall, seen: Sighting) -> bool:
    """Whether the times allow that this call sent the message."""
    if seen.backfilled:
        if seen.sent_at < call.started_at - 1 - STORE_CLOCK_SKEW:
            return False
    elif seen.received_at < call.started_at or seen.sent_at < call.started_at - CLOCK_SKEW:
        return False
    if call.ended_at is None:
        return True
    return seen.sent_at <= call.ended_at + (ANSWERED_WITHIN + CLOCK_SKEW if call.answered else ACTS_WITHIN)
