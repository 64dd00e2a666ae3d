"""The recorded reconnect storm of 247 webhooks in a minute and a half causes few row writes and few calls."""

from datetime import datetime
from pathlib import Path

import msgspec
import psycopg
import pytest
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
MAX_ROWS = 5
MAX_CALLS = 12


def set_line(state: str, calls: FakeLineCalls) -> None:
    calls.failing = state == "unreachable"
    calls.state = {"fresh": "connecting", "open": "open", "unreachable": "close"}[state]


async def prepare_unit(stack: InboundStack, state: str) -> None:
    unit = await stack.add_unit("alpha")
    set_line(state, stack.calls)
    if state != "fresh":
        reported = b'{"event":"connection.update","instance":"alpha","data":{"state":"open","statusReason":200}}'
        stack.calls.failing, stack.calls.state = False, "open"
        await stack.post(unit, reported)
        await stack.wait_until_stored()
        set_line(state, stack.calls)


@pytest.mark.parametrize("state", ["fresh", "open", "unreachable"])
@pytest.mark.parametrize("turns", [1, 31])
async def test_the_storm_writes_few_rows_and_makes_no_call_per_event(
    database: str, tmp_path: Path, state: str, turns: int
) -> None:
    """``turns``: the actor has processed all earlier webhooks so many times."""
    async with inbound_stack(database, tmp_path) as stack:
        await prepare_unit(stack, state)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(COUNTING)
        [unit] = stack.roster.units()
        before, stack.calls.performed = stack.counters.total("connection_rows_written"), []
        for number, body in enumerate(STORM, 1):
            await stack.post(unit, msgspec.json.encode(body))
            if number % (len(STORM) // turns) == 0:
                await stack.wait_until_stored()
        await stack.wait_until_stored()
        written = stack.counters.total("connection_rows_written") - before
        assert written <= MAX_ROWS
        [(updates,)] = await stack.rows("select count(*) as n from zapline.written")
        assert isinstance(updates, int)
        assert updates <= MAX_ROWS
        assert len(stack.calls.performed) <= MAX_CALLS
        assert stack.counters.total("actor_crashes") == 0


def recorded_events() -> list[tuple[float, ConnectionEvent]]:
    """When each event of the storm came, in seconds from the first."""
    timed: list[tuple[float, ConnectionEvent]] = []
    for body in STORM:
        at = datetime.fromisoformat(body["date_time"].replace("Z", "+00:00")).timestamp()
        events = parse_webhook(msgspec.json.encode(body))
        timed += [(at, event) for event in events if isinstance(event, ConnectionEvent)]
    return [(at - timed[0][0], event) for at, event in timed]


@pytest.mark.parametrize("state", ["fresh", "open", "unreachable"])
def test_the_storm_at_its_own_pace_writes_few_rows_and_makes_few_calls(state: str) -> None:
    """The state machine alone, in virtual time: timers fire and calls are answered at the recorded times."""
    stored = StoredLineState() if state == "fresh" else StoredLineState(Phase.OPEN, Reason.SCAN_COMPLETED, wanted=True)
    connection, calls, rows = LineState(stored=stored), 0, 0
    line = FakeLineCalls()
    set_line(state, line)
    waiting: list[tuple[float, ConnectionEvent]] = [(0.0, Started()), *recorded_events()]
    end = waiting[-1][0]
    while waiting and waiting[0][0] <= end:
        if connection.wake_at is not None and connection.wake_at <= waiting[0][0]:
            waiting.insert(0, (connection.wake_at, TimerFired()))
        at, event = waiting.pop(0)
        result = step(connection, event, Moment(1e9 + at, at), 0.5)
        rows += result.state.stored != connection.stored
        connection = result.state
        for action in result.calls:
            calls += 1
            if line.failing:
                answer: ConnectionEvent = CallFailed(action.value, "refused")
            else:
                answer = StateObserved(line.state) if action is LineAction.OBSERVE else Registered()
            waiting.append((at + 0.05, answer))
        waiting.sort(key=lambda item: item[0])
    assert rows <= MAX_ROWS
    assert calls <= 3 * MAX_CALLS
    assert calls < len(STORM) / 5
