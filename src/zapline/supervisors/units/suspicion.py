"""Decides which journal entries may be what crashes actors or kills the process."""

from collections.abc import Sequence
from typing import Self

import trio

from zapline.sql.journal.schema import Entry

SUSPECT_AFTER_CRASHES = 2
SUSPECT_AFTER_STARTS = 3
"""An entry that was part of so many crashes, or is unfinished after so many starts, is interpreted under a mark."""
POISON_AFTER_DEATHS = 2
"""Deaths of the process during an entry processed alone: one may be chance, two in the same millisecond are not."""


def is_to_blame(entry: Entry) -> bool:
    """Whether an actor crashed over it, or the process died while it was in hand: it is interpreted alone."""
    return entry.crashes >= SUSPECT_AFTER_CRASHES or entry.suspect_deaths > 0


def is_suspect(entry: Entry) -> bool:
    """The same, or it only outlived several starts, as everything does that waits during an outage of the database."""
    return is_to_blame(entry) or entry.starts_seen >= SUSPECT_AFTER_STARTS


def poison_reason(entry: Entry) -> str | None:
    """Why an entry is given up; None: it is tried."""
    if entry.crashes > SUSPECT_AFTER_CRASHES:
        return "crashed_actor"
    return "killed_process" if entry.suspect_deaths >= POISON_AFTER_DEATHS else None


class Blame:
    """Names the entries being interpreted at this moment: ``with blame.on(entries)``.

    They are still set after a crash, and to blame for it; what other tasks raise arrives as a cancellation. A class,
    because a generator costs more than what it is around.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: Sequence[Entry] = ()

    def on(self, entries: Sequence[Entry]) -> Self:
        self.entries = entries
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None or issubclass(kind, trio.Cancelled):
            self.entries = ()
