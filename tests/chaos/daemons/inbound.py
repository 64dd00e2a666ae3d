"""Runs the daemon with fault points on the inbound path; started in place of ``zapline run``."""

import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from fault_points import POINTS, add_recorder_points, arm_on_signal, patch

import zapline.supervisors.operations.housekeeping as housekeeping
from zapline.http.server.connection import Connection
from zapline.sql.journal.sqlite_file import JournalFile
from zapline.supervisors.units.actor import UnitActor

PRUNE_INTERVAL = 0.3
"""Seconds; the daemon's own minute is too long for a run."""


def add_journal_points() -> None:
    transaction, finish = JournalFile.transaction, JournalFile.finish
    save_snapshot, remove = JournalFile.save_snapshot, JournalFile.remove
    finished = False

    @contextmanager
    def faulty_transaction(self: JournalFile) -> Iterator[None]:
        nonlocal finished
        finished = False
        with transaction(self):
            yield
        if self._inserted:
            POINTS.die_at("after-append")
        if finished:
            POINTS.die_at("after-mark-done")

    def faulty_finish(self: JournalFile, seqs: Collection[int]) -> None:
        nonlocal finished
        finish(self, seqs)
        finished = True

    def faulty_save_snapshot(self: JournalFile, data: bytes) -> None:
        if POINTS.triggers("snapshot-refused"):
            raise sqlite3.OperationalError("fault point: database or disk is full")
        save_snapshot(self, data)
        POINTS.die_at("during-snapshot")

    def faulty_remove(self: JournalFile, seqs: Collection[int]) -> int:
        removed = remove(self, seqs)
        if removed:
            POINTS.die_at("during-prune")
        return removed

    patch(JournalFile, transaction=faulty_transaction, finish=faulty_finish)
    patch(JournalFile, save_snapshot=faulty_save_snapshot, remove=faulty_remove)


def add_endpoint_points() -> None:
    answer = Connection._answer

    async def faulty_answer(self: Connection, *arguments: Any) -> bool:
        goes_on = await answer(self, *arguments)
        POINTS.die_at("after-answer")
        return goes_on

    patch(Connection, _answer=faulty_answer)


def add_actor_points() -> None:
    interpret, finish = UnitActor._interpret, UnitActor._finish

    def faulty_interpret(self: UnitActor, *arguments: Any) -> None:
        interpret(self, *arguments)
        POINTS.die_at("in-hand")

    def faulty_finish(self: UnitActor, *arguments: Any) -> None:
        if self._blame.entries or arguments[0].entries:
            POINTS.die_at("after-commit")
        finish(self, *arguments)

    patch(UnitActor, _interpret=faulty_interpret, _finish=faulty_finish)


def main() -> None:
    for install in (add_journal_points, add_endpoint_points, add_actor_points, add_recorder_points, arm_on_signal):
        install()
    patch(housekeeping, _PRUNE_INTERVAL=PRUNE_INTERVAL)
    from zapline.daemon import cli

    sys.argv = ["zapline", "run"]
    cli.main()


if __name__ == "__main__":
    main()
