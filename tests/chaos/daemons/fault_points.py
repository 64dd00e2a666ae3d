"""Fault points of the daemon, set from outside, so that production code holds no test hooks.

A point is armed at the start by ``CHAOS_ARM``, or later by SIGUSR1, which reads the file ``CHAOS_ORDERS``: ``name
passes``. At its last pass the point writes its name into ``CHAOS_MARKER`` and triggers: most kill the process, some
hold it or lose a response.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

import zapline.sql.inbound.recorder_transaction as recording
import zapline.supervisors.inbound.recorder as recorder
from zapline.domain.ids import UnitId
from zapline.sql.inbound.recorder_types import UnitOutcome
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import CommitUnknown

HOLD_SECONDS = 2.0
"""How long a transaction is held open, for PostgreSQL to be killed meanwhile."""


class FaultPoints:
    """The one armed point, and the passes that are left until it triggers."""

    def __init__(self) -> None:
        self.name = ""
        self.passes = 0
        order = os.environ.get("CHAOS_ARM")
        if order:
            self.arm(order)

    def arm(self, order: str) -> None:
        name, passes = order.split()
        self.name, self.passes = name, int(passes)

    def triggers(self, name: str) -> bool:
        """Count a pass; whether the point triggers now. Then its name is in the marker file."""
        if name != self.name:
            return False
        self.passes -= 1
        if self.passes > 0:
            return False
        self.name = ""
        Path(os.environ["CHAOS_MARKER"]).write_text(name)
        return True

    def die_at(self, name: str) -> None:
        """Kill the process if the point triggers."""
        if self.triggers(name):
            os.kill(os.getpid(), signal.SIGKILL)


POINTS = FaultPoints()


def patch(owner: object, **replacements: object) -> None:
    """Replace attributes of a class or a module; fails for one that does not exist."""
    for name, replacement in replacements.items():
        assert hasattr(owner, name), f"{owner} has no {name}"
        setattr(owner, name, replacement)


def add_recorder_points() -> None:
    store_positions: Callable[..., Awaitable[None]] = recording._store_positions
    record = recording.record

    async def faulty_positions(*arguments: Any) -> None:
        await store_positions(*arguments)
        POINTS.die_at("before-commit")
        if POINTS.triggers("postgresql-in-transaction"):
            await trio.sleep(HOLD_SECONDS)

    async def faulty_record(conn: Connection, *arguments: Any, **named: Any) -> dict[UnitId, UnitOutcome]:
        outcome = await record(conn, *arguments, **named)
        if POINTS.triggers("commit-answer-lost"):
            conn.abort()
            raise CommitUnknown("fault point: the response to the commit is lost")
        return outcome

    patch(recording, _store_positions=faulty_positions)
    patch(recorder, record=faulty_record)


def arm_on_signal() -> None:
    def arm(number: int, frame: object) -> None:
        POINTS.arm(Path(os.environ["CHAOS_ORDERS"]).read_text())

    signal.signal(signal.SIGUSR1, arm)
