"""Limits a rate: a token bucket as a value, which can be rebuilt from the times of past messages."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

_ROUNDING = 1e-6
"""Seconds: times of today come in steps of 0.2 us, so a token may be a hair short when its time has come."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; ask again at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """``capacity`` messages at once, refilled by ``per_second``; ``tokens`` is the level at time ``at``."""

    capacity: float
    per_second: float
    tokens: float
    at: float

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.per_second <= 0:
            raise ValueError("a bucket needs capacity >= 1 and per_second > 0")

    @classmethod
    def rebuilt(
        cls, capacity: float, per_second: float, sent: Iterable[float], since: float, now: float
    ) -> "TokenBucket":
        """The level after a restart, from the times of the messages that left between ``since`` and ``now``.

        What was sent before ``since`` is not known, so the bucket counts as empty then: the level may come
        out too low, never too high, and is right once the bucket has been full. ``since`` has to lie at least
        ``capacity / per_second`` seconds back, or the bucket starts with less than it could.
        """
        bucket = cls(capacity, per_second, 0.0, since)
        for at in sorted(at for at in sent if at >= since):
            level = bucket.refilled(at)
            # There was a whole token when it left, whatever this count says.
            bucket = replace(level, tokens=max(0.0, level.tokens - 1))
        return bucket.refilled(now)

    def refilled(self, now: float) -> "TokenBucket":
        """The same bucket at ``now``. A clock that went back refills nothing."""
        passed = now - self.at
        if passed <= 0:
            return self
        return replace(self, tokens=min(self.capacity, self.tokens + passed * self.per_second), at=now)

    def take(self, now: float) -> "TokenBucket | Wait":
        """The bucket with one message taken, or when the next one is there."""
        level = self.refilled(now)
        if level.tokens + _ROUNDING * self.per_second >= 1:
            return replace(level, tokens=level.tokens - 1)
        return Wait(level.at + (1 - level.tokens) / self.per_second)
