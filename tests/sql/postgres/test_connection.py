"""A connection to a real server: types, errors, transactions and cancellation."""

import itertools
import random
import socket
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from zapline.domain.errors import ConfigurationError, DatabaseUnavailable, LocalError
from zapline.sql.postgres import connection, psycopg_on_trio
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import CommitUnknown, StatementFailed, Verdict, verdict_of
from zapline.sql.postgres.psycopg_on_trio import Json


@pytest.fixture
async def conn(database_url):
    async with await connect(database_url) as connection:
        yield connection


@pytest.fixture
async def table(conn: Connection):
    await conn.execute("create table things (id int primary key, word text)")
    return conn


async def insert(conn: Connection, *ids: int, then: type[Exception] | None = None) -> None:
    async with conn.transaction():
        for n in ids:
            await conn.execute("insert into things values (%s)", (n,))
        if then is not None:
            raise then


async def ids(conn: Connection) -> list[int]:
    return [row.id for row in await conn.fetch("select id from things order by id")]


# -- values ------------------------------------------------------------------------------------------------


async def test_rows_are_named_tuples_with_decoded_values(conn):
    expected = uuid4()
    row = await conn.fetch_one(
        "select %(u)s::uuid as unit, now() as at, %(b)s::bytea as body, %(n)s::bigint as n",
        {"u": expected, "b": b"\x00\xff", "n": 2**40},
    )
    unit, at, body, n = row
    assert (row.unit, body, n) == (expected, b"\x00\xff", 2**40)
    assert isinstance(unit, UUID)
    assert at.utcoffset() == timedelta(0)
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_times_come_back_in_utc_whatever_zone_they_went_in(conn):
    row = await conn.fetch_one("select timestamptz '2026-01-02 03:04:05-03' as at")
    assert row.at == datetime(2026, 1, 2, 6, 4, 5, tzinfo=UTC)
    assert row.at.tzinfo is UTC


async def test_encoded_json_goes_in_as_jsonb_and_comes_out_decoded(conn):
    rows = [{"id": i, "word": f"é{i}"} for i in range(3)]
    got = await conn.fetch(
        "select * from jsonb_to_recordset(%(rows)s) as r(id int, word text) order by id",
        {"rows": Json(msgspec.json.encode(rows))},
    )
    assert [(r.id, r.word) for r in got] == [(0, "é0"), (1, "é1"), (2, "é2")]
    row = await conn.fetch_one("select %s as j, pg_typeof(%s)::text as t", (Json(b'{"a":[1,2.5,null]}'), Json(b"1")))
    assert row.j == {"a": [1, 2.5, None]}
    assert row.t == "jsonb"


async def test_a_statement_larger_than_the_socket_buffers_is_sent_whole(conn):
    body = b"x" * 20_000_000
    row = await conn.fetch_one("select length(%s::bytea) as n", (body,))
    assert row.n == len(body)


async def test_a_script_of_several_statements_runs_without_parameters(conn):
    await conn.execute("create table a (n int); insert into a values (1), (2)")
    assert await conn.execute("update a set n = n + 1") == 2
    assert await conn.fetch_one("select 1 as one where false") is None


async def test_repeated_statements_are_prepared_unless_switched_off(database_url):
    prepared = "select count(*) as n from pg_prepared_statements"
    for on, least, most in ((True, 1, 2), (False, 0, 0)):
        async with await connect(database_url, prepare=on) as conn:
            for _ in range(5):
                async with conn.transaction():
                    await conn.fetch("select %(a)s::int as a", {"a": 1})
            assert least <= (await conn.fetch_one(prepared)).n <= most


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_text_that_postgresql_cannot_hold_is_poison_and_leaves_the_connection_usable(conn, text):
    with pytest.raises(StatementFailed) as failure:
        await conn.execute("select %s::text", (text,))
    assert failure.value.sqlstate == "22021"
    assert failure.value.verdict is Verdict.POISON
    await conn.ping()


@pytest.mark.parametrize("encoded", [rb'{"a":"\u0000"}', rb'{"a":"\ud800"}', b'{"a":"\x00"}', b"{"])
async def test_json_that_postgresql_cannot_hold_is_poison(conn, encoded):
    with pytest.raises(StatementFailed) as failure:
        await conn.execute("select %s::jsonb", (Json(encoded),))
    assert failure.value.verdict is Verdict.POISON


@pytest.mark.parametrize(
    ("statement", "sqlstate", "expected"),
    [
        ("insert into things values (1, 'again')", "23505", Verdict.POISON),
        ("insert into parts values (7)", "23503", Verdict.MISSING),
        ("select 1/0", "22012", Verdict.POISON),
        ("insert into things values (2, repeat(md5(random()::text), 100000))", "54000", Verdict.POISON),
        ("select * from nowhere", "42P01", Verdict.STOP),
        ("set transaction_read_only = on; insert into things values (3)", "25006", Verdict.STOP),
        ("set statement_timeout = 50; select pg_sleep(5)", "57014", Verdict.RETRY),
    ],
)
async def test_each_refusal_carries_its_sqlstate_and_verdict(table, statement, sqlstate, expected):
    await table.execute("create table parts (thing int references things)")
    await table.execute("create index on things (word)")
    await table.execute("insert into things values (1, 'one')")
    with pytest.raises(StatementFailed) as failure:
        await table.execute(statement)
    assert (failure.value.sqlstate, failure.value.verdict) == (sqlstate, expected)


async def test_waiting_for_a_lock_ends_and_may_be_tried_again(table, database_url):
    async with await connect(database_url, lock_timeout_ms=50) as other:
        async with table.transaction():
            await table.execute("insert into things values (1)")
            await table.execute("lock table things in exclusive mode")
            with pytest.raises(StatementFailed) as failure:
                await other.execute("insert into things values (1)")
        assert failure.value.sqlstate == "55P03"
        assert failure.value.verdict is Verdict.RETRY


async def test_a_deadlock_may_be_tried_again(table, database_url):
    await table.execute("insert into things values (1), (2)")
    failed: list[str] = []

    async def swap(conn: Connection, first: int, second: int, met: trio.Event, other: trio.Event) -> None:
        try:
            async with conn.transaction():
                await conn.execute("update things set word = 'x' where id = %s", (first,))
                met.set()
                await other.wait()
                await conn.execute("update things set word = 'x' where id = %s", (second,))
        except StatementFailed as error:
            failed.append(error.sqlstate)

    one, two = trio.Event(), trio.Event()
    async with await connect(database_url, lock_timeout_ms=0) as other:
        await table.execute("set lock_timeout = 0")
        for conn in (table, other):
            await conn.execute("set deadlock_timeout = '50ms'")
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(swap, table, 1, 2, one, two)
                nursery.start_soon(swap, other, 2, 1, two, one)
    assert failed == ["40P01"]
    assert verdict_of("40P01") is Verdict.RETRY


async def test_an_error_shows_names_but_no_values_and_chains_nothing(table):
    await table.execute("insert into things values (1, 'one')")
    for params in ((1, "canary"), ("canary", "x"), (2, "canary\x00")):
        with pytest.raises(StatementFailed) as failure:
            await table.execute("insert into things values (%s, %s)", params)
        assert "canary" not in f"{failure.value!r} {failure.value}"
        assert failure.value.__context__ is None
    with pytest.raises(StatementFailed) as failure:
        await table.execute("insert into things values (1, 'canary')")
    assert failure.value.constraint == "things_pkey"


async def test_missing_parameters_and_columns_of_one_name_are_our_own_mistake(conn):
    with pytest.raises(StatementFailed) as failure:
        await conn.execute("select %(a)s", {"b": 1})
    assert failure.value.verdict is Verdict.STOP
    with pytest.raises(StatementFailed) as failure:
        await conn.fetch("select 1 as a, 2 as a")
    assert (failure.value.sqlstate, failure.value.verdict) == ("42701", Verdict.STOP)


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [("08006", Verdict.RETRY), ("57P01", Verdict.RETRY), ("53300", Verdict.STOP), ("XX000", Verdict.STOP)],
)
def test_states_that_are_hard_to_bring_about_are_classified(sqlstate, expected):
    assert verdict_of(sqlstate) is expected


async def test_connecting_to_a_closed_port_fails_at_once_and_names_no_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            with trio.fail_after(30), pytest.raises(DatabaseUnavailable) as failure:
                await connect(f"postgresql://u:canary@{host}:{port}/x", connect_timeout=60)
            assert "refused" in str(failure.value)
            assert "canary" not in str(failure.value)


async def test_connecting_to_a_server_that_does_not_respond_ends_at_the_timeout(autojump_clock):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(DatabaseUnavailable):
            await connect(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x", connect_timeout=20)
        assert trio.current_time() == pytest.approx(20)


async def test_an_unreadable_url_is_reported_without_its_password():
    with pytest.raises(ConfigurationError) as failure:
        await connect("postgresql://u:canary@h/x?nonsense=1")
    assert "canary" not in str(failure.value)
    assert failure.value.__context__ is None


async def test_a_role_is_set_and_a_missing_one_stops(conn, database_url):
    name = f'odd "role" {uuid4().hex}'
    quoted = '"' + name.replace('"', '""') + '"'
    await conn.execute(f"create role {quoted}")
    try:
        async with await connect(database_url, role=name) as other:
            assert (await other.fetch_one("select current_user as me")).me == name
    finally:
        await conn.execute(f"drop role {quoted}")
    with pytest.raises(StatementFailed) as failure:
        await connect(database_url, role=name)
    assert failure.value.verdict is Verdict.STOP


# -- transactions ------------------------------------------------------------------------------------------


async def test_a_transaction_commits_at_its_end_and_rolls_back_on_an_error(table):
    await insert(table, 1)
    with pytest.raises(ZeroDivisionError):
        await insert(table, 2, then=ZeroDivisionError)
    with pytest.raises(StatementFailed):
        await insert(table, 3, 1)
    assert await ids(table) == [1]
    assert table.clean


async def test_a_swallowed_failure_does_not_pass_for_a_commit(table):
    async def swallow() -> None:
        async with table.transaction():
            await table.execute("insert into things values (1)")
            with pytest.raises(StatementFailed):
                await table.execute("select 1/0")

    with pytest.raises(StatementFailed) as failure:
        await swallow()
    assert failure.value.sqlstate == "25P02"
    assert await ids(table) == []


async def test_a_constraint_checked_at_the_commit_is_a_refusal_not_an_unknown_outcome(table):
    await table.execute("create table parts (thing int references things deferrable initially deferred)")
    with pytest.raises(StatementFailed) as failure:
        async with table.transaction():
            await table.execute("insert into parts values (7)")
    assert failure.value.verdict is Verdict.MISSING
    assert table.clean


async def test_transactions_do_not_nest(table):
    with pytest.raises(LocalError):
        async with table.transaction(), table.transaction():
            pass
    assert table.clean


async def test_a_commit_without_an_answer_is_reported_as_unknown(table, database_url, monkeypatch):
    monkeypatch.setattr(connection, "COMMIT_SECONDS", 0.2)
    await table.execute(
        "create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(3); return null; end $$"
    )
    await table.execute(
        "create constraint trigger slow after insert on things deferrable initially deferred "
        "for each row execute function dawdle()"
    )
    with pytest.raises(CommitUnknown):
        async with table.transaction():
            await table.execute("insert into things values (1)")
    assert table.closed


# -- cancellation ------------------------------------------------------------------------------------------


async def test_cancelling_a_running_statement_leaves_the_connection_usable(table, monkeypatch):
    monkeypatch.setattr(psycopg_on_trio, "CANCEL_SECONDS", 30)
    await table.execute("set statement_timeout = 0")
    with trio.fail_after(20), trio.move_on_after(0.05) as scope:
        await table.execute("select pg_sleep(60)")
    assert scope.cancelled_caught
    assert not table.closed
    assert (await table.fetch_one("select 1 as one")).one == 1


async def test_cancelling_inside_a_transaction_rolls_it_back(table):
    with trio.move_on_after(0.05):
        async with table.transaction():
            await table.execute("insert into things values (1)")
            await table.execute("select pg_sleep(5)")
    assert table.clean
    assert await ids(table) == []


async def test_a_cancellation_before_the_commit_was_sent_rolls_back(table):
    with trio.CancelScope() as scope:
        async with table.transaction():
            await table.execute("insert into things values (1)")
            scope.cancel()
    assert scope.cancelled_caught
    assert await ids(table) == []


async def test_a_second_task_waits_its_turn_on_the_same_connection(conn):
    found: list[int] = []

    async def ask(n: int) -> None:
        found.append((await conn.fetch_one("select %s::int as n, pg_sleep(0.01)", (n,))).n)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(ask, n)
    assert sorted(found) == [0, 1, 2, 3, 4]


async def test_transactions_cancelled_at_random_never_hang_and_never_commit_by_halves(database_url):
    chance = random.Random(7)
    async with await connect(database_url) as setup:
        await setup.execute("create table halves (run int, half int, unique (run, half))")
        runs = itertools.count()
        committed: set[int] = set()
        cancelled: set[int] = set()

        async def worker() -> None:
            conn = await connect(database_url)
            longest = 0.012
            while len(committed | cancelled) < 300 or min(len(committed), len(cancelled)) <= 20:
                run = next(runs)
                with trio.move_on_after(chance.uniform(0, longest)):
                    async with conn.transaction():
                        for half in (1, 2):
                            await conn.execute("insert into halves values (%s, %s)", (run, half))
                            await conn.fetch("select pg_sleep(%s)", (chance.uniform(0, 0.004),))
                    committed.add(run)
                # However fast the machine is, some runs are cancelled and some are not.
                longest *= 0.95 if run in committed else 1.03
                if run not in committed:
                    cancelled.add(run)
                if conn.closed:
                    conn = await connect(database_url)
                assert conn.clean
            await conn.close()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(worker)
        rows = await setup.fetch("select run, count(*) as n from halves group by run")
        assert {row.n for row in rows} == {2}
        # A commit that was sent is waited for, so the stored runs are exactly the reported ones.
        assert {row.run for row in rows} == committed
        assert min(len(committed), len(cancelled)) > 20


async def test_an_idle_session_is_never_ended_by_the_server_and_a_pooler_is_told_from_it(database_url, monkeypatch):
    async with await connect(database_url) as conn:
        assert (await conn.fetch_one("show idle_session_timeout")).idle_session_timeout == "0"
        assert not await conn.is_pooled()

        class ThroughPooler:
            pid = 1

        async def another_process(statement):
            return ThroughPooler()

        monkeypatch.setattr(conn, "fetch_one", another_process, raising=False)
        assert await conn.is_pooled()
