"""Decides when a failed attempt is retried, and when retries end."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A growing delay: ``base * factor ** (attempt - 1)`` seconds, at most ``cap``.

    ``jitter`` (0..1) is the part of the delay that may be taken away at random: 0 is exact, 1 is anything from
    nothing to the whole. It only shortens, so ``cap`` holds.
    """

    base: float
    factor: float
    cap: float
    jitter: float

    def __post_init__(self) -> None:
        if not (0 < self.base <= self.cap < math.inf and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ValueError("a backoff needs 0 < base <= cap, factor >= 1 and jitter in 0..1")

    def delay(self, attempt: int, spread: float) -> float:
        """Seconds to wait after failure ``attempt`` (from 1); ``spread`` in 0..1 is drawn by the caller."""
        exponent = max(0, attempt - 1)
        # Compared as logarithms: the power itself would overflow after some thousand attempts.
        if exponent * math.log(self.factor) >= math.log(self.cap / self.base):
            full = self.cap
        else:
            full = self.base * self.factor**exponent
        return full * (1 - self.jitter * spread)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Retry at this time, on the clock that ``now`` was read from."""

    at: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Do not retry; ``attempts`` have failed."""

    attempts: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``limit`` counts every attempt, the first one included: with 3, the third failure is the last."""

    backoff: Backoff
    limit: int = 3

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError("a retry policy allows at least one attempt")

    def decide(self, attempt: int, now: float, spread: float) -> RetryAt | DeadLetter:
        """Decide what follows failure ``attempt`` (from 1); ``spread`` in 0..1 is drawn by the caller."""
        if attempt >= self.limit:
            return DeadLetter(attempt)
        return RetryAt(now + self.backoff.delay(attempt, spread))
