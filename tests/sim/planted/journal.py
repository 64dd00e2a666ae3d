"""Planted bugs of the journal, and of what reads it."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.sql.journal import reader, schema, sqlite_file
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.sql.journal.sqlite_file import JournalFile
from zapline.sql.journal.writer import Request
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.units import database_comparison
from zapline.supervisors.units.actor import MAX_TURN_ENTRIES, UnitActor
from zapline.supervisors.units.suspicion import is_suspect


def missing_fsync(patch: pytest.MonkeyPatch) -> None:
    """The journal's commits are not synced."""
    connect = sqlite_file.connect

    def careless(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("pragma synchronous = off")
        return connection

    patch.setattr(sqlite_file, "connect", careless)


def answered_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A webhook is answered before its entry is on disk."""

    async def append_many(self: Journal, arrivals: Sequence[Arrival], within: float = 0.0) -> list[Seq]:
        entries = []
        for arrival in arrivals:
            self._last_seq += 1
            given = (arrival.unit_id, arrival.event, arrival.received_at, arrival.body)
            entries.append(Entry(Seq(self._last_seq), *given))
        self._waiting += len(entries)
        self._writer._requests.append(Request(entries, 0))
        self._writer._wake()
        return [entry.seq for entry in entries]

    patch.setattr(Journal, "append_many", append_many)


def silent_loss(patch: pytest.MonkeyPatch) -> None:
    """A webhook that neither disk nor database took is answered, and nobody is told."""
    patch.setattr(Intake, "_count_lost", lambda *arguments: None)


def older_journal_goes_on(patch: pytest.MonkeyPatch) -> None:
    """A journal that is older than the database uses numbers again that count as stored (0.3)."""

    async def find_reached(*arguments: Any) -> int:
        return 0

    patch.setattr(database_comparison, "find_reached", find_reached)


def start_needs_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A daemon that cannot open its journal, because the disk is full or refuses, ends (0.3)."""
    opened = JournalFile.open

    def strict(directory: Path) -> JournalFile:
        file = opened(directory)
        if file.closed_because is not None:
            raise JournalRefused(file.closed_because)
        return file

    patch.setattr(JournalFile, "open", strict)


def all_that_waited_is_suspect(patch: pytest.MonkeyPatch) -> None:
    """Whatever was unfinished at three starts is interpreted alone, one entry in the whole process at a time (0.3)."""
    paused = UnitActor._next_entries

    def one_by_one(self: UnitActor) -> list[Entry]:
        if self._paused_until is not None:
            return paused(self)
        suspect = self._unit.mailbox.take_entry_if(is_suspect)
        return [suspect] if suspect else self._unit.mailbox.take_entries(MAX_TURN_ENTRIES, is_suspect)

    patch.setattr(UnitActor, "_next_entries", one_by_one)


class _AnySum:
    """Equal to every checksum."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def rotten_page_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    """What the disk gives back is believed, and a page that is no page is read again for ever (0.3)."""
    patch.setattr(reader, "checksum", lambda *entry: _AnySum())
    for module in (schema, sqlite_file):
        patch.setattr(module, "is_damage", lambda error: False)
