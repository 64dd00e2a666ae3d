"""What Evolution is asked to tell, and why some of it is left out."""

from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.supervisors.units.registration import WEBHOOK_EVENTS

AWAITED_BY_EVOLUTION = frozenset({"MESSAGES_EDITED"})
"""Evolution 2.2 to 2.4 awaits these webhooks inside a line's event queue: a receiver that is away stops the line's
intake, and what waits behind such a webhook is stored nowhere when Evolution ends."""
EDITS_AND_DELETIONS = frozenset({"MESSAGES_UPDATE", "MESSAGES_DELETE"})
"""These tell the same, and nothing waits for them."""


def test_nothing_is_subscribed_to_for_which_evolution_waits() -> None:
    assert not AWAITED_BY_EVOLUTION & set(WEBHOOK_EVENTS)


def test_edits_and_deletions_come_by_the_events_that_stop_nothing() -> None:
    assert set(WEBHOOK_EVENTS) >= EDITS_AND_DELETIONS


def test_only_events_that_evolution_knows_are_asked_for_each_once() -> None:
    assert set(WEBHOOK_EVENTS) <= set(EVENTS)
    assert len(set(WEBHOOK_EVENTS)) == len(WEBHOOK_EVENTS)
