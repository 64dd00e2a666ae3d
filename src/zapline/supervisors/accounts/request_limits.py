"""Limits how many requests a token makes: a bucket for each, refilled over a minute."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from uuid import UUID

import trio

WINDOW = 60
"""Seconds over which a limit is counted."""
MAX_BUCKETS = 4096
"""Of tokens, as many as the cache of tokens holds; whoever has asked least recently is forgotten first, and has a full
bucket when he comes again."""
_ROUNDING = 1e-6
"""Of a request: a wait that was told is long enough, whatever the steps of floating-point times."""


@dataclass(frozen=True, slots=True)
class RequestQuota:
    """How a token stands after a request: ``remaining`` of ``limit``, all of them again in ``full_in`` seconds.

    ``wait``: seconds until the next request is allowed, as this one was not; None: it was.
    """

    limit: int
    remaining: int
    full_in: int
    wait: int | None

    @property
    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 has them."""
        return {
            "RateLimit-Policy": f'"token";q={self.limit};w={WINDOW}',
            "RateLimit": f'"token";r={self.remaining};t={self.full_in}',
        }


@dataclass(slots=True)
class _Bucket:
    """``level`` requests at time ``at``, of at most ``limit``."""

    limit: int
    level: float
    at: float


class RequestLimits:
    """One for the process. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = trio.current_time, most: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[UUID, _Bucket] = OrderedDict()

    def take(self, token: UUID, per_minute: int) -> RequestQuota:
        """Count a request of a token that may make so many a minute, unless it is refused."""
        now = self._clock()
        bucket = self._buckets.get(token)
        if bucket is None:
            bucket = self._buckets[token] = _Bucket(per_minute, per_minute, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(token)
            if bucket.limit != per_minute:  # what was used up before the change still counts in proportion
                bucket.level, bucket.limit = bucket.level * per_minute / bucket.limit, per_minute
            if now > bucket.at:
                bucket.level = min(per_minute, bucket.level + (now - bucket.at) * per_minute / WINDOW)
            bucket.at = now
        wait = None
        if bucket.level + _ROUNDING >= 1:
            bucket.level = max(0.0, bucket.level - 1)
        else:
            wait = max(1, ceil((1 - bucket.level) * WINDOW / per_minute))
        full_in = ceil((per_minute - bucket.level) * WINDOW / per_minute - _ROUNDING)
        return RequestQuota(per_minute, int(bucket.level + _ROUNDING), full_in, wait)
