"""Runs the daemon with points of death planted in it from outside, so that production code holds no hooks.

Started in place of ``zapline``. A point is armed at the start by ``CHAOS_ARM``, or later by SIGUSR1, which reads
the file ``CHAOS_ORDERS``: ``name pass``. At its pass the point writes its name into ``CHAOS_MARKER`` and acts: most
kill the process where it stands, some hold it still or lose an answer.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

import zapline.sql.inbound.recorder_transaction as recording
import zapline.supervisors.inbound.recorder as recorder
import zapline.supervisors.operations.housekeeping as janitor
from zapline.domain.ids import UnitId
from zapline.http.webhooks.endpoint import WebhookApp
from zapline.sql.inbound.batches import Outcome
from zapline.sql.journal.sqlite_file import JournalFile
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.error_classes import CommitUnknown
from zapline.supervisors.units.actor import UnitActor

PRUNE_EVERY = 0.3
"""Seconds; the daemon's own minute is too long to wait for."""
HOLD = 2.0
"""Seconds a transaction is held open, so that somebody can kill PostgreSQL meanwhile."""


class Armed:
    """The one point that is to act, and how many passes it still lets by."""

    def __init__(self) -> None:
        self.name = ""
        self.passes = 0
        order = os.environ.get("CHAOS_ARM")
        if order:
            self.obey(order)

    def obey(self, order: str) -> None:
        name, passes = order.split()
        self.name, self.passes = name, int(passes)

    def reached(self, name: str) -> bool:
        """Whether the point is to act now; then the marker says so."""
        if name != self.name:
            return False
        self.passes -= 1
        if self.passes > 0:
            return False
        self.name = ""
        Path(os.environ["CHAOS_MARKER"]).write_text(name)
        return True

    def die_at(self, name: str) -> None:
        if self.reached(name):
            os.kill(os.getpid(), signal.SIGKILL)


ARMED = Armed()


def plant_in_journal() -> None:
    transaction, finish = JournalFile.transaction, JournalFile.finish
    save_snapshot, remove = JournalFile.save_snapshot, JournalFile.remove
    finished = False

    @contextmanager
    def planted_transaction(self: JournalFile) -> Iterator[None]:
        nonlocal finished
        finished = False
        with transaction(self):
            yield
        if self._inserted:
            ARMED.die_at("after-append")
        if finished:
            ARMED.die_at("after-mark-done")

    def planted_finish(self: JournalFile, seqs: Collection[int]) -> None:
        nonlocal finished
        finish(self, seqs)
        finished = True

    def planted_save_snapshot(self: JournalFile, data: bytes) -> None:
        if ARMED.reached("snapshot-refused"):
            raise sqlite3.OperationalError("planted: database or disk is full")
        save_snapshot(self, data)
        ARMED.die_at("during-snapshot")

    def planted_remove(self: JournalFile, seqs: Collection[int]) -> int:
        removed = remove(self, seqs)
        if removed:
            ARMED.die_at("during-prune")
        return removed

    JournalFile.transaction = planted_transaction  # type: ignore[method-assign]
    JournalFile.finish = planted_finish  # type: ignore[method-assign]
    JournalFile.save_snapshot = planted_save_snapshot  # type: ignore[method-assign]
    JournalFile.remove = planted_remove  # type: ignore[method-assign]


def plant_in_intake() -> None:
    webhook = WebhookApp._webhook

    async def planted(self: WebhookApp, *arguments: Any) -> None:
        await webhook(self, *arguments)
        ARMED.die_at("after-answer")

    WebhookApp._webhook = planted  # type: ignore[method-assign, assignment]


def plant_in_actor() -> None:
    interpret, finish = UnitActor._interpret, UnitActor._finish

    def planted_interpret(self: UnitActor, *arguments: Any) -> None:
        interpret(self, *arguments)
        ARMED.die_at("in-hand")

    def planted_finish(self: UnitActor, *arguments: Any) -> None:
        if self._in_hand or arguments[0].entries:
            ARMED.die_at("after-commit")
        finish(self, *arguments)

    UnitActor._interpret = planted_interpret  # type: ignore[method-assign, assignment]
    UnitActor._finish = planted_finish  # type: ignore[method-assign, assignment]


def plant_in_recorder() -> None:
    store_positions: Callable[..., Awaitable[None]] = recording._store_positions
    record = recording.record

    async def planted_positions(*arguments: Any) -> None:
        await store_positions(*arguments)
        ARMED.die_at("before-commit")
        if ARMED.reached("postgresql-in-transaction"):
            await trio.sleep(HOLD)

    async def planted_record(conn: Connection, *arguments: Any, **named: Any) -> dict[UnitId, Outcome]:
        outcome = await record(conn, *arguments, **named)
        if ARMED.reached("commit-answer-lost"):
            conn.abort()
            raise CommitUnknown("planted: the answer to the commit is lost")
        return outcome

    recording._store_positions = planted_positions  # type: ignore[assignment]
    recorder.record = planted_record  # type: ignore[attr-defined]


def arm_on_signal() -> None:
    def obey(number: int, frame: object) -> None:
        ARMED.obey(Path(os.environ["CHAOS_ORDERS"]).read_text())

    signal.signal(signal.SIGUSR1, obey)


def main() -> None:
    for plant in (plant_in_journal, plant_in_intake, plant_in_actor, plant_in_recorder, arm_on_signal):
        plant()
    janitor._PRUNE_EVERY = PRUNE_EVERY
    from zapline.daemon import cli

    sys.argv = ["zapline", "run"]
    cli.main()


if __name__ == "__main__":
    main()
