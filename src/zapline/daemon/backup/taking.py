"""Takes a backup while the daemon runs: first the database, then the journal, so that the journal knows the more."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

import zapline
from zapline.daemon.backup import manifest as files
from zapline.daemon.backup.manifest import DATABASE, JOURNAL, KEPT_FILES, SEALED_KEY, FileEntry, KeyPlace, Manifest
from zapline.daemon.backup.programs import Report, find_program, run_program
from zapline.daemon.backup.sealed_key import fingerprint, seal
from zapline.daemon.durable_files import sync_directory, write_new
from zapline.domain.errors import LocalError
from zapline.sql.journal.copying import JournalCopy, copy_journal
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.dumping import Moment, frozen_moment, program_connection
from zapline.sql.postgres.migrate import applied_checksums


class KeyChoice(NamedTuple):
    """What becomes of the master key: sealed with ``password``, written apart to ``apart``, or left out."""

    password: bytes | None = None
    apart: Path | None = None

    @property
    def place(self) -> KeyPlace:
        return "sealed" if self.password is not None else "apart" if self.apart is not None else "absent"


class Source(NamedTuple):
    """What is backed up."""

    url: str
    state_dir: Path
    master: bytes


async def take_backup(
    source: Source, target: Path, key: KeyChoice, programs: Path | None, now: Callable[[], str], report: Report
) -> Manifest:
    """Write the backup into ``target``, which must not exist yet; it appears under that name only when it is whole.

    ``now`` gives the time in UTC as ISO 8601. Raises ZaplineError; what was half written is removed then.
    """
    program = find_program("pg_dump", programs)
    partial_directory = target.with_name(target.name + files.PARTIAL)
    try:
        _make(target, partial_directory)
    except OSError as error:
        raise LocalError(f"{partial_directory} cannot be made: {error.strerror}") from error
    try:
        made = await _write(source, partial_directory, key, program, now, report)
        os.rename(partial_directory, target)
        sync_directory(target.parent)
    except OSError as error:
        raise LocalError(f"the backup cannot be written: {error.strerror} ({error.filename})") from error
    finally:
        shutil.rmtree(partial_directory, ignore_errors=True)
    return made


async def _write(
    source: Source, directory: Path, key: KeyChoice, program: str, now: Callable[[], str], report: Report
) -> Manifest:
    sealed = seal(source.master, key.password) if key.password is not None else None
    report("1 of 3: the database ...")
    database_at = now()
    moment, migrations = await _dump(source.url, program, directory / DATABASE, report)
    report(f"  {sum(moment.rows.values())} rows of {len(moment.rows)} tables")
    if moment.rows.get(KEPT_FILES):
        report(f"  the files of messages that are kept are not in it: copy {source.state_dir / 'files'} after it")
    report("2 of 3: the journal ...")
    journal_at = now()
    journal = await _copy(source.state_dir, directory / JOURNAL, report)
    report(f"  {journal.entries} entries, {journal.unfinished} of them not stored in the database yet")
    report("3 of 3: the master key ...")
    if sealed is not None:
        write_new(directory / SEALED_KEY, sealed)
    if key.apart is not None:
        write_new(key.apart, source.master + b"\n")
        sync_directory(key.apart.parent)
    report({"sealed": "  sealed with the password", "apart": f"  in {key.apart}", "absent": "  left out"}[key.place])
    entries: dict[str, FileEntry] = await trio.to_thread.run_sync(_checksums, directory)
    manifest = Manifest(
        format=files.FORMAT,
        zapline=zapline.__version__,
        database_at=database_at,
        journal_at=journal_at,
        postgresql=moment.server,
        migrations={f"{number:04}": digest for number, digest in sorted(migrations.items())},
        rows=moment.rows,
        journal_id=journal.journal_id,
        journal_format=journal.format,
        journal_last_seq=journal.last_seq,
        journal_entries=journal.entries,
        key=key.place,
        key_fingerprint=fingerprint(source.master),
        files=entries,
    )
    files.write(directory, manifest)
    return manifest


async def _dump(url: str, program: str, file: Path, report: Report) -> tuple[Moment, dict[int, str]]:
    argument, variables = program_connection(url)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    async with (
        await connect(url, application_name="zapline-backup", statement_timeout_ms=0) as conn,
        frozen_moment(conn) as moment,
    ):
        arguments = [program, "--format=custom", "--schema=zapline", "--no-owner", "--no-password"]
        # Owners are held to row-level security, too; frozen_moment has seen that it hides nothing from this one.
        arguments += [
            "--enable-row-security",
            f"--snapshot={moment.snapshot}",
            f"--file={file}",
            f"--dbname={argument}",
        ]

        def tell() -> str:
            return f"{file.stat().st_size / 2**20:.1f} MiB written"

        await trio.to_thread.run_sync(partial(run_program, arguments, variables, report, tell))
        return moment, await applied_checksums(conn)


async def _copy(state_dir: Path, file: Path, report: Report) -> JournalCopy:
    told = [0]

    def pages(done: int, of: int) -> None:
        percent = 100 * done // max(of, 1)
        if percent - told[0] >= 10:
            told[0] = percent
            report(f"  {percent}%")

    return await trio.to_thread.run_sync(copy_journal, state_dir / "journal", file, pages)


def _make(target: Path, draft: Path) -> None:
    """Raises LocalError where the target is there already, OSError."""
    if target.exists():
        raise LocalError(f"{target} is there already: name a directory that is not")
    draft.mkdir(mode=0o700)


def _checksums(directory: Path) -> dict[str, FileEntry]:
    return {path.name: files.checksum(path) for path in sorted(directory.iterdir())}
