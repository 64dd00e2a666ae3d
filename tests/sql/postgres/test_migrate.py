"""Migrations: each once and in order, reported apart by checksum, one process at a time, and the schema they leave."""

from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
import trio

from zapline.domain.ids import UnitId
from zapline.domain.principals import TokenKind
from zapline.sql.accounts.access_tokens import find_holder
from zapline.sql.conversations.message_search import SearchNotReady, search_messages
from zapline.sql.postgres import later_indexes
from zapline.sql.postgres import migrate as module
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.later_indexes import MESSAGES_BY_WORDS, build, list_missing, open_owner
from zapline.sql.postgres.migrate import (
    Migration,
    MigrationRefused,
    SchemaState,
    applied_checksums,
    migrate,
    migrations,
    schema_state,
)
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.operations.later_indexes import LaterIndexes


def add_migrations(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    all_of_them = (*migrations(), *more)
    monkeypatch.setattr(module, "migrations", lambda: all_of_them)


def next_one(sql: str) -> Migration:
    return Migration(migrations()[-1].number + 1, "of_a_test", sql)


async def test_an_empty_database_gets_every_migration_once(database_url: str) -> None:
    reported: list[str] = []
    async with await connect(database_url) as conn:
        assert await schema_state(conn) is SchemaState.MISSING
        assert await migrate(conn, reported.append) == len(migrations()) == len(reported)
        assert await schema_state(conn) is SchemaState.FITS
        assert await migrate(conn, reported.append) == 0
        assert await list_missing(conn) == []
        assert list(await applied_checksums(conn)) == [migration.number for migration in migrations()]


def test_no_two_migrations_have_one_number() -> None:
    assert len({migration.number for migration in migrations()}) == len(migrations())


async def test_a_schema_without_one_of_the_migrations_is_old(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        more = (Migration(0, "of_a_test", "select 1"), *migrations())
        monkeypatch.setattr(module, "migrations", lambda: more)
        assert await schema_state(conn) is SchemaState.OLD
        assert await migrate(conn, lambda text: None) == 1
        assert await schema_state(conn) is SchemaState.FITS


async def test_an_applied_migration_with_another_text_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        changed = tuple(replace(migration, sql=migration.sql + "\n-- later") for migration in migrations())
        monkeypatch.setattr(module, "migrations", lambda: changed)
        with pytest.raises(MigrationRefused, match="another text"):
            await migrate(conn, lambda text: None)


async def test_of_two_processes_one_migrates(database_url: str) -> None:
    async with await connect(database_url) as first, await connect(database_url) as second:
        await migrate(first, lambda text: None)
        with pytest.raises(MigrationRefused, match="another process"):
            await migrate(second, lambda text: None)


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        bad = next_one("create table zapline.half (x int); select 1 / 0")
        add_migrations(monkeypatch, bad)
        assert await schema_state(conn) is SchemaState.OLD
        with pytest.raises(StatementFailed):
            await migrate(conn, lambda text: None)
        row = await conn.fetch_one("select to_regclass('zapline.half') as half")
        assert row == (None,)
        assert bad.number not in await applied_checksums(conn)


async def test_every_foreign_key_has_an_index_and_every_constraint_is_validated(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        missing = await conn.fetch(
            "select c.conrelid::regclass::text as of, c.conname as name from pg_constraint c"
            " where c.contype = 'f' and c.connamespace = 'zapline'::regnamespace"
            # Neither units nor administrators are ever deleted.
            " and c.confrelid not in ('zapline.units'::regclass, 'zapline.admins'::regclass)"
            " and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])"
        )
        unproven = "select conname from pg_constraint where not convalidated and connamespace = 'zapline'::regnamespace"
        assert await conn.fetch(unproven) == [], "what was added without a look at a large table is looked at later"
    assert [tuple(row) for row in missing] == []


MESSAGES = (
    "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, body,"
    " origin, sent_at, received_at) select gen_random_uuid(), c.unit_id, c.id, 'evolution', %(prefix)s || n, false,"
    " 'text', 2, 'promoção ' || n, 'live', now(), now()"
    " from zapline.conversations c, generate_series(1, %(count)s) n"
)


async def test_the_index_of_a_large_table_is_built_after_the_migration_and_nothing_that_is_stored_waits(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything, unit = migrations(), UnitId(uuid4())
    monkeypatch.setattr(later_indexes, "AT_ONCE", 20)
    text = module.migration_text(MESSAGES_BY_WORDS.migration)
    async with (
        await connect(database_url) as conn,
        await connect(database_url) as writer,
        await connect(database_url, lock_timeout_ms=50) as hasty,
    ):
        monkeypatch.setattr(module, "migrations", lambda: everything[: everything.index(later)])
        later = next(each for each in everything if each.number == MESSAGES_BY_WORDS.migration)
        await migrate(conn, lambda text: None)
        await conn.execute("insert into zapline.units (id, name) values (%s, 'u')", (unit,))
        await conn.execute(
            "with k as (insert into zapline.contacts (id, unit_id, kind, canonical, phone) values"
            " (gen_random_uuid(), %(unit)s, 'person', '+551', '+551') returning id)"
            " insert into zapline.conversations (id, unit_id, contact_id) select id, %(unit)s, id from k",
            {"unit": unit},
        )
        await conn.execute(MESSAGES, {"prefix": "A", "count": 21})
        monkeypatch.setattr(module, "migrations", lambda: everything)
        await migrate(conn, lambda text: None)
        assert await list_missing(conn) == [MESSAGES_BY_WORDS]
        async with Pool.open(database_url, size=2, role="zapline_api") as pool, trio.open_nursery() as nursery:
            indexes = LaterIndexes(pool, partial(open_owner, database_url), trio.lowlevel.checkpoint)
            with pytest.raises(SearchNotReady):
                await search_messages(pool, unit, "promocao", None, 50)
            async with writer.transaction():
                await writer.execute(MESSAGES, {"prefix": "B", "count": 1})
                with pytest.raises(StatementFailed, match="lock timeout"):
                    await build(hasty, MESSAGES_BY_WORDS, text)
                await hasty.close()
                assert await list_missing(conn) == [MESSAGES_BY_WORDS]  # what is left of it is of no use
                nursery.start_soon(indexes.build_missing)
                begun = "select from pg_stat_activity where datname = current_database() and query ~ '^drop index'"
                while not await conn.fetch(begun):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                assert not await build(conn, MESSAGES_BY_WORDS, text)  # somebody else does
                await conn.execute(MESSAGES, {"prefix": "C", "count": 1})
            while await list_missing(conn):  # noqa: ASYNC110
                await trio.sleep(0.01)
            found = await search_messages(pool, unit, "promocao", None, 50)
            assert found is not None
            assert len(found.items) == 23
            await indexes.build_missing()
        async with await connect(database_url, role="zapline_engine") as engine:
            await conn.execute("drop index zapline.messages_by_words")
            with pytest.raises(StatementFailed, match="must be owner"):
                await build(engine, MESSAGES_BY_WORDS, text)


async def test_tokens_from_before_there_were_kinds_are_still_valid(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = migrations()
    monkeypatch.setattr(module, "migrations", lambda: everything[:2])
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        await conn.execute("insert into zapline.admins (email, password_hash) values ('ana@example.com', 'x')")
        await conn.execute(
            "insert into zapline.access_tokens (digest, admin_id, label, expires_at, revoked_at)"
            " select v.digest::bytea, a.id, 'login', now() + interval '1 hour', v.ended from zapline.admins a,"
            " (values ('one', null), ('two', now())) as v(digest, ended)"
        )
        await conn.execute(
            "insert into zapline.control_requests (id, verb, arguments) values (gen_random_uuid(), 'reload', '{}')"
        )
        monkeypatch.setattr(module, "migrations", lambda: everything)
        await migrate(conn, lambda text: None)
    async with await connect(database_url, role="zapline_engine") as conn:
        found = await find_holder(conn, b"one", None)
        assert found is not None
        assert (found.kind, found.principal.name) == (TokenKind.ADMIN, "ana@example.com")
        assert await find_holder(conn, b"two", None) is None


async def test_the_previous_release_fits_a_newer_schema(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await connect(database_url) as conn:
        with monkeypatch.context() as newer:
            add_migrations(newer, next_one("create table zapline.later (x int)"))
            await migrate(conn, lambda text: None)
        assert await schema_state(conn) is SchemaState.FITS
        assert await migrate(conn, lambda text: None) == 0


async def test_tables_of_a_crm_with_the_same_names_are_not_changed(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await conn.execute(
            "create table public.units (id int); create table public.messages (id int);"
            "insert into public.units values (7)"
        )
        await migrate(conn, lambda text: None)
        assert await conn.fetch("select id from public.units") == [(7,)]
        rows = await conn.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
        assert [row.tablename for row in rows] == ["messages", "units"]


async def test_the_api_role_sees_only_the_unit_of_its_transaction_and_writes_nothing(database_url: str) -> None:
    mine, other = ("00000000-0000-4000-8000-00000000000" + end for end in "12")
    async with await connect(database_url) as conn:
        await migrate(conn, lambda text: None)
        await conn.execute(f"insert into zapline.units (id, name) values ('{mine}', 'mine'), ('{other}', 'other')")
    async with await connect(database_url, role="zapline_api") as conn:
        assert await conn.fetch("select name from zapline.units") == []
        async with conn.transaction():
            await conn.execute("select set_config('zapline.unit', %s, true)", (mine,))
            assert await conn.fetch("select name from zapline.units") == [("mine",)]
        async with conn.transaction():
            await conn.execute("select set_config('zapline.scope', 'admin', true)")
            assert len(await conn.fetch("select name from zapline.units")) == 2
        with pytest.raises(StatementFailed, match="permission denied"):
            await conn.execute("update zapline.units set name = 'x'")
    async with await connect(database_url, role="zapline_engine") as conn:
        assert len(await conn.fetch("select name from zapline.units")) == 2
