"""Limits a rate by a token bucket: an immutable value that can be rebuilt from the times of past messages."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

_ROUNDING = 1e-6
"""Seconds: floating-point times of today have steps of 0.2 us, so a token may be slightly short when it is due."""


@dataclass(frozen=True, slots=True)
class Wait:
    """No token yet; the next one is there at ``until``."""

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
        """The level after a restart, from the times of the messages that were sent between ``since`` and ``now``.

        The bucket counts as empty at ``since``: the level may come out too low, never too high, and is exact once the
        bucket has been full. ``since`` must be at least ``capacity / per_second`` seconds ago for a full bucket.
        """
        bucket = cls(capacity, per_second, 0.0, since)
        for at in sorted(at for at in sent if at >= since):
            level = bucket.refilled(at)
            # There was a whole token when it was sent, whatever this count says.
            bucket = replace(level, tokens=max(0.0, level.tokens - 1))
        return bucket.refilled(now)

    def refilled(self, now: float) -> "TokenBucket":
        """The same bucket at ``now``. A clock that went back refills nothing."""
        passed = now - self.at
        if passed <= 0:
            return self
        return replace(self, tokens=min(self.capacity, self.tokens + passed * self.per_second), at=now)

    def take(self, now: float) -> "TokenBucket | Wait":
        """The bucket without one token, or the time of the next token."""
        level = self.refilled(now)
        if level.tokens + _ROUNDING * self.per_second >= 1:
            return replace(level, tokens=level.tokens - 1)
        return Wait(level.at + (1 - level.tokens) / self.per_second)
