"""Decides which units are this node's: takes those of the dead, and hands over what is too many."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.sql.cluster import inbox, membership
from zapline.sql.cluster.membership import Survey
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

LOOK_EVERY = 1.0
"""Seconds between two looks at the nodes and the units."""
_READ_WITHIN = 4.0
"""Seconds within which the units must be read for a webhook whose sender is not known."""
_TOLERANCE = 1.05
"""By how much more than its share a node may own before it hands units over."""
_ORPHAN_SECONDS = 4.0
"""After which units that nobody takes are taken beyond the share: somebody who should does not."""
_SETTLED_SECONDS = 5.0
_AFTER_DEATH_SECONDS = 30.0
"""Nothing is moved so long after a node has joined, and after one has died."""
_MOST_MOVED = 100
"""Units that one statement hands over; of a node that does not leave, each second."""
_COUNT_EVERY = 5.0
_SECRETS_COMPARED = 20
"""Units whose secrets are compared with the master key; some may have been imported with secrets of their own."""
_SOON = 0.1
_LOG = structlog.get_logger(scope="Cluster")


@dataclass(eq=False, repr=False)
class Placement:
    """One for the process. ``is_busy``: whether something of a unit is in hand that would be lost on the way.

    ``is_calling``: the same of its sender alone.
    """

    _pool: Pool
    _leadership: Leadership
    _commands: UnitCommands
    _roster: Roster
    _counters: Counters
    is_calling: Callable[[UnitId], bool] = lambda unit: False
    has_in_hand: Callable[[UnitId], bool] = lambda unit: False
    on_given: Callable[[], None] = lambda: None
    """Called when units were read that may be gained or lost."""
    on_first: Callable[[], None] = lambda: None
    """Called when this node becomes the one that does what one is to do."""
    seen: Survey | None = field(default=None, init=False)
    """The last look."""
    has_takers: bool = field(default=True, init=False)
    """There was another node that takes units when they were to be handed over."""
    _seen_at: float = field(default=float("-inf"), init=False)
    """When the last look began after which all units were known."""
    _looked: trio.Event = field(default_factory=trio.Event, init=False)
    inbox_age: float = field(default=0.0, init=False)
    """Seconds for which the oldest webhook has waited in the inbox, by the last count."""
    _counted_at: float = field(default=float("-inf"), init=False)
    _asked_at: float = field(default=float("-inf"), init=False)
    """When a look was last hastened for a webhook of an unknown sender."""
    _known: tuple[UUID, str, str] | None = field(default=None, init=False)
    """As which node the units were read, and the marks of what was read."""
    _compared_as: UUID | None = field(default=None, init=False)
    """As which node the master key was compared with that of the others."""
    _free_since: float | None = field(default=None, init=False)
    _death_at: float = field(default=float("-inf"), init=False)
    _wake: trio.Event = field(default_factory=trio.Event, init=False)
    _announced: bool = field(default=False, init=False)
    _reread: bool = field(default=False, init=False)

    def units_changed(self) -> None:
        """Another node tells that units have changed or moved."""
        self._reread = True
        self._wake.set()

    def announce(self) -> None:
        """Tell the other nodes that units have changed."""
        self._announced = True
        self._wake.set()

    async def read_anew(self) -> bool:
        """Read the units if any has changed; False where that could not be done within some seconds.

        Whoever asks at the same time shares the look, and no look is hastened twice within a second: strangers may
        ask, too.
        """
        asked = trio.current_time()
        if asked >= self._asked_at + LOOK_EVERY:
            self._asked_at = asked
            self._wake.set()
        with trio.move_on_after(_READ_WITHIN):
            while self._seen_at < asked:
                looked = self._looked
                await looked.wait()
        return self._seen_at >= asked

    async def run(self) -> None:
        """Look and act until cancelled; while the database is away, nothing moves."""
        while True:
            await self._leadership.may_write()
            self._wake, pause = trio.Event(), LOOK_EVERY
            try:
                pause = await self.look()
            except RemoteError as failure:
                _LOG.debug("The nodes cannot be looked at", error=str(failure))
            with trio.move_on_after(pause):
                await self._wake.wait()
            await trio.sleep(_SOON / 2)

    async def look(self) -> float:
        """Look once, and act; returns seconds until the next look. Raises DatabaseUnavailable, StatementFailed."""
        node, pause, began = self._leadership.standing.node, LOOK_EVERY, trio.current_time()
        if node is None:
            return pause
        async with self._pool.connection() as conn:
            if not await self._bury_dead(conn, node):
                pause = _SOON
            await self._refuse_foreign_key(conn, node)
            seen = await membership.survey(conn, node)
            if self._leadership.standing.node != node:
                return pause
            became_first = seen.eldest and not self._leadership.is_first
            self._leadership.is_first = seen.eldest
            if became_first:
                self.on_first()
            if not self._leadership.leaving and (room := self._room(seen)):
                taken = await membership.claim_units(conn, node, room, self._leadership.standing.epoch or 0)
                if taken:
                    self._counters.add("units_taken", amount=len(taken))
                    _LOG.info("Units were taken", count=len(taken), share=seen.share)
                    seen = await membership.survey(conn, node)
            await self._count_inbox(conn, seen.eldest)
            if self._announced:
                self._announced = False
                await membership.notify(conn, [membership.UNITS_CHANNEL])
        await self._read_units(node, seen)
        if self._leadership.standing.node == node:
            self.seen, self._seen_at = seen, began
            self._looked.set()
            self._looked = trio.Event()
        if self._is_time_to_move(seen):
            await self._hand_over_surplus(node, seen)
        return pause

    async def _refuse_foreign_key(self, conn: Connection, node: UUID) -> None:
        """Take no units where the master key is another one: webhooks would be registered with secrets of nobody."""
        units = self._roster.units()[:_SECRETS_COMPARED]
        if self._compared_as == node or not units:
            return
        if not any(map(self._commands.has_secret_of, units)):
            _LOG.critical("The master key is not that of the other nodes; no lines are taken: set ZAPLINE_MASTER_KEY")
            self._leadership.leaving = True
            await membership.begin_leaving(conn, node)
        self._compared_as = node

    async def _count_inbox(self, conn: Connection, first: bool) -> None:
        """Look how long webhooks wait; the first node gives up those of units that are gone."""
        if trio.current_time() < self._counted_at + _COUNT_EVERY:
            return
        self._counted_at = trio.current_time()
        _, self.inbox_age = await inbox.count_waiting(conn)
        if first and (homeless := await inbox.forget_homeless(conn)):
            self._counters.add("orphaned_entries", amount=homeless)
            _LOG.warning("Webhooks of units that no longer exist were given up", count=homeless)

    def _room(self, seen: Survey) -> int:
        """How many units of nobody this node takes now."""
        if not seen.free:
            self._free_since = None
            return 0
        now = trio.current_time()
        self._free_since = self._free_since if self._free_since is not None else now
        if now - self._free_since > _ORPHAN_SECONDS:
            return seen.free
        return max(0, min(seen.free, seen.share - seen.mine))

    async def _bury_dead(self, conn: Connection, node: UUID) -> bool:
        """Free the units of nodes whose lease is over; False where one's transactions do not let go of them yet."""
        whole = True
        for dead in await membership.find_dead(conn, node):
            try:
                sessions, units = await membership.bury(conn, dead)
            except StatementFailed as failure:
                _LOG.warning("A dead node's units cannot be freed yet", node=str(dead.id), error=str(failure))
                whole = False
                continue
            self._death_at = trio.current_time()
            if units or sessions:
                self._counters.add("nodes_buried")
                told = {"node": str(dead.id), "machine": dead.name, "sessions": sessions, "units": units}
                _LOG.warning("A node has not renewed its lease; its units are free", **told)
        return whole

    async def _read_units(self, node: UUID, seen: Survey) -> None:
        """Read the units anew where the database says other than what was read."""
        marks = (node, seen.held, seen.all_lines)
        if marks != self._known or self._reread:
            self._reread = False
            await self._commands.reload(told=True)
            self._known = marks
            self.on_given()

    # -- moving ----------------------------------------------------------------------------------------------

    def _is_time_to_move(self, seen: Survey) -> bool:
        calm = seen.calm and seen.settled > _SETTLED_SECONDS and not seen.free
        quiet = trio.current_time() > self._death_at + _AFTER_DEATH_SECONDS
        return calm and quiet and seen.mine > seen.share * _TOLERANCE and not self._leadership.leaving

    async def _hand_over_surplus(self, node: UUID, seen: Survey) -> None:
        await self._hand_over(node, seen.share, min(seen.mine - seen.share, _MOST_MOVED), self._is_idle)

    async def hand_over_all(self) -> int:
        """Hand over what is idle, as this node leaves; returns how many of its units are left."""
        node = self._leadership.standing.node
        if node is None:
            return 0
        async with self._pool.connection() as conn:
            await membership.begin_leaving(conn, node)
            seen = await membership.survey(conn, node)
        moved = await self._hand_over(node, max(seen.share, 1), seen.mine, self._is_done)
        return seen.mine - moved

    async def _hand_over(self, node: UUID, share: int, most: int, may_move: Callable[[Unit], bool]) -> int:
        """Hand over up to ``most`` units that may move; returns how many have moved."""
        movable = [unit for unit in self._roster.units() if unit.held.node == node and may_move(unit)][:most]
        moved = 0
        async with self._pool.connection() as conn:
            takers = await membership.find_takers(conn, node, share)
            self.has_takers = bool(takers)
            for taker, room in takers:
                given, movable = movable[:room], movable[room:]
                while given:
                    epoch, some = self._leadership.standing.epoch or 0, [unit.id for unit in given[:_MOST_MOVED]]
                    moved += len(await membership.hand_over(conn, node, taker, some, epoch))
                    del given[:_MOST_MOVED]
            if moved:
                await membership.notify(conn, [membership.UNITS_CHANNEL])
        if moved:
            self._counters.add("units_handed_over", amount=moved)
            _LOG.info("Units were handed over", count=moved)
            await self._commands.reload(told=True)
            self.on_given()
        return moved

    def _is_idle(self, unit: Unit) -> bool:
        """Whether nobody would notice that a unit moves: nothing is in hand, and no code is on show."""
        pairing = unit.state is not None and unit.state.stored.phase is Phase.PAIRING
        return unit.quarantined_at is None and not pairing and self._is_done(unit)

    def _is_done(self, unit: Unit) -> bool:
        """Whether nothing of a unit is in hand that its next owner would have to find out about."""
        waiting = unit.mailbox.statistics()
        busy = waiting.entries or waiting.events or unit.uncommitted is not None or unit.catching_up is not None
        return not busy and not self.is_calling(unit.id) and not self.has_in_hand(unit.id)
