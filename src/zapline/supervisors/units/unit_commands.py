"""Commands on units, for the HTTP handlers and the command line: create, connect, rotate secrets, replay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.errors import InvalidField, JournalRefused, LocalError
from zapline.domain.ids import UnitId, is_valid_instance_name
from zapline.domain.line.events import (
    ConnectAsked,
    ConnectionEvent,
    DisconnectAsked,
    QrWanted,
    RegistrationOutdated,
    RenewAsked,
)
from zapline.domain.line.state import StoredLineState
from zapline.domain.privacy.erasure import ErasedPeople
from zapline.sql.health import dead_letters
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership, adopt_units
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy.erasure import load_erased_people
from zapline.sql.units.units import (
    UnitRecord,
    archive_unit,
    end_earlier_secrets,
    insert_unit,
    load_units,
    rotate_secret,
)
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.units.database_comparison import DatabaseComparison, DatabaseView
from zapline.supervisors.units.registration import has_confirmed_secret
from zapline.supervisors.units.roster import Roster, encode_snapshot
from zapline.supervisors.units.webhook_authentication import digest_secret

_CONNECTION_EVENTS = frozenset(
    {
        *("connection.update", "qrcode.updated", "status.instance"),
        *("logout.instance", "remove.instance", "instance.create", "instance.delete"),
    }
)
"""Events that are out of date at a replay: they would change today's state."""
COMMAND_TIMEOUT = 5.0
"""Seconds that a command waits for the actor to store the resulting state."""

_LOG = structlog.get_logger(scope="Submit")


class UnknownUnit(LocalError):
    """There is no such active unit."""


class UnknownDeadLetter(LocalError):
    """There is no such dead letter."""


class NotReplayable(LocalError):
    """The dead letter's body was not kept."""


class UnitNotReady(LocalError):
    """The unit cannot act now: its state is unread (database down), or it is quarantined or overloaded."""


def refuse_elsewhere(unit: Unit) -> None:
    """Raise UnitNotReady where another process owns the unit, and knows what is asked."""
    if unit.held.is_elsewhere:
        raise UnitNotReady("another daemon owns this line: ask again, the proxy asks that one in its turn")


class InvalidUnit(InvalidField):
    """The name or instance of a new unit is not acceptable; the text says why."""


@dataclass(frozen=True, slots=True)
class UnitPolicy:
    """``instance_prefix`` of new units; ``grace`` in minutes for which an old secret stays valid.

    ``erasure_key`` is the key of the digests of erased people.
    """

    instance_prefix: str
    grace: float
    erasure_key: bytes = b""


class ServerDirectory(Protocol):
    """The Evolution servers beside the environment's."""

    async def load(self, conn: Connection) -> None:
        """Read them. Raises DatabaseUnavailable."""

    def knows(self, name: str) -> bool:
        """Whether there is one of this name."""

    def place(self, roster: Roster, wanted: str | None) -> str | None:
        """Where a new unit is to live; None: on the environment's. Raises LocalError where none takes it."""


class UnitCommands:
    """Inserts and guarded updates only; a unit's connection is changed by an event to its actor."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        roster: Roster,
        dispatcher: Dispatcher,
        intake: Intake,
        secret_of: Callable[[UnitId, int], str],
        policy: UnitPolicy,
        comparison: DatabaseComparison | None = None,
        on_loaded: Callable[[], None] = lambda: None,
        new_id: Callable[[], UUID] = uuid4,
        servers: ServerDirectory | None = None,
        standing: WriterStanding | None = None,
    ) -> None:
        """``on_loaded`` is called whenever the units were read from the database.

        ``standing``: of this process; None: whose the units are is not asked.
        """
        self._servers, self._standing = servers, standing
        self._pool = pool
        self._journal = journal
        self._roster = roster
        self._dispatcher = dispatcher
        self._intake = intake
        self._secret_of = secret_of
        self._policy = policy
        self._comparison = comparison
        self._on_loaded = on_loaded
        self._new_id = new_id
        self._reloading = trio.Lock()
        self.on_changed: Callable[[], None] = lambda: None
        """Called when units were read because something of them has changed: other processes are to read them, too."""

    async def reload(self, standing: WriterStanding | None = None, *, told: bool = False) -> int:
        """Load the units from the database into the snapshot and the roster; return how many are active.

        ``standing``: this process has just begun to lead; database, journal and memory are compared first. ``told``:
        others know already.
        """
        comparison = self._comparison
        async with self._reloading:
            node = self._node
            leads = standing is not None
            records, erased, view = await self._load(leads, leads)
            while comparison is not None and (comparison.is_due if view is None else not comparison.fits(view)):
                records, erased, view = await self._load(leads, True)  # the journal was opened or replaced meanwhile
            set_back: list[UnitId] = []
            if comparison is not None and view is not None:
                owned = [record for record in records if not self._shares or record.owner == node]
                set_back = await comparison.prepare(owned, view, standing is not None and standing.moved)
            mine = self._owned(records, node)
            self._roster.apply(records, self._journal.journal_id, standing is not None and standing.stale, mine)
            for unit in self._roster.units():  # before any of their actors runs
                unit.erased = erased.get(unit.id)
            if comparison is not None:
                comparison.resume(set_back)
            self._on_loaded()
        if not told and standing is None:
            self.on_changed()
        return len(self._roster.units())

    @property
    def _shares(self) -> bool:
        return self._standing is not None and self._standing.shares

    @property
    def _own_right(self) -> Ownership:
        """By what right this process owns a unit that it makes itself; none: the next reading tells."""
        standing = self._standing
        if standing is None or not standing.shares or standing.node is None or standing.epoch is None:
            return UNCHECKED
        return Ownership(standing.node, standing.epoch)

    @property
    def _node(self) -> UUID | None:
        return self._standing.node if self._standing is not None else None

    def _owned(self, records: Sequence[UnitRecord], node: UUID | None) -> Callable[[UnitRecord], bool]:
        """Whether a unit belongs to this process, which was ``node`` before they were read.

        Has the lead taken anew where one belongs to somebody else: the database was set back.
        """
        if self._standing is None:
            return lambda record: True
        if node is None or self._standing.node != node:
            return lambda record: False  # they are read again once it leads
        if not self._shares and any(record.owner not in (None, node) for record in records):
            self._standing.check_again()
        return lambda record: record.owner == node

    def held(self, unit: UnitId) -> Ownership:
        """By what right this process acts for a unit."""
        known = self._roster.get(unit)
        return known.held if known is not None else UNCHECKED

    async def _load(
        self, leads: bool, compares: bool
    ) -> tuple[list[UnitRecord], dict[UnitId, ErasedPeople], DatabaseView | None]:
        """Read the units into the snapshot; and what the database knows of the journal, if that is to be compared."""
        comparison, view = self._comparison, None
        async with self._pool.connection() as conn:
            for unit in filter(has_confirmed_secret, self._roster.units()):
                await end_earlier_secrets(conn, unit.id, unit.record.secret_generation)
            if self._node is not None and not self._shares:
                await adopt_units(conn, self._node)
            records = await self._load_records(conn)
            erased = await load_erased_people(conn, self._policy.erasure_key)
            if comparison is not None and (compares or comparison.is_due):
                view = await comparison.look(conn, leads)
        try:
            await self._journal.save_snapshot(encode_snapshot(records))
        except JournalRefused as refused:
            # The units are loaded all the same; only a start without the database would not know them.
            _LOG.error("The journal could not keep the snapshot of the units", error=str(refused))
        return records, erased, view

    async def _load_records(self, conn: Connection) -> list[UnitRecord]:
        """The units, and the servers on which they live: read after them, since one that is left is removed."""
        while True:
            records = await load_units(conn)
            if self._servers is None:
                return records
            await self._servers.load(conn)
            named = (record.evolution_server for record in records if record.archived_at is None)
            if all(name is None or self._servers.knows(name) for name in named):
                return records

    # -- units -----------------------------------------------------------------------------------------------

    async def create_unit(
        self,
        name: str,
        instance: str | None = None,
        time_zone: str = "America/Sao_Paulo",
        server: str | None = None,
    ) -> Unit:
        """Create a unit; its line is not connected yet. ``server``: the Evolution server; None: where there is room.

        Raises InvalidUnit, InstanceTaken, UnknownServer, and LocalError where no server takes it.
        """
        unit = UnitId(self._new_id())
        name = name.strip()
        instance = instance or f"{self._policy.instance_prefix}{unit}"
        if not 1 <= len(name) <= 200 or "\0" in name:
            raise InvalidUnit("a unit's name has 1 to 200 characters", "name")
        if not is_valid_instance_name(instance):
            raise InvalidUnit("an instance's name has 1 to 80 letters, digits, '_' or '-'", "instance")
        secret_digest = digest_secret(self._secret_of(unit, 1))
        place = self._servers.place(self._roster, server) if self._servers is not None else None
        async with self._pool.connection() as conn:
            await insert_unit(
                *(conn,),
                id=unit,
                name=name,
                instance=instance,
                secret_digest=secret_digest,
                time_zone=time_zone,
                evolution_server=place,
                held=self._own_right,
            )
        await self.reload()
        return self.find(unit)

    async def archive_unit(self, unit: UnitId) -> None:
        """Archive a unit: its phone is unlinked, its rows stay. Raises UnknownUnit, UnitNotReady."""
        active = self.find(unit)
        if active.state is not None and active.state.stored.wanted:
            await self._send_and_wait(active, DisconnectAsked(), lambda stored: not stored.wanted)
            with trio.move_on_after(COMMAND_TIMEOUT):  # Evolution may be down; the unit is archived all the same
                while active.state.stored.logout_pending:
                    await active.state_changed.wait()
        async with self._pool.connection() as conn:
            if not await archive_unit(conn, unit):
                raise UnknownUnit("there is no such unit")
        await self.reload()

    async def rotate_secret(self, unit: UnitId) -> float:
        """Give the unit a new webhook secret and register it; return until when the old one is valid (UTC seconds)."""
        active = self.find(unit)
        async with self._pool.connection() as conn:
            until = await self.store_new_secret(conn, active)
        await self.reload()
        if until is None:
            raise UnitNotReady("somebody else rotated the secret at the same moment; look, and try again")
        self._roster.send_event(self.find(unit), RegistrationOutdated())
        return until

    async def store_new_secret(self, conn: Connection, unit: Unit) -> float | None:
        """Store a unit's next webhook secret; return until when the old one is valid (UTC seconds).

        None: somebody else was first. The caller reloads, and has the new one registered.
        """
        generation = unit.record.secret_generation + 1
        new_digest = digest_secret(self._secret_of(unit.id, generation))
        return await rotate_secret(conn, unit.id, generation, new_digest, self._policy.grace)

    def find(self, unit: UnitId) -> Unit:
        """The active unit. Raises UnknownUnit."""
        active = self._roster.get(unit)
        if active is None or active.record.archived_at is not None:
            raise UnknownUnit("there is no such unit")
        return active

    def has_secret_of(self, unit: Unit) -> bool:
        """Whether a unit's webhook secret was derived from this process's master key."""
        return digest_secret(self._secret_of(unit.id, unit.record.secret_generation)) == unit.record.secret_digest

    def release_unit(self, unit: UnitId) -> None:
        """End a quarantine by hand. Raises UnknownUnit, UnitNotReady."""
        refuse_elsewhere(self.find(unit))
        self._roster.release(self.find(unit))

    def publish_status(self, unit: Unit) -> None:
        """Publish the line's status after something else of the unit has changed."""
        self._roster.publish_status(unit)

    # -- connection ------------------------------------------------------------------------------------------

    async def connect(self, unit: UnitId, number: str | None = None) -> StoredLineState:
        """Connect the line; return the state once the actor has stored it. Raises UnknownUnit, UnitNotReady."""
        return await self._send_and_wait(self.find(unit), ConnectAsked(number), lambda stored: stored.wanted)

    async def renew(self, unit: UnitId) -> StoredLineState:
        """Delete the instance, create it again and connect it; like ``connect``. What waits to be sent stays."""
        return await self._send_and_wait(self.find(unit), RenewAsked(), lambda stored: stored.wanted)

    async def disconnect(self, unit: UnitId) -> StoredLineState:
        """Unlink the phone; like ``connect``."""
        return await self._send_and_wait(self.find(unit), DisconnectAsked(), lambda stored: not stored.wanted)

    def keep_qr_fresh(self, unit: Unit) -> None:
        """Keep the QR code fresh for a while, because somebody looks at it."""
        self._roster.send_event(unit, QrWanted())

    async def _send_and_wait(
        self, unit: Unit, event: ConnectionEvent, done: Callable[[StoredLineState], bool]
    ) -> StoredLineState:
        changed = unit.state_changed
        if not self._roster.send_event(unit, event):
            refuse_elsewhere(unit)
            raise UnitNotReady("the unit cannot act now: the database is away, or the unit is quarantined")
        with trio.move_on_after(COMMAND_TIMEOUT):
            await changed.wait()
            while unit.state is not None and not done(unit.state.stored):
                await unit.state_changed.wait()
            assert unit.state is not None
            return unit.state.stored
        raise UnitNotReady("the unit did not store the change in time; the database may be away")

    # -- dead letters and replay -----------------------------------------------------------------------------

    async def replay_dead_letter(self, id: int, of: UnitId | None = None) -> None:
        """Accept a dead letter's body again; only if it belongs to the unit ``of``, where that is given.

        Raises UnknownDeadLetter, NotReplayable, UnknownUnit, UnitNotReady.
        """
        async with self._pool.connection() as conn:
            dead_letter = await dead_letters.get_dead_letter(conn, id, of)
        if dead_letter is None:
            raise UnknownDeadLetter("there is no such dead letter")
        if dead_letter.raw is None:
            raise NotReplayable("the body was over the limit and was not kept")
        if dead_letter.event in _CONNECTION_EVENTS:
            raise NotReplayable("it tells of the connection at that time; what the line is now, its status says")
        unit = self.find(UnitId(dead_letter.unit_id))
        received_at = dead_letter.received_at.timestamp()
        if not await self._intake.accept(unit, dead_letter.event or "", dead_letter.raw, received_at):
            raise UnitNotReady("neither the journal nor the database takes anything now")
        async with self._pool.connection() as conn:
            await dead_letters.mark_revived(conn, id)

    async def give_up_dead_letter(self, unit: UnitId, id: int) -> None:
        """Mark a dead letter as given up; it is kept like the others. Raises UnknownUnit, UnknownDeadLetter."""
        self.find(unit)
        async with self._pool.connection() as conn:
            if not await dead_letters.give_up(conn, unit, id):
                raise UnknownDeadLetter("there is no such dead letter")

    async def replay(self, since: float, unit: UnitId | None = None) -> int:
        """Process again what the journal still holds since a time (UTC seconds); return how many entries.

        Their facts merge into what is stored; their connection events are out of date and ignored.
        """
        count = await self._journal.replay(since, unit)
        for replayed in [self.find(unit)] if unit is not None else self._roster.units():
            self._dispatcher.rewind(replayed)
        return count
