"""Describes in one line each what happened to a unit, from the recent live events."""

from dataclasses import dataclass
from typing import Any

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.privacy.masking import mask_phone
from zapline.http.console.framework import state_labels
from zapline.http.console.framework.formatting import number
from zapline.http.console.framework.translation import N_, _
from zapline.supervisors.notifications.live_feed import EventKind, LiveEvent, LiveFeed

MAX_EVENTS = 50
_KINDS = {
    EventKind.STATUS: N_("line"),
    EventKind.QR: N_("QR code"),
    EventKind.MESSAGE: N_("message"),
    EventKind.DELIVERY: N_("delivery"),
    EventKind.REACTION: N_("reaction"),
    EventKind.VOTE: N_("vote"),
    EventKind.CAMPAIGN: N_("campaign"),
}


@dataclass(frozen=True, slots=True)
class Activity:
    """One line; ``at`` in UTC seconds."""

    at: float
    kind: str
    text: str


def recent_activity(feed: LiveFeed, unit: UnitId) -> list[Activity]:
    """The last events of the unit, the newest first; phones are masked, and no message text is included."""
    return [
        Activity(event.at, _(_KINDS[event.kind]), _event_text(event))
        for event in feed.recent(unit, MAX_EVENTS)
        if event.kind in _KINDS
    ]


def _event_text(event: LiveEvent) -> str:
    data: dict[str, Any] = msgspec.json.decode(event.data)
    match event.kind:
        case EventKind.STATUS:
            return _(data["sentence"])
        case EventKind.QR:
            return _("a new code to scan") if data["available"] else _("no code to scan any more")
        case EventKind.MESSAGE:
            return _message(data)
        case EventKind.DELIVERY:
            return _delivery(data)
        case EventKind.REACTION:
            return _("somebody reacted to a message") if data["emoji"] else _("a reaction was taken back")
        case EventKind.VOTE:
            return _("somebody voted in a poll") if data["options"] != [] else _("a vote was taken back")
        case EventKind.CAMPAIGN:
            return _campaign(data)
    return event.kind.value


def _message(data: dict[str, Any]) -> str:
    who, what = mask_phone(data["contact"] or "") or "?", state_labels.message_kind(data["kind"])
    if data["backfilled"]:
        return _("{what} with {who}, read back from Evolution", what=what, who=who)
    return _("{what} to {who}", what=what, who=who) if data["fromMe"] else _("{what} from {who}", what=what, who=who)


def _delivery(data: dict[str, Any]) -> str:
    if data["failure"]:
        return _(failure_text(data["failure"]))
    if data["deleted"]:
        return _("a message was deleted")
    if data["edited"]:
        return _("a message was changed")
    if data["deliveryStatus"]:
        return _("a message is: {state}", state=state_labels.delivery_status(data["deliveryStatus"]))
    return _("a message is: {state}", state=state_labels.work_state(data["workState"] or ""))


def _campaign(data: dict[str, Any]) -> str:
    state, counts = state_labels.campaign_state(data["state"]), data["counts"] or {}
    if not counts:
        return _("a campaign is: {state}", state=state)
    sent = number(sum(counts.get(each, 0) for each in ("sent", "delivered", "read")))
    return _("a campaign is: {state}; {sent} of {all} sent", state=state, sent=sent, all=number(sum(counts.values())))
