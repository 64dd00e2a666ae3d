"""Builds what a daemon needs that shares the units with others, and what it does as it leaves them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
import trio

from zapline.daemon.composition.inbound import Inbound
from zapline.daemon.composition.outbound import DaemonCore, Outbound
from zapline.daemon.settings import Settings
from zapline.domain.errors import ConfigurationError, RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.cluster import inbox
from zapline.sql.journal.schema import Entry
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.cluster.inbox_reader import InboxReader
from zapline.supervisors.cluster.placement import Placement
from zapline.supervisors.cluster.wake_ups import WakeUps
from zapline.supervisors.health.durability_checks import SharedReport
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.inbox.shared_inbox import SharedInbox
from zapline.supervisors.inbox.single_copies import SingleCopies, is_shared
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.units.roster import Roster

_LOOK_PAUSE = 0.1
_FAILED_PAUSE = 0.5
_LEFT_PAUSE = 1.0
_HOMELESS_PAUSE = 60.0
"""Seconds between two looks for webhooks of units that are gone."""
_LOAD_SECONDS = 600.0
"""For which it is believed that another node still reads a campaign's list."""
_LOG = structlog.get_logger(scope="Cluster")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs in a daemon that shares the units with others."""

    leadership: Leadership
    inbox: SharedInbox
    single: SingleCopies
    reader: InboxReader
    placement: Placement
    wake_ups: WakeUps
    outbound: Outbound

    async def run(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            for job in (self.inbox, self.single, self.reader, self.placement, self.wake_ups):
                nursery.start_soon(job.run)

    async def leave(self, seconds: float) -> None:
        """Hand the units over to other nodes, and go on taking webhooks; takes at least a third of ``seconds``.

        That is for the proxy, which is to notice. What is not idle within ``seconds`` is left to who takes it.
        """
        self.leadership.leaving = True
        least = trio.current_time() + seconds / 3
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbound.senders.drain, seconds)
                await self._hand_over_all()
            if self.placement.has_takers:
                await trio.sleep_until(least)

    async def _hand_over_all(self) -> None:
        """Hand over until nothing is left, or nobody takes it; what fails is tried again."""
        while True:
            try:
                if not await self.placement.hand_over_all() or not self.placement.has_takers:
                    return
            except RemoteError as failure:
                _LOG.warning("Units could not be handed over; it is tried again", error=str(failure))
                await trio.sleep(_FAILED_PAUSE)
            await trio.sleep(_LOOK_PAUSE)

    def end_intake(self) -> None:
        """No more webhooks come: those of which there is one copy get their second one at once."""
        self.single.hurry()

    @property
    def is_idle(self) -> bool:
        """Whether every webhook that this node took has two copies, and is stored or another node's matter."""
        return self.reader.in_hand == 0 and self.single.left == 0


def check_shared_key(settings: Settings) -> None:
    """Raise ConfigurationError where a daemon is to share the units, and would make a master key of its own."""
    if settings.cluster and settings.master_key is None:
        raise ConfigurationError(
            "daemons that share the lines need one master key: set ZAPLINE_MASTER_KEY to the same for each of them"
        )


def goes_to_actor(shares: bool) -> Callable[[Entry], bool]:
    """Whether an entry of the journal goes to its unit's actor by itself: if not, by the inbox."""
    return (lambda entry: not is_shared(entry.event)) if shares else lambda entry: True


def share_units(
    nursery: trio.Nursery,
    core: DaemonCore,
    connect: Callable[[], Awaitable[Connection]],
    inbound: Inbound,
    recorder: Recorder,
    outbound: Outbound,
    on_first: Callable[[], None],
) -> Cluster:
    """Have the daemon share the units with others, and run what that takes in ``nursery``.

    ``connect`` opens a connection as the engine. ``on_first``: called when this node begins to do what one is to do.
    """
    pool, leadership, roster, counters = core.pool, core.leadership, core.roster, core.counters
    senders = outbound.senders
    leadership.is_first, roster.shared, inbound.comparison.shared = False, True, True
    outbound.feeder.load_seconds = _LOAD_SECONDS
    shared = SharedInbox(pool, connect, lambda: leadership.standing.node)
    single = SingleCopies(core.journal, shared, counters, lambda unit: _owns(roster, unit), core.clock)
    core.intake.share(shared, single)
    placement = Placement(pool, leadership, core.commands, roster, counters, senders.is_calling)
    reader = InboxReader(connect, leadership, roster, counters, placement.units_changed, senders.wake)
    inbound.shared = lambda: SharedReport(single.left, placement.inbox_age)
    wake_ups = WakeUps(pool, lambda unit: _owner(roster, unit))

    def gained(unit: Unit) -> None:
        recorder.forget_contacts()
        senders.gained(unit)

    def placed() -> None:
        senders.scan_soon()
        outbound.feeder.wake()
        reader.wake()

    roster.on_gained, placement.on_given, placement.on_first = gained, placed, on_first
    shared.on_own, core.commands.on_changed, placement.has_in_hand = reader.wake, placement.announce, reader.has_in_hand
    senders.wake_elsewhere, leadership.standing.check_again = wake_ups.wake, placement.units_changed
    cluster = Cluster(leadership, shared, single, reader, placement, wake_ups, outbound)
    nursery.start_soon(cluster.run)
    return cluster


def take_what_is_left(
    nursery: trio.Nursery,
    core: DaemonCore,
    connect: Callable[[], Awaitable[Connection]],
    inbound: Inbound,
    recorder: Recorder,
    outbound: Outbound,
    on_first: Callable[[], None],
) -> Cluster | None:
    """Have a daemon that is alone store what others, which shared the units, have left in the inbox. Returns None."""
    reader = InboxReader(connect, core.leadership, core.roster, core.counters, lambda: None, outbound.senders.wake)
    nursery.start_soon(_empty_inbox, core, reader)
    return None


async def _empty_inbox(core: DaemonCore, reader: InboxReader) -> None:
    """Read the inbox until it is empty; one look, if nothing is in it. Nobody puts anything in any more."""
    async with trio.open_nursery() as nursery:
        reads, forgot_at = False, float("-inf")
        while True:
            await core.leadership.may_write()
            try:
                async with core.pool.connection() as conn:
                    if trio.current_time() > forgot_at + _HOMELESS_PAUSE:
                        if homeless := await inbox.forget_homeless(conn):
                            core.counters.add("orphaned_entries", amount=homeless)
                            _LOG.warning("Webhooks of units that no longer exist were given up", count=homeless)
                        forgot_at = trio.current_time()
                    waiting, _ = await inbox.count_waiting(conn)
            except RemoteError as failure:
                _LOG.debug("The inbox cannot be looked at", error=str(failure))
            else:
                if not waiting:
                    break
                if not reads:
                    _LOG.warning("Webhooks were left in the inbox by daemons that shared the lines", count=waiting)
                    nursery.start_soon(reader.run)
                reads = True
            await trio.sleep(_LEFT_PAUSE)
        nursery.cancel_scope.cancel()


def _owns(roster: Roster, unit: UnitId) -> bool | None:
    known = roster.get(unit)
    return known.state is not None if known is not None else None


def _owner(roster: Roster, unit: UnitId) -> UUID | None:
    known = roster.get(unit)
    return known.record.owner if known is not None else None
