"""``zapline migrate`` and ``zapline check``: the schema, the take-over from the old system, and what must be true."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from zapline.daemon.commands.terminal import FAILED, AsJson, database_url, group, progress, run, say, show_json

if TYPE_CHECKING:
    from zapline.domain.ids import UnitId
    from zapline.sql.health.integrity import Answer
    from zapline.sql.postgres.connection import Connection
    from zapline.sql.units.legacy_import import Survey

check = group("Checks that can be made at any time, also while the daemon runs.")

_ASK_EVERY = 1.0
_TELL_EVERY = 5.0
_LOCK_SECONDS = 10
"""A change of a table waits this long for those who use it, and they wait behind it."""
_CHECK_SECONDS = 900
"""Counting over every message takes time, and holds nobody up."""

LegacySchema = Annotated[str, typer.Option(help="Where the old system's tables are.")]


def migrate(
    adopt_legacy: Annotated[
        bool, typer.Option("--adopt-legacy", help="Also take over units and instances of the old system.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    legacy_schema: LegacySchema = "public",
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for the database.")] = 60.0,
) -> None:
    """Bring the database to this release's schema. The previous release still runs on it.

    DATABASE_URL names the owner of the database. With --adopt-legacy every conflict of the old tables is listed
    before anything is changed; foreign rows are never written.

    \b
    Example: zapline migrate
    Example: zapline migrate --adopt-legacy --dry-run
    """
    digest_of = _digests() if adopt_legacy and not dry_run else None
    schema = legacy_schema if adopt_legacy else None
    if not run(_migrate, database_url(), wait, schema, digest_of, dry_run):
        raise typer.Exit(FAILED)


def _digests() -> "Callable[[UnitId], bytes]":
    """SHA-256 of each unit's first webhook secret, from the key that the daemon uses."""
    from zapline.daemon.commands.database_settings import KeySettings
    from zapline.daemon.master_key import FILE, master_key, webhook_secret
    from zapline.daemon.settings import load
    from zapline.supervisors.units.roster import digest

    settings = load(KeySettings)
    master = master_key(settings.master_key, settings.state_dir)
    if settings.master_key is None:
        progress(f"Webhook secrets come from {settings.state_dir / FILE}; the daemon has to use the same directory.")
    return lambda unit: digest(webhook_secret(master, unit, 1))


async def _migrate(
    url: str, wait: float, legacy_schema: str | None, digest_of: "Callable[[UnitId], bytes] | None", dry_run: bool
) -> bool:
    """False where conflicts stand against an adoption; then nothing was changed."""
    from zapline.domain.errors import LocalError
    from zapline.sql.postgres.error_classes import StatementFailed
    from zapline.sql.postgres.migrate import applied, migrations
    from zapline.sql.postgres.migrate import migrate as apply
    from zapline.sql.units.legacy_import import adopt, survey

    async with await _connect_patiently(url, wait) as conn:
        if legacy_schema is not None:
            found = await survey(conn, legacy_schema)
            _tell_survey(found)
            if found.conflicts:
                return False
        known = await applied(conn)
        if dry_run:
            for migration in migrations():
                if migration.number not in known:
                    say(f"would apply {migration.number:04} {migration.name}")
            say("Nothing was changed (--dry-run).")
            return True
        try:
            done = await apply(conn, say)
        except StatementFailed as failed:
            if failed.sqlstate != "42501":
                raise
            raise LocalError(
                f"the user of DATABASE_URL may not do this: {failed}. Migrate with the owner of the database, "
                "who may create schemas and roles (alter role NAME createrole)."
            ) from failed
        say(f"{done} migrations applied." if done else "The schema is up to date.")
        if legacy_schema is not None and digest_of is not None:
            units = await adopt(conn, legacy_schema, digest_of, say)
            say(f"{units} units imported.")
            await _wake_daemon(conn)
    return True


async def _wake_daemon(conn: "Connection") -> None:
    from zapline.daemon.control_client import ask_over, daemon_leads
    from zapline.domain.errors import LocalError

    if not await daemon_leads(conn):
        say("The daemon will connect them when it starts.")
        return
    try:
        answer = await ask_over(conn, "reload", {}, 15.0)
        say(f"The running daemon has them; it serves {answer['units']} units now.")
    except LocalError as silent:
        progress(f"The units are stored, but the running daemon was not told: {silent}")


def _tell_survey(found: "Survey") -> None:
    for conflict in found.conflicts:
        say(f"CONFLICT  {conflict}")
    for line in found.new:
        say(f"new       unit {line.told_id} ({line.name}), instance {line.instance}, {line.phase}")
    say(
        f"{len(found.new)} units to import, {found.known} known already, {found.without_instance} rows without "
        f"an instance, {found.other_provider} of another provider."
    )
    if found.hijacked_login:
        say(
            'NOTE      a login is called zapline: where the old backend uses it, "units" will mean zapline.units. '
            "Before migrating run: alter role zapline set search_path = public"
        )
    if found.conflicts:
        progress(
            f"zapline: {len(found.conflicts)} conflicts in {found.table.schema}.unit_whatsapp_connections; nothing "
            "was changed. Correct these rows (in the old system), then run this again."
        )


async def _connect_patiently(url: str, wait: float) -> "Connection":
    """A session without a role. At boot the database may take its time; says so while it waits."""
    import trio

    from zapline.domain.errors import DatabaseUnavailable
    from zapline.sql.postgres.connection import connect

    started = trio.current_time()
    told = -_TELL_EVERY
    while True:
        try:
            return await connect(
                url, application_name="zapline-migrate", statement_timeout_ms=0, lock_timeout_ms=_LOCK_SECONDS * 1000
            )
        except DatabaseUnavailable as away:
            waited = trio.current_time() - started
            if waited >= wait:
                raise DatabaseUnavailable(
                    f"the database cannot be reached: {away}. Check that it runs and that DATABASE_URL is right."
                ) from away
            if waited - told >= _TELL_EVERY:
                told = waited
                progress(f"Waiting for the database ({waited:.0f} of {wait:.0f} s): {_masked(away)}")
            await trio.sleep(_ASK_EVERY)


def _masked(error: Exception) -> str:
    from zapline.domain.privacy.masking import mask_url

    return mask_url(str(error))


@check.command()
def integrity(legacy_schema: LegacySchema = "public", as_json: AsJson = False) -> None:
    """Check what must be true of the stored rows: one instance a unit, no row without its unit, and so on.

    \b
    Example: zapline check integrity
    """
    from zapline.sql.health.integrity import broken

    answers = run(_integrity, database_url(), legacy_schema)
    if as_json:
        show_json([asdict(answer) for answer in answers])
    else:
        for answer in answers:
            say(f"{ {True: 'pass', False: 'FAIL', None: 'info'}[answer.ok] }  {answer.sentence}")
            for found in answer.found:
                say(f"        {found}")
    wrong = broken(answers)
    if wrong:
        progress(f"zapline: {len(wrong)} of {len(answers)} checks failed; docs/operations.md says what to do.")
        raise typer.Exit(FAILED)


async def _integrity(url: str, legacy_schema: str) -> "list[Answer]":
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
    say("The settings are complete. `zapline doctor` checks whether they are also right.")
