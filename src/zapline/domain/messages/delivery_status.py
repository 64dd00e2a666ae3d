"""Merges delivery statuses of a message; reports may come late, twice and in any order, and never lower it."""

from collections.abc import Iterable
from enum import IntEnum


class DeliveryStatus(IntEnum):
    """How far a message has come; a later report never lowers it. Same order as the SQL enum ``zapline.delivery``.

    ``FAILED`` stands between sent and delivered: it overrides "sent", and any proof of arrival overrides it
    (contract, section 3, point 3).
    """

    QUEUED, SENT, FAILED, DELIVERED, READ, PLAYED = range(6)

    @property
    def label(self) -> str:
        return self.name.lower()


EVOLUTION_STATUSES = {
    "ERROR": DeliveryStatus.FAILED,
    "PENDING": DeliveryStatus.QUEUED,
    "SERVER_ACK": DeliveryStatus.SENT,
    "DELIVERY_ACK": DeliveryStatus.DELIVERED,
    "READ": DeliveryStatus.READ,
    "PLAYED": DeliveryStatus.PLAYED,
}
"""Evolution's names of statuses (contract, section 2, messages.update). ``DELETED`` is missing on purpose: it is a
deletion in 1.x and by API, and a missing status in 2.3.0-2.3.6."""


REFUSED = "whatsapp_refused"
"""Failure code of a message that WhatsApp refused after Evolution had taken it."""
REFUSED_TOO_MANY = "whatsapp_refused_463"
"""The same where WhatsApp's own code is known: too many chats with people who do not know the line."""
_TOO_MANY_STRANGERS = 463


def refusal_code(codes: Iterable[object]) -> str:
    """The failure code for what WhatsApp said with its refusal. The greater of two codes says more."""
    return REFUSED_TOO_MANY if any(str(code).strip() == str(_TOO_MANY_STRANGERS) for code in codes) else REFUSED


def merge_statuses(known: DeliveryStatus | None, reported: DeliveryStatus | None) -> DeliveryStatus | None:
    """The higher of both; commutative, associative and idempotent, as SQL's ``greatest``."""
    if known is None:
        return reported
    if reported is None:
        return known
    return max(known, reported)
