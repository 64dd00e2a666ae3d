"""Believes a valid token for a while, so that neither every request nor an outage of the database asks for it anew."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.accounts.access_tokens import Holder
from zapline.supervisors.units.roster import digest

FRESH = 30.0
"""Seconds for which a token is believed without asking the database again."""
STALE = 900.0
"""The same while the database is away: the status of a line must be readable then."""
_AWAY = 5.0
"""Seconds for which a database that did not answer is not asked again about what may be believed meanwhile."""
_REMEMBERED = 4096
"""Tokens that are remembered; the least recently asked for is forgotten."""
_ASKING = 2
"""Questions to the database at once: who guesses tokens must not take the whole pool."""

Find = Callable[[bytes, float | None], Awaitable[Holder | None]]


@dataclass(slots=True)
class _Known:
    """``asked_at`` by the monotonic clock, -inf: ask again; ``used_at`` in UTC seconds."""

    holder: Holder
    asked_at: float
    used_at: float
    noted: bool = True


class Believed:
    """In bounded memory. ``find`` asks the database, ``clock`` tells UTC seconds."""

    def __init__(self, find: Find, clock: Callable[[], float]) -> None:
        self._find = find
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self.forgotten = 0
        """How often something was no longer to be believed."""
        self._asking = trio.CapacityLimiter(_ASKING)
        self._away_until = float("-inf")

    async def holder(self, token: str, *, use: bool = True) -> Holder | None:
        """Who holds the token, if it is valid; ``use`` says that this counts as a use of it.

        Raises DatabaseUnavailable where nothing is known of it.
        """
        key = digest(token)
        known = self._known.get(key)
        if known is None or not self._enough(known):
            known = await self._ask(key)
        if known is not None and use:
            known.used_at, known.noted = self._clock(), False
        return known.holder if known is not None else None

    def _fresh(self, known: _Known) -> bool:
        return trio.current_time() - known.asked_at < FRESH and known.holder.valid(self._clock(), known.used_at)

    def _enough(self, known: _Known) -> bool:
        """Whether the database need not be asked."""
        return self._fresh(known) or (trio.current_time() < self._away_until and self._believable(known))

    async def _ask(self, key: bytes) -> _Known | None:
        while True:
            forgotten = self.forgotten
            try:
                async with self._asking:
                    known = self._known.get(key)
                    if known is not None and self._enough(known):
                        return known  # who was before in the queue has asked, or has waited in vain
                    holder = await self._find(key, known.used_at if known is not None else None)
            except DatabaseUnavailable:
                self._away_until = trio.current_time() + _AWAY
                known = self._known.get(key)
                if known is None or not self._believable(known):
                    raise
                return known
            if self.forgotten == forgotten:  # else it may have been revoked behind the answer's back
                break
        if holder is None:
            self._known.pop(key, None)
            return None
        fresh = _Known(holder, trio.current_time(), holder.used_at)
        earlier = self._known.get(key)
        if earlier is not None and not earlier.noted:
            fresh.used_at, fresh.noted = max(fresh.used_at, earlier.used_at), False
        self._known[key] = fresh
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return fresh

    def _believable(self, known: _Known) -> bool:
        return trio.current_time() - known.asked_at < STALE and known.holder.valid(self._clock(), known.used_at)

    def forget(self, which: Callable[[Holder], bool]) -> None:
        """What was believed of these is over; the database is asked before they are let in again."""
        self.forgotten += 1
        for key in [key for key, known in self._known.items() if which(known.holder)]:
            del self._known[key]

    def forget_token(self, token: str) -> None:
        self.forgotten += 1
        self._known.pop(digest(token), None)

    def doubt(self) -> None:
        """Another process may have changed something: ask again at the next use, if the database can be asked."""
        self.forgotten += 1
        self._away_until = float("-inf")
        for known in self._known.values():
            known.asked_at = min(known.asked_at, trio.current_time() - FRESH)

    def take_used(self) -> dict[UUID, float]:
        """The tokens used since the last call, with when (UTC seconds)."""
        used = {known.holder.token: known.used_at for known in self._known.values() if not known.noted}
        for known in self._known.values():
            known.noted = True
        return used
