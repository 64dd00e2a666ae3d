"""An entry that the database refuses becomes a dead letter alone; what cannot be stored for now waits."""

from pathlib import Path

import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text, until

from zapline.domain.restart_policy import RestartIntensity
from zapline.supervisors.inbound.pending_writes import LaneState

REFUSING = """
create function zapline.refuse() returns trigger language plpgsql as $$
begin
    if new.external_id like 'POISON%%' then
        raise exception 'no' using errcode = '%s';
    end if;
    return new;
end $$;
create trigger refuse before insert on zapline.messages for each row execute function zapline.refuse();
"""


def execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql)


async def post_at_once(stack: InboundStack, posts: list[tuple[object, str]]) -> None:
    """Send these messages in this order, in few group commits of the journal."""
    async with trio.open_nursery() as nursery:
        for unit, identity in posts:
            nursery.start_soon(stack.send, unit, "messages.upsert", text(identity))
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("sqlstate", ["22003", "23514", "54000", "21000", "P0001"])
async def test_one_refused_row_among_two_hundred_becomes_a_dead_letter_and_the_rest_is_stored_in_order(
    database: str, tmp_path: Path, sqlstate: str
) -> None:
    execute(database, REFUSING % sqlstate)
    async with inbound_stack(database, tmp_path, lanes=1) as stack:
        units = await stack.add_units(["um", "dois", "tres", "quatro"])
        posts = [(units[number % 4], f"{number:03}" if number != 101 else "POISON") for number in range(200)]
        await post_at_once(stack, posts)
        await stack.wait_until_stored()
        stored = await stack.rows("select unit_id, external_id from zapline.messages order by seq")
        for unit in units:
            own = [identity for owner, identity in stored if owner == unit.id]
            assert own == [identity for owner, identity in posts if owner is unit and identity != "POISON"]
        letters = await stack.rows(
            "select unit_id, reason, detail, position('POISON'::bytea in raw) > 0 as kept from zapline.dead_letters"
        )
        assert letters == [(units[101 % 4].id, "refused_by_database", f"SQLSTATE {sqlstate}", True)]
        assert stack.counters.total("actor_crashes") == 0


async def test_a_row_that_another_transaction_inserts_at_once_is_no_poison(database: str, tmp_path: Path) -> None:
    """As where the janitor takes a waiting message up: PostgreSQL refuses one of the two by the message's own id."""
    execute(database, "create sequence zapline.met; grant usage on sequence zapline.met to public")
    execute(database, REFUSING % "23505")
    execute(
        database,
        "create or replace function zapline.refuse() returns trigger language plpgsql as $$ begin"
        " if nextval('zapline.met') % 4 <> 0 then raise exception 'no' using errcode = '23505'; end if;"
        " return new; end $$",
    )
    async with inbound_stack(database, tmp_path, lanes=1) as stack:
        unit = await stack.add_unit()
        for number in range(3):
            await stack.send(unit, "messages.upsert", text(f"{number}"))
            await stack.wait_until_stored()
        assert await stack.rows("select count(*) from zapline.messages") == [(3,)]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
        assert stack.counters.total("recorder_retries") == 9


async def test_several_poison_entries_of_one_unit_each_become_a_dead_letter(database: str, tmp_path: Path) -> None:
    execute(database, REFUSING % "22000")
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        identities = [f"POISON{number}" if number % 10 == 3 else f"{number}" for number in range(60)]
        await post_at_once(stack, [(unit, identity) for identity in identities])
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) from zapline.messages") == [(54,)]
        assert await stack.rows(
            "select count(*) as n, count(distinct journal_seq) as entries from zapline.dead_letters"
        ) == [(6, 6)]


async def test_a_unit_whose_dead_letters_are_refused_is_quarantined_and_other_units_are_served(
    database: str, tmp_path: Path
) -> None:
    execute(database, REFUSING % "22000")
    execute(
        database,
        "create function zapline.never() returns trigger language plpgsql as "
        "$$ begin raise exception 'no' using errcode = '22000'; end $$; "
        "create trigger never before insert on zapline.dead_letters for each row execute function zapline.never()",
    )
    async with inbound_stack(database, tmp_path, lanes=1, intensity=RestartIntensity(3, 10.0)) as stack:
        poisoned, healthy = await stack.add_units(["mal", "bem"])
        await stack.send(poisoned, "messages.upsert", text("POISON"))
        await until(lambda: poisoned.quarantined_at is not None, 15)
        await stack.send(healthy, "messages.upsert", text("W"))
        await stack.wait_for_rows("select external_id from zapline.messages", [("W",)])
        assert poisoned.quarantined_at is not None
        assert healthy.quarantined_at is None


async def test_text_that_no_column_takes_becomes_a_dead_letter_with_its_raw_body(database: str, tmp_path: Path) -> None:
    """Event names come from the body."""
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        for event in ("a\0b", "a\ud800b", "x" * 5000):
            await stack.post(unit, b"{not json", event)
        await stack.wait_until_stored()
        letters = await stack.rows(
            "select reason, raw = '{not json'::bytea as kept, length(event) < 300 as short from zapline.dead_letters"
        )
        assert letters == [("invalid_json", True, True)] * 3
        assert stack.counters.total("actor_crashes") == 0


async def test_a_schema_that_does_not_fit_stops_the_lanes_and_intake_goes_on(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        units = await stack.add_units(f"u{number}" for number in range(8))
        await stack.send(units[0], "messages.upsert", text("before"))
        await stack.wait_until_stored()
        execute(database, "alter table zapline.messages rename column body to body_away")
        for number in range(80):
            await stack.send(units[number % 8], "messages.upsert", text(f"{number:03}"))
        await until(lambda: set(stack.recorder.statistics().states) == {LaneState.STOPPED})
        with trio.fail_after(30):  # less than the intake would wait for the database
            await stack.send(units[1], "messages.upsert", text("late"))
        assert stack.counters.total("journal_refused") == 0
        assert stack.journal.statistics().depth == 81
        assert stack.recorder.statistics().trouble is not None
        execute(database, "alter table zapline.messages rename column body_away to body")
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) from zapline.messages") == [(82,)]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
        assert set(stack.recorder.statistics().states) == {LaneState.IDLE}
        assert stack.recorder.statistics().trouble is None


async def test_a_write_that_stops_alone_stops_neither_its_neighbours_nor_what_came_before_it(
    database: str, tmp_path: Path
) -> None:
    """Not even what looks like a wrong schema is believed of a whole batch."""
    execute(database, REFUSING % "42501")
    async with inbound_stack(database, tmp_path, lanes=1) as stack:
        units = await stack.add_units(["um", "dois", "tres"])
        before = [(units[number % 3], f"{number:03}") for number in range(30)]
        await post_at_once(stack, [*before, (units[0], "POISON"), *((unit, f"last{unit.id}") for unit in units)])
        others = "select count(*) from zapline.messages where external_id not like 'POISON'"
        await stack.wait_for_rows(others, [(32,)])
        await until(lambda: stack.recorder.statistics().states == (LaneState.STOPPED,))
        assert "42501" in (stack.recorder.statistics().trouble or "")
        execute(database, "drop trigger refuse on zapline.messages")
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) from zapline.messages") == [(34,)]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
        assert stack.recorder.statistics().states == (LaneState.IDLE,)


async def test_rows_deleted_from_the_database_while_it_runs_are_written_again(database: str, tmp_path: Path) -> None:
    """The recorder remembers which contacts it wrote; the database may have been restored since."""
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.send(unit, "messages.upsert", text("A"))
        await stack.wait_until_stored()
        execute(
            database,
            "truncate zapline.messages, zapline.conversations, zapline.contact_identities, zapline.contacts cascade",
        )
        await stack.send(unit, "messages.upsert", text("B"))
        await stack.wait_until_stored()
        assert await stack.rows("select external_id from zapline.messages") == [("B",)]
        assert await stack.rows("select canonical from zapline.contacts") == [("+5511999990001",)]
        assert stack.counters.total("actor_crashes") == 0
