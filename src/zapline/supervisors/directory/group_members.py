"""Asks WhatsApp who is in a unit's groups and which groups there are: where somebody looks, and seldom enough."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.evolution.client.directory_calls import fetch_group, list_groups
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.directory import groups
from zapline.sql.directory.groups import Group, Member
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import group_subjects
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.lookups import LineNotConnected, LookupsHeld, require_open_line
from zapline.supervisors.inbound.unit_state import Unit

FRESH_SECONDS = 3600.0
"""Seconds for which who is in a group is believed."""
SOONEST_SECONDS = 60.0
"""Seconds after which a group may be asked for again, whoever wants it fresh."""
LIST_SECONDS = 600.0
"""The same of all groups of a unit: Evolution asks for the picture of each, one after the other."""
PAUSE_SECONDS = 1.0
"""Between two questions of one unit."""
_GROUP_DEADLINE, _LIST_DEADLINE = 10.0, 60.0
DEADLINE, LIST_DEADLINE = 25.0, 65.0
"""Seconds of a request with its waiting: for one group, and for all."""
_MAX_WAITING = 4
"""Requests of a unit that wait for their turn; others are to come again."""
_FAILED_SECONDS = 10.0
"""Seconds for which a question that failed is not asked again: who waits gets the same answer."""
_SUBJECTS_AT_ONCE = 50
"""Groups whose subjects are stored by one transaction."""
_MAX_REMEMBERED = 10_000
"""Groups of which it is remembered when they were asked for."""
_LOG = structlog.get_logger(scope="Groups")
T = TypeVar("T")


class UnknownGroup(LocalError):
    """The unit has no such group."""


class GroupMembers:
    """One for the process. ``pool`` is the engine's, ``reading`` the API's; ``clock`` returns UTC seconds."""

    def __init__(
        self,
        pool: Pool,
        reading: Pool,
        client: EvolutionClient,
        counters: Counters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._reading = reading
        self._client = client
        self._counters = counters
        self._clock = clock
        self._turns: dict[UnitId, trio.Lock] = {}
        self._asked_at: dict[UUID, float] = {}  # group or unit -> monotonic time, the oldest first
        self._failed: dict[UUID, tuple[float, EvolutionFailure]] = {}  # the same, the newest last: when, and how
        self._next: dict[UnitId, float] = {}  # monotonic time of the next question

    async def find(self, unit: Unit, id: UUID, *, fresh: bool = False) -> tuple[Group, list[Member]]:
        """A group and who is in it, asked of WhatsApp where that is not known or old; ``fresh``: or not of this minute.

        What is known is returned where WhatsApp cannot be asked. Raises UnknownGroup; LineNotConnected,
        LookupsHeld and EvolutionFailure where nothing is known; DatabaseUnavailable.
        """
        found = await self._read(unit.id, id)
        if not self._is_due(found[0], fresh):
            return found
        try:
            async with self._turn(unit.id, DEADLINE):
                found = await self._read(unit.id, id)  # the request before may have asked
                if not self._is_due(found[0], fresh):
                    return found
                await self._ask(unit, found[0])
        except (LineNotConnected, LookupsHeld, EvolutionFailure) as failure:
            if found[0].members_at is None:
                raise
            _LOG.info("A group is told as it was", unit=str(unit.id), error=type(failure).__name__)
            return found
        return await self._read(unit.id, id)

    async def look_for_groups(self, unit: Unit) -> None:
        """Ask WhatsApp for all groups that the line is in; nothing where that was done a short while ago.

        Raises LineNotConnected, LookupsHeld, EvolutionFailure, DatabaseUnavailable.
        """
        async with self._turn(unit.id, LIST_DEADLINE):
            if self._was_asked(unit.id, LIST_SECONDS):
                return
            require_open_line(unit)
            at = self._clock()
            told = await self._question(
                unit, unit.id, partial(list_groups, unit.evolution(self._client), unit.record.instance, _LIST_DEADLINE)
            )
            async with self._pool.connection() as conn:
                await groups.store_groups(conn, unit.id, list(told))
                subjects = {
                    groups.group_id(unit.id, jid): subject for jid, subject in told.items() if subject is not None
                }
                ids = sorted(subjects)
                for start in range(0, len(ids), _SUBJECTS_AT_ONCE):
                    some = ids[start : start + _SUBJECTS_AT_ONCE]
                    await group_subjects.store_subjects(conn, {id: subjects[id] for id in some}, at)
            _remember(self._asked_at, unit.id, trio.current_time())

    @asynccontextmanager
    async def _turn(self, unit: UnitId, deadline: float) -> AsyncIterator[None]:
        """One request of a unit asks at a time. Raises LookupsHeld where that would take too long."""
        turn = self._turns.setdefault(unit, trio.Lock())
        if turn.statistics().tasks_waiting >= _MAX_WAITING:
            raise LookupsHeld("too many ask for groups of this unit just now", PAUSE_SECONDS * _MAX_WAITING)
        with trio.move_on_after(deadline) as patience:
            async with turn:
                yield
        if patience.cancelled_caught:
            raise LookupsHeld("groups of this unit are asked for just now; come again", _GROUP_DEADLINE)

    async def _ask(self, unit: Unit, group: Group) -> None:
        require_open_line(unit)
        at = self._clock()
        told = await self._question(
            unit,
            group.id,
            partial(fetch_group, unit.evolution(self._client), unit.record.instance, group.jid, _GROUP_DEADLINE),
        )
        members = [
            Member(one.address.canonical, one.address.phone, one.address.lid, one.role.value) for one in told.members
        ]
        async with self._pool.connection() as conn, conn.transaction():
            await groups.store_members(conn, unit.id, group.id, told.admins_only, members, at)
            if told.subject is not None:
                await group_subjects.store_subjects(conn, {group.id: told.subject}, at, again=True)
        _remember(self._asked_at, group.id, trio.current_time())

    async def _read(self, unit: UnitId, id: UUID) -> tuple[Group, list[Member]]:
        found = await groups.find_group(self._reading, unit, id)
        if found is None:
            raise UnknownGroup("the unit has no such group")
        return found

    def _is_due(self, group: Group, fresh: bool) -> bool:
        if self._was_asked(group.id, SOONEST_SECONDS):
            return False
        age = self._clock() - group.members_at.timestamp() if group.members_at is not None else FRESH_SECONDS
        return age >= FRESH_SECONDS or (fresh and age >= SOONEST_SECONDS)

    def _was_asked(self, what: UUID, within: float) -> bool:
        asked_at = self._asked_at.get(what)
        return asked_at is not None and trio.current_time() < asked_at + within

    async def _question(self, unit: Unit, what: UUID, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask at the unit's pace; a question that failed is answered by the same failure for some seconds."""
        failed_at, failure = self._failed.get(what, (-_FAILED_SECONDS, None))
        if failure is not None and trio.current_time() < failed_at + _FAILED_SECONDS:
            raise failure.with_traceback(None)
        await trio.sleep_until(self._next.get(unit.id, 0.0))
        self._next[unit.id] = trio.current_time() + PAUSE_SECONDS
        try:
            told = await ask()
        except EvolutionFailure as failure:
            self._counters.add("group_questions", failure.code)
            _remember(self._failed, what, (trio.current_time(), failure))
            raise
        self._counters.add("group_questions", "told")
        self._failed.pop(what, None)
        return told


def _remember(of: dict[UUID, T], what: UUID, value: T) -> None:
    """Put it last, and forget the oldest where there are too many."""
    of.pop(what, None)
    of[what] = value
    if len(of) > _MAX_REMEMBERED:
        del of[next(iter(of))]
