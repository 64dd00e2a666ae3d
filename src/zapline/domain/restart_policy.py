"""Decides whether a child that crashed is started again, and after how long."""

from dataclasses import dataclass

from zapline.domain.retry_policy import Backoff

_FIRST_DELAY = 0.1
"""Seconds: a crash by bad luck costs a unit next to nothing."""


@dataclass(frozen=True, slots=True)
class RestartIntensity:
    """At most ``limit`` crashes within ``period`` seconds; one more and the child stays down."""

    limit: int
    period: float

    def __post_init__(self) -> None:
        if self.limit < 0 or self.period <= 0:
            raise ValueError("an intensity needs limit >= 0 and period > 0")


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the child again after ``delay`` seconds; hand ``crashes`` to the next judgement."""

    delay: float
    crashes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The child crashed too often; ``crashes`` are the times that spoke against it."""

    crashes: tuple[float, ...]


def decide_restart(crashes: tuple[float, ...], now: float, allowed: RestartIntensity) -> Restart | GiveUp:
    """What follows after a crash at ``now`` (monotonic seconds); ``crashes`` are those before it.

    The tuple never grows above ``allowed.limit + 1``.
    """
    recent = (*(at for at in crashes if now - at <= allowed.period), now)
    if len(recent) > allowed.limit:
        return GiveUp(recent)
    return Restart(_delay(len(recent), allowed), recent)


def _delay(count: int, allowed: RestartIntensity) -> float:
    # All delays of a period take half of it at most, or a child that crashes at once, and waits longer each
    # time, would never crash often enough to be given up.
    cap = allowed.period / (2 * allowed.limit)
    return Backoff(base=min(_FIRST_DELAY, cap), factor=2.0, cap=cap, jitter=0.0).delay(count, 0.0)
