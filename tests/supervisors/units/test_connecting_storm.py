"""The recorded reconnect storm, 247 webhooks in a minute and a half, costs few rows and few calls."""

from datetime import datetime
from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
from support.inbound_stack import FakeLineCalls, InboundStack, inbound_stack
from support.recorded_webhooks import STORM

from zapline.domain.line.events import CallFailed, ConnectionEvent, Registered, Started, StateObserved, TimerFired
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import LineState, StoredLineState
from zapline.domain.line.state_machine import step
from zapline.domain.line.transitions import LineAction
from zapline.domain.timestamps import Moment
from zapline.evolution.webhooks.event_parser import parse_webhook

COUNTING = """
create table zapline.written (n int);
create function zapline.count_write() returns trigger language plpgsql as $$
begin
    insert into zapline.written values (1);
    return new;
end $$;
create trigger count_write after update on zapline.unit_whatsapp_connections
    for each row execute function zapline.count_write();
grant insert on zapline.written to zapline_engine;
"""
MOST_ROWS = 5
MOST_CALLS = 12


def line_of(state: str, calls: FakeLineCalls) -> None:
    calls.failing = state == "unreachable"
    calls.state = {"fresh": "connecting", "open": "open", "unreachable": "close"}[state]


async def prepare_unit(stack: InboundStack, state: str) -> None:
    unit = await stack.add_unit("alpha")
    line_of(state, stack.calls)
    if state != "fresh":
        reported = b'{"event":"connection.update","instance":"alpha","data":{"state":"open","statusReason":200}}'
        stack.calls.failing, stack.calls.state = False, "open"
        await stack.post(unit, reported)
        await stack.wait_until_stored()
        line_of(state, stack.calls)


@pytest.mark.parametrize("state", ["fresh", "open", "unreachable"])
@pytest.mark.parametrize("seconds", [0.0, 1.2])
async def test_the_storm_writes_few_rows_and_makes_no_call_per_event(
    database: str, tmp_path: Path, state: str, seconds: float
) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        await prepare_unit(stack, state)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(COUNTING)
        [unit] = stack.roster.units()
        before, stack.calls.performed = stack.counters.total("connection_rows_written"), []
        for body in STORM:
            await stack.post(unit, msgspec.json.encode(body))
            await trio.sleep(seconds / len(STORM))
        await stack.wait_until_stored()
        written = stack.counters.total("connection_rows_written") - before
        assert written <= MOST_ROWS
        [(updates,)] = await stack.rows("select count(*) as n from zapline.written")
        assert isinstance(updates, int)
        assert updates <= MOST_ROWS
        assert len(stack.calls.performed) <= MOST_CALLS
        assert stack.counters.total("actor_crashes") == 0


def moments() -> list[tuple[float, ConnectionEvent]]:
    """When each event of the storm came, in seconds from the first."""
    timed: list[tuple[float, ConnectionEvent]] = []
    for body in STORM:
        at = datetime.fromisoformat(body["date_time"].replace("Z", "+00:00")).timestamp()
        timed += [(at, event) for event in parse_webhook(msgspec.json.encode(body)) if isinstance(event, ConnectionEvent)]
    return [(at - timed[0][0], event) for at, event in timed]


@pytest.mark.parametrize("state", ["fresh", "open", "unreachable"])
def test_the_storm_at_its_own_pace_writes_few_rows_and_makes_few_calls(state: str) -> None:
    """The machine alone, over the recorded times: timers fire and calls are answered when they would be."""
    stored = StoredLineState() if state == "fresh" else StoredLineState(Phase.OPEN, Reason.SCAN_COMPLETED, wanted=True)
    connection, calls, rows = LineState(stored=stored), 0, 0
    line = FakeLineCalls()
    line_of(state, line)
    waiting: list[tuple[float, ConnectionEvent]] = [(0.0, Started()), *moments()]
    end = waiting[-1][0]
    while waiting and waiting[0][0] <= end:
        if connection.wake_at is not None and connection.wake_at <= waiting[0][0]:
            waiting.insert(0, (connection.wake_at, TimerFired()))
        at, event = waiting.pop(0)
        made = step(connection, event, Moment(1e9 + at, at), 0.5)
        rows += made.state.stored != connection.stored
        connection = made.state
        for action in made.calls:
            calls += 1
            if line.failing:
                answer: ConnectionEvent = CallFailed(action.value, "refused")
            else:
                answer = StateObserved(line.state) if action is LineAction.OBSERVE else Registered()
            waiting.append((at + 0.05, answer))
        waiting.sort(key=lambda item: item[0])
    assert rows <= MOST_ROWS
    assert calls <= 3 * MOST_CALLS
    assert calls < len(STORM) / 5
