"""Restarts one child within an intensity, then gives up aloud. The only place that catches any exception."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.restart_policy import GiveUp, Intensity, judge

_LOG = structlog.get_logger(scope="Keeper")


@dataclass(frozen=True, slots=True)
class Child:
    """What a keeper keeps: ``run`` is one life, ``after_crash`` mends what the crash left behind."""

    name: str
    run: Callable[[], Awaitable[None]]
    after_crash: Callable[[], Awaitable[None]]


async def keep(child: Child, allowed: Intensity, crashed: Callable[[], None]) -> GiveUp | None:
    """Run ``child`` until it returns; restart it after a crash; stop at the allowed intensity.

    ``crashed`` is told of each crash. Cancellation ends the child and passes through.
    """
    crashes: tuple[float, ...] = ()
    while True:
        try:
            await child.run()
        except Exception:  # noqa: BLE001 - only our own bugs come this far; the supervisor must outlive them
            _LOG.exception("A unit's actor crashed", unit=child.name)
        except BaseExceptionGroup as group:
            # A crash in the very tick of a cancellation: told, but the cancellation goes on.
            ended, failed = group.split(trio.Cancelled)
            if failed is not None:
                _LOG.error("A unit's actor crashed while it was stopped", unit=child.name, exc_info=failed)
            if ended is not None:
                raise ended from None
            raise
        else:
            return None
        crashed()
        judgement = judge(crashes, trio.current_time(), allowed)
        await child.after_crash()
        if isinstance(judgement, GiveUp):
            _LOG.critical("A unit is quarantined: it crashed too often; its webhooks are journaled", unit=child.name)
            return judgement
        crashes = judgement.crashes
        await trio.sleep(judgement.delay)
