"""Every recorded body has its expected outcome, in any order, once."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack
from support.recorded_webhooks import BODIES, CONNECTION_EVENTS, for_instance

from zapline.supervisors.inbound import recorder

EXPECTED = {
    "application.startup": "ignored application_startup",
    "call-offer": "message call_log ABCDEF1234567890",
    "call-terminate": "message call_log ABCDEF1234567890",
    "chats.delete-array": "ignored chats",
    "chats.set-history": "contact +5511999990010=Histórico",
    "chats.upsert-array": "contact +5511999990009=Carlos",
    "connection.update-close-401": "connection Closed",
    "connection.update-connecting-first-no-sender": "connection ConnectingSeen",
    "connection.update-connecting": "connection ConnectingSeen",
    "connection.update-open": "connection Opened",
    "connection.update-refused-qr-limit": "connection QrLimitReached",
    "contacts.update-array": "ignored contact_without_name",
    "contacts.upsert-array": "contact +5511999990009=Carlos",
    "contacts.upsert-object": "contact +5511999990001=Maria Silva",
    "group-participants.update-add": "contact +5511999990001, lid:111222333444555",
    "groups.upsert": "contact group:120363025246125486@g.us=Equipe Vendas",
    "instance.create": "connection InstanceCreated",
    "instance.delete": "connection InstanceRemoved",
    "labels.edit": "ignored labels",
    "logout.instance": "connection LoggedOutSeen",
    "malformed-message-empty-unknown": "message unknown 3A1",
    "malformed-missing-envelope": "dead letter no_data",
    "malformed-no-key": "dead letter no_message_id",
    "malformed-screaming-event": "message text 3A1",
    "malformed-timestamp-string": "message text 3A1",
    "malformed-truncated": "dead letter invalid_json",
    "malformed-unknown-event": "dead letter unknown_event",
    "malformed-upsert-data-array": "message text 3A1",
    "messages.delete-by-contact": "parked deleted 3A0000001F2E3D4C7A59",
    "messages.edited-ephemeral-setting": "ignored disappearing_setting",
    "messages.edited-text": "parked edited 3A0000001F2E3D4C7A59",
    "messages.set-history": "message text 3A0000001F2E3D4C9948",
    "messages.update-DELIVERY_ACK": "parked delivered 3EB08A7F83100C535BCB19",
    "messages.update-ERROR": "parked failed 3EB08A7F83100C535BCB19",
    "messages.update-PENDING": "parked queued 3EB08A7F83100C535BCB19",
    "messages.update-PLAYED": "parked played 3EB08A7F83100C535BCB19",
    "messages.update-READ": "parked read 3EB08A7F83100C535BCB19",
    "messages.update-SERVER_ACK": "parked sent 3EB08A7F83100C535BCB19",
    "messages.upsert-append-offline": "message text 3A0000001F2E3D52C2E5",
    "messages.upsert-audio-ptt": "message voice AC000000ABCDEF01234567890B4A8594",
    "messages.upsert-buttonsResponse": "message button_reply 3A0000001F2E3D501A5B",
    "messages.upsert-contact": "message contact 3A0000001F2E3D4EE505",
    "messages.upsert-document": "message document 3A0000001F2E3D4E4A5A",
    "messages.upsert-documentWithCaption": "message document 3A0000001F2E3D4E6949",
    "messages.upsert-ephemeral-text": "message text 3A0000001F2E3D4FDC7D",
    "messages.upsert-extendedText-link": "message text 3A0000001F2E3D4CF615",
    "messages.upsert-fromMe-phone": "message text 3A0000001F2E3D528507",
    "messages.upsert-group-text-pn-mode": "message text 3A0000001F2E3D516EA0",
    "messages.upsert-group-text": "message text 3A0000001F2E3D514FB1",
    "messages.upsert-image-with-base64": "message image 3A0000001F2E3D4D71D1",
    "messages.upsert-image-with-mediaUrl": "message image 3A0000001F2E3D4D71D1",
    "messages.upsert-image": "message image 3A0000001F2E3D4D71D1",
    "messages.upsert-lid-with-alt": "message text 3A0000001F2E3D51CB6D",
    "messages.upsert-listResponse": "message list_reply 3A0000001F2E3D505839",
    "messages.upsert-location": "message location 3A0000001F2E3D4EA727",
    "messages.upsert-newsletter": "ignored newsletter",
    "messages.upsert-pn-with-lid-alt": "message text 3A0000001F2E3D52094B",
    "messages.upsert-poll": "message poll AC000000ABCDEF01234567891836A8B6",
    "messages.upsert-reaction": "reaction reaction 3EB0AAAAAAAAAAAAAAAAAA",
    "messages.upsert-status-broadcast": "ignored status_broadcast",
    "messages.upsert-sticker": "message sticker 3A0000001F2E3D4E8838",
    "messages.upsert-templateButtonReply": "message template_reply 3A0000001F2E3D50394A",
    "messages.upsert-text-android": "message text AC000000ABCDEF012345678902FBDCB5",
    "messages.upsert-text-disappearing-chat": "message text 3A0000001F2E3D4FFB6C",
    "messages.upsert-text-forwarded": "message text 3A0000001F2E3D4D52E2",
    "messages.upsert-text-ios": "message text 3A0000001F2E3D4C7A59",
    "messages.upsert-text-quoted-reply": "message text 3A0000001F2E3D4D1504",
    "messages.upsert-text-web": "message text 3EB00000009A8B7C72299A",
    "messages.upsert-video": "message video 3A0000001F2E3D4DED8D",
    "messages.upsert-viewOnce-image": "message image 3A0000001F2E3D4F9E9F",
    "presence.update-composing": "ignored presence",
    "qrcode.updated-limit-reached": "connection QrLimitReached",
    "qrcode.updated-pairing-code": "connection QrOffered",
    "qrcode.updated-qr": "connection QrOffered",
    "remove.instance": "connection InstanceRemoved",
    "send.message-image": "message image 3EB072D5CB3A469B4D08CD",
    "send.message-reaction": "reaction reaction 3EB091F76ACEE89D3F016B",
    "send.message-text": "message text 3EB08A7F83100C535BCB19",
    "status.instance-closed-401": "connection Closed",
    "v1.8-connection.update-close-428": "connection Closed",
    "v1.8-connection.update-open": "connection Opened",
    "v1.8-messages.delete": "parked deleted 3A554E20ECABF3D45BB2",
    "v1.8-messages.update-DELIVERY_ACK": "parked delivered BAE5F4A0B1C2D3E4",
    "v1.8-messages.update-SERVER_ACK": "parked sent BAE5F4A0B1C2D3E4",
    "v1.8-messages.upsert-image-base64": "message image 3A554E20ECABF3D45BB3",
    "v1.8-messages.upsert-text": "message text 3A554E20ECABF3D45BB2",
    "v1.8-qrcode.updated": "connection QrOffered",
    "v1.8-status.instance-closed": "connection Closed",
    "v2.2-messages.update-DELIVERY_ACK": "parked delivered 3EB0C7B5D5A0F0E1D2C3B4",
    "v2.2-messages.upsert-image-string-longs": "message image 3A554E20ECABF3D45BB9",
    "v2.2-messages.upsert-placeholder": "message placeholder 6EA85276A917464889",
    "v2.3.0-messages.upsert-lid-senderPn": "message text 3EB07B86E02236BE3DD95F",
    "v2.4-connection.update-close-408": "connection Closed",
}
"""File -> its outcome. Reports of unknown messages are parked; contacts are listed if nothing else is stored."""

INTERNAL = {"Started", "TimerFired", "StateObserved", "Registered", "CallFailed"}
UNIT = UUID(int=7)
ROWS = {
    "message": "select unit_id, kind, external_id from zapline.messages",
    "parked": "select unit_id, coalesce(delivery::text, case when deleted_at is null then 'edited' else 'deleted' end),"
    " external_id from zapline.parked_reports",
    "reaction": "select unit_id, kind, external_id from zapline.message_reactions",
}
COUNTED = {"ignored": "ignored", "dead_letters": "dead letter", "connection_events": "connection"}


def test_the_table_of_outcomes_names_every_recorded_file() -> None:
    assert set(EXPECTED) == set(BODIES)


@pytest.fixture(autouse=True)
def no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit at once: batches are cut in more places, and nothing is waited for."""
    monkeypatch.setattr(recorder, "LINGER", 0.0)


async def test_every_recorded_body_has_its_expected_outcome(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        units = await stack.add_units(f"unit{number}" for number in range(len(BODIES)))
        outcomes: dict[object, list[str]] = {}
        for unit, body in zip(units, BODIES.values(), strict=True):
            before = Counter(stack.counters.totals)
            await stack.post(unit, for_instance(body, unit.record.instance))
            await stack.wait_until_stored()
            new = Counter(stack.counters.totals) - before
            outcomes[unit.id] = [
                f"{COUNTED[kind]} {label}" for kind, label in new if kind in COUNTED and label not in INTERNAL
            ]
        for word, query in ROWS.items():
            for owner, *row in await stack.rows(query):
                outcomes[owner].append(" ".join([word, *map(str, row)]))
        contacts: dict[object, list[str]] = {}
        for owner, who, name in await stack.rows(
            "select unit_id, canonical, name from zapline.contacts order by canonical"
        ):
            contacts.setdefault(owner, []).append(f"{who}={name}" if name else f"{who}")
        observed = {
            file: " + ".join(outcomes[unit.id] or ["contact " + ", ".join(contacts.get(unit.id, []))])
            for unit, file in zip(units, BODIES, strict=True)
        }
        assert observed == EXPECTED
        assert stack.counters.total("actor_crashes") == 0
        # Every dead letter keeps its body.
        assert await stack.rows("select reason from zapline.dead_letters where raw is null") == []


# Without connection events: webhooks arrive in any order, and the phase depends on the last one.
FACTS = {name: body for name, body in BODIES.items() if not name.startswith(CONNECTION_EVENTS)}
TABLES = ("messages", "contacts", "contact_identities", "conversations", "parked_reports", "message_reactions")
ARRIVAL = (
    "seq",
    "changed_seq",
    "received_at",
    "created_at",
    "name_reports",
    "refused_at",
    *("stored_at", "told_sent_at", "told_delivered_at", "told_read_at", "told_played_at"),
    "parked_at",
    "entries",
    "merged_at",
)
"""Columns that depend on the time or the order of arrival."""


async def stored(stack: InboundStack) -> dict[str, list[object]]:
    """All rows without the columns that depend on the arrival, such as the time of a deletion."""
    rows: dict[str, list[object]] = {}
    for table in TABLES:
        less = " - ".join(["to_jsonb(t)", *(f"'{column}'" for column in ARRIVAL)])
        if table == "message_reactions":
            less += " - 'id'"
        if table in ("messages", "parked_reports"):
            less = f"({less}) || jsonb_build_object('deleted_at', deleted_at is not null)"
        rows[table] = [row[0] for row in await stack.rows(f"select {less} as r from zapline.{table} t order by 1")]
    return rows


async def row_versions(stack: InboundStack, table: str) -> set[tuple[object, ...]]:
    """Every row with the transaction that wrote it last."""
    return set(await stack.rows(f"select t::text, xmin::text, ctid::text from zapline.{table} t"))


async def post_in_groups(stack: InboundStack, order: list[str], size: int) -> None:
    """Post in groups of concurrent webhooks, so that batches are cut at different places."""
    unit = stack.unit(UNIT)
    for start in range(0, len(order), size):
        async with trio.open_nursery() as nursery:
            for name in order[start : start + size]:
                nursery.start_soon(stack.post, unit, for_instance(FACTS[name], unit.record.instance))
        if size < 20:
            await stack.wait_until_stored()
    await stack.wait_until_stored()


def orders() -> list[tuple[list[str], int]]:
    straight = sorted(FACTS)
    listed = [(straight, 100), (straight[::-1], 100), (straight, 7), (straight[::-1], 13)]
    for seed, size in ((1, 100), (2, 100), (3, 5), (4, 30), (5, 100), (6, 11)):
        listed.append((random.Random(seed).sample(straight, len(straight)), size))
    return listed


@pytest.mark.heavy
async def test_recorded_facts_in_any_order_end_in_identical_rows(
    new_database: Callable[..., str], migrated: str, tmp_path: Path
) -> None:
    first: dict[str, list[object]] | None = None
    for number, (order, size) in enumerate(orders()):
        async with inbound_stack(new_database(migrated), tmp_path / str(number)) as stack:
            await stack.add_unit("ordem", UNIT)
            await post_in_groups(stack, order, size)
            assert stack.counters.total("actor_crashes") == 0
            rows = await stored(stack)
        first = first or rows
        for table in TABLES:
            assert rows[table] == first[table], f"order {number}: {table}"
    assert first is not None
    assert len(first["messages"]) > 30


@pytest.mark.parametrize("size", [100, 9])
async def test_posting_all_again_changes_no_row(database: str, tmp_path: Path, size: int) -> None:
    """Each journal entry has its own dead letter, so posting again adds some; the existing ones do not change."""
    async with inbound_stack(database, tmp_path) as stack:
        await stack.add_unit("ordem", UNIT)
        order = random.Random(9).sample(sorted(FACTS), len(FACTS))
        await post_in_groups(stack, order, size)
        tables = (*TABLES, "units")
        before = {table: await row_versions(stack, table) for table in (*tables, "dead_letters")}
        for seed in (10, 11):
            await post_in_groups(stack, random.Random(seed).sample(order, len(order)), size)
        for table in tables:
            assert await row_versions(stack, table) == before[table], table
        assert await row_versions(stack, "dead_letters") >= before["dead_letters"]
