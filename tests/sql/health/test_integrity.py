"""Each integrity check finds its violation, and only that."""

from uuid import uuid4

import pytest

from zapline.sql.health.integrity import CheckResult, check_integrity, failed_checks
from zapline.sql.postgres.connection import Connection, connect

UNIT, OTHER = uuid4(), uuid4()
SKELETON = """
insert into zapline.units (id, name) values ('{unit}', 'A'), ('{other}', 'B');
insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest)
values ('{unit}', 'evolution', 'a', 'a'), ('{other}', 'evolution', 'b', 'b');
insert into zapline.contacts (id, unit_id, kind, canonical)
select gen_random_uuid(), id, 'person', name || n from zapline.units, generate_series(1, 3) n;
insert into zapline.conversations (id, unit_id, contact_id) select gen_random_uuid(), unit_id, id from zapline.contacts;
insert into zapline.contact_identities (unit_id, identity, contact_id)
select unit_id, canonical, id from zapline.contacts;
insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, origin,
                              sent_at, received_at)
select gen_random_uuid(), unit_id, id, 'evolution', id::text, false, 'text', 2, 'webhook', now(),
       now() - interval '1 hour'
  from zapline.conversations;
insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, client_message_id, from_me, kind,
                              kind_rank, origin, sent_at, received_at)
select md5('own' || id)::uuid, unit_id, id, 'evolution', 'own' || id, 'c' || id, true, 'text', 2, 'sent', now(), now()
  from zapline.conversations;
insert into zapline.outbox (message_id, unit_id, conversation_id, lane, state, recipient, address, fingerprint,
                            content, request_digest, due_at)
select id, unit_id, conversation_id, 'reply', 'settled', 'r', 'r', 'f', '{{}}', '', now()
  from zapline.messages where client_message_id is not null;
insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient, fingerprint,
                              started_at, outcome, external_id)
select gen_random_uuid(), o.message_id, o.unit_id, o.conversation_id, 'evolution', 1, 'reply', 'r', 'f', now(), 'sent',
       m.external_id
  from zapline.outbox o join zapline.messages m on m.id = o.message_id;
"""

VIOLATIONS = {
    "instance_of_two_units": "drop index zapline.idx_unit_whatsapp_instance_lookup;"
    "update zapline.unit_whatsapp_connections set instance_id = 'same'",
    "unit_with_two_instances": "alter table zapline.unit_whatsapp_connections"
    " drop constraint unit_whatsapp_connections_pkey;"
    "insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest)"
    "select unit_id, provider, 'second', 'x' from zapline.unit_whatsapp_connections limit 1",
    "unit_without_line": "insert into zapline.units (id, name) values (gen_random_uuid(), 'no line')",
    "message_without_conversation": "update zapline.messages set conversation_id ="
    " (select id from zapline.conversations c where c.unit_id <> messages.unit_id limit 1)",
    "conversation_without_contact": "alter table zapline.conversations drop constraint conversations_contact_id_fkey;"
    "update zapline.conversations set contact_id = gen_random_uuid()",
    "identity_without_contact": "update zapline.contact_identities set contact_id ="
    " (select id from zapline.contacts c where c.unit_id <> contact_identities.unit_id limit 1)",
    "merge_chain": "with n as (select id, lead(id) over (order by id) as next from zapline.conversations"
    f" where unit_id = '{UNIT}') update zapline.conversations c set merged_into = n.next from n where n.id = c.id",
    "duplicate_message": "alter table zapline.messages drop constraint messages_unit_id_provider_external_id_key;"
    "update zapline.messages set external_id = 'same' where client_message_id is null",
    "row_without_unit": "alter table zapline.dead_letters drop constraint dead_letters_unit_id_fkey;"
    "insert into zapline.dead_letters (unit_id, reason, size, received_at) values (gen_random_uuid(), 'x', 1, now())",
    "report_not_applied": "insert into zapline.parked_reports (unit_id, provider, external_id, parked_at)"
    "select unit_id, provider, external_id, now() - interval '1 hour' from zapline.messages limit 1",
    "settled_without_call": "update zapline.attempts set outcome = 'uncertain'",
    "id_of_no_call": "update zapline.attempts set external_id = external_id || 'x'",
    "too_many_tries": "update zapline.outbox set tries = 4",
    "work_of_another_unit": "update zapline.attempts set unit_id = (select id from zapline.units u"
    " where u.id <> attempts.unit_id limit 1)",
    "echo_undecided": "insert into zapline.sightings"
    " select unit_id, provider, external_id, conversation_id, 'f', now(), now() - interval '2 hours', false, '{}'"
    " from zapline.messages limit 1",
    "table_without_row_security": "alter table zapline.messages no force row level security",
    "role_too_mighty": "alter table zapline.access_tokens owner to zapline_api",
    "migrations": "update zapline.schema_migrations set checksum = 'other' where number = 1",
    "legacy": "create table public.unit_whatsapp_connections (unit_id uuid, instance text);"
    "insert into public.unit_whatsapp_connections select gen_random_uuid(), 'shared' from generate_series(1, 2)",
}


async def insert_rows(conn: Connection) -> None:
    await conn.execute(SKELETON.format(unit=UNIT, other=OTHER))


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


async def test_sound_rows_pass_every_check(database: str) -> None:
    async with await connect(database) as conn:
        await insert_rows(conn)
        await conn.execute(
            "update zapline.conversations set merged_into = (select max(id::text)::uuid from zapline.conversations"
            f" where unit_id = '{UNIT}') where id = (select min(id::text)::uuid from zapline.conversations"
            f" where unit_id = '{UNIT}');"
            "insert into zapline.parked_reports (unit_id, provider, external_id)"
            "select unit_id, provider, external_id from zapline.messages limit 1"
        )
        results = await check_integrity(conn)
        assert failed_checks(results) == []
        assert set(VIOLATIONS) - {"legacy"} <= set(by_name(results))


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_each_violation_is_found_and_nothing_else(database: str, violation: str) -> None:
    async with await connect(database) as conn:
        await insert_rows(conn)
        await conn.execute(VIOLATIONS[violation])
        found = failed_checks(await check_integrity(conn))
        assert [result.name for result in found] == [violation]
        assert found[0].found


async def test_a_merge_into_another_unit_is_found(database: str) -> None:
    async with await connect(database) as conn:
        await insert_rows(conn)
        await conn.execute(
            "update zapline.conversations set merged_into = (select id from zapline.conversations"
            f" where unit_id = '{OTHER}' limit 1)"
            f" where id = (select id from zapline.conversations where unit_id = '{UNIT}' limit 1)"
        )
        assert [result.name for result in failed_checks(await check_integrity(conn))] == ["merge_chain"]


async def test_dead_letters_are_counted_by_reason_without_a_verdict(database: str) -> None:
    async with await connect(database) as conn:
        await insert_rows(conn)
        await conn.execute(
            "insert into zapline.dead_letters (unit_id, reason, size, received_at, revived_at)"
            f" select '{UNIT}', reason, 1, now(), revived from (values ('broken_json', null::timestamptz),"
            " ('broken_json', null), ('too_large', null), ('too_large', now())) v (reason, revived)"
        )
        counts = by_name(await check_integrity(conn))["dead_letters_by_reason"]
        assert (counts.ok, counts.found) == (None, ("broken_json: 2", "too_large: 1"))


async def test_an_empty_database_lacks_its_migrations_and_nothing_crashes(database_url: str) -> None:
    async with await connect(database_url) as conn:
        found = failed_checks(await check_integrity(conn))
        assert [result.name for result in found] == ["migrations"]
        assert "zapline migrate" in found[0].found[0]


async def test_the_check_leaves_the_session_without_a_role(database: str) -> None:
    async with await connect(database) as conn:
        await insert_rows(conn)
        await check_integrity(conn)
        row = await conn.fetch_one("select current_user = session_user as same")
        assert row is not None
        assert row.same
