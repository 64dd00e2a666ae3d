"""``zapline backup`` and ``zapline restore``."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zapline.daemon.commands.terminal import AsJson, database_url, echo, echo_json, echo_progress

if TYPE_CHECKING:
    from zapline.daemon.commands.database_settings import KeySettings

PgBin = Annotated[
    Path | None, typer.Option("--pg-bin", help="Where pg_dump and pg_restore are, if PATH has others.", metavar="DIR")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--key-password-file", help="File with the password that seals the master key.", metavar="FILE"),
]


def backup(
    directory: Annotated[Path, typer.Argument(help="A directory for backups; a new one is made in it.")],
    key_password_file: PasswordFile = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Write the master key apart, to this new file.", metavar="FILE")
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Leave the master key out: it is kept elsewhere.")
    ] = False,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Back up database, journal and master key while the daemon runs.

    Say what becomes of the master key by exactly one of --key-password-file, --key-file and --without-key. The backup
    holds people's messages: only its owner can read it. Schema zapline alone is dumped, nothing else of the database.

    \b
    Example: zapline backup /var/backups/zapline --key-password-file /root/zapline-backup.password
    """
    import msgspec
    import trio

    from zapline.daemon.backup.taking import KeyChoice, Source, take_backup
    from zapline.daemon.master_key import master_key
    from zapline.domain.errors import LocalError

    if (key_password_file is not None) + (key_file is not None) + without_key != 1:
        raise typer.BadParameter("choose exactly one of --key-password-file, --key-file and --without-key")
    settings = _settings()
    key = KeyChoice(_password(key_password_file), key_file)
    if not directory.is_dir():
        raise LocalError(f"{directory} is not a directory: make it first, for its owner alone (install -d -m 0700)")
    if settings.master_key is None and not (settings.state_dir / "master.key").exists():
        raise LocalError(f"there is no master key in {settings.state_dir}: name the daemon's ZAPLINE_STATE_DIR")
    source = Source(database_url(), settings.state_dir, master_key(settings.master_key, settings.state_dir))
    target = directory.absolute() / f"zapline-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    manifest = trio.run(take_backup, source, target, key, pg_bin, _now, echo_progress)
    if as_json:
        echo_json({"directory": str(target), **msgspec.to_builtins(manifest)})
        return
    size = sum(file.bytes for file in manifest.files.values())
    echo(
        f"{target}: {size / 2**20:.1f} MiB, whole. Keep a copy on another machine; try `zapline restore --check` on it."
    )


def restore(
    directory: Annotated[Path, typer.Argument(help="One backup: the directory that `zapline backup` has printed.")],
    key_password_file: PasswordFile = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="File with the master key, if it is apart.", metavar="FILE")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="database, journal or key; may be given several times.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the backup is whole; change nothing.")
    ] = False,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty database and an empty state directory, and say what to reconcile.

    Stop the daemon first. DATABASE_URL names the owner of an empty database, ZAPLINE_STATE_DIR the state directory.
    Nothing is ever written over: what is there already is named, and nothing is changed.

    \b
    Example: zapline restore /var/backups/zapline/zapline-20261130T080000Z --key-password-file /root/password
    """
    import msgspec
    import trio

    from zapline.daemon.backup.manifest import read_and_verify
    from zapline.daemon.backup.restoring import PARTS, KeySource, Place, restore_backup, what_to_reconcile

    parts = tuple(only or PARTS)
    if not set(parts) <= set(PARTS):
        raise typer.BadParameter(f"--only takes {', '.join(PARTS)}")
    if check:
        manifest = read_and_verify(directory)
        echo(f"Whole: made by Zapline {manifest.zapline}; {len(manifest.files)} files, as the manifest says.")
        return
    settings = _settings()
    configured = settings.master_key.get_secret_value().encode() if settings.master_key else None
    place = Place(database_url(), settings.state_dir, configured)
    key = KeySource(_password(key_password_file), key_file)
    manifest = trio.run(restore_backup, directory, place, key, parts, pg_bin, echo_progress)
    steps = what_to_reconcile(manifest, parts)
    if as_json:
        echo_json({"manifest": msgspec.to_builtins(manifest), "nextSteps": steps})
        return
    echo(f"Restored: {', '.join(parts)}. Database of {manifest.database_at}, journal of {manifest.journal_at}.")
    echo("What to do now, in this order:")
    for number, step in enumerate(steps, 1):
        echo(f"{number}. {step}")


def _settings() -> "KeySettings":
    from zapline.daemon.commands.database_settings import KeySettings
    from zapline.daemon.settings import load

    return load(KeySettings)


def _now() -> str:
    """A second early: whoever reads from here on misses nothing."""
    return datetime.fromtimestamp(int(time.time()) - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _password(file: Path | None) -> bytes | None:
    from zapline.domain.errors import LocalError

    if file is None:
        return None
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise LocalError(f"the password file {file} cannot be read: {error.strerror}") from error
