"""A webhook has two copies before its 200, or one that is counted until the second is made."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
import trio
from support.cluster_rows import join, owners
from support.inbound_stack import InboundStack, inbound_stack, until

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.cluster import inbox, membership
from zapline.sql.journal.schema import SEND_ANSWER, Entry
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.cluster import inbox_reader
from zapline.supervisors.cluster.inbox_reader import InboxReader
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.inbox.shared_inbox import SharedInbox
from zapline.supervisors.inbox.single_copies import SingleCopies, is_shared
from zapline.supervisors.leadership import Leadership, WriterStanding


@dataclass
class Shared:
    """An intake that makes two copies, and the inbox's way to PostgreSQL, which can be cut."""

    stack: InboundStack
    unit: Unit
    single: SingleCopies
    node: UUID
    open_engine: Callable[[], Awaitable[Connection]]
    cut: bool = False
    woken: list[None] = field(default_factory=list)

    async def accept(self, body: bytes) -> bool | None:
        return await self.stack.intake.accept(self.unit, "messages.upsert", body)

    async def waiting(self) -> list[tuple[object, ...]]:
        return await self.stack.rows("select body, replayed from zapline.inbox order by id")

    async def unfinished(self) -> list[str]:
        await self.stack.journal.flush()
        return [entry.event for entry in await self.stack.journal.unfinished(0, 100)]  # type: ignore[arg-type]


@asynccontextmanager
async def shared_intake(database: str, directory: Path) -> AsyncIterator[Shared]:
    async with inbound_stack(database, directory) as stack, Pool.open(database, size=2, role="zapline_engine") as pool:
        unit = await stack.add_unit()
        stack.dispatcher._takes = lambda entry: not is_shared(entry.event)

        async def open_engine() -> Connection:
            if shared.cut:
                raise DatabaseUnavailable("cut by the test")
            return await connect(database, role="zapline_engine")

        async with await connect(database) as conn:
            node = await join(conn, "one")
            await membership.claim_units(conn, node, 1, 0)
        box = SharedInbox(pool, open_engine, lambda: node)
        single = SingleCopies(stack.journal, box, stack.counters, lambda id: None)
        shared = Shared(stack, unit, single, node, open_engine)
        box.on_own = lambda: shared.woken.append(None)
        stack.intake.share(box, single)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            yield shared
            nursery.cancel_scope.cancel()


async def test_a_webhook_is_in_the_journal_and_in_the_inbox_when_it_is_answered(database: str, tmp_path: Path) -> None:
    async with shared_intake(database, tmp_path) as shared:
        assert await shared.accept(b"1") is True
        assert await shared.waiting() == [(b"1", False)]
        assert await shared.unfinished() == []  # the second copy is the one that counts
        await until(lambda: bool(shared.woken))
        assert shared.single.left == 0
        assert await shared.stack.intake.has_waiting(shared.unit, shared.stack.intake.clock() + 60)


async def test_without_postgresql_one_copy_is_counted_until_the_second_is_made(database: str, tmp_path: Path) -> None:
    async with shared_intake(database, tmp_path) as shared:
        shared.cut = True
        with trio.fail_after(60):
            assert [await shared.accept(b"1"), await shared.accept(b"2")] == [True, True]
        assert (shared.single.left, shared.stack.counters.total("single_copy_webhooks")) == (2, 2)
        assert await shared.unfinished() == ["messages.upsert"] * 2
        assert await shared.waiting() == []
        # A line that reads its journal anew has not been fed what goes by the inbox, and does not wait for it.
        shared.stack.dispatcher.rewind(shared.unit)
        await until(lambda: not shared.stack.dispatcher._backlogs)
        assert shared.unit.last_fed_seq == 0
        shared.cut = False
        with trio.fail_after(60):
            await shared.single.make_all(shared.stack.intake.clock() + 60)
        assert shared.single.left == 0
        assert await shared.unfinished() == []
        assert await shared.waiting() == [(b"1", False), (b"2", False)]
        # What is replayed says what has happened before; its copies are made anew.
        await shared.stack.journal.replay(0.0, shared.unit.id)
        async with await connect(database, role="zapline_engine") as conn:
            assert len(set(await owners(conn))) == 1
            await conn.execute("delete from zapline.inbox")
            await shared.single.make_all(shared.stack.intake.clock() + 60)
            assert await shared.waiting() == [(b"1", True), (b"2", True)]
            assert await inbox.forget_homeless(conn) == 0


async def test_what_is_old_is_history_where_its_line_is_concerned(database: str, tmp_path: Path) -> None:
    async with shared_intake(database, tmp_path) as shared:
        now = shared.single.clock()
        accept = shared.stack.intake.accept
        assert await accept(shared.unit, "connection.update", b"1", now - 90) is True
        shared.cut = True
        with trio.fail_after(60):
            assert await accept(shared.unit, "connection.update", b"2", now - 90) is True
            assert await accept(shared.unit, "connection.update", b"3") is True
        shared.cut = False
        with trio.fail_after(60):
            await shared.single.make_all(now + 60)
        assert await shared.waiting() == [(b"1", True), (b"2", True), (b"3", False)]
        shared.single.hurry()
        assert shared.single.left == 0


async def test_what_its_owner_noted_goes_to_the_next_one_where_that_needs_it(database: str, tmp_path: Path) -> None:
    async with shared_intake(database, tmp_path) as shared:
        shared.unit.quarantined_at = 0.0  # its actor takes nothing
        for event in (SEND_ANSWER, "!backfill"):
            await shared.stack.intake.note(shared.unit, event, b"{}")
        shared.single._owns = lambda id: True
        await shared.single.make_all(shared.stack.intake.clock() + 60)
        assert await shared.waiting() == []
        await shared.stack.journal.replay(0.0, shared.unit.id)
        shared.single._owns = lambda id: False
        await shared.single.make_all(shared.stack.intake.clock() + 60)
        waiting = await shared.stack.rows("select event from zapline.inbox")
        assert waiting == [(SEND_ANSWER,)]
        assert shared.stack.counters.total("left_to_owner") == 1


async def test_what_a_lost_statement_took_is_taken_anew_and_what_follows_a_suspect_waits_with_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, go_on = list[bytes](), trio.Event()

    async def find_deadly(entries: Sequence[Entry]) -> set[int]:
        tried.extend(entry.body for entry in entries)
        await go_on.wait()
        return {0}

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(inbox_reader, "find_deadly", find_deadly)
    async with shared_intake(database, tmp_path) as shared:
        stack, other = shared.stack, await shared.stack.add_unit("other")
        async with await connect(database) as conn:
            await membership.claim_units(conn, shared.node, 1, 0)
            await stack.reload()
            for unit, body in ((shared.unit, b"1"), (shared.unit, b"2"), (other, b"3")):
                assert await stack.intake.accept(unit, "messages.upsert", body) is True
            assert len(await inbox.take(conn, shared.node, [], 9, 9)) == 3
            await conn.execute("update zapline.inbox set deaths = 1 where body = '1'")
        leadership = Leadership(shared.open_engine, nothing, nothing, WriterStanding(node=shared.node))
        leadership._leading.set()
        reader = InboxReader(
            shared.open_engine, leadership, stack.roster, stack.counters, lambda: None, lambda unit: None
        )
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.run)
                while len(await shared.waiting()) > 2:  # noqa: ASYNC110 - of PostgreSQL
                    await trio.sleep(0.02)
                assert await shared.waiting() == [(b"1", False), (b"2", False)]
                await until(lambda: bool(tried))
                assert (tried, reader.in_hand, reader.has_in_hand(shared.unit.id)) == ([b"1"], 2, True)
                go_on.set()
                while await shared.waiting():  # noqa: ASYNC110 - of PostgreSQL
                    await trio.sleep(0.02)
                await until(lambda: not reader.in_hand)
                nursery.cancel_scope.cancel()
        reasons = await stack.rows("select reason from zapline.dead_letters")
        assert len(reasons) == 3
        assert ("killed_process",) in reasons
