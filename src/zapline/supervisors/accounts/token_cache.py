"""Caches the holders of valid tokens, to spare the database queries and to survive its outages."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.accounts.access_tokens import TokenHolder
from zapline.supervisors.units.webhook_authentication import digest_secret

FRESH = 30.0
"""Seconds for which a cached token is used without a query."""
STALE = 900.0
"""The same while the database is away, so that the status of a line can be read then."""
_AWAY_FOR = 5.0
"""Seconds without queries for cached tokens after the database did not answer."""
_MAX_TOKENS = 4096
"""In the cache; the token queried least recently is dropped first."""
_MAX_LOOKUPS = 2
"""Queries at a time: somebody who guesses tokens must not use up the pool."""

FindHolder = Callable[[bytes, float | None], Awaitable[TokenHolder | None]]


@dataclass(slots=True)
class _CachedToken:
    """``checked_at``: monotonic time of the query. ``used_at``: UTC seconds; not stored yet if not ``use_stored``."""

    holder: TokenHolder
    checked_at: float
    used_at: float
    use_stored: bool = True


class TokenCache:
    """Bounded. ``find`` queries the database, by digest and time of the last use; ``clock`` returns UTC seconds."""

    def __init__(self, find: FindHolder, clock: Callable[[], float]) -> None:
        self._find = find
        self._clock = clock
        self._tokens: OrderedDict[bytes, _CachedToken] = OrderedDict()
        self.invalidations = 0
        """Grows whenever an entry may have become invalid."""
        self._lookup_limiter = trio.CapacityLimiter(_MAX_LOOKUPS)
        self._away_until = float("-inf")

    async def find_holder(self, token: str, *, use: bool = True) -> TokenHolder | None:
        """Return the holder of a valid token; ``use``: count this as a use of it.

        Raises DatabaseUnavailable if the token is not cached, or not fresh enough for an outage.
        """
        key = digest_secret(token)
        cached = self._tokens.get(key)
        if cached is None or not self._usable(cached):
            cached = await self._load(key)
        if cached is not None and use:
            cached.used_at, cached.use_stored = self._clock(), False
        return cached.holder if cached is not None else None

    def _usable(self, cached: _CachedToken) -> bool:
        """Whether no query is needed."""
        return self._valid(cached, STALE if trio.current_time() < self._away_until else FRESH)

    def _valid(self, cached: _CachedToken, seconds: float) -> bool:
        """Whether the token was checked in the last ``seconds`` and has not ended since."""
        return trio.current_time() - cached.checked_at < seconds and cached.holder.valid(self._clock(), cached.used_at)

    async def _load(self, key: bytes) -> _CachedToken | None:
        while True:
            invalidations = self.invalidations
            try:
                async with self._lookup_limiter:
                    cached = self._tokens.get(key)
                    if cached is not None and self._usable(cached):
                        return cached  # a request before this one has queried, or waited in vain
                    holder = await self._find(key, cached.used_at if cached is not None else None)
            except DatabaseUnavailable:
                self._away_until = trio.current_time() + _AWAY_FOR
                cached = self._tokens.get(key)
                if cached is None or not self._valid(cached, STALE):
                    raise
                return cached
            if self.invalidations == invalidations:  # else the token may have been revoked during the query
                break
        if holder is None:
            self._tokens.pop(key, None)
            return None
        fresh = _CachedToken(holder, trio.current_time(), holder.used_at)
        earlier = self._tokens.get(key)
        if earlier is not None and not earlier.use_stored:
            fresh.used_at, fresh.use_stored = max(fresh.used_at, earlier.used_at), False
        self._tokens[key] = fresh
        self._tokens.move_to_end(key)
        if len(self._tokens) > _MAX_TOKENS:
            self._tokens.popitem(last=False)
        return fresh

    def remove(self, matches: Callable[[TokenHolder], bool]) -> None:
        """Drop the tokens of matching holders: their next use needs a query."""
        self.invalidations += 1
        for key in [key for key, cached in self._tokens.items() if matches(cached.holder)]:
            del self._tokens[key]

    def remove_token(self, token: str) -> None:
        self.invalidations += 1
        self._tokens.pop(digest_secret(token), None)

    def invalidate(self) -> None:
        """Query again at the next use of any token, unless the database is away: another process has changed some."""
        self.invalidations += 1
        self._away_until = float("-inf")
        for cached in self._tokens.values():
            cached.checked_at = min(cached.checked_at, trio.current_time() - FRESH)

    def take_last_uses(self) -> dict[UUID, float]:
        """Return the tokens used since the last call, and when (UTC seconds)."""
        used = {cached.holder.token: cached.used_at for cached in self._tokens.values() if not cached.use_stored}
        for cached in self._tokens.values():
            cached.use_stored = True
        return used
