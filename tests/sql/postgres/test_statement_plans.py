"""Every statement of the SQL files, as PostgreSQL would run it on large tables: none reads one from end to end.

The list comes from the files themselves, so that no statement that is added later is forgotten. What may read a whole
table has its reason here.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bench.large_tables import KNOWN, Sizes, build
from psycopg import errors, sql

import zapline.sql
from zapline.sql.postgres.queries import Statement, parse

ROOT = Path(zapline.sql.__file__).parent
LARGE = {
    *("messages", "outbox", "attempts", "conversations", "contacts", "hook_deliveries", "campaign_recipients"),
    *("waiting_facts", "line_changes"),
}
"""``attempts`` are the calls."""
MESSAGES = 40_000
SIZES = Sizes(units=40, chats=2000, chats_of_others=50)
READ_ALL: Mapping[str, str] = {
    "health/integrity": "`zapline check` looks at every row",
    "units/legacy_import": "`zapline units import`; reads no large table",
}
"""Files with statements that may read whole tables, and why."""
AGAIN = "all of a unit's {}, again and again"
MAY_READ: Mapping[tuple[str, str], str] = {
    ("outbound/uploads:free_unneeded", AGAIN.format("outbox")): "where the quota of uploads is used up",
    ("privacy/deletion:delete_uploads", AGAIN.format("outbox")): "the deletion of what has expired",
    ("inbound/waiting/waiting_facts:find_due", "waiting_facts"): "once a minute; of a unit so many wait at most",
    ("privacy/deletion:blank_expired_recipients", "campaign_recipients"): "the deletion of what has expired",
    ("postgres/later_indexes:has_many_messages", "messages"): "once, by a migration: at most 5,000 rows",
    ("privacy/erasure:find_names", "contacts"): "a person's erasure or export; contacts have no index by LID",
}
"""Statements that may read one table, on nobody's way to an answer or a message, and why."""
TYPES: Mapping[str, str] = {
    "now": "float8",
    "longest": "float8",
    "longest_look": "float8",
    "quiet": "float8",
    "size": "bigint",
}
"""Types of arguments that PostgreSQL cannot tell from a statement, if it has them as numbers."""
ROLES = ("zapline_engine", "zapline_api")
AS_IF_LARGER = "set plan_cache_mode = force_custom_plan; set seq_page_cost = 100"
"""The tables are a hundredth of large ones, so a page that is read in passing costs a hundred times as much."""
PUT_TOGETHER = """select from zapline.outbox x where x.unit_id = %(unit_id)s and x.state = 'dead' and not exists (
    select from zapline.messages m where m.unit_id = x.unit_id and m.client_message_id = 'a' || x.message_id::text)"""
PARTIAL = "select indexrelid::regclass::text from pg_index where indpred is not null"
NAMED: Mapping[str, object] = {
    "unit_id": KNOWN.unit,
    "conversation_id": KNOWN.conversation,
    "root_id": KNOWN.conversation,
    "campaign": KNOWN.campaign,
    "limit": 50,
    "after_seq": MESSAGES - 100,
    "last_seq": MESSAGES,
}
BY_TYPE: Mapping[str, object] = {
    "uuid": KNOWN.unit,
    "uuid[]": [KNOWN.unit],
    "text": "3EB0",
    "text[]": ["settled"],
    "bigint": 100,
    "integer": 10,
    "smallint": 1,
    "double precision": 1.0,
    "numeric": 1,
    "boolean": True,
    "jsonb": "[{}]",
    "bytea": b"",
    "interval": "1 hour",
    "timestamp with time zone": "2026-01-01",
}


def statements() -> Iterator[tuple[str, Statement]]:
    for file in sorted(ROOT.rglob("*.sql")):
        name = f"{file.relative_to(ROOT).with_suffix('')}"
        if file.parent.name != "migrations" and name not in READ_ALL:
            yield from ((f"{name}:{one.name}", one) for one in parse(file.read_text()) if one.sql[:4] != "set ")


@pytest.fixture
def large(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with some ten thousand messages of forty units, and statistics."""
    build(database, MESSAGES, SIZES, lambda line: None)
    with psycopg.connect(database, prepare_threshold=None) as conn:
        yield conn


def explain(conn: psycopg.Connection[Any], statement: Statement, nulls: bool) -> dict[str, Any]:
    """The plan for likely arguments; ``nulls``: those that may be null are."""
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", place, statement.sql).replace("%%", "%")
    sums = set(re.findall(r"%\((\w+)\)s [-+<]|[-+] %\((\w+)\)s", statement.sql))
    added = {name for pair in sums for name in pair}
    types = ", ".join(TYPES.get(name, "unknown") if name in added else "unknown" for name in names)
    conn.execute(f"prepare checked{f'({types})' if names else ''} as {text}".encode())
    row = conn.execute("select parameter_types::text[] from pg_prepared_statements where name = 'checked'").fetchone()
    assert row is not None
    may_be_null = set(re.findall(r"%\((\w+)\)s(?:::[\w ]+)? is null", statement.sql)) if nulls else set()
    values = [
        None if name in may_be_null else NAMED.get(name, BY_TYPE.get(kind))
        for name, kind in zip(names, row[0], strict=True)
    ]
    arguments = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values))) if names else sql.SQL("")
    plan = conn.execute(sql.SQL("explain (format json) execute checked{}").format(arguments)).fetchone()
    assert plan is not None
    found: dict[str, Any] = plan[0][0]["Plan"]
    return found


def scans(plan: dict[str, Any], partial: AbstractSet[str]) -> Iterator[str]:
    """The large tables that a plan reads from one end to the other, directly or by an index that is not partial.

    Also those of which it compares all rows of a unit with each row of something else.
    """
    read = plan.get("Relation Name")
    by_index = "Index Name" in plan and "Index Cond" not in plan and plan["Index Name"] not in partial
    if read in LARGE and (plan["Node Type"] == "Seq Scan" or by_index):
        yield read
    for part in plan.get("Plans", ()):
        inner = part["Plans"][0] if part["Node Type"] == "Materialize" else part
        if "Join Filter" in plan and part["Parent Relationship"] == "Inner" and inner.get("Relation Name") in LARGE:
            condition = inner.get("Index Cond", "")
            if "unit_id = " in condition and " AND " not in condition and inner.get("Index Name") not in partial:
                yield AGAIN.format(inner["Relation Name"])
        yield from scans(part, partial)


@pytest.mark.heavy
def test_no_statement_reads_all_of_a_large_table(large: psycopg.Connection[Any]) -> None:
    partial = {name for (name,) in large.execute(PARTIAL).fetchall()}
    large.execute(AS_IF_LARGER)
    large.commit()
    wrong, checked = [], set()
    for name, statement in statements():
        for role, nulls in itertools.product(ROLES, (False, True)):
            large.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            large.execute("select set_config('zapline.unit', %s, true)", (str(KNOWN.unit),))
            try:
                wrong += [(name, table) for table in scans(explain(large, statement, nulls), partial)]
                checked.add(name)
            except errors.InsufficientPrivilege:
                pass  # the other role's
            large.rollback()
            large.execute("deallocate all")
    assert set(wrong) - set(MAY_READ) == set(), (
        "no coalesce() or || takes an index under row-level security; a case or a column does"
    )
    planted = Statement("planted", "", "select from zapline.messages where body = %(text)s", frozenset({"text"}))
    assert list(scans(explain(large, planted, nulls=False), partial)) == ["messages"]
    large.rollback()
    large.execute("deallocate all")
    large.execute(
        "select set_config('zapline.unit', %s, true), set_config('role', 'zapline_api', true)", (str(KNOWN.unit),)
    )
    large.execute("set local enable_hashjoin = off; set local enable_mergejoin = off")
    planted = Statement("planted", "", PUT_TOGETHER, frozenset({"unit_id"}))
    assert list(scans(explain(large, planted, nulls=False), partial)) == [AGAIN.format("messages")]
    assert checked == {name for name, _ in statements()}
    assert {name for name, _ in MAY_READ} <= checked


def test_what_may_read_all_is_there() -> None:
    found = {f"{file.relative_to(ROOT).with_suffix('')}" for file in ROOT.rglob("*.sql")}
    assert set(READ_ALL) <= found
