"""Describes the webhooks sent to the CRM, for the OpenAPI document: Standard Webhooks, one schema for each event."""

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from zapline.domain.crm_webhooks import TEST_EVENT, CrmWebhookEvent
from zapline.http.api.documentation.openapi import WebhookEvent
from zapline.http.api.framework.json_bodies import Timestamp
from zapline.supervisors.notifications.contact_payloads import CallPayload, ContactPayload
from zapline.supervisors.notifications.crm_webhook_payloads import HookTestPayload
from zapline.supervisors.notifications.event_payloads import (
    CampaignPayload,
    DeliveryPayload,
    MessagePayload,
    ReactionPayload,
    StatusPayload,
    VotePayload,
)

T = TypeVar("T")
_Timestamp = Annotated[Timestamp, Meta(description="When it happened.")]


class _Event(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of every event."""

    type: str
    timestamp: _Timestamp
    data: T


class MessageEvent(_Event[MessagePayload], frozen=True):
    """A message, whole."""


class DeliveryEvent(_Event[DeliveryPayload], frozen=True):
    """What has changed of a message."""


class ReactionEvent(_Event[ReactionPayload], frozen=True):
    """A reaction to a message."""


class VoteEvent(_Event[VotePayload], frozen=True):
    """A vote in a poll."""


class CallEvent(_Event[CallPayload], frozen=True):
    """A call, or what has become of it."""


class ContactEvent(_Event[ContactPayload], frozen=True):
    """A contact or a group."""


class StatusEvent(_Event[StatusPayload], frozen=True):
    """A line's status."""


class CampaignEvent(_Event[CampaignPayload], frozen=True):
    """A campaign's state."""


class TestEvent(_Event[HookTestPayload], frozen=True):
    """A test that somebody asked for."""


_HEADERS = {
    "webhook-id": "The same at every try: drop what you have seen.",
    "webhook-timestamp": "Seconds since the epoch at which this try was made; refuse what is older than five minutes.",
    "webhook-signature": (
        "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}` with the hook's key; "
        "two of them with a space between while a key is being replaced."
    ),
}
_EVENTS = {
    CrmWebhookEvent.MESSAGE_RECEIVED: ("A message came in", MessageEvent),
    CrmWebhookEvent.MESSAGE_SENT: ("The line's own people wrote a message on a phone", MessageEvent),
    CrmWebhookEvent.MESSAGE_DELIVERY: ("A message has come further, or failed", DeliveryEvent),
    CrmWebhookEvent.MESSAGE_EDITED: ("A message was edited", MessageEvent),
    CrmWebhookEvent.MESSAGE_DELETED: ("A message was deleted", DeliveryEvent),
    CrmWebhookEvent.MESSAGE_REACTION: ("Somebody reacted to a message, or took it back", ReactionEvent),
    CrmWebhookEvent.POLL_VOTE: ("Somebody voted in a poll, or took it back", VoteEvent),
    CrmWebhookEvent.CALL_CHANGED: ("A call came in, or what is known of it has changed", CallEvent),
    CrmWebhookEvent.CONTACT_CHANGED: ("A contact's name, username, phone or LID has changed", ContactEvent),
    CrmWebhookEvent.GROUP_CHANGED: ("A group's subject has changed", ContactEvent),
    CrmWebhookEvent.UNIT_STATUS: ("The line's status has changed", StatusEvent),
    CrmWebhookEvent.CAMPAIGN_STATE: ("A campaign has started, ended, or was paused", CampaignEvent),
    TEST_EVENT: ("A person asked for a test", TestEvent),
}
WEBHOOK_EVENTS: Sequence[WebhookEvent] = [
    WebhookEvent(str(event), summary, body, _HEADERS) for event, (summary, body) in _EVENTS.items()
]
