"""Decides when WhatsApp has refused so much, or confirmed so little, that a unit's campaigns must stop or slow down.

A refusal comes some time after Evolution has taken a message, so what is under way counts too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from zapline.domain.messages.delivery_status import REFUSED

MAX_CONSECUTIVE = 5
"""Refusals in a row that stop campaigns: one or two may be those recipients' own matter."""
JUDGED, MAX_OF_JUDGED = 20, 6
"""Refusals among so many of the last messages that stop campaigns."""
TAKEN_AFTER = 30.0
"""Seconds without a refusal after which a message counts as taken: WhatsApp refuses within a few."""
MAX_OPEN, OPEN_SECONDS = 9, 10.0
"""Campaign messages of the last seconds that may be without any word: the refusal of the first may be on its way."""
MAX_SILENT, SILENCE = 20, 60.0
"""So many campaign messages in a row without any word, and so many seconds to wait for one, after which they stop."""
NO_RECEIPTS = "no_receipts"
"""The code of that: nobody's phone has got a message."""
LOOK_BACK = 86_400.0
"""Seconds: what was refused yesterday says little of today."""


@dataclass(frozen=True, slots=True)
class RecentSend:
    """A message that Evolution has taken, or is being asked to take. ``started_at`` in UTC seconds."""

    started_at: float
    campaign: bool
    confirmed: bool = False
    """It has arrived."""
    refusal: str | None = None
    """The failure code, if WhatsApp has refused it."""


@dataclass(frozen=True, slots=True)
class BrakeDecision:
    """``held``: the failure code for which campaigns stop until a person has looked.

    ``wait_until``: no campaign message before (UTC seconds), unless there is news of an earlier one. None: go on.
    """

    held: str | None = None
    wait_until: float | None = None


def decide(sends: Iterable[RecentSend], now: float, heard_since: float | None = None) -> BrakeDecision:
    """What the last messages of a unit mean for its campaigns; their order does not matter. ``now`` in UTC seconds.

    Replies count where they were refused, but one that arrives proves nothing: whoever has written may be answered
    even by a line that may write to no stranger. ``heard_since``: from when on this process has heard what the line
    tells (UTC seconds); None: the server tells of no message whether it has arrived, so that silence means nothing.
    """
    counted = [send for send in sends if send.campaign or send.refusal is not None]
    counted.sort(key=lambda send: (send.started_at, send.refusal or ""), reverse=True)
    judged = [send for send in counted if send.refusal is not None or _is_taken(send, now)]
    refused = [send.refusal for send in judged[:JUDGED] if send.refusal is not None]
    if _count_consecutive(judged) >= MAX_CONSECUTIVE or len(refused) >= MAX_OF_JUDGED:
        return BrakeDecision(held=max(refused, default=REFUSED))
    waiting = [send.started_at for send in counted if send.refusal is None and not _is_taken(send, now)]
    if waiting and judged and judged[0].refusal is not None:
        # Until one is taken, each is a trial of its own.
        return BrakeDecision(wait_until=max(waiting) + TAKEN_AFTER)
    silent = _silent_since(counted) if heard_since is not None else None
    if silent is not None and heard_since is not None:
        wait_until = max(silent, heard_since) + SILENCE
        return BrakeDecision(held=NO_RECEIPTS) if now >= wait_until else BrakeDecision(wait_until=wait_until)
    recent = sorted(at for at in waiting if now - at < OPEN_SECONDS)
    if len(recent) >= MAX_OPEN:
        return BrakeDecision(wait_until=recent[-MAX_OPEN] + OPEN_SECONDS)
    return BrakeDecision()


def _is_taken(send: RecentSend, now: float) -> bool:
    return send.confirmed or now - send.started_at >= TAKEN_AFTER


def _silent_since(counted: list[RecentSend]) -> float | None:
    """When the newest campaign message left, where nothing was heard of so many in a row; ``counted`` newest first."""
    newest = [send for send in counted if send.campaign][:MAX_SILENT]
    heard = any(send.confirmed or send.refusal is not None for send in newest)
    return newest[0].started_at if len(newest) == MAX_SILENT and not heard else None


def _count_consecutive(judged: list[RecentSend]) -> int:
    """Refusals since the last message that was taken; ``judged`` newest first."""
    count = 0
    for send in judged:
        if send.refusal is None:
            break
        count += 1
    return count
