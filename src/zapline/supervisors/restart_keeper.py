"""Restarts a crashed task within a restart intensity, then gives up. The only loop that catches any exception."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.restart_policy import GiveUp, RestartIntensity, decide_restart

_LOG = structlog.get_logger(scope="Keeper")


@dataclass(frozen=True, slots=True)
class Child:
    """A task to keep running: ``run`` runs it once, ``after_crash`` cleans up after a crash.

    ``unit`` and ``role`` (as "actor") say in the log whose crash it was, ``given_up`` what follows from too many.
    """

    unit: str
    role: str
    given_up: str
    run: Callable[[], Awaitable[None]]
    after_crash: Callable[[], Awaitable[None]]


async def keep_running(child: Child, intensity: RestartIntensity, on_crash: Callable[[], None]) -> GiveUp | None:
    """Run ``child`` until it returns; restart it after a crash; give up at the restart intensity.

    ``on_crash`` is called at each crash. Cancellation ends the child and passes through.
    """
    crashes: tuple[float, ...] = ()
    while True:
        try:
            await child.run()
        except Exception:  # noqa: BLE001 - only our own bugs come this far; the supervisor must outlive them
            _LOG.exception("A unit's {role} crashed", role=child.role, unit=child.unit)
        except BaseExceptionGroup as group:
            # A crash in the same tick as a cancellation is logged, but the cancellation goes on.
            cancelled, failed = group.split(trio.Cancelled)
            if failed is not None:
                text = "A unit's {role} crashed while it was stopped"
                _LOG.error(text, role=child.role, unit=child.unit, exc_info=failed)
            if cancelled is not None:
                raise cancelled from None
            raise
        else:
            return None
        on_crash()
        decision = decide_restart(crashes, trio.current_time(), intensity)
        await child.after_crash()
        if isinstance(decision, GiveUp):
            text = "A unit's {role} crashed too often: {follows}"
            _LOG.critical(text, role=child.role, follows=child.given_up, unit=child.unit)
            return decision
        crashes = decision.crashes
        await trio.sleep(decision.delay)
