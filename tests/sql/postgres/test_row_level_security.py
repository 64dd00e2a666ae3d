"""Tenants kept apart by the database itself, whatever statement somebody writes by hand."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, AuditActor
from zapline.sql.accounts import audit_log
from zapline.sql.accounts.audit_log import AuditedAction, AuditFilter
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import admin_scope, limit_to, unit_scope, unlimited
from zapline.sql.units.units import insert_unit

OURS, THEIRS = UUID(int=1), UUID(int=2)
ENGINE_ALONE = {
    "admins",
    "access_tokens",
    *("alarm_destinations", "alarm_incidents", "alarm_notices"),
    "ceilings",
    "control_requests",
    "erased_people",
    "evolution_servers",
    "inbox",
    "leader",
    "nodes",
    *("person_units", "invitations", "recovery_codes", "second_factor_roles"),
}
OF_NOBODY = {"schema_migrations"}
SEEN_BY_UNITS = {
    *("events", "hook_deliveries", "messages", "message_aliases", "message_reactions", "conversations", "contacts"),
    *("outbox", "campaigns", "campaign_recipients"),
}
"""What a transaction of an organization's token sees of the units that it opens: what hooks and streams tell."""
SEEN_BY_PEOPLE = {
    *("units", "contacts", "conversations", "messages", "message_aliases", "dead_letters", "outbox", "attempts"),
    "line_changes",
}
"""What a transaction of a person sees of the units that are his: what pages of several units show."""
OF_ORGANIZATIONS = {"event_log", "organizations"}
"""Seen by whoever has a token of an organization; of organizations his own."""
OF_ALL = {"health_samples", "message_id_support"}
"""Tables about the whole installation are for administrators."""
TABLES = """
select c.relname as name, c.relrowsecurity and c.relforcerowsecurity as guarded,
       (select a.attname from pg_attribute a where a.attrelid = c.oid and not a.attisdropped
           and a.attname = case c.relname when 'units' then 'id' else 'unit_id' end) as key
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'zapline' and c.relkind in ('r', 'p') order by 1
"""
CONSTRAINTS = """
select format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop
  from pg_constraint where connamespace = 'zapline'::regnamespace and contype in ('c', 'f')
"""
COLUMNS = """
select a.attname as name, t.typname as type, t.typtype = 'e' as enum,
       (select e.enumlabel from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder limit 1) as label
  from pg_attribute a join pg_type t on t.oid = a.atttypid
 where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attidentity = ''
   and (a.attnotnull and not a.atthasdef or a.attname in ('unit_id', 'id'))
"""
VALUES = {"uuid": uuid4, "text": lambda: uuid4().hex, "bytea": lambda: uuid4().bytes, "bool": lambda: False}


async def seed(conn: Connection) -> None:
    """A row of each unit in every table, also of tables that come later: what a row must be else is lifted here."""
    for row in await conn.fetch(CONSTRAINTS):
        await conn.execute(row.drop)
    for table in await conn.fetch(TABLES):
        if table.name in OF_NOBODY:
            continue
        columns = await conn.fetch(COLUMNS, (f"zapline.{table.name}",))
        for unit in (OURS, THEIRS):
            values = {one.name: value_of(one, table.key, unit) for one in columns}
            names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
            statement = f"insert into zapline.{table.name} ({names}) values ({marks})" if values else "select 1"
            await conn.execute(statement, values or None)


def value_of(column: Any, key: str | None, unit: UUID) -> object:
    if column.name == key:
        return unit
    if column.enum:
        return column.label
    if column.type in VALUES:
        return VALUES[column.type]()
    if column.type.startswith(("int", "float", "numeric")):
        return unit.int
    if column.type.startswith("_"):
        return []
    return "{}" if column.type == "jsonb" else f"2026-01-0{unit.int} 00:00:00"


@pytest.mark.parametrize("leaked", ["set role zapline_engine", "reset role"])
async def test_a_scope_keeps_units_apart_whatever_role_another_client_has_left_in_the_session(
    database: str, leaked: str
) -> None:
    """As a pooler in transaction mode leaves it."""
    async with await connect(database) as owner:
        for unit in (OURS, THEIRS):
            row = {"name": "u", "instance": str(unit), "secret_digest": unit.bytes, "time_zone": "UTC"}
            await insert_unit(owner, id=UnitId(unit), **row)
    query = "select id, current_user::text as who from zapline.units"
    async with Pool.open(database, size=1, role="zapline_api") as pool:
        async with pool.connection() as conn:
            await conn.execute(leaked)
        async with unit_scope(pool, UnitId(OURS)) as conn:
            assert await conn.fetch(query) == [(OURS, "zapline_api")]
        async with admin_scope(pool) as conn:
            assert {row.who for row in await conn.fetch(query)} == {"zapline_api"}
    async with Pool.open(database, size=1) as pool, admin_scope(pool) as conn:
        assert len(await conn.fetch(query)) == 2, "without a role of its own the session keeps what it has"


async def test_whatever_a_request_asks_for_it_sees_the_units_of_its_person_and_no_other(database: str) -> None:
    async with await connect(database) as owner:
        for unit in (OURS, THEIRS):
            row = {"name": "u", "instance": str(unit), "secret_digest": unit.bytes, "time_zone": "UTC"}
            await insert_unit(owner, id=UnitId(unit), **row)
    async with Pool.open(database, size=1, role="zapline_api") as pool:

        async def seen(scope: Any) -> list[UUID]:
            async with scope as conn:
                return [row.id for row in await conn.fetch("select id from zapline.units order by 1")]

        limit_to(frozenset({UnitId(OURS)}))
        try:
            assert await seen(admin_scope(pool)) == [OURS]
            assert await seen(unit_scope(pool, UnitId(OURS))) == [OURS]
            assert await seen(unit_scope(pool, UnitId(THEIRS))) == []
            with unlimited():
                assert await seen(admin_scope(pool)) == [OURS, THEIRS]
            limit_to(frozenset())
            assert await seen(admin_scope(pool)) == []
        finally:
            limit_to(None)
        assert await seen(admin_scope(pool)) == [OURS, THEIRS]


async def test_a_statement_by_hand_sees_the_rows_of_the_unit_that_is_set_and_no_other(database: str) -> None:
    async with await connect(database) as owner:
        await seed(owner)
        tables = await owner.fetch(TABLES)
        for table in tables:
            (stored,) = await owner.fetch(f"select count(*) as n from zapline.{table.name}")
            assert stored.n >= 2, f"nothing was seeded in {table.name}"
    assert [table.name for table in tables if not table.guarded] == sorted(OF_NOBODY)
    assert {table.name for table in tables if table.key is None} <= ENGINE_ALONE | OF_NOBODY | OF_ALL | OF_ORGANIZATIONS
    of_units = [table for table in tables if table.name not in ENGINE_ALONE | OF_NOBODY | OF_ALL | OF_ORGANIZATIONS]
    assert len(of_units) > 15
    async with await connect(database, role="zapline_api") as api:
        for table in of_units:
            assert await rows(api, table) == [], f"{table.name} is open to a statement without a unit"
            for scope, seen in (
                (f"set local zapline.units = '{{{OURS}}}'", [OURS] if table.name in SEEN_BY_UNITS else []),
                (f"set local zapline.seen = '{{{OURS}}}'", [OURS] if table.name in SEEN_BY_PEOPLE else []),
                ("set local zapline.seen = '{}'", []),
                (f"set local zapline.unit = '{OURS}'", [OURS]),
                (f"set local zapline.unit = '{uuid4()}'", []),
                ("set local zapline.unit = ''", []),
                ("set local zapline.scope = 'admin'", [OURS, THEIRS]),
            ):
                async with api.transaction():
                    await api.execute(scope)
                    assert await rows(api, table) == seen, (table.name, scope)
            assert await rows(api, table) == [], f"what was set for a transaction outlives it in {table.name}"
        for name in OF_ALL:
            assert await api.fetch(f"select 1 from zapline.{name}") == []
            async with api.transaction():
                await api.execute(f"set local zapline.unit = '{OURS}'")
                assert await api.fetch(f"select 1 from zapline.{name}") == []
        for name in ENGINE_ALONE:
            with pytest.raises(StatementFailed, match="42501"):
                await api.fetch(f"select 1 from zapline.{name}")
    async with await connect(database, role="zapline_engine") as engine:
        for table in of_units:
            assert await rows(engine, table) == [OURS, THEIRS]


async def rows(conn: Connection, table: Any) -> list[UUID]:
    found = await conn.fetch(f"select {table.key} as unit from zapline.{table.name} order by 1")
    return [row.unit for row in found]


async def test_the_roles_own_nothing_and_cannot_bypass_row_security(database: str) -> None:
    async with await connect(database) as owner:
        (roles,) = await owner.fetch(
            "select bool_or(rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication) as mighty,"
            " count(*) as n from pg_roles where rolname in ('zapline_engine', 'zapline_api')"
        )
        assert (roles.mighty, roles.n) == (False, 2)
        owned = await owner.fetch(
            "select relname as name from pg_class where relowner in ('zapline_engine'::regrole, 'zapline_api'::regrole)"
            " union all select proname from pg_proc"
            " where proowner in ('zapline_engine'::regrole, 'zapline_api'::regrole)"
            " union all select nspname from pg_namespace"
            " where nspowner in ('zapline_engine'::regrole, 'zapline_api'::regrole)"
        )
        assert owned == []
        members = await owner.fetch(
            "select 1 from pg_auth_members where member in ('zapline_engine'::regrole, 'zapline_api'::regrole)"
        )
        assert members == [], "a role that is a member of another can take it"
        (definers,) = await owner.fetch(
            "select count(*) as n from pg_proc where pronamespace = 'zapline'::regnamespace and prosecdef"
        )
        assert definers.n == 0, "a function that runs as its owner sees every unit"
        views = await owner.fetch(
            "select relname from pg_class where relnamespace = 'zapline'::regnamespace and relkind in ('v', 'm')"
            " and not coalesce(reloptions @> array['security_invoker=true'], false)"
        )
        assert views == [], "a view that reads as its owner sees every unit"
        create = await owner.fetch_one("select has_schema_privilege('zapline_api', 'zapline', 'create') as may")
        assert create is not None
        assert not create.may


async def test_the_api_writes_nothing(database: str) -> None:
    async with await connect(database) as owner:
        allowed = await owner.fetch(
            "select c.relname, p.kind from pg_class c, unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',"
            " 'REFERENCES', 'TRIGGER']) as p (kind) where c.relnamespace = 'zapline'::regnamespace"
            " and c.relkind in ('r', 'p', 'v', 'm') and (has_table_privilege('zapline_api', c.oid, p.kind)"
            " or p.kind in ('INSERT', 'UPDATE') and has_any_column_privilege('zapline_api', c.oid, p.kind))"
        )
        assert allowed == []
        sequences = await owner.fetch(
            "select relname from pg_class where relnamespace = 'zapline'::regnamespace"
            " and case relkind when 'S' then has_sequence_privilege('zapline_api', oid, 'USAGE, UPDATE') end"
        )
        assert sequences == []
        names = [table.name for table in await owner.fetch(TABLES)]
    async with await connect(database, role="zapline_api") as api:
        for name in names:
            with pytest.raises(StatementFailed, match="42501"):
                await api.execute(f"delete from zapline.{name}")


async def test_audit_entries_are_completed_once_and_never_deleted(database: str) -> None:
    deed = AuditedAction(AuditActor(ActorKind.ADMIN, "ana@example.com", OURS, "203.0.113.7"), "put_pace", OURS, None)
    async with await connect(database, role="zapline_engine") as engine:
        line = await audit_log.begin_entry(engine, deed)
        other = await audit_log.begin_entry(
            engine, AuditedAction(AuditActor(ActorKind.COMMAND, "root"), "replay", THEIRS)
        )
        await audit_log.complete_entry(engine, line, 200, {"perMinute": 20})
        await audit_log.complete_entry(engine, line, 500, {})
        found = await audit_log.list_entries(engine, AuditFilter(), None, 10)
        entries = [(one.id, one.outcome, one.detail) for one in found]
        assert entries == [(other, None, {}), (line, 200, {"perMinute": 20})]
        for statement in (
            "delete from zapline.audit_log",
            "truncate zapline.audit_log",
            "update zapline.audit_log set actor = 'somebody else'",
            f"update zapline.audit_log set outcome = 500 where id = {line}",
        ):
            with pytest.raises(StatementFailed, match=r"42501|23001"):
                await engine.execute(statement)
        assert len(await audit_log.list_entries(engine, AuditFilter(unit=OURS, actor="ana@example.com"), None, 10)) == 1
        assert await audit_log.list_entries(engine, AuditFilter(action="replay"), other, 10) == []
