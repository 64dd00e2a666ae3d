"""Runs the inbound path for tests: journal, dispatcher, recorder, roster and actors over a real database; no HTTP."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack
from uuid import UUID, uuid4

import msgspec
import trio
from support.kept_connection import KeptConnection, kept_connection

from zapline.domain.ids import UnitId
from zapline.domain.line.events import CallFailed, ConnectionEvent, Registered, RegistrationChecked, StateObserved
from zapline.domain.line.transitions import LineAction
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.domain.restart_policy import RestartIntensity
from zapline.evolution.webhooks.envelope import extract_envelope
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection, ConnectOptions, connect
from zapline.sql.units.units import insert_unit, load_units
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_losses import JournalLosses
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.database_comparison import DatabaseComparison
from zapline.supervisors.units.roster import Roster, RosterPolicy
from zapline.supervisors.units.webhook_authentication import digest_secret


class FakeLineCalls:
    """Replaces the calls to Evolution: records each one and returns its result at once."""

    def __init__(self) -> None:
        self.performed: list[LineAction] = []
        self.state = "open"
        self.failing = False

    async def perform(
        self,
        action: LineAction,
        instance: str,
        number: str | None,
        secret_of: tuple[bytes, int],
        enforce: bool = True,
    ) -> ConnectionEvent:
        self.performed.append(action)
        if self.failing:
            return CallFailed(action.value, "refused")
        if action is LineAction.CHECK:
            return RegistrationChecked()
        return StateObserved(self.state) if action is LineAction.OBSERVE else Registered()


@dataclass
class InboundStack:
    """The running components, and queries on what they stored."""

    url: str
    journal: Journal
    recorder: Recorder
    roster: Roster
    dispatcher: Dispatcher
    intake: Intake
    counters: Counters
    calls: FakeLineCalls
    losses: JournalLosses
    comparison: DatabaseComparison
    standing: WriterStanding
    questions: KeptConnection

    @property
    def standing_checks(self) -> int:
        """How often the recorder found the database set back."""
        return self.counters.total("standing_checks")

    async def add_unit(self, instance: str = "loja", id: UUID | None = None) -> Unit:
        unit = UnitId(id or uuid4())
        await self._insert([(unit, instance)])
        return self.unit(unit)

    async def add_units(self, instances: Iterable[str]) -> list[Unit]:
        """Add one unit for each instance."""
        units = [(UnitId(uuid4()), instance) for instance in instances]
        await self._insert(units)
        return [self.unit(unit) for unit, _ in units]

    async def _insert(self, units: Iterable[tuple[UnitId, str]]) -> None:
        async with await connect(self.url, role="zapline_engine") as conn:
            for unit, instance in units:
                await insert_unit(
                    conn,
                    id=unit,
                    name=instance,
                    instance=instance,
                    secret_digest=digest_secret(str(unit)),
                    time_zone="America/Sao_Paulo",
                )
            await self._load(conn, moved=False)

    def unit(self, id: UUID) -> Unit:
        unit = self.roster.get(UnitId(id))
        assert unit is not None
        return unit

    async def reload(self, moved: bool = False) -> None:
        """Load the units as the daemon does when it begins to lead."""
        async with await connect(self.url, role="zapline_engine") as conn:
            await self._load(conn, moved)

    async def _load(self, conn: Connection, moved: bool) -> None:
        records, view = await load_units(conn), await self.comparison.look(conn)
        set_back = await self.comparison.prepare(records, view, moved)
        self.roster.apply(records, self.journal.journal_id)
        self.comparison.resume(set_back)

    async def send(self, unit: Unit, event: str, data: object) -> None:
        """Accept one webhook; fails where the intake refuses it."""
        body = {
            "event": event,
            "instance": unit.record.instance,
            "data": data,
            "sender": "5511999990000@s.whatsapp.net",
        }
        assert await self.intake.accept(unit, event, msgspec.json.encode(body))

    async def post(self, unit: Unit, body: bytes, event: str | None = None) -> bool:
        """Pass a raw body to the intake, as the endpoint does; False where it is refused."""
        return await self.intake.accept(unit, event or extract_envelope(body).event or "", body)

    async def wait_until_stored(self, seconds: float = 60) -> None:
        """Wait until the journal has no unfinished entry; fails after ``seconds``."""
        with trio.fail_after(seconds):
            await self.journal.flush()
            while self.journal.statistics().depth:
                await trio.sleep(0.01)
                await self.journal.flush()

    async def wait_for_rows(self, query: str, expected: list[tuple[object, ...]], seconds: float = 60) -> None:
        """Wait until the query returns these rows; fails after ``seconds``."""
        seen: list[tuple[object, ...]] = []
        with trio.move_on_after(seconds):
            while (seen := await self.rows(query)) != expected:  # noqa: ASYNC110
                await trio.sleep(0.02)
            return
        raise AssertionError(f"{query}: {seen}, not {expected}, after {seconds} s")

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await self.questions.fetch(query)]


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll until the condition holds; fails after ``seconds``."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def ready_at_once() -> None:
    """Replaces the wait for leadership: this process may write at once."""


@asynccontextmanager
async def inbound_stack(
    url: str,
    directory: Path,
    *,
    intensity: RestartIntensity | None = None,
    quarantine: float = 60.0,
    lanes: int = 2,
    stopped_pause: float = 0.2,
    database_timeout: float = 20.0,
    **options: Unpack[ConnectOptions],
) -> AsyncIterator[InboundStack]:
    """Run the components as the daemon does. ``options`` go to the recorder's connections."""
    counters = Counters(trio.current_time)

    async def open_connection() -> Connection:
        return await connect(url, role="zapline_engine", **options)

    policy = RosterPolicy(intensity or RestartIntensity(5, 60.0), quarantine, 300.0)
    dispatcher = Dispatcher(lambda unit: roster.get(unit))
    roster = Roster(dispatcher, policy, lambda: counters.add("actor_crashes"))
    standing = WriterStanding(check_again=lambda: counters.add("standing_checks"))
    sealer = SecretSealer(bytes(32))
    recorder = Recorder(
        open_connection, ready_at_once, counters, lanes, stopped_pause, sealer=sealer, standing=standing
    )
    calls = FakeLineCalls()
    async with (
        kept_connection(url) as questions,
        Journal.open(directory, on_committed=dispatcher.dispatch) as journal,
        trio.open_nursery() as nursery,
    ):
        dispatcher.journal = journal
        losses = JournalLosses(journal, roster.units, counters)
        parts = (journal, recorder, calls, counters, dispatcher.refill, dispatcher.rewind)
        context = ActorContext(*parts, on_damaged_entry=losses.note_damaged_entry)  # type: ignore[arg-type]
        nursery.start_soon(recorder.run)
        nursery.start_soon(dispatcher.run)
        await nursery.start(roster.run, context)
        intake = Intake(journal, counters, database_timeout)
        losses.take()
        comparison = DatabaseComparison(journal, roster, dispatcher, losses, counters)
        nursery.start_soon(comparison.run, lambda unit: None)
        stack = InboundStack(
            *(url, journal, recorder, roster, dispatcher, intake, counters, calls),
            losses,
            comparison,
            standing,
            questions,
        )
        await stack.reload()
        yield stack
        nursery.cancel_scope.cancel()


def text(
    external_id: str, body: str = "oi", *, jid: str = "5511999990001@s.whatsapp.net", at: int = 0
) -> dict[str, object]:
    """Return the ``data`` of a messages.upsert event."""
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": external_id},
        "pushName": "Maria",
        "message": {"conversation": body},
        "messageType": "conversation",
        "messageTimestamp": at or int(time.time()),
        "status": "DELIVERY_ACK",
    }


def uuid_of(value: object) -> UUID:
    assert isinstance(value, UUID)
    return value
