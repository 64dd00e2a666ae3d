"""Puts a backup back where nothing is: roles and database, journal, master key; and says what to reconcile."""

import os
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from zapline.daemon.backup import manifest as files
from zapline.daemon.backup.manifest import DATABASE, JOURNAL, KEPT_FILES, SEALED_KEY, Manifest
from zapline.daemon.backup.programs import Report, find_program, run_program
from zapline.daemon.backup.sealed_key import fingerprint, unseal
from zapline.daemon.durable_files import sync_directory, write_new
from zapline.daemon.master_key import FILE as KEY_FILE
from zapline.domain.errors import LocalError
from zapline.sql.journal.copying import examine_copy
from zapline.sql.journal.schema import FILE_NAME as JOURNAL_FILE
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.dumping import count_rows, make_roles, program_connection, require_no_schema
from zapline.sql.postgres.migrate import migrations

PARTS = ("database", "journal", "key")


class Place(NamedTuple):
    """Where the backup goes. ``configured``: the master key that the settings give, None where they give none."""

    url: str
    state_dir: Path
    configured: bytes | None


class KeySource(NamedTuple):
    """Where the master key comes from: the backup's own, opened by ``password``, or a file beside it."""

    password: bytes | None = None
    file: Path | None = None


async def restore_backup(
    backup: Path, place: Place, key: KeySource, parts: Collection[str], programs: Path | None, report: Report
) -> Manifest:
    """Restore these parts. Everything is checked before anything is changed; nothing is ever written over.

    Raises ZaplineError. What a failed call has restored stays, and the next one names it; the database is restored
    whole or not at all.
    """
    report("Checking the backup ...")
    manifest = await trio.to_thread.run_sync(files.read_and_verify, backup)
    _require_known_migrations(manifest)
    master = _find_key(backup, manifest, place, key) if "key" in parts else None
    journal = place.state_dir / "journal" / JOURNAL_FILE
    if "journal" in parts:
        await trio.to_thread.run_sync(examine_copy, backup / JOURNAL)
        if any(path.exists() for path in (journal, journal.with_name(JOURNAL_FILE + "-wal"))):
            raise LocalError(f"there is a journal already: stop the daemon, and move {journal.parent} aside")
    if "database" in parts:
        program = find_program("pg_restore", programs)
        await _restore_database(backup / DATABASE, manifest, place.url, program, report)
    if "journal" in parts:
        report("The journal ...")
        _restore_file(place.state_dir, journal, backup / JOURNAL)
        report(f"  {manifest.journal_entries} entries")
    if master is not None:
        report("The master key ...")
        _restore_file(place.state_dir, place.state_dir / KEY_FILE, master + b"\n")
    return manifest


def _require_known_migrations(manifest: Manifest) -> None:
    ours = {f"{migration.number:04}": migration.checksum for migration in migrations()}
    for number, digest in manifest.migrations.items():
        if ours.get(number) != digest:
            raise LocalError(
                f"the backup was made by Zapline {manifest.zapline}, whose migration {number} is unknown here: "
                "install that release or a later one"
            )


def _find_key(backup: Path, manifest: Manifest, place: Place, key: KeySource) -> bytes | None:
    """The key to be written; None where the right one is there already. Raises LocalError."""
    there = place.state_dir / KEY_FILE
    if place.configured is not None or there.exists():
        held = place.configured or there.read_bytes().strip()
        if fingerprint(held) != manifest.key_fingerprint:
            raise LocalError(
                f"the master key of this machine ({'ZAPLINE_MASTER_KEY' if place.configured else there}) is not "
                "the backup's: take it away, so that the backup's comes in its place"
            )
        return None
    if key.file is not None:
        try:
            found = key.file.read_bytes().strip()
        except OSError as error:
            raise LocalError(f"the key file {key.file} cannot be read: {error.strerror}") from error
    elif manifest.key == "sealed" and key.password is not None:
        found = unseal((backup / SEALED_KEY).read_bytes(), key.password)
    else:
        how = {
            "sealed": "give its password with --key-password-file",
            "apart": "it was written apart: name that file with --key-file",
            "absent": "it was left out: set ZAPLINE_MASTER_KEY, or name its file with --key-file",
        }
        raise LocalError(
            f"the master key is missing: {how[manifest.key]}. Without it signatures and webhooks' secrets change; "
            "to restore all the same: --only database --only journal"
        )
    if fingerprint(found) != manifest.key_fingerprint:
        raise LocalError("this is not the master key that the backup belongs to")
    return found


async def _restore_database(dump: Path, manifest: Manifest, url: str, program: str, report: Report) -> None:
    argument, variables = program_connection(url)
    report("The database ...")
    async with await connect(url, application_name="zapline-restore", statement_timeout_ms=0) as conn:
        await require_no_schema(conn)
        try:
            await make_roles(conn)
        except StatementFailed as failed:
            raise LocalError(
                f"the user of DATABASE_URL may not make the roles zapline_engine and zapline_api: {failed}. Restore as "
                "the owner of the database, who may create roles (alter role NAME createrole)"
            ) from failed
    arguments = [program, "--no-owner", "--single-transaction", "--exit-on-error", "--no-password"]
    # Policies come after the rows in a dump, so that COPY is not refused to an owner who is held to them.
    arguments.append("--enable-row-security")
    arguments += [f"--dbname={argument}", str(dump)]
    await trio.to_thread.run_sync(
        partial(run_program, arguments, variables, report, lambda: "writing rows and indexes")
    )
    async with await connect(url, application_name="zapline-restore", statement_timeout_ms=0) as conn:
        rows = await count_rows(conn)
    missing = {table: count for table, count in manifest.rows.items() if rows.get(table) != count}
    if missing:
        raise LocalError(f"after the restore these tables have not the rows that were backed up: {', '.join(missing)}")
    report(f"  {sum(rows.values())} rows of {len(rows)} tables, as they were backed up")


def _restore_file(state_dir: Path, path: Path, content: bytes | Path) -> None:
    """Write a file that is there whole or not at all, and belongs to the owner of the state directory."""
    draft = path.with_name(path.name + ".restoring")
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.unlink(missing_ok=True)
        write_new(draft, content)
        owner = state_dir.stat()
        if os.geteuid() == 0:
            for made in {draft, path.parent}:
                os.chown(made, owner.st_uid, owner.st_gid)
        os.rename(draft, path)
        sync_directory(path.parent)
        sync_directory(state_dir)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from error


def what_to_reconcile(manifest: Manifest, parts: Collection[str]) -> list[str]:
    """What a person does after a restore, in order."""
    steps = ["zapline migrate (does nothing where the backup is of this release)", "zapline doctor"]
    if "database" in parts and manifest.rows.get(KEPT_FILES):
        steps.append(
            "copy the kept files of messages back into files/ of the state directory, before the daemon starts: "
            "those that are not there are brought from WhatsApp when they are asked for, as long as it has them"
        )
    steps.append("start the daemon: it stores by itself what the journal knows and the database does not")
    since = manifest.database_at if set(parts) == {"database"} else manifest.journal_at
    steps.append(f"zapline reconcile --all --since {since} reads what came since from Evolution's store")
    steps.append(
        "have the CRM ask GET /units/{unit}/messages/{id} for what it sent since then: a 404 was lost with its 202. "
        "Sent or not, the conversation shows after the reconciliation; only what is not there is sent again"
    )
    steps.append(
        "do again what was set since then: units, hooks, tokens (also revoke again what was revoked), campaigns, "
        "paces, passwords, opt-outs by the API, and erasures (zapline privacy erase)"
    )
    steps.append("look at /health: journalLosses, unitsCatchingUp and unexpectedDisconnects end as passes")
    return steps
