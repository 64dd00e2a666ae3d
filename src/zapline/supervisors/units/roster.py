"""Knows every unit: instance + secret -> unit -> mailbox, in memory alone; keeps one actor running for each."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.messages.events import ConnectionEvent
from zapline.domain.restart_policy import GiveUp, Intensity
from zapline.sql.inbound.recorder_transaction import applied
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.unit_state import Unit, fresh
from zapline.supervisors.keeper import Child, keep
from zapline.supervisors.notifications.event_payloads import status_news
from zapline.supervisors.notifications.live_feed import Kind
from zapline.supervisors.units.actor import UnitActor
from zapline.supervisors.units.actor_context import ActorContext

_LOG = structlog.get_logger(scope="Roster")


class Refusal(StrEnum):
    """Why a webhook's caller is not trusted."""

    PROVIDER = "unknown_provider"
    INSTANCE = "unknown_instance"
    SECRET = "wrong_secret"  # noqa: S105 - a word, not a secret
    MISMATCH = "secret_of_another_instance"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class RosterPolicy:
    """Restart intensity of the actors, seconds in quarantine, seconds between probes of an open line."""

    intensity: Intensity
    quarantine: float
    probe_every: float


def digest(secret: str) -> bytes:
    """What is stored of a webhook secret; the secret itself is 256 random bits, so no salt is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Roster:
    """All units of this process. ``apply`` brings it to what the database (or the snapshot) says."""

    def __init__(self, dispatcher: Dispatcher, policy: RosterPolicy, count_crash: Callable[[], None]) -> None:
        self._dispatcher = dispatcher
        self._policy = policy
        self._count_crash = count_crash
        self._units: dict[UnitId, Unit] = {}
        self._by_digest: dict[bytes, Unit] = {}
        self._instances: set[str] = set()
        self._scopes: dict[UnitId, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._around: ActorContext | None = None

    async def run(self, around: ActorContext, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the actors until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._around = nursery, around
            task_status.started()
            await trio.sleep_forever()

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, unit: UnitId) -> Unit | None:
        return self._units.get(unit)

    def units(self) -> list[Unit]:
        """The active units, oldest first."""
        return [unit for unit in self._units.values() if unit.record.archived_at is None]

    def by_secret(self, provider: str, secret: str) -> Unit | Refusal:
        """Whose secret this is. The lookup is by digest, so its timing tells nothing about a near miss."""
        presented = digest(secret)
        unit = self._by_digest.get(presented)
        if provider != PROVIDER:
            return Refusal.PROVIDER
        if unit is None or not self._valid(unit.record, presented):
            return Refusal.SECRET
        return Refusal.ARCHIVED if unit.record.archived_at is not None else unit

    def match(self, found: Unit | Refusal, instance: str) -> Unit | Refusal:
        """``found`` by secret and provider, if the instance is that unit's too."""
        if isinstance(found, Unit):
            same = hmac.compare_digest(found.record.instance.encode(), instance.encode("utf-8", "surrogatepass"))
            if same:
                return found
            return Refusal.MISMATCH if instance in self._instances else Refusal.INSTANCE
        if found is Refusal.SECRET and instance not in self._instances:
            return Refusal.INSTANCE
        return found

    @staticmethod
    def _valid(record: UnitRecord, presented: bytes) -> bool:
        if hmac.compare_digest(record.secret_digest, presented):
            return True
        previous, until = record.previous_digest, record.previous_until
        in_grace = previous is not None and until is not None and time.time() < until
        return in_grace and hmac.compare_digest(previous or b"", presented)

    def phases(self) -> Mapping[str, int]:
        """How many active units stand in each phase; ``unread`` for those known from the snapshot only."""
        counts = dict.fromkeys([*(phase.value for phase in Phase), "unread"], 0)
        for unit in self.units():
            counts[unit.state.stored.phase.value if unit.state is not None else "unread"] += 1
        return counts

    # -- asking ----------------------------------------------------------------------------------------------

    def ask(self, unit: Unit, event: ConnectionEvent) -> bool:
        """Put an event of our own before the unit's actor; False where it cannot take it now."""
        return unit.state is not None and unit.quarantined_at is None and unit.mailbox.ask(event)

    def release(self, unit: Unit) -> None:
        """End a unit's quarantine."""
        if unit.quarantined_at is not None:
            unit.quarantined_at = None
            self.tell(unit)
            waiting = self._scopes.pop(unit.id, None)
            if waiting is not None:
                waiting.cancel()
            self._start(unit)

    # -- changing --------------------------------------------------------------------------------------------

    def apply(self, records: Iterable[UnitRecord], journal_id: UUID) -> None:
        """Start units that are new, renew those that changed, stop those that are archived or gone."""
        listed = {record.id: record for record in records}
        for gone in self._units.keys() - listed.keys():
            self._stop(self._units.pop(gone))
        for record in listed.values():
            known = self._units.get(record.id)
            if known is None:
                known = self._units[record.id] = fresh(replace(record, stored=None, applied_seq=Seq(0)))
            if known.state is None and record.stored is not None:
                known.state = fresh(record).state
                # Where the position is of another journal, the entries of this one are all new.
                known.applied_seq = applied(journal_id, record.journal_id, record.applied_seq)
            known.record = replace(record, stored=None)
            if record.archived_at is not None:
                self._stop(known)
            elif known.state is not None and known.quarantined_at is None and record.id not in self._scopes:
                self._start(known)
        self._index()

    def _index(self) -> None:
        self._instances = {unit.record.instance for unit in self.units()}
        by_digest: dict[bytes, Unit] = {}
        for unit in self._units.values():
            if unit.record.previous_digest is not None:
                by_digest[unit.record.previous_digest] = unit
            by_digest[unit.record.secret_digest] = unit
        self._by_digest = by_digest

    def _start(self, unit: Unit) -> None:
        assert self._nursery is not None
        self._scopes[unit.id] = scope = trio.CancelScope()
        self._nursery.start_soon(self._keep, unit, scope, name=f"unit {unit.id}")
        self._dispatcher.read_again(unit)

    def _stop(self, unit: Unit) -> None:
        scope = self._scopes.pop(unit.id, None)
        if scope is not None:
            scope.cancel()
        self._dispatcher.forget(unit.id)

    async def _keep(self, unit: Unit, scope: trio.CancelScope) -> None:
        assert self._around is not None
        with scope:
            actor = UnitActor(unit, self._around, self._policy.probe_every)
            child = Child(str(unit.id), actor.run, actor.after_crash)
            gave_up = await keep(child, self._policy.intensity, self._count_crash)
            if isinstance(gave_up, GiveUp):
                unit.quarantined_at = trio.current_time()
                self.tell(unit)
                await trio.sleep(self._policy.quarantine)
                _LOG.warning("Quarantine is over; the unit is tried again", unit=str(unit.id))
        if self._scopes.get(unit.id) is scope:
            del self._scopes[unit.id]
            if unit.quarantined_at is not None:
                self.release(unit)

    def tell(self, unit: Unit) -> None:
        """A quarantine begins or ends, or a pause."""
        if self._around is not None and unit.state is not None:
            stored, quarantined = unit.state.stored, unit.quarantined_at is not None
            paused = unit.record.paused_at is not None
            self._around.feed.publish(unit.id, Kind.STATUS, lambda: status_news(unit.id, stored, quarantined, paused))


# -- the snapshot: enough to take in webhooks while the database is down -----------------------------------


class _Line(msgspec.Struct, array_like=True):
    id: UUID
    name: str
    instance: str
    generation: int
    digest: bytes
    previous: bytes | None
    previous_until: float | None
    archived_at: float | None


def snapshot(records: Iterable[UnitRecord]) -> bytes:
    """What the journal keeps of the units; no secret is in it, only digests."""
    return msgspec.msgpack.encode(
        [
            _Line(
                record.id,
                record.name,
                record.instance,
                record.secret_generation,
                record.secret_digest,
                record.previous_digest,
                record.previous_until,
                record.archived_at,
            )
            for record in records
        ]
    )


def from_snapshot(data: bytes) -> list[UnitRecord]:
    """The units of a snapshot, their state unread. Raises msgspec.DecodeError for foreign bytes."""
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
            applied_seq=Seq(0),
        )
        for line in msgspec.msgpack.decode(data, type=list[_Line])
    ]
