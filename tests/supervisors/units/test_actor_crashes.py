"""An event that crashes its actor or the process becomes a dead letter; its unit and all others go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text, until

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.domain.inbound_events import InboundEvent
from zapline.domain.restart_policy import RestartIntensity
from zapline.supervisors.inbound import journal_entries
from zapline.supervisors.inbound.unit_state import Unit

real_parse = journal_entries.parse_webhook
QUARANTINE = 777.0
"""Seconds; no other sleep has this length."""


def crash_on(monkeypatch: pytest.MonkeyPatch, word: bytes) -> list[bytes]:
    """Let the actor crash on bodies that contain ``word``; return the list of bodies it parses."""
    parsed: list[bytes] = []

    def parse(body: bytes, *, event_hint: str | None = None) -> list[InboundEvent]:
        parsed.append(body)
        if word in body:
            raise RuntimeError("planted")
        return real_parse(body, event_hint=event_hint)

    monkeypatch.setattr(journal_entries, "parse_webhook", parse)
    return parsed


async def post(stack: InboundStack, unit: Unit, identities: list[str]) -> None:
    for identity in identities:
        await stack.send(unit, "messages.upsert", text(identity))


async def identities(stack: InboundStack, unit: Unit) -> list[object]:
    rows = await stack.rows(f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq")
    return [row[0] for row in rows]


async def test_an_event_that_crashed_its_actor_twice_is_processed_alone_and_then_becomes_a_dead_letter(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = crash_on(monkeypatch, b"BOOM")
    async with inbound_stack(database, tmp_path) as stack:
        ill, well = await stack.add_units(["mal", "bem"])
        await post(stack, ill, ["1", "2", "BOOM", "3", "4"])
        await post(stack, well, ["5", "6"])
        await stack.wait_until_stored()
        assert await identities(stack, ill) == ["1", "2", "3", "4"]
        assert await identities(stack, well) == ["5", "6"]
        assert await stack.rows(
            "select unit_id, reason, position('BOOM'::bytea in raw) > 0 as kept from zapline.dead_letters"
        ) == [(ill.id, "crashed_actor", True)]
        assert sum(b"BOOM" in body for body in parsed) == 3
        assert stack.counters.total("actor_crashes") == 3
        assert ill.quarantined_at is None
        await post(stack, ill, ["7"])
        await stack.wait_until_stored()
        assert await identities(stack, ill) == ["1", "2", "3", "4", "7"]


async def test_a_unit_that_crashes_too_often_is_quarantined_and_catches_up_when_the_timer_releases_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on(monkeypatch, b"BOOM")
    sleep, quarantine_over = trio.sleep, trio.Event()

    async def sleep_or_wait(seconds: float) -> None:
        await (quarantine_over.wait() if seconds == QUARANTINE else sleep(seconds))

    monkeypatch.setattr(trio, "sleep", sleep_or_wait)
    async with inbound_stack(database, tmp_path, intensity=RestartIntensity(1, 60.0), quarantine=QUARANTINE) as stack:
        ill, well = await stack.add_units(["mal", "bem"])
        await post(stack, ill, ["BOOM", "1"])
        await until(lambda: ill.quarantined_at is not None)
        await post(stack, ill, ["2", "3"])  # its webhooks are still journaled
        await post(stack, well, ["9"])
        assert stack.journal.statistics().depth >= 4
        assert ill.mailbox.statistics().entries <= 256
        await stack.wait_for_rows(f"select external_id from zapline.messages where unit_id = '{well.id}'", [("9",)])
        quarantine_over.set()
        await stack.wait_until_stored(15)
        assert await identities(stack, ill) == ["1", "2", "3"]
        assert await stack.rows("select reason from zapline.dead_letters") == [("crashed_actor",)]


async def test_a_quarantined_unit_is_released_by_hand_and_catches_up(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on(monkeypatch, b"BOOM")
    async with inbound_stack(database, tmp_path, intensity=RestartIntensity(1, 60.0), quarantine=600) as stack:
        ill = await stack.add_unit("mal")
        await post(stack, ill, ["BOOM", *(f"{number:03}" for number in range(400))])
        await until(lambda: ill.quarantined_at is not None)
        monkeypatch.setattr(journal_entries, "parse_webhook", real_parse)  # the bug is fixed
        actors = stack.roster._scopes
        stack.roster.release(ill)
        stack.roster.release(ill)  # a second time does nothing
        await stack.wait_until_stored(20)
        assert (await identities(stack, ill))[1:] == [f"{number:03}" for number in range(400)]
        assert len(actors) == 1


async def test_a_full_disk_during_a_crash_loses_the_crash_count_and_does_not_end_the_process(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on(monkeypatch, b"BOOM")
    async with inbound_stack(database, tmp_path) as stack:
        ill, well = await stack.add_units(["mal", "bem"])
        note_crash, refusals = stack.journal.note_crash, []

        async def refuse(seqs: list[int]) -> None:
            refusals.append(seqs)
            if len(refusals) < 2:
                raise JournalRefused("planted")
            await note_crash(seqs)  # type: ignore[arg-type]

        monkeypatch.setattr(stack.journal, "note_crash", refuse)
        await post(stack, ill, ["BOOM", "1"])
        await post(stack, well, ["2"])
        await stack.wait_until_stored()
        assert await identities(stack, ill) == ["1"]
        assert await identities(stack, well) == ["2"]
        assert stack.counters.total("actor_crashes") == 4


async def test_an_orderly_stop_while_an_entry_is_processed_does_not_count_as_a_death(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry unfinished after three starts is processed alone under a mark; a stop must not make it a dead letter."""
    async with inbound_stack(database, tmp_path) as stack:
        unit = (await stack.add_unit("so")).id
    for _ in range(3):
        async with inbound_stack(database, tmp_path) as stack:
            stack.unit(unit).quarantined_at = 1.0  # nothing is processed
            await stack.send(stack.unit(unit), "messages.upsert", text("A"))
    async with inbound_stack(database, tmp_path) as stack:
        pass  # stopped at once, wherever the actor is
    async with inbound_stack(database, tmp_path) as stack:
        mark_suspect = stack.journal.mark_suspect
        marking = trio.Event()

        async def slowly(seq: int) -> None:
            await mark_suspect(seq)  # type: ignore[arg-type]
            marking.set()
            await trio.sleep_forever()

        monkeypatch.setattr(stack.journal, "mark_suspect", slowly)
        stack.dispatcher.rewind(stack.unit(unit))
        await until(lambda: marking.is_set() or not stack.journal.statistics().depth)  # or stored by the run before
    async with inbound_stack(database, tmp_path) as stack:
        await stack.wait_until_stored()
        assert await identities(stack, stack.unit(unit)) == ["A"]
        assert await stack.rows("select reason from zapline.dead_letters") == []


async def test_a_backlog_that_outlives_several_starts_shares_its_marks(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what waits while the database is away, and the daemon is restarted: none of it has crashed anything."""
    async with inbound_stack(database, tmp_path) as stack:
        unit = (await stack.add_unit("so")).id
    for start in range(4):
        async with inbound_stack(database, tmp_path) as stack:
            stack.unit(unit).quarantined_at = 1.0  # nothing is processed
            for number in range(300 if start == 0 else 0):
                await stack.send(stack.unit(unit), "messages.upsert", text(f"{number:03}"))
    marks: list[int] = []
    async with inbound_stack(database, tmp_path) as stack:
        mark_suspects = stack.journal.mark_suspects

        async def counted(seqs: list[Seq]) -> None:
            marks.append(len(seqs))
            await mark_suspects(seqs)

        monkeypatch.setattr(stack.journal, "mark_suspects", counted)
        await stack.wait_until_stored()
        assert await identities(stack, stack.unit(unit)) == [f"{number:03}" for number in range(300)]
        assert await stack.rows("select reason from zapline.dead_letters") == []
    assert len(marks) <= 4


STARTS = """
import os, sys, trio
from pathlib import Path
from support.inbound_stack import inbound_stack
from zapline.supervisors.inbound import journal_entries

real = journal_entries.parse_webhook

def parse(body, *, event_hint=None):
    if b"KILLER" in body:
        os._exit(9)
    return real(body, event_hint=event_hint)

journal_entries.parse_webhook = parse

async def main():
    async with inbound_stack(sys.argv[1], Path(sys.argv[2])) as stack:
        await stack.wait_until_stored(60)

for _ in range(8):
    process = os.fork()
    if not process:
        trio.run(main)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with open(sys.argv[3], "a") as codes:
        print(code, file=codes)
    if code != 9:
        break
"""
"""Starts processes, forked from one so that they need not import everything again, until one does not die."""


@pytest.mark.heavy
async def test_an_event_that_kills_the_process_is_buried_after_some_starts_and_all_else_is_stored_once(
    database: str, tmp_path: Path
) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    async with inbound_stack(database, tmp_path / "journal") as stack:
        one, other = await stack.add_units(["um", "dois"])
        for unit in (one, other):
            unit.quarantined_at = 1.0  # only journaled, for the started processes to find
        await post(stack, one, ["1", "2", "KILLER", "3"])
        await post(stack, other, ["4", "5"])
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])}
    arguments = [database, str(tmp_path / "journal"), str(tmp_path / "codes")]
    await trio.run_process([sys.executable, str(script), *arguments], env=environment, stdout=subprocess.DEVNULL)
    codes = [int(code) for code in (tmp_path / "codes").read_text().split()]
    assert codes[-1] == 0
    assert set(codes[:-1]) == {9}
    async with inbound_stack(database, tmp_path / "journal") as stack:
        assert stack.journal.statistics().depth == 0
        assert await identities(stack, stack.unit(one.id)) == ["1", "2", "3"]
        assert await identities(stack, stack.unit(other.id)) == ["4", "5"]
        assert await stack.rows(
            "select reason, position('KILLER'::bytea in raw) > 0 as kept from zapline.dead_letters"
        ) == [("killed_process", True)]
