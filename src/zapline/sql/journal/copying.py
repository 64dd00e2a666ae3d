"""Copies the journal's file while the daemon writes it, by SQLite's own backup."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from zapline.domain.errors import LocalError
from zapline.sql.journal.schema import FILE_NAME, SCHEMA_VERSION, connect, refusal

PAGES_AT_ONCE = 2048
"""16 MiB between two reports."""


class JournalCopy(NamedTuple):
    """What a copy holds. ``last_seq`` is the highest number that was ever given, ``entries`` how many are there."""

    journal_id: str
    format: int
    last_seq: int
    entries: int
    unfinished: int


def copy_journal(directory: Path, target: Path, report: Callable[[int, int], None]) -> JournalCopy:
    """Copy the journal in ``directory`` to the file ``target`` (0600): one moment of it, with what is in its WAL.

    The daemon goes on writing meanwhile; its WAL grows until the copy is done. ``report`` gets pages done and pages in
    all. Raises LocalError where there is no journal, JournalRefused where it cannot be read, OSError for ``target``.
    """
    source = directory.absolute() / FILE_NAME
    if not source.is_file():
        raise LocalError(f"there is no journal {source}: name the daemon's state directory with ZAPLINE_STATE_DIR")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with closing(connect(source)) as reading, closing(sqlite3.connect(target, isolation_level=None)) as writing:
            # The transaction holds on to one moment; without it each write of the daemon would begin the copy anew.
            reading.execute("begin")
            reading.execute("select count(*) from meta").fetchone()
            reading.backup(
                writing, pages=PAGES_AT_ONCE, progress=lambda _, left, pages: report(pages - left, pages), sleep=0
            )
            reading.execute("rollback")
            # One file, which says itself that it is whole.
            writing.execute("pragma journal_mode = delete")
        return examine_copy(target)
    except sqlite3.Error as error:
        raise refusal("copy", error) from error


def examine_copy(file: Path) -> JournalCopy:
    """What a copy holds. Raises LocalError for a damaged one, or one of a later release."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            [version] = copy.execute("pragma user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise LocalError(
                    f"the journal in the backup has format {version}, this release knows {SCHEMA_VERSION}: install the "
                    "release that made the backup"
                )
            [sound] = copy.execute("pragma quick_check(1)").fetchone()
            if sound != "ok":
                raise LocalError(f"the copy of the journal is damaged: {sound}")
            [journal_id] = copy.execute("select value from meta where key = 'journal_id'").fetchone()
            last = copy.execute("select seq from sqlite_sequence where name = 'entries'").fetchone()
            [entries] = copy.execute("select count(*) from entries").fetchone()
            [unfinished] = copy.execute("select count(*) from unfinished").fetchone()
    except sqlite3.Error as error:
        raise LocalError(f"the copy of the journal cannot be read: {error}") from error
    return JournalCopy(str(journal_id), int(version), int(last[0]) if last else 0, int(entries), int(unfinished))
