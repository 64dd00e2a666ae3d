"""Takes webhooks of this node's units out of the inbox and gives them to their actors."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.cluster import inbox
from zapline.sql.cluster.inbox import InboxEntry
from zapline.sql.cluster.membership import UNITS_CHANNEL, inbox_channel
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.cluster.trial import find_deadly
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.mailbox import DirectEntry
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.units.roster import Roster

POLL = 0.25
"""Seconds between two looks that nobody asked for: whoever puts in wakes the owner, but may die before."""
_MOST_IN_HAND, _MOST_AT_ONCE = 512, 256
_MOST_OF_A_UNIT, _MOST_OF_A_UNIT_AT_ONCE = 64, 32
"""So that a few units whose webhooks are not stored leave room for those of others."""
_GIVE_BACK_EVERY = 30.0
"""Seconds after which what is not in hand is given back without reason: a lost statement may have come late."""
_FULL_PAUSE = 0.01
_RETRY_PAUSE = 0.5
_LISTEN_ANEW = 1.0
"""Seconds between two looks whether this process is another node by now, with another channel."""
_KILLED = "killed_process"
_LOG = structlog.get_logger(scope="Inbox")


class InboxReader:
    """One for the process. ``connect`` opens a connection as the engine.

    ``units_changed`` is called when another node tells so, and when a webhook came for a unit that is not known;
    ``wake_sender`` when another node has queued a message.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        leadership: Leadership,
        roster: Roster,
        counters: Counters,
        units_changed: Callable[[], None],
        wake_sender: Callable[[UnitId], None],
    ) -> None:
        self._connect = connect
        self._leadership = leadership
        self._roster = roster
        self._counters = counters
        self._units_changed = units_changed
        self._wake_sender = wake_sender
        self._wake = trio.Event()
        self._in_hand: list[tuple[Unit, DirectEntry]] = []
        self._to_try: list[tuple[UUID, list[InboxEntry]]] = []
        """What is tried, the first of them just now, by the node that took it. Bounded by what the dead had in hand."""
        self._try = trio.Event()
        self._has_strays = True
        """Something may be this node's in the table that is not in hand."""

    @property
    def in_hand(self) -> int:
        """Webhooks that were taken and are not stored yet, of units whose actor runs."""
        self._drop_done()
        return sum(self._roster.is_served(unit) for unit, _ in self._in_hand) + len(self._tried())

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Take webhooks until cancelled; while the database is away they wait in it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._while_node, self._listen)
            nursery.start_soon(self._while_node, self._take_all)
            nursery.start_soon(self._try_all)

    async def _while_node(self, work: Callable[[Connection, UUID], Awaitable[None]]) -> None:
        """Work for the node that this process is, on a connection of its own, as long as it is that one."""
        while True:
            await self._leadership.may_write()
            node = self._leadership.standing.node
            if node is not None:
                try:
                    connection = await self._connect()
                    try:
                        await work(connection, node)
                    finally:
                        connection.abort()
                except RemoteError as failure:
                    _LOG.debug("The inbox is not read", error=str(failure))
            await trio.sleep(_RETRY_PAUSE)

    async def _listen(self, connection: Connection, node: UUID) -> None:
        await connection.listen([UNITS_CHANNEL, inbox_channel(node)])
        while self._leadership.standing.node == node:
            with trio.move_on_after(_LISTEN_ANEW):
                for channel, told in await connection.notifications():
                    self._hear(channel, told)

    def _hear(self, channel: str, told: str) -> None:
        """Anybody who may log in may notify: what is told is a reason to look, and nothing else."""
        if channel == UNITS_CHANNEL:
            self._units_changed()
            return
        self.wake()
        try:
            unit = UnitId(UUID(told)) if told else None
        except ValueError:
            return
        if unit is not None and self._roster.get(unit) is not None:
            self._wake_sender(unit)

    async def _take_all(self, connection: Connection, node: UUID) -> None:
        # Whatever a statement has done whose answer was lost: it is not in hand.
        self._has_strays, gave_back_at = True, trio.current_time()
        while self._leadership.standing.node == node:
            await self._leadership.may_write()
            self._wake = trio.Event()
            self._drop_done()
            if self._has_strays or trio.current_time() > gave_back_at + _GIVE_BACK_EVERY:
                self._has_strays, gave_back_at = False, trio.current_time()
                known = [direct.inbox_id for _, direct in self._in_hand if direct.inbox_id is not None]
                if strays := await inbox.give_back(connection, node, [*known, *(each.id for each in self._tried())]):
                    _LOG.debug("Webhooks that are not in hand are given back", count=strays)
            if self._room() <= 0:
                await trio.sleep(_FULL_PAUSE)
            elif not await self._take(connection, node):
                with trio.move_on_after(POLL):
                    await self._wake.wait()

    def _room(self) -> int:
        """How many more may be taken: what waits for an actor that does not run takes nobody's place."""
        return _MOST_IN_HAND - sum(self._roster.is_served(unit) for unit, _ in self._in_hand)

    async def _take(self, connection: Connection, node: UUID) -> bool:
        """Take some; False where nothing was there that could be given to an actor, or is to be tried before."""
        counts = Counter(unit.id for unit, _ in self._in_hand)
        idle = {unit.id for unit, _ in self._in_hand if not self._roster.is_served(unit)}
        trying = {each.entry.unit_id for each in self._tried()}
        full = idle | trying | {unit for unit, count in counts.items() if count >= _MOST_OF_A_UNIT}
        most = min(self._room(), _MOST_AT_ONCE)
        taken = await inbox.take(connection, node, full, most, _MOST_OF_A_UNIT_AT_ONCE)
        # What came after a suspect waits with it: a line's events keep their order.
        wary = {each.entry.unit_id for each in taken if each.deaths}
        suspected = [each for each in taken if each.entry.unit_id in wary]
        if suspected:
            self._to_try.append((node, suspected))
            self._try.set()
        return bool(self._give(node, [each for each in taken if each.entry.unit_id not in wary], set()) or suspected)

    def _give(self, node: UUID, taken: Sequence[InboxEntry], doomed: Collection[int]) -> int:
        """Give webhooks to their actors; what is not this node's any more is given back with the next look."""
        given = 0
        for each in taken:
            unit = self._roster.get(each.entry.unit_id)
            if unit is None or unit.held.node != node:
                continue
            direct = DirectEntry(each.entry, each.id, _KILLED if each.id in doomed else None)
            self._in_hand.append((unit, direct))
            unit.mailbox.add_direct(direct)
            given += 1
        if given < len(taken):
            self._has_strays = True
            self._units_changed()
        return given

    def _tried(self) -> list[InboxEntry]:
        return [each for _, taken in self._to_try for each in taken]

    async def _try_all(self) -> None:
        """Try what dead nodes had in hand, beside the taking of all else, until cancelled."""
        while True:
            await self._try.wait()
            self._try = trio.Event()
            while self._to_try:
                node, taken = self._to_try[0]
                doomed = await self._find_doomed(taken)
                del self._to_try[0]
                if self._leadership.standing.node == node:
                    self._give(node, taken, doomed)

    async def _find_doomed(self, taken: Sequence[InboxEntry]) -> set[int]:
        """Of those that a dead node had in hand, the ones that end whoever reads them."""
        suspects = [each for each in taken if each.deaths]
        self._counters.add("inbox_suspects", amount=len(suspects))
        deadly = await find_deadly([each.entry for each in suspects])
        for place in deadly:
            _LOG.critical("A webhook ends every process that reads it; it is a dead letter", inbox=suspects[place].id)
        return {suspects[place].id for place in deadly}

    def _drop_done(self) -> None:
        self._in_hand = [(unit, direct) for unit, direct in self._in_hand if not (direct.stored or unit.held.over)]

    def has_in_hand(self, unit: UnitId) -> bool:
        """Whether something of a unit was taken and is not stored yet."""
        self._drop_done()
        tried = any(each.entry.unit_id == unit for each in self._tried())
        return tried or any(each.id == unit for each, _ in self._in_hand)
