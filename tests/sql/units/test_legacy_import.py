"""The import from the old system: its conflicts, its columns, and that no foreign row is ever changed."""

import hashlib
from uuid import UUID, uuid4

import pytest
import trio

from zapline.domain.line.reasons import Phase, Reason
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.units import legacy_import
from zapline.sql.units.legacy_import import ADDED, INDEX, LegacyConflicts, LegacyRefused, adopt, survey
from zapline.sql.units.units import load_units

ANA, BIA, CAIO = (UUID(int=number + (4 << 76) + (8 << 60)) for number in (1, 2, 3))
FOREIGN = ("units", "messages", "unit_whatsapp_connections")
OLD_COLUMNS = "id, unit_id, provider, instance_id, status, phone_number, access_token"


def digest_of(unit: UUID) -> bytes:
    return hashlib.sha256(b"secret of " + unit.bytes).digest()


async def old_system(conn: Connection, *, unit_type: str = "uuid") -> None:
    """The old system's tables, and tables of a CRM that are called like ours."""
    await conn.execute(
        f"create table public.units (id {unit_type} primary key, name text, plan text);"
        "create table public.messages (id serial primary key, body text, at timestamptz default now());"
        "insert into public.messages (body) values ('one'), ('two'), (null);"
        f"create table public.unit_whatsapp_connections (id serial primary key, unit_id {unit_type}, provider text,"
        " instance_id text, status text, phone_number text, access_token text)"
    )


async def line(
    conn: Connection, unit: object, instance: str | None, status: str = "connected", provider: str | None = "evolution"
) -> None:
    await conn.execute(
        "insert into public.unit_whatsapp_connections (unit_id, provider, instance_id, status,"
        " phone_number, access_token) values (%s, %s, %s, %s, %s, 'old-token')",
        (unit, provider, instance, status, "5511999990000" if status != "new" else None),
    )


async def checksums(conn: Connection) -> list[str]:
    """Of every row that is not ours, in the columns that were there before."""
    found = []
    for table in FOREIGN:
        columns = OLD_COLUMNS if table == "unit_whatsapp_connections" else "*"
        row = await conn.fetch_one(
            f"select md5(string_agg(t::text || xmin::text || ctid::text, '|' order by t::text)) as sum"
            f" from (select {columns}, xmin, ctid from public.{table}) t"
        )
        assert row is not None
        found.append(row.sum)
    return found


async def shape(conn: Connection) -> list[str]:
    """Everything that DDL could have changed in the old schema."""
    rows = await conn.fetch(
        "select table_name || '.' || column_name as it from information_schema.columns where table_schema = 'public'"
        " union select indexdef from pg_indexes where schemaname = 'public' order by 1"
    )
    return [row.it for row in rows]


async def test_an_old_database_is_adopted_and_no_foreign_row_is_touched(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await old_system(conn)
        await conn.execute("insert into public.units values (%s, 'Loja Ana', 'gold'), (%s, null, 'free')", (ANA, BIA))
        await line(conn, ANA, "loja-ana")
        await line(conn, BIA, "loja-bia", "disconnected", provider=None)
        await line(conn, CAIO, "loja-caio", "new")
        await line(conn, uuid4(), "abroad", provider="cloud-api")
        await line(conn, uuid4(), None)
        before = await checksums(conn)
        await migrate(conn, lambda text: None)
        reported: list[str] = []

        assert await adopt(conn, "public", digest_of, reported.append) == 3

        assert await checksums(conn) == before
        units = {unit.id: unit for unit in await load_units(conn)}
        assert set(units) == {ANA, BIA, CAIO}
        ana, bia, caio = units[ANA], units[BIA], units[CAIO]
        assert (ana.name, ana.instance, ana.secret_digest) == ("Loja Ana", "loja-ana", digest_of(ANA))
        assert ana.stored is not None
        assert bia.stored is not None
        assert caio.stored is not None
        assert (ana.stored.phase, ana.stored.reason, ana.stored.wanted) == (Phase.OPEN, Reason.SCAN_COMPLETED, True)
        assert (bia.name, bia.stored.reason, bia.stored.wanted) == ("loja-bia", Reason.DISCONNECTED, False)
        assert (caio.stored.phase, caio.stored.reason) == (Phase.IDLE, Reason.NEVER_CONNECTED)
        assert {f"unit_whatsapp_connections.{name}" for name in ADDED} <= set(await shape(conn))
        index = await conn.fetch_one(
            "select indexdef from pg_indexes where schemaname = 'public' and indexname = %s", (INDEX,)
        )
        assert index is not None
        assert "(provider, instance_id) WHERE (instance_id IS NOT NULL)" in index.indexdef
        assert len(reported) == 2


async def test_a_second_run_imports_nothing_and_locks_nothing(database: str) -> None:
    async with await connect(database) as conn:
        await old_system(conn)
        await line(conn, ANA, "loja-ana")
        assert await adopt(conn, "public", digest_of, lambda text: None) == 1
        shaped = await shape(conn)
        reported: list[str] = []
        async with await connect(database) as busy, busy.transaction():
            await busy.execute("select from public.unit_whatsapp_connections")
            assert await adopt(conn, "public", digest_of, reported.append) == 0
        assert (reported, await shape(conn)) == ([], shaped)
        await line(conn, BIA, "loja-bia")
        assert await adopt(conn, "public", digest_of, reported.append) == 1


async def test_every_conflict_is_listed_and_nothing_is_changed(database: str) -> None:
    async with await connect(database) as conn:
        await old_system(conn)
        await line(conn, ANA, "one")
        await line(conn, ANA, "two")
        await line(conn, BIA, "shared")
        await line(conn, CAIO, "shared")
        await line(conn, uuid4(), "with space")
        before, shaped = await checksums(conn), await shape(conn)

        with pytest.raises(LegacyConflicts) as refused:
            await adopt(conn, "public", digest_of, lambda text: None)

        conflicts = refused.value.conflicts
        assert len(conflicts) == 3
        assert any(str(ANA) in text and "'one', 'two'" in text for text in conflicts)
        assert any("'shared'" in text and str(BIA) in text and str(CAIO) in text for text in conflicts)
        assert any("'with space'" in text for text in conflicts)
        assert await checksums(conn) == before
        assert await shape(conn) == shaped
        assert await load_units(conn) == []


async def test_conflicts_with_units_that_zapline_has_are_listed(database: str) -> None:
    async with await connect(database) as conn:
        await old_system(conn)
        await line(conn, ANA, "loja-ana")
        await adopt(conn, "public", digest_of, lambda text: None)
        await conn.execute("update public.unit_whatsapp_connections set instance_id = 'moved'")
        await line(conn, BIA, "loja-ana")
        conflicts = (await survey(conn, "public")).conflicts
        assert len(conflicts) == 2
        assert "'loja-ana' in Zapline and 'moved'" in conflicts[0]
        assert f"belongs to unit {ANA}" in conflicts[1]


async def test_the_same_instance_of_two_providers_is_no_conflict(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await old_system(conn)
        await line(conn, ANA, "shared")
        await line(conn, BIA, "shared", provider="cloud-api")
        found = await survey(conn, "public")
        assert (found.conflicts, found.other_provider, len(found.new)) == ((), 1, 1)


@pytest.mark.parametrize(("unit_type", "old_id"), [("integer", 17), ("text", "loja-17")])
async def test_an_old_id_that_is_no_uuid_is_stored_beside_ours(database: str, unit_type: str, old_id: object) -> None:
    async with await connect(database) as conn:
        await old_system(conn, unit_type=unit_type)
        await conn.execute("insert into public.units values (%s, 'Loja', 'free')", (old_id,))
        await line(conn, old_id, "loja")
        assert await adopt(conn, "public", digest_of, lambda text: None) == 1
        row = await conn.fetch_one("select name, legacy_id from zapline.units")
        assert row == ("Loja", str(old_id))
        assert await adopt(conn, "public", digest_of, lambda text: None) == 0


async def test_a_text_column_of_uuids_gives_the_same_units(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await old_system(conn, unit_type="text")
        await line(conn, str(ANA).upper(), "loja")
        assert [found.unit for found in (await survey(conn, "public")).new] == [ANA]


async def test_another_schema_with_few_columns_and_a_taken_index_name_is_adopted(database: str) -> None:
    async with await connect(database) as conn:
        await conn.execute(
            'create schema "Old CRM"; create table "Old CRM".unit_whatsapp_connections'
            " (unit_id uuid, instance_name text, connected_at timestamptz);"
            f' create table "Old CRM".{INDEX} (x int)'
        )
        await conn.execute('insert into "Old CRM".unit_whatsapp_connections values (%s, %s)', (ANA, "loja"))
        assert await adopt(conn, "Old CRM", digest_of, lambda text: None) == 1
        row = await conn.fetch_one("select indexname from pg_indexes where schemaname = 'Old CRM'")
        assert row == (f"{INDEX}_2",)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "nothing to adopt"),
        ("create table public.unit_whatsapp_connections (unit uuid)", "needs a column unit_id"),
    ],
)
async def test_a_table_that_cannot_be_imported_is_refused_with_a_reason(
    database_url: str, table: str | None, words: str
) -> None:
    async with await connect(database_url) as conn:
        if table is not None:
            await conn.execute(table)
        with pytest.raises(LegacyRefused, match=words):
            await survey(conn, "public")


async def test_a_table_held_by_the_old_backend_leaves_everything_as_it_was(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_import, "_LOCK_SECONDS", 0.1)
    async with await connect(database) as conn, await connect(database) as busy:
        await old_system(conn)
        await line(conn, ANA, "loja")
        shaped = await shape(conn)
        await conn.execute("set lock_timeout = 200")
        with trio.fail_after(30):
            async with busy.transaction():
                await busy.execute("lock table public.unit_whatsapp_connections in access share mode")
                with pytest.raises(LegacyRefused, match="in use"):
                    await adopt(conn, "public", digest_of, lambda text: None)
        assert await shape(conn) == shaped
        assert await load_units(conn) == []


async def test_an_owner_who_is_no_superuser_imports_past_forced_row_security(database: str) -> None:
    async with await connect(database) as conn:
        await old_system(conn)
        await line(conn, ANA, "loja")
        role = f"owner_{uuid4().hex[:8]}"
        await conn.execute(f"create role {role} login; grant zapline_engine, zapline_api to {role}")
        try:
            await conn.execute(
                f"grant create, usage on schema public to {role};"
                f"alter table public.units owner to {role};"
                f"alter table public.unit_whatsapp_connections owner to {role}"
            )
            async with await connect(database, role=None) as theirs:
                await theirs.execute(f"set session authorization {role}")
                assert await adopt(theirs, "public", digest_of, lambda text: None) == 1
                assert await adopt(theirs, "public", digest_of, lambda text: None) == 0
        finally:
            await conn.execute(f"drop owned by {role} cascade; drop role {role}")


async def test_a_login_whose_search_path_would_find_our_tables_first_is_reported(database_url: str) -> None:
    async with await connect(database_url) as conn:
        await old_system(conn)
        row = await conn.fetch_one("select current_user = 'zapline' as ours")
        assert row is not None
        assert (await survey(conn, "public")).hijacked_login is row.ours
