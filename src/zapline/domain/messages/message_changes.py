"""Decides whether a message of ours can still be edited or deleted for everyone."""

from dataclasses import dataclass

from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import MessageKind
from zapline.domain.text import Sentence

EDIT_SECONDS = 15 * 60.0
"""WhatsApp's own limit since the message was sent; later edits are thrown away by the phones that get them. Evolution
2.3 and 2.4 mean to check it and do not: they compare seconds with milliseconds."""
DELETE_SECONDS = 60 * 3600.0
"""Two days and twelve hours: WhatsApp's limit for deleting for everyone."""
_WITH_TEXT = frozenset({MessageKind.TEXT, MessageKind.IMAGE, MessageKind.VIDEO})
"""Evolution edits these and no others: documents have captions too, and it refuses them."""
_NEVER = frozenset({MessageKind.CALL_LOG, "reaction"})


@dataclass(frozen=True, slots=True)
class Changeable:
    """What the decision needs of a message. ``sent_at``: UTC seconds."""

    kind: str
    from_me: bool
    has_id: bool
    delivery: str | None
    settled: bool
    """Not one that is to be sent, or only perhaps was."""
    deleted: bool
    sent_at: float


def refusal_of_edit(message: Changeable, now: float) -> Sentence | None:
    """Why the message cannot be edited; None: it can."""
    refusal = _refusal(message)
    if refusal is not None:
        return refusal
    if message.deleted:
        return Sentence("the message was deleted")
    if message.kind not in _WITH_TEXT:
        return Sentence("only texts, and the captions of pictures and videos, can be edited")
    if now - message.sent_at > EDIT_SECONDS:
        return Sentence("WhatsApp lets a message be edited for 15 minutes")
    return None


def refusal_of_deletion(message: Changeable, now: float) -> Sentence | None:
    """Why the message cannot be deleted for everyone; None: it can."""
    refusal = _refusal(message)
    if refusal is None and now - message.sent_at > DELETE_SECONDS:
        return Sentence("WhatsApp lets a message be deleted for everyone for two and a half days")
    return refusal


def _refusal(message: Changeable) -> Sentence | None:
    if not message.from_me or message.kind in _NEVER:
        return Sentence("only what the unit itself has written can be changed")
    if not message.has_id or not message.settled:
        return Sentence("the message has not been sent, or not surely")
    if message.delivery == DeliveryStatus.FAILED.label:
        return Sentence("the message was not delivered")
    return None
