"""What Evolution is asked to tell, and why some of it is left out."""

from uuid import uuid4

from zapline.domain.ids import UnitId
from zapline.evolution.webhooks.event_parser import READ_EVENTS
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sql.postgres.connection import connect
from zapline.sql.units.units import end_earlier_secrets, insert_unit, load_units, rotate_secret
from zapline.supervisors.inbound.server_standing import RegistrationReport
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.registration import WEBHOOK_EVENTS, has_confirmed_secret
from zapline.supervisors.units.roster import decode_snapshot, encode_snapshot
from zapline.supervisors.units.webhook_authentication import WebhookAuthentication, digest_secret

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


# -- rotated secrets ---------------------------------------------------------------------------------------------

SECRETS = [f"secret {number}" for number in range(1, 5)]
DIGESTS = [digest_secret(secret) for secret in SECRETS]


async def rotated(database: str, times: int) -> Unit:
    """A unit whose secret was rotated so often, with no grace period."""
    id = UnitId(uuid4())
    async with await connect(database, role="zapline_engine") as conn:
        await insert_unit(conn, id=id, name="u", instance="loja", secret_digest=DIGESTS[0], time_zone="UTC")
        for generation in range(2, times + 2):
            assert await rotate_secret(conn, id, generation, DIGESTS[generation - 1], -1) is not None
        (record,) = await load_units(conn)
    (again,) = decode_snapshot(encode_snapshot([record]))
    assert again.earlier_digests == record.earlier_digests
    return Unit(record)


def valid(unit: Unit) -> list[bool]:
    authentication = WebhookAuthentication()
    authentication.update([unit])
    return [isinstance(authentication.by_secret("evolution", secret), Unit) for secret in SECRETS]


async def test_every_earlier_secret_is_valid_until_evolution_was_seen_to_use_the_new_one(database: str) -> None:
    unit = await rotated(database, 2)
    until = unit.record.previous_until
    assert until is not None
    assert valid(unit) == [True, True, True, False]
    for report in (None, RegistrationReport(until - 1), RegistrationReport(until + 1, ("url",))):
        unit.registration = report
        assert not has_confirmed_secret(unit)
    unit.registration = RegistrationReport(until + 1)
    assert has_confirmed_secret(unit)
    async with await connect(database, role="zapline_engine") as conn:
        await end_earlier_secrets(conn, unit.id, 2)  # of a rotation that is not the last one
        assert len((await load_units(conn))[0].earlier_digests) == 2
        await end_earlier_secrets(conn, unit.id, 3)
        (unit.record,) = await load_units(conn)
    assert valid(unit) == [False, False, True, False]
