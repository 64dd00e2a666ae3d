"""Defines the payloads of events about contacts, groups and calls, and builds them from stored rows."""

from typing import Any
from uuid import UUID

from zapline.domain.timestamps import iso
from zapline.supervisors.notifications.event_payloads import UnitPayload


class ContactPayload(UnitPayload, frozen=True):
    """What is known of a contact or a group, as it is now."""

    contact: str
    """As the API names it: a phone with its plus, `lid:` and digits, or a group's address."""
    phone: str | None
    lid: str | None
    name: str | None
    """What a person is called, or the subject of a group."""
    username: str | None
    conversation_id: UUID | None


class CallPayload(UnitPayload, frozen=True):
    """A call, as far as WhatsApp has told of it; each mark that is true was told. The call itself is a message, too."""

    message_id: UUID
    external_id: str | None
    conversation_id: UUID
    contact: str
    phone: str | None
    offered: bool
    ended: bool
    """Hung up, or taken on another phone: WhatsApp does not say which."""
    missed: bool
    rejected: bool
    accepted: bool
    video: bool
    group: bool
    at: str | None


def contact_payload(row: Any) -> ContactPayload:
    """For a row of a contact or a group."""
    return ContactPayload(
        unit_id=row.unit_id,
        contact=row.canonical,
        phone=row.phone,
        lid=row.lid,
        name=row.name,
        username=row.username,
        conversation_id=row.conversation_id,
    )


_CALL_MARKS = ("offered", "ended", "missed", "rejected", "accepted", "video", "group")


def call_payload(row: Any) -> CallPayload:
    """For a message's row that is a call."""
    marks = row.detail or {}
    return CallPayload(
        unit_id=row.unit_id,
        message_id=row.id,
        external_id=row.external_id,
        conversation_id=row.conversation_id,
        contact=row.canonical,
        phone=row.phone,
        at=iso(row.sent_at),
        **{mark: marks.get(mark) is True for mark in _CALL_MARKS},
    )
