"""Maps instances and webhook secrets to units and their mailboxes, in memory; keeps one actor running per unit."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase
from zapline.domain.restart_policy import GiveUp, RestartIntensity
from zapline.sql.inbound.recorder_transaction import applied_position
from zapline.sql.postgres.nodes import Ownership, no_right
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.server_standing import ServerStanding
from zapline.supervisors.inbound.unit_state import Unit, unit_from_record
from zapline.supervisors.notifications.event_payloads import status_payload
from zapline.supervisors.notifications.live_feed import EventKind
from zapline.supervisors.restart_keeper import Child, keep_running
from zapline.supervisors.units.actor import UnitActor
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.webhook_authentication import WebhookAuthentication

_GIVEN_UP = "the unit is quarantined; its webhooks are journaled"
_LOG = structlog.get_logger(scope="Roster")


@dataclass(frozen=True, slots=True)
class RosterPolicy:
    """Restart intensity of the actors, seconds in quarantine, seconds between probes of an open line."""

    intensity: RestartIntensity
    quarantine: float
    probe_every: float


class Roster:
    """All units of this process. ``apply`` updates it to what the database (or the snapshot) says."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        policy: RosterPolicy,
        count_crash: Callable[[], None],
        clock: Callable[[], float] = time.time,
        standing_of: Callable[[str], ServerStanding | None] = lambda _: None,
        unasked: bool = False,
    ) -> None:
        """``standing_of`` knows the Evolution servers beside the environment's by name.

        ``unasked``: nothing is known of the environment's until its watch has asked it.
        """
        self._dispatcher = dispatcher
        self._policy = policy
        self._count_crash = count_crash
        self._units: dict[UnitId, Unit] = {}
        self._standing_of = standing_of
        self.server = ServerStanding(unknown=unasked)
        """What is known of the environment's Evolution server; its watch writes it."""
        self.webhook_authentication = WebhookAuthentication(clock)
        self._scopes: dict[UnitId, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._context: ActorContext | None = None
        self.shared = False
        """Other processes own some of the units."""
        self.on_gained: Callable[[Unit], None] = lambda unit: None
        """Called for a unit that is this process's from now on, before its actor runs."""

    async def run(self, context: ActorContext, *, task_status: trio.TaskStatus[None]) -> None:
        """Run the actors until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._context = nursery, context
            task_status.started()
            await context.alarms.run()

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, unit: UnitId) -> Unit | None:
        return self._units.get(unit)

    def server_of(self, unit: UnitId) -> ServerStanding:
        """What is known of the server on which a unit lives; of one that is not here, the environment's."""
        known = self._units.get(unit)
        return known.server if known is not None else self.server

    def units(self) -> list[Unit]:
        """The active units, oldest first."""
        return [unit for unit in self._units.values() if unit.record.archived_at is None]

    def is_elsewhere(self, unit: UnitId) -> bool:
        """Whether a unit is another process's."""
        known = self._units.get(unit)
        return self.shared and known is not None and known.state is None

    def is_served(self, unit: Unit) -> bool:
        """Whether a unit's actor runs."""
        return unit.can_act and unit.id in self._scopes

    def elsewhere(self) -> frozenset[UnitId]:
        """Units that are not this process's, where several processes share them."""
        return frozenset(id for id, unit in self._units.items() if unit.state is None) if self.shared else frozenset()

    def phase_counts(self) -> Mapping[str, int]:
        """Active units by phase; ``unread`` for units read from the snapshot only."""
        counts = dict.fromkeys([*(phase.value for phase in Phase), "unread"], 0)
        for unit in self.units():
            counts[unit.state.stored.phase.value if unit.state is not None else "unread"] += 1
        return counts

    # -- events and quarantine -------------------------------------------------------------------------------

    def send_event(self, unit: Unit, event: ConnectionEvent) -> bool:
        """Put an internal event into the unit's mailbox; False if its actor cannot take it now."""
        return unit.can_act and unit.mailbox.put_event(event)

    def release(self, unit: Unit) -> None:
        """End a unit's quarantine."""
        if unit.quarantined_at is not None:
            unit.quarantined_at = None
            self.publish_status(unit)
            waiting = self._scopes.pop(unit.id, None)
            if waiting is not None:
                waiting.cancel()
            self._start(unit)

    # -- changing --------------------------------------------------------------------------------------------

    def apply(
        self,
        records: Iterable[UnitRecord],
        journal_id: UUID,
        stale: bool = False,
        owned: Callable[[UnitRecord], bool] = lambda record: True,
    ) -> None:
        """Start new units, update changed ones, stop those that are archived or gone.

        ``stale``: another process has written meanwhile, so that the states in memory count no more. ``owned``: whether
        a unit is this process's. One that is not has its webhooks journaled; if its actor runs, what it writes is
        refused until it is known whose the unit is.
        """
        listed = {record.id: record for record in records}
        for removed in self._units.keys() - listed.keys():
            gone = self._units.pop(removed)
            self._stop(gone)
            gone.held.over = True
        for record in listed.values():
            unit = self._units.get(record.id)
            ours = owned(record) and record.stored is not None
            if unit is not None and self.shared and self._is_lost(unit, record, ours):
                self._let_go(unit)
                unit = None
            if unit is not None and stale and unit.state is not None and ours:
                self._stop(unit)
                unit.state, unit.uncommitted = None, None
                unit.held.over, unit.held = True, Ownership()
            if unit is None:
                unit = self._units[record.id] = unit_from_record(replace(record, stored=None, applied_seq=Seq(0)))
                if self.shared:
                    unit.held = no_right()
            if self.shared and ours and unit.state is None:
                unit.held = Ownership()
                self.on_gained(unit)
            if ours:
                unit.held.node, unit.held.epoch = record.owner, record.epoch
            if unit.state is None and ours:
                read = unit_from_record(record)
                unit.state, unit.changes_stored, unit.recorded = read.state, read.changes_stored, read.recorded
                # If the position belongs to another journal, all entries of this one are new.
                unit.applied_seq = applied_position(journal_id, record.journal_id, record.applied_seq)
                unit.stored.seq = unit.applied_seq
            unit.record = replace(record, stored=None)
            named = record.evolution_server
            unit.server = (self._standing_of(named) or unit.server) if named is not None else self.server
            if record.archived_at is not None:
                self._stop(unit)
            elif unit.can_act and record.id not in self._scopes:
                self._start(unit)
        if self.shared:  # one that was let go of has another place
            self._units = {id: self._units[id] for id in listed}
        self.webhook_authentication.update(self._units.values())

    def _is_lost(self, unit: Unit, record: UnitRecord, ours: bool) -> bool:
        """Whether a unit of this process has another owner by now, or had one in between."""
        return unit.state is not None and not (
            ours and (unit.held.node, unit.held.epoch) == (record.owner, record.epoch)
        )

    def _let_go(self, unit: Unit) -> None:
        """End a unit's actor; whoever still acts for it finds that this object is no unit any more."""
        self._stop(unit)
        unit.held.over = True
        del self._units[unit.id]

    def _start(self, unit: Unit) -> None:
        assert self._nursery is not None
        self._scopes[unit.id] = scope = trio.CancelScope()
        self._nursery.start_soon(self._run_actor, unit, scope, name=f"unit {unit.id}")
        self._dispatcher.rewind(unit)

    def _stop(self, unit: Unit) -> None:
        scope = self._scopes.pop(unit.id, None)
        if scope is not None:
            scope.cancel()
        self._dispatcher.forget(unit.id)

    async def _run_actor(self, unit: Unit, scope: trio.CancelScope) -> None:
        assert self._context is not None
        with scope:
            actor = UnitActor(unit, self._context, self._policy.probe_every)
            child = Child(str(unit.id), "actor", _GIVEN_UP, actor.run, actor.after_crash)
            gave_up = await keep_running(child, self._policy.intensity, self._count_crash)
            if isinstance(gave_up, GiveUp):
                unit.quarantined_at = trio.current_time()
                self.publish_status(unit)
                await trio.sleep(self._policy.quarantine)
                _LOG.warning("Quarantine is over; the unit is tried again", unit=str(unit.id))
        if self._scopes.get(unit.id) is scope:
            del self._scopes[unit.id]
            if unit.quarantined_at is not None:
                self.release(unit)

    def campaigns_held(self, unit: Unit, at: float, reason: str) -> None:
        """Note that a unit's campaigns are held since ``at`` (UTC seconds), as stored."""
        unit.record = replace(unit.record, campaigns_held_at=at, campaigns_held_reason=reason)
        self.publish_status(unit)

    def publish_status(self, unit: Unit) -> None:
        """Publish the line's status to the live feed, after a quarantine, a pause or a hold began or ended."""
        if self._context is not None and unit.state is not None:
            stored, quarantined = unit.server.shown(unit.state.stored), unit.quarantined_at is not None
            paused, held = unit.record.paused_at is not None, unit.record.campaigns_held_reason
            payload = partial(status_payload, unit.id, stored, quarantined, paused, held)
            self._context.feed.publish(unit.id, EventKind.STATUS, payload)


# -- the snapshot: enough to accept webhooks while the database is down ------------------------------------


class _SnapshotUnit(msgspec.Struct, array_like=True):
    id: UUID
    name: str
    instance: str
    generation: int
    digest: bytes
    previous: bytes | None
    previous_until: float | None
    archived_at: float | None
    earlier: tuple[bytes, ...] = ()


def encode_snapshot(records: Iterable[UnitRecord]) -> bytes:
    """The units as stored in the journal; it contains no secret, only digests."""
    return msgspec.msgpack.encode(
        [
            _SnapshotUnit(
                record.id,
                record.name,
                record.instance,
                record.secret_generation,
                record.secret_digest,
                record.previous_digest,
                record.previous_until,
                record.archived_at,
                record.earlier_digests,
            )
            for record in records
        ]
    )


def decode_snapshot(data: bytes) -> list[UnitRecord]:
    """The units of a snapshot, without state. Raises msgspec.DecodeError for foreign bytes."""
    return [
        UnitRecord(
            id=UnitId(line.id),
            name=line.name,
            instance=line.instance,
            secret_generation=line.generation,
            secret_digest=line.digest,
            previous_digest=line.previous,
            previous_until=line.previous_until,
            archived_at=line.archived_at,
            earlier_digests=line.earlier,
            applied_seq=Seq(0),
        )
        for line in msgspec.msgpack.decode(data, type=list[_SnapshotUnit])
    ]
