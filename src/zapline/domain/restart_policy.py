"""Decides whether a crashed task is restarted, and after which delay."""

from dataclasses import dataclass

from zapline.domain.retry_policy import Backoff

_FIRST_DELAY = 0.1
"""Seconds: a single crash costs a unit next to nothing."""


@dataclass(frozen=True, slots=True)
class RestartIntensity:
    """At most ``limit`` crashes within ``period`` seconds; after one more the task is not restarted."""

    limit: int
    period: float

    def __post_init__(self) -> None:
        if self.limit < 0 or self.period <= 0:
            raise ValueError("an intensity needs limit >= 0 and period > 0")


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart after ``delay`` seconds; pass ``crashes`` to the next decision."""

    delay: float
    crashes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not restart: the task crashed too often, at the times ``crashes``."""

    crashes: tuple[float, ...]


def decide_restart(crashes: tuple[float, ...], now: float, allowed: RestartIntensity) -> Restart | GiveUp:
    """Decide what follows a crash at ``now`` (monotonic seconds); ``crashes`` are the earlier ones.

    The tuple never grows above ``allowed.limit + 1``.
    """
    recent = (*(at for at in crashes if now - at <= allowed.period), now)
    if len(recent) > allowed.limit:
        return GiveUp(recent)
    return Restart(_delay(len(recent), allowed), recent)


def _delay(count: int, allowed: RestartIntensity) -> float:
    # All delays of a period take at most half of it. Otherwise a task that crashes at once would, by its growing
    # delays, never crash often enough to be given up.
    cap = allowed.period / (2 * allowed.limit)
    return Backoff(base=min(_FIRST_DELAY, cap), factor=2.0, cap=cap, jitter=0.0).delay(count, 0.0)
