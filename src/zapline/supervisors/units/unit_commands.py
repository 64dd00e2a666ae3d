"""Accepts what people ask for: units, connections, replays. The one way by which handlers and CLI change things."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog
import trio

from zapline.domain.errors import JournalRefused, LocalError, Unfit
from zapline.domain.ids import UnitId, valid_instance
from zapline.domain.line.state import Stored
from zapline.domain.messages.events import (
    ConnectAsked,
    ConnectionEvent,
    DisconnectAsked,
    QrWanted,
    RegistrationOutdated,
)
from zapline.sql.inbound import dead_letters
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy.erasure import load_erased
from zapline.sql.units.units import archive_unit, insert_unit, load_units, rotate_secret
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster, digest, snapshot

_HISTORY = frozenset(
    {
        *("connection.update", "qrcode.updated", "status.instance"),
        *("logout.instance", "remove.instance", "instance.create", "instance.delete"),
    }
)
"""Events that would step today's machine with yesterday's news."""
ANSWER_WITHIN = 5.0
"""Seconds that an ask waits for the actor to have stored what it made of it."""

_LOG = structlog.get_logger(scope="Submit")


class UnknownUnit(LocalError):
    """There is no such active unit."""


class UnknownDeadLetter(LocalError):
    """There is no such dead letter."""


class NotReplayable(LocalError):
    """The dead letter's body was not kept."""


class UnitNotReady(LocalError):
    """The unit cannot act now: its state is unread (database away), or it is quarantined or overloaded."""


class InvalidUnit(Unfit):
    """The name or instance of a new unit is not acceptable; the text says why."""


@dataclass(frozen=True, slots=True)
class House:
    """What new units get: ``instance_prefix``, and ``grace`` in minutes for which an old secret stays valid.

    ``erasure_key``: what the digests of erased people are made with.
    """

    instance_prefix: str
    grace: float
    erasure_key: bytes = b""


class Submit:
    """Insert or guarded update only; a unit's connection is changed by asking its actor."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        roster: Roster,
        dispatcher: Dispatcher,
        intake: Intake,
        secret_of: Callable[[UnitId, int], str],
        house: House,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._roster = roster
        self._dispatcher = dispatcher
        self._intake = intake
        self._secret_of = secret_of
        self._house = house
        self._reloading = trio.Lock()

    async def reload(self) -> int:
        """Read the units again: database -> snapshot on disk -> roster. Returns how many are active."""
        async with self._reloading:
            async with self._pool.connection() as conn:
                records = await load_units(conn)
                erased = await load_erased(conn, self._house.erasure_key)
            try:
                await self._journal.save_snapshot(snapshot(records))
            except JournalRefused as refused:
                # The units are known all the same; only a start without the database would not know them.
                _LOG.error("The journal could not keep the snapshot of the units", error=str(refused))
            self._roster.apply(records, self._journal.journal_id)
            for unit in self._roster.units():  # before any of their actors has run
                unit.erased = erased.get(unit.id)
        return len(self._roster.units())

    # -- units -----------------------------------------------------------------------------------------------

    async def create_unit(self, name: str, instance: str | None = None, time_zone: str = "America/Sao_Paulo") -> Unit:
        """Make a unit; its line is never connected yet. Raises InvalidUnit, InstanceTaken."""
        unit = UnitId(uuid4())
        name = name.strip()
        instance = instance or f"{self._house.instance_prefix}{unit}"
        if not 1 <= len(name) <= 200 or "\0" in name:
            raise InvalidUnit("a unit's name has 1 to 200 characters", "name")
        if not valid_instance(instance):
            raise InvalidUnit("an instance's name has 1 to 80 letters, digits, '_' or '-'", "instance")
        secret_digest = digest(self._secret_of(unit, 1))
        async with self._pool.connection() as conn:
            await insert_unit(
                conn, id=unit, name=name, instance=instance, secret_digest=secret_digest, time_zone=time_zone
            )
        await self.reload()
        return self.find(unit)

    async def archive_unit(self, unit: UnitId) -> None:
        """Close a unit: its phone is unlinked, its rows stay. Raises UnknownUnit."""
        found = self.find(unit)
        if found.state is not None and found.state.stored.wanted:
            await self._ask(found, DisconnectAsked(), lambda stored: not stored.wanted)
            with trio.move_on_after(ANSWER_WITHIN):  # Evolution may be away; the unit is closed all the same
                while found.state.stored.logout_pending:
                    await found.changed.wait()
        async with self._pool.connection() as conn:
            if not await archive_unit(conn, unit):
                raise UnknownUnit("there is no such unit")
        await self.reload()

    async def rotate_secret(self, unit: UnitId) -> float:
        """Give the unit a new webhook secret and tell Evolution; until when the old one is valid (UTC seconds)."""
        generation = self.find(unit).record.secret_generation + 1
        async with self._pool.connection() as conn:
            fresh = digest(self._secret_of(unit, generation))
            until = await rotate_secret(conn, unit, generation, fresh, self._house.grace)
        await self.reload()
        if until is None:
            raise UnitNotReady("somebody else rotated the secret at the same moment; look, and try again")
        self._roster.ask(self.find(unit), RegistrationOutdated())
        return until

    def find(self, unit: UnitId) -> Unit:
        """The active unit. Raises UnknownUnit."""
        found = self._roster.get(unit)
        if found is None or found.record.archived_at is not None:
            raise UnknownUnit("there is no such unit")
        return found

    def release_unit(self, unit: UnitId) -> None:
        """End a quarantine by hand."""
        self._roster.release(self.find(unit))

    def tell(self, unit: Unit) -> None:
        """Tell those who watch how a unit stands, after something of it has changed that is not its line."""
        self._roster.tell(unit)

    # -- connection ------------------------------------------------------------------------------------------

    async def connect(self, unit: UnitId, number: str | None = None) -> Stored:
        """Ask for a connection; the state once the actor has stored what it made of it."""
        return await self._ask(self.find(unit), ConnectAsked(number), lambda stored: stored.wanted)

    async def disconnect(self, unit: UnitId) -> Stored:
        """Ask for the phone to be unlinked."""
        return await self._ask(self.find(unit), DisconnectAsked(), lambda stored: not stored.wanted)

    def look_at_qr(self, unit: Unit) -> None:
        """Somebody looks at the pairing page: keep the code fresh for a while."""
        self._roster.ask(unit, QrWanted())

    async def _ask(self, unit: Unit, event: ConnectionEvent, done: Callable[[Stored], bool]) -> Stored:
        changed = unit.changed
        if not self._roster.ask(unit, event):
            raise UnitNotReady("the unit cannot act now: the database is away, or the unit is quarantined")
        with trio.move_on_after(ANSWER_WITHIN):
            await changed.wait()
            while unit.state is not None and not done(unit.state.stored):
                await unit.changed.wait()
            assert unit.state is not None
            return unit.state.stored
        raise UnitNotReady("the unit did not store the change in time; the database may be away")

    # -- dead letters and replay -----------------------------------------------------------------------------

    async def replay_dead_letter(self, id: int, of: UnitId | None = None) -> None:
        """Give a dead letter's body to its unit again; only one ``of`` a unit, where that is named.

        Raises UnknownDeadLetter, NotReplayable, UnknownUnit, UnitNotReady.
        """
        async with self._pool.connection() as conn:
            letter = await dead_letters.get_dead_letter(conn, id, of)
        if letter is None:
            raise UnknownDeadLetter("there is no such dead letter")
        if letter.raw is None:
            raise NotReplayable("the body was over the limit and was not kept")
        if letter.event in _HISTORY:
            raise NotReplayable("it tells of the connection at that time; what the line is now, its status says")
        unit = self.find(UnitId(letter.unit_id))
        came = letter.received_at.timestamp()
        if not await self._intake.accept(unit, letter.event or "", letter.raw, came):
            raise UnitNotReady("neither the journal nor the database takes anything now")
        async with self._pool.connection() as conn:
            await dead_letters.mark_revived(conn, id)

    async def give_up_dead_letter(self, unit: UnitId, id: int) -> None:
        """A person leaves a dead letter alone; it is kept like the others. Raises UnknownUnit, UnknownDeadLetter."""
        self.find(unit)
        async with self._pool.connection() as conn:
            if not await dead_letters.give_up(conn, unit, id):
                raise UnknownDeadLetter("there is no such dead letter")

    async def replay(self, since: float, unit: UnitId | None = None) -> int:
        """Feed what the journal still holds since a time (UTC seconds) again; how many entries.

        Their facts merge into what is there; their connection events are history and step nothing.
        """
        count = await self._journal.replay(since, unit)
        for known in [self.find(unit)] if unit is not None else self._roster.units():
            self._dispatcher.read_again(known)
        return count
