"""If the journal refuses a webhook, PostgreSQL takes it; if both refuse, the loss is counted."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text

from zapline.domain.errors import JournalRefused
from zapline.sql.journal import writer
from zapline.sql.journal.schema import Arrival
from zapline.supervisors.inbound import recorder


def refuse(stack: InboundStack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append(arrival: Arrival) -> None:
        raise JournalRefused("planted")

    async def append_many(arrivals: Sequence[Arrival], within: float) -> None:
        raise JournalRefused("planted")

    monkeypatch.setattr(stack.journal, "append", append)
    monkeypatch.setattr(stack.journal, "append_many", append_many)


async def test_a_refused_webhook_is_stored_before_it_is_answered(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LINGER", 0.0)
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        refuse(stack, monkeypatch)
        for number in range(20):
            await stack.send(unit, "messages.upsert", text(f"{number:02}"))
            rows = await stack.rows(f"select from zapline.messages where external_id = '{number:02}'")
            assert len(rows) == 1  # it is stored when the answer comes
        assert await stack.post(unit, b"{broken", "a\ud800\0")
        assert await stack.rows("select reason, journal_seq from zapline.dead_letters") == [("invalid_json", None)]
        assert stack.counters.total("lost") == 0
        assert unit.gap_since is None
        assert stack.counters.total("actor_crashes") == 0


async def test_a_burst_of_direct_entries_waits_for_room_and_is_stored(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbound_stack(database, tmp_path, database_timeout=60) as stack:
        unit = await stack.add_unit()
        refuse(stack, monkeypatch)
        answers: list[bool] = []

        async def one(number: int) -> None:
            data = text(f"{number}")
            body = msgspec.json.encode({"event": "messages.upsert", "instance": "loja", "data": data})
            answers.append(await stack.post(unit, body))

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(one, number)
        assert await stack.rows("select count(*) as n from zapline.messages") == [(1000,)]
        assert answers == [True] * 1000
        assert stack.counters.total("lost") == 0


async def test_if_both_refuse_the_answer_comes_after_the_timeout_and_the_loss_is_counted(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbound_stack(database, tmp_path, database_timeout=0.5, lock_timeout_ms=0) as stack:
        unit = await stack.add_unit()
        refuse(stack, monkeypatch)
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            started = trio.current_time()
            assert not await stack.post(
                unit,
                b'{"event":"messages.upsert","data":{"key":{"id":"1","remoteJid":"5511999990001@s.whatsapp.net"},"message":{}}}',
            )
            assert trio.current_time() - started >= 0.5  # nothing else ends the wait for the lock
            other.rollback()
        assert stack.counters.total("lost") == 1
        assert unit.gap_since is not None
        first = unit.gap_since
        monkeypatch.undo()
        await stack.send(unit, "messages.upsert", text("after"))
        await stack.wait_until_stored()
        assert unit.gap_since == first
        assert ("after",) in await stack.rows("select external_id from zapline.messages")


async def test_a_webhook_of_a_quarantined_unit_is_to_come_again_at_once_and_is_not_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbound_stack(database, tmp_path, database_timeout=3600) as stack:
        unit = await stack.add_unit()
        refuse(stack, monkeypatch)
        unit.quarantined_at = 1.0
        with trio.fail_after(30):
            assert await stack.intake.accept(unit, "messages.upsert", b"{}") is None
            assert await stack.intake.accept_too_large(unit, 10**9) is None
            assert not await stack.intake.accept_internal(unit, "!note", b"{}")  # who wrote it tries again
        assert stack.counters.totals["webhooks_put_off", "no_actor"] == 2
        assert stack.counters.total("lost") == 0
        assert unit.gap_since is not None, "should nobody send it again, it is read from Evolution's store"
        unit.quarantined_at = None
        await stack.send(unit, "messages.upsert", text("again"))
        assert await stack.rows("select external_id from zapline.messages") == [("again",)]


async def test_without_a_journal_webhooks_go_to_the_database_and_it_opens_with_what_it_holds(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.02)
    journal = tmp_path / "journal.db"
    async with inbound_stack(database, tmp_path) as stack:
        id = (await stack.add_unit()).id
        await stack.send(stack.unit(id), "messages.upsert", text("stored"))
        await stack.wait_until_stored()
        stack.unit(id).quarantined_at = 1.0
        await stack.send(stack.unit(id), "messages.upsert", text("journaled"))
    journal.rename(tmp_path / "kept")
    journal.symlink_to(tmp_path)
    async with inbound_stack(database, tmp_path) as stack:
        stack.journal.on_changed = stack.comparison.journal_changed
        assert stack.journal.closed_because is not None
        await stack.send(stack.unit(id), "messages.upsert", text("direct"))
        assert await stack.rows("select external_id from zapline.messages order by seq") == [("stored",), ("direct",)]
        (tmp_path / "kept").rename(journal)  # in one step: between two the journal would begin a file of its own
        await stack.wait_for_rows(
            "select external_id from zapline.messages where external_id = 'journaled'", [("journaled",)]
        )
        await stack.send(stack.unit(id), "messages.upsert", text("after"))
        await stack.reload()
        await stack.wait_until_stored()
        assert len(await stack.rows("select from zapline.messages")) == 4
        assert stack.counters.total("lost") == 0


async def test_an_entry_that_rotted_is_a_dead_letter_and_its_time_is_read_back(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        id = (await stack.add_unit()).id
        stack.unit(id).quarantined_at = 1.0
        await stack.send(stack.unit(id), "messages.upsert", text("rotten", "palavra"))
        await stack.send(stack.unit(id), "messages.upsert", text("sound"))
    content = bytearray((tmp_path / "journal.db").read_bytes())
    content[content.index(b"palavra")] ^= 1
    (tmp_path / "journal.db").write_bytes(content)
    async with inbound_stack(database, tmp_path) as stack:
        await stack.wait_until_stored()
        assert await stack.rows("select external_id from zapline.messages") == [("sound",)]
        assert await stack.rows("select reason from zapline.dead_letters") == [("damaged_on_disk",)]
        assert stack.counters.totals["journal_losses", "damaged_entry"] == 1
        assert stack.unit(id).gap_since is not None


async def test_a_large_webhook_lets_others_between_its_commits_and_what_they_refuse_of_it_goes_past_them(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 MB of contacts: the first commits of some are taken, and the disk refuses from then on."""
    sizes: list[int] = []
    async with inbound_stack(database, tmp_path, database_timeout=120) as stack:
        unit = await stack.add_unit()
        append_many = stack.journal.append_many

        async def append(arrivals: Sequence[Arrival], within: float) -> None:
            sizes.append(sum(len(arrival.body) for arrival in arrivals))
            if len(sizes) > 1:
                raise JournalRefused("planted")
            await append_many(arrivals, within)

        people = [{"id": f"55119{number:08}@s.whatsapp.net", "pushName": "x" * 5000} for number in range(1000)]
        monkeypatch.setattr(stack.journal, "append_many", append)
        await stack.send(unit, "contacts.upsert", people)
        assert len(sizes) == 2
        assert max(sizes) <= 2 * 2**20
        await stack.wait_until_stored(60)
        assert await stack.rows("select count(*) from zapline.contacts") == [(1000,)]
        assert stack.counters.total("lost") == 0
