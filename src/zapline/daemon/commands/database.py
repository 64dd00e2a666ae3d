"""``zapline migrate`` and ``zapline check``: the schema, the import from the old system, and integrity checks."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from zapline.daemon.commands.terminal import FAILED, AsJson, command_group, echo, echo_json, echo_progress, run_async

if TYPE_CHECKING:
    from zapline.domain.ids import UnitId
    from zapline.sql.health.integrity import CheckResult
    from zapline.sql.postgres.connection import Connection
    from zapline.sql.units.legacy_import import Survey

check = command_group("Checks that can be made at any time, also while the daemon runs.")

_RETRY_SECONDS = 1.0
_PROGRESS_SECONDS = 5.0
_LOCK_SECONDS = 10
"""A change of a table waits this long for its users, who in turn wait behind it."""
_CHECK_SECONDS = 900
"""Counting all messages takes time, and blocks nobody."""

LegacySchema = Annotated[str, typer.Option(help="Where the old system's tables are.")]


def migrate(
    adopt_legacy: Annotated[
        bool, typer.Option("--adopt-legacy", help="Also take over units and instances of the old system.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    build_indexes: Annotated[
        bool,
        typer.Option("--build-indexes", help="Also build what the daemon would build later, if it were the owner."),
    ] = False,
    legacy_schema: LegacySchema = "public",
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for the database.")] = 60.0,
) -> None:
    """Bring the database to this release's schema. The previous release still runs on it.

    DATABASE_URL names the owner of the database. With --adopt-legacy every conflict of the old tables is listed
    before anything is changed; foreign rows are never written. The index of a large table is left out: the running
    daemon builds it, or --build-indexes does where the daemon's user is not the owner. Nothing is stopped by that.

    \b
    Example: zapline migrate
    Example: zapline migrate --adopt-legacy --dry-run
    """
    digest_of = _secret_digests() if adopt_legacy and not dry_run else None
    schema = legacy_schema if adopt_legacy else None
    if not run_async(_migrate, wait, schema, digest_of, dry_run):
        raise typer.Exit(FAILED)
    if not dry_run:
        run_async(_build_indexes, wait, build_indexes)


def _secret_digests() -> "Callable[[UnitId], bytes]":
    """SHA-256 of each unit's first webhook secret, derived from the daemon's key."""
    from zapline.daemon.commands.database_settings import KeySettings
    from zapline.daemon.master_key import FILE, master_key, webhook_secret
    from zapline.daemon.settings import load
    from zapline.supervisors.units.webhook_authentication import digest_secret

    settings = load(KeySettings)
    master = master_key(settings.master_key, settings.state_dir)
    if settings.master_key is None:
        echo_progress(
            f"Webhook secrets come from {settings.state_dir / FILE}; the daemon has to use the same directory."
        )
    return lambda unit: digest_secret(webhook_secret(master, unit, 1))


async def _migrate(
    url: str, wait: float, legacy_schema: str | None, digest_of: "Callable[[UnitId], bytes] | None", dry_run: bool
) -> bool:
    """False if conflicts prevent the import; then nothing was changed."""
    from zapline.domain.errors import LocalError
    from zapline.sql.postgres.database_errors import StatementFailed
    from zapline.sql.postgres.migrate import applied_checksums, migrations
    from zapline.sql.postgres.migrate import migrate as apply
    from zapline.sql.units.legacy_import import adopt, survey

    async with await _connect_with_retries(url, wait) as conn:
        if legacy_schema is not None:
            legacy = await survey(conn, legacy_schema)
            _echo_survey(legacy)
            if legacy.conflicts:
                return False
        known = await applied_checksums(conn)
        if dry_run:
            for migration in migrations():
                if migration.number not in known:
                    echo(f"would apply {migration.number:04} {migration.name}")
            echo("Nothing was changed (--dry-run).")
            return True
        try:
            done = await apply(conn, echo)
        except StatementFailed as failed:
            if failed.sqlstate != "42501":
                raise
            raise LocalError(
                f"the user of DATABASE_URL may not do this: {failed}. Migrate with the owner of the database, "
                "who may create schemas and roles (alter role NAME createrole)."
            ) from failed
        echo(f"{done} migrations applied." if done else "The schema is up to date.")
        if legacy_schema is not None and digest_of is not None:
            units = await adopt(conn, legacy_schema, digest_of, echo)
            echo(f"{units} units imported.")
            await _wake_daemon(conn)
    return True


async def _build_indexes(url: str, wait: float, build_them: bool) -> None:
    """Build the indexes that were left out, or only name them."""
    from zapline.sql.postgres.later_indexes import build, list_missing, open_owner
    from zapline.sql.postgres.migrate import migration_text

    async with await _connect_with_retries(url, wait) as conn:
        missing = await list_missing(conn)
    for index in missing:
        if not build_them:
            echo(f"The index {index.name} is still to be built: the daemon does it while it runs.")
            continue
        echo_progress(f"building {index.name}; everything else goes on")
        async with await open_owner(url) as conn:
            built = await build(conn, index, migration_text(index.migration))
        echo(f"built {index.name}" if built else f"Somebody else builds {index.name}.")


async def _wake_daemon(conn: "Connection") -> None:
    from zapline.daemon.control_client import daemon_is_running, request_over
    from zapline.domain.errors import LocalError

    if not await daemon_is_running(conn):
        echo("The daemon will connect them when it starts.")
        return
    try:
        answer = await request_over(conn, "reload", {}, 15.0)
        echo(f"The running daemon has them; it serves {answer['units']} units now.")
    except LocalError as error:
        echo_progress(f"The units are stored, but the running daemon was not told: {error}")


def _echo_survey(legacy: "Survey") -> None:
    for conflict in legacy.conflicts:
        echo(f"CONFLICT  {conflict}")
    for line in legacy.new:
        echo(f"new       unit {line.old_id} ({line.name}), instance {line.instance}, {line.phase}")
    echo(
        f"{len(legacy.new)} units to import, {legacy.known} known already, {legacy.without_instance} rows without "
        f"an instance, {legacy.other_provider} of another provider."
    )
    if legacy.hijacked_login:
        echo(
            'NOTE      a login is called zapline: where the old backend uses it, "units" will mean zapline.units. '
            "Before migrating run: alter role zapline set search_path = public"
        )
    if legacy.conflicts:
        echo_progress(
            f"zapline: {len(legacy.conflicts)} conflicts in {legacy.table.schema}.unit_whatsapp_connections; nothing "
            "was changed. Correct these rows (in the old system), then run this again."
        )


async def _connect_with_retries(url: str, wait: float) -> "Connection":
    """A connection without a role. Waits up to ``wait`` seconds for the database, and reports that it waits."""
    import trio

    from zapline.domain.errors import DatabaseUnavailable
    from zapline.domain.privacy.masking import mask_secrets
    from zapline.sql.postgres.connection import connect

    started = trio.current_time()
    reported_at = -_PROGRESS_SECONDS
    while True:
        try:
            return await connect(
                url, application_name="zapline-migrate", statement_timeout_ms=0, lock_timeout_ms=_LOCK_SECONDS * 1000
            )
        except DatabaseUnavailable as error:
            waited = trio.current_time() - started
            if waited >= wait:
                raise DatabaseUnavailable(
                    f"the database cannot be reached: {error}. Check that it runs and that DATABASE_URL is right."
                ) from error
            if waited - reported_at >= _PROGRESS_SECONDS:
                reported_at = waited
                echo_progress(f"Waiting for the database ({waited:.0f} of {wait:.0f} s): {mask_secrets(str(error))}")
            await trio.sleep(_RETRY_SECONDS)


@check.command()
def integrity(legacy_schema: LegacySchema = "public", as_json: AsJson = False) -> None:
    """Check what must be true of the stored rows: one instance a unit, no row without its unit, and so on.

    \b
    Example: zapline check integrity
    """
    from zapline.sql.health.integrity import failed_checks

    answers = run_async(_integrity, legacy_schema)
    if as_json:
        echo_json([asdict(answer) for answer in answers])
    else:
        for answer in answers:
            echo(f"{ {True: 'pass', False: 'FAIL', None: 'info'}[answer.ok] }  {answer.sentence}")
            for row in answer.found:
                echo(f"        {row}")
    failures = failed_checks(answers)
    if failures:
        echo_progress(f"zapline: {len(failures)} of {len(answers)} checks failed; docs/operations.md says what to do.")
        raise typer.Exit(FAILED)


async def _integrity(url: str, legacy_schema: str) -> "list[CheckResult]":
    from zapline.sql.health.integrity import check_integrity
    from zapline.sql.postgres.connection import connect

    conn = await connect(url, application_name="zapline-check", statement_timeout_ms=_CHECK_SECONDS * 1000)
    async with conn:
        return await check_integrity(conn, legacy_schema)


@check.command()
def config() -> None:
    """Check that every setting is there and readable; nothing is started or changed. Values are not shown.

    \b
    Example: zapline check config
    """
    from zapline.daemon.settings import Settings, load

    load(Settings)
    echo("The settings are complete. `zapline doctor` checks whether they are also right.")
