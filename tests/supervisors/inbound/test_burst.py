"""A flood for one unit takes disk space, and neither memory nor the time of other units."""

from pathlib import Path

import psycopg
import pytest
import trio
from support.inbound_stack import inbound_stack, text

from zapline.supervisors.inbound import mailbox
from zapline.supervisors.inbound.unit_state import Unit

FLOOD, TASKS, QUIET = 10_000, 500, 50


@pytest.mark.long
async def test_ten_thousand_webhooks_for_one_unit_leave_fifty_others_their_latency(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("alter table zapline.messages alter stored_at set default clock_timestamp()")
    async with inbound_stack(database, tmp_path, lanes=4) as stack:
        loud, *quiet = await stack.add_units(f"u{number}" for number in range(QUIET + 1))
        most_entries = most_bytes = 0
        posted = trio.Event()

        async def flood(task: int, unfinished: list[int]) -> None:
            for number in range(FLOOD // TASKS):
                await stack.send(loud, "messages.upsert", text(f"L{task}-{number}"))
            unfinished.pop()
            if not unfinished:
                posted.set()

        async def send_slowly(unit: Unit, index: int) -> None:
            await trio.sleep(index / QUIET / 10)
            number = 0
            while not posted.is_set() or stack.dispatcher.lagging:
                await stack.send(unit, "messages.upsert", text(f"Q{number}"))
                number += 1
                await trio.sleep(0.1)

        async def watch() -> None:
            nonlocal most_entries, most_bytes
            while True:
                seen = loud.mailbox.statistics()
                most_entries, most_bytes = max(most_entries, seen.entries), max(most_bytes, seen.bytes)
                await trio.sleep(0.001)

        started = trio.current_time()
        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                async with trio.open_nursery() as posting:
                    unfinished = list(range(TASKS))
                    for task in range(TASKS):
                        posting.start_soon(flood, task, unfinished)
                    for index, unit in enumerate(quiet):
                        posting.start_soon(send_slowly, unit, index)
                nursery.cancel_scope.cancel()
        await stack.wait_until_stored(300)
        took = trio.current_time() - started
        waits = "extract(epoch from stored_at - received_at)::float8"
        [(count, median, p99, worst)] = await stack.rows(
            f"select count(*) as n, percentile_cont(0.5) within group (order by {waits}) as p50, "
            f"percentile_cont(0.99) within group (order by {waits}) as p99, max({waits}) as most "
            f"from zapline.messages where unit_id <> '{loud.id}'"
        )
        with capsys.disabled():
            print(
                f"\nflood of {FLOOD} stored in {took:.1f} s; quiet units: {count} messages, time to row "
                f"p50 {median:.3f} p99 {p99:.3f} worst {worst:.3f} s; mailbox at most {most_entries} entries"
            )
        assert await stack.rows(f"select count(*) as n from zapline.messages where unit_id = '{loud.id}'") == [(FLOOD,)]
        assert isinstance(p99, float)
        assert p99 < took / 3, "a quiet unit waits for the flood: in the order of arrival it would be half of its time"
        assert 0 < most_entries <= mailbox.MAX_ENTRIES
        assert most_bytes <= mailbox.MAX_BYTES
