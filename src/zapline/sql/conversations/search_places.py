"""Keeps searches from taking all connections: a few at a time, of each unit one, and others are to come again."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId

AT_ONCE = 2
"""Searches of the process: half of the connections that answer requests."""
PATIENCE = 1.0
"""Seconds for which one waits for its place, as while somebody types."""
_MAX_WAITING = 4
"""Searches of a unit that wait for their place."""


class SearchesHeld(LocalError):
    """Others search just now; come again in some seconds."""


class SearchPlaces:
    """One for the process."""

    def __init__(self, at_once: int = AT_ONCE, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._places = trio.CapacityLimiter(at_once)
        self._turns: dict[UnitId | None, trio.Lock] = {}

    @asynccontextmanager
    async def take(self, unit: UnitId | None) -> AsyncIterator[None]:
        """Hold a place for a search of this unit; None: of several units. Raises SearchesHeld."""
        turn = self._turns.setdefault(unit, trio.Lock())
        if turn.statistics().tasks_waiting >= _MAX_WAITING:
            raise SearchesHeld("others search just now; search again in a moment")
        async with AsyncExitStack() as held:
            with trio.move_on_after(self._patience) as waiting:
                await held.enter_async_context(turn)
                await held.enter_async_context(self._places)
            if waiting.cancelled_caught:
                raise SearchesHeld("others search just now; search again in a moment")
            yield
