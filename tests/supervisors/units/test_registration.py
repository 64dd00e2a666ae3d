"""What Evolution is asked to tell, and why some of it is left out."""

from zapline.evolution.webhooks.event_parser import READ_EVENTS
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.supervisors.units.registration import WEBHOOK_EVENTS

AWAITED_BY_EVOLUTION = frozenset({"MESSAGES_EDITED"})
"""Evolution 2.2 to 2.4 awaits these webhooks inside a line's event queue: a receiver that is away stops the line's
intake, and what waits behind such a webhook is stored nowhere when Evolution ends."""
EDITS_AND_DELETIONS = frozenset({"MESSAGES_UPDATE", "MESSAGES_DELETE"})
"""These tell the same, and nothing waits for them."""
NOT_ASKED_FOR = {
    "messages.edited": AWAITED_BY_EVOLUTION,
    "chats.upsert": "twice the traffic, and names that contacts.* tell too",
    "chats.update": "the same",
    "contacts.set": "no version from 2.2 on sends it: contacts.upsert tells the same",
    "instance.create": "we create the instance ourselves",
    "messaging-history.set": "2.4 alone sends it, and nothing but its progress",
    "groups.update": "GROUP_UPDATE is its name in a registration",
}
"""Events that are read where they come all the same (another webhook of the server, a history that was recorded)."""


def test_every_event_that_says_something_is_asked_for() -> None:
    asked_for = {name.lower() for name in WEBHOOK_EVENTS}
    left_out = {event for event in READ_EVENTS if event.replace(".", "_").replace("-", "_") not in asked_for}
    assert left_out == set(NOT_ASKED_FOR)


def test_nothing_is_subscribed_to_for_which_evolution_waits() -> None:
    assert not AWAITED_BY_EVOLUTION & set(WEBHOOK_EVENTS)


def test_edits_and_deletions_come_by_the_events_that_stop_nothing() -> None:
    assert set(WEBHOOK_EVENTS) >= EDITS_AND_DELETIONS


def test_only_events_that_evolution_knows_are_asked_for_each_once() -> None:
    assert set(WEBHOOK_EVENTS) <= set(EVENTS)
    assert len(set(WEBHOOK_EVENTS)) == len(WEBHOOK_EVENTS)
