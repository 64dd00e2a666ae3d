"""A start, and an ``open`` after any absence: what was missed meanwhile is read at once, also what is seconds old."""

import time
from dataclasses import replace
from pathlib import Path

import trio
from support.inbound_stack import text, until
from support.reconciliation_stack import QUICK, ReconciliationStack, reconciliation_stack

POLICY = replace(QUICK, settle_delay=60.0, follow_up=0.3, rest=0.05)
"""What Evolution has stored is only final after a minute, as in real life."""


async def bodies(stack: ReconciliationStack) -> set[object]:
    return {row[0] for row in await stack.inbound.rows("select body from zapline.messages")}


async def wait_for(stack: ReconciliationStack, *expected: str) -> None:
    """Wait until these messages are stored."""
    with trio.fail_after(30):
        while not set(expected) <= await bodies(stack):  # noqa: ASYNC110 - rows tell nobody
            await trio.sleep(0.02)


async def test_a_start_reads_what_is_seconds_old_and_looks_again_before_it_trusts(
    database: str, tmp_path: Path
) -> None:
    async with reconciliation_stack(database, tmp_path, POLICY) as stack:
        unit = await stack.open_unit()
        stack.evolution.receive("loja", "agora mesmo", external_id="NEW", at=time.time() - 2)
        stack.start()
        await wait_for(stack, "agora mesmo")
        status = stack.reconciler.status(unit.id)
        assert status is not None
        assert status.gap_since is not None, "a message that Evolution is about to store may still be missing"
        assert (await stack.watermark(unit) or 0) <= time.time() - 60
        stack.evolution.receive("loja", "ainda a caminho", external_id="LATE", at=time.time() - 1)
        await wait_for(stack, "ainda a caminho")


async def test_an_open_on_a_line_thought_open_reads_at_once(database: str, tmp_path: Path) -> None:
    policy = replace(POLICY, follow_up=3600.0)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        unit = await stack.open_unit()
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        stack.evolution.receive("loja", "perdida", external_id="LOST", at=time.time() - 1)
        stack.reconciler.line_opened(unit)
        await wait_for(stack, "perdida")


async def test_a_line_that_flaps_is_not_read_each_time(database: str, tmp_path: Path) -> None:
    policy = replace(POLICY, follow_up=3600.0, rest=3600.0)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        unit = await stack.open_unit()
        stack.start()
        done = stack.inbound.counters.totals
        await until(lambda: done["reconciliations", "done"] == 1)
        for _ in range(50):
            stack.reconciler.line_opened(unit)
        line = stack.reconciler._lines[unit.id]
        assert line.due >= line.ended_at + 3600.0


async def test_edits_and_deletions_come_back_from_the_store_of_every_version(database: str, tmp_path: Path) -> None:
    """Before 2.3.5 an edit leaves the same status as a deletion: the text tells. 2.3.0 keeps what was deleted."""
    versions, now = ("2.3.0", "2.3.4", "2.3.6", "2.3.7", "2.4.0-rc2"), int(time.time())
    async with reconciliation_stack(database, tmp_path, POLICY) as stack:
        unit = await stack.open_unit()
        server = stack.evolution.state
        for version in versions:
            server.behaviour = replace(server.behaviour, version=version)
            for name in ("EDIT", "GONE"):
                id = f"{name}-{version}"
                stack.evolution.receive("loja", "antes", external_id=id, at=now - 9)
                await stack.inbound.send(unit, "messages.upsert", text(id, "antes", at=now - 9))
            stack.evolution.edit("loja", f"EDIT-{version}", "depois", at=now - 5)
            stack.evolution.revoke("loja", f"GONE-{version}", at=now - 5)
            rows = [stack.evolution.instance("loja").messages.get(f"{name}-{version}") for name in ("EDIT", "GONE")]
            await until(lambda rows=rows: all(row.statuses for row in rows))  # type: ignore[misc]
        await stack.inbound.wait_until_stored()
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        edited = [(f"EDIT-{version}", "depois", False) for version in versions]
        gone = [(f"GONE-{version}", None, version != "2.3.0") for version in versions]
        assert await stack.inbound.rows(
            "select external_id, edited_body, deleted_at is not null from zapline.messages order by external_id"
        ) == [*edited, *gone]


async def test_a_gap_that_ends_by_a_clock_that_is_ahead_is_read_as_soon_as_by_the_right_one(
    database: str, tmp_path: Path
) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        clock, right = stack.leadership.clock, time.time() - 40 * 86_400
        clock.wall = lambda: right
        clock.compare(right, trio.current_time())
        clock.wall = time.time  # this machine's clock jumps forward by forty days
        stack.reconciler.note_gap(unit.id, right - 60)
        assert stack.reconciler._lines[unit.id].gap_until < right + 60
        clock.compare(time.time(), trio.current_time())
