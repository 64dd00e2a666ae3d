"""An event that crashes its actor, or the process, ends as a dead letter; unit and neighbours go on."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text, until

from zapline.domain.errors import JournalRefused
from zapline.domain.inbound_events import Parsed
from zapline.domain.restart_policy import Intensity
from zapline.supervisors.inbound import journal_entries as entries_module
from zapline.supervisors.inbound.unit_state import Unit

real_parse = entries_module.parse
Planted = Callable[[bytes], None]


def crash_on(monkeypatch: pytest.MonkeyPatch, word: bytes) -> list[bytes]:
    """Have the actor crash on bodies that hold ``word``; the list says which bodies were fed."""
    fed: list[bytes] = []

    def parse(body: bytes, *, event_hint: str | None = None) -> list[Parsed]:
        fed.append(body)
        if word in body:
            raise RuntimeError("planted")
        return real_parse(body, event_hint=event_hint)

    monkeypatch.setattr(entries_module, "parse", parse)
    return fed


async def post(stack: InboundStack, unit: Unit, identities: list[str]) -> None:
    for identity in identities:
        await stack.send(unit, "messages.upsert", text(identity))


async def identities(stack: InboundStack, unit: Unit) -> list[object]:
    rows = await stack.rows(f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq")
    return [row[0] for row in rows]


async def test_a_crashing_event_is_fed_alone_after_two_crashes_and_then_buried(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = crash_on(monkeypatch, b"BOOM")
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
        assert sum(b"BOOM" in body for body in fed) == 3
        assert stack.counters.total("actor_crashes") == 3
        assert ill.quarantined_at is None
        await post(stack, ill, ["7"])
        await stack.wait_until_stored()
        assert await identities(stack, ill) == ["1", "2", "3", "4", "7"]


async def test_a_unit_that_crashes_too_often_is_quarantined_and_catches_up_when_the_timer_releases_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on(monkeypatch, b"BOOM")
    async with inbound_stack(database, tmp_path, intensity=Intensity(1, 1.0), quarantine=0.8) as stack:
        ill, well = await stack.add_units(["mal", "bem"])
        await post(stack, ill, ["BOOM", "1"])
        await until(lambda: ill.quarantined_at is not None, 5)
        await post(stack, ill, ["2", "3"])  # it goes on journaling
        await post(stack, well, ["9"])
        assert stack.journal.statistics().depth >= 4
        assert ill.mailbox.statistics().entries <= 256
        await stack.wait_for_rows(f"select external_id from zapline.messages where unit_id = '{well.id}'", [("9",)], 3)
        await stack.wait_until_stored(15)
        assert await identities(stack, ill) == ["1", "2", "3"]
        assert await stack.rows("select reason from zapline.dead_letters") == [("crashed_actor",)]


async def test_a_quarantined_unit_is_released_by_hand_and_catches_up(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on(monkeypatch, b"BOOM")
    async with inbound_stack(database, tmp_path, intensity=Intensity(1, 60.0), quarantine=600) as stack:
        ill = await stack.add_unit("mal")
        await post(stack, ill, ["BOOM", *(f"{number:03}" for number in range(400))])
        await until(lambda: ill.quarantined_at is not None, 10)
        monkeypatch.setattr(entries_module, "parse", real_parse)  # the program was mended
        tasks = stack.roster._scopes
        stack.roster.release(ill)
        stack.roster.release(ill)  # twice does no harm
        await stack.wait_until_stored(20)
        assert (await identities(stack, ill))[1:] == [f"{number:03}" for number in range(400)]
        assert len(tasks) == 1


async def test_a_full_disk_at_the_moment_of_a_crash_costs_the_count_and_not_the_process(
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


async def test_an_orderly_stop_with_an_entry_in_hand_is_no_death(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that has seen three starts is fed alone under a mark; a stop meanwhile must not bury it."""
    async with inbound_stack(database, tmp_path) as stack:
        unit = (await stack.add_unit("so")).id
    for _ in range(3):
        async with inbound_stack(database, tmp_path) as stack:
            stack.unit(unit).quarantined_at = 1.0  # nothing is fed
            await stack.send(stack.unit(unit), "messages.upsert", text("A"))
    async with inbound_stack(database, tmp_path) as stack:
        pass  # stopped at once, wherever the actor is
    async with inbound_stack(database, tmp_path) as stack:
        take_in_hand = stack.journal.take_in_hand
        marking = trio.Event()

        async def slowly(seq: int) -> None:
            await take_in_hand(seq)  # type: ignore[arg-type]
            marking.set()
            await trio.sleep_forever()

        monkeypatch.setattr(stack.journal, "take_in_hand", slowly)
        stack.dispatcher.rewind(stack.unit(unit))
        with trio.move_on_after(1):
            await marking.wait()
    async with inbound_stack(database, tmp_path) as stack:
        await stack.wait_until_stored()
        assert await identities(stack, stack.unit(unit)) == ["A"]
        assert await stack.rows("select reason from zapline.dead_letters") == []


CHILD = """
import os, sys, trio
from pathlib import Path
from support.inbound_stack import inbound_stack
from zapline.supervisors.inbound import journal_entries

real = journal_entries.parse

def parse(body, *, event_hint=None):
    if b"KILLER" in body:
        os._exit(9)
    return real(body, event_hint=event_hint)

journal_entries.parse = parse

async def main():
    async with inbound_stack(sys.argv[1], Path(sys.argv[2])) as stack:
        await stack.wait_until_stored(15)

trio.run(main)
"""


async def test_an_event_that_kills_the_process_is_buried_after_some_starts_and_all_else_is_stored_once(
    database: str, tmp_path: Path
) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    async with inbound_stack(database, tmp_path / "journal") as stack:
        one, other = await stack.add_units(["um", "dois"])
        for unit in (one, other):
            unit.quarantined_at = 1.0  # only journaled, for the children to find
        await post(stack, one, ["1", "2", "KILLER", "3"])
        await post(stack, other, ["4", "5"])
    codes: list[int] = []
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])}
    while 0 not in codes:
        ended = await trio.run_process(
            [sys.executable, str(script), database, str(tmp_path / "journal")],
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        codes.append(ended.returncode)
        assert len(codes) < 8
    assert set(codes[:-1]) == {9}
    print("starts", codes)
    async with inbound_stack(database, tmp_path / "journal") as stack:
        assert stack.journal.statistics().depth == 0
        assert await identities(stack, stack.unit(one.id)) == ["1", "2", "3"]
        assert await identities(stack, stack.unit(other.id)) == ["4", "5"]
        assert await stack.rows(
            "select reason, position('KILLER'::bytea in raw) > 0 as kept from zapline.dead_letters"
        ) == [("killed_process", True)]
