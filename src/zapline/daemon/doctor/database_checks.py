"""Checks PostgreSQL: reachable, migrated, the roles, the clock, stored rows and the daemon's lock."""

import time
from collections.abc import Sequence

import trio

from zapline.daemon.control_client import daemon_is_running
from zapline.daemon.doctor.finding import Finding, Report, fail, ok, warn
from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.health.integrity import check_integrity, failed_checks
from zapline.sql.outbound import message_id_support
from zapline.sql.outbound.message_id_support import KnownSupport
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.migrate import applied_checksums, migrations
from zapline.sql.units.evolution_servers import ServerRecord, load_servers
from zapline.sql.units.units import UnitRecord, load_units, only_active

DATABASE, SCHEMA, ROLES, CLOCK, LOCK = "database", "migrations", "database roles", "clock", "daemon's lock"
MESSAGE_IDS = "message ids"
_SKEW_WARN_SECONDS, _SKEW_FAIL_SECONDS = 2.0, 60.0
"""Messages carry WhatsApp's time: beyond a minute, token lifetimes and reconciliation windows go wrong."""
_INTEGRITY_SECONDS = 15.0
_ROLES = ("zapline_engine", "zapline_api")
_OLDEST_VERSION = 14_00_00
"""The oldest maintained PostgreSQL."""
_POOLER_STEP = (
    "Let DATABASE_URL lead to PostgreSQL itself, or to a pool of the mode session: in the mode transaction roles leak "
    "from one client to the next, and units are not kept apart."
)
_UNREACHABLE_STEP = (
    "Check that PostgreSQL runs (systemctl status postgresql), that DATABASE_URL names the right host, port, "
    "user, password and database, and that pg_hba.conf lets this machine in."
)


async def check_database(
    url: str, direct_url: str, units: list[UnitRecord], servers: list[ServerRecord], report: Report
) -> None:
    """Append the active units and the Evolution servers to these lists, for the checks that follow."""
    try:
        conn = await connect(url, application_name="zapline-doctor")
    except DatabaseUnavailable as error:
        report(fail(DATABASE, str(error), _UNREACHABLE_STEP))
        return
    async with conn:
        row = await conn.fetch_one(
            "select current_setting('server_version_num')::int as version, current_user::text as name, "
            "(select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as mighty"
        )
        assert row is not None
        observation = f"PostgreSQL {row.version // 10000} answers user {row.name}"
        if row.version < _OLDEST_VERSION:
            report(warn(DATABASE, observation, "Zapline is tested with PostgreSQL 14 and later: plan an upgrade."))
        else:
            report(ok(DATABASE, observation))
        if await conn.is_pooled():
            report(fail(DATABASE, "a pooler stands between Zapline and PostgreSQL", _POOLER_STEP))
        await _check_clock(conn, report)
    # Roles and locks belong to a session, which a pooler does not keep.
    async with await connect(direct_url, application_name="zapline-doctor") as conn:
        if await _check_schema(conn, report) and await _check_roles(conn, report):
            servers += await load_servers(conn)
            await _check_rows(conn, units, report)
        report(await _check_lock(conn))


async def _check_clock(conn: Connection, report: Report) -> None:
    before = time.time()
    row = await conn.fetch_one("select extract(epoch from clock_timestamp())::float8 as now")
    after = time.time()
    assert row is not None
    # The round trip may have taken its time in either direction.
    skew = max(0.0, abs(row.now - (before + after) / 2) - (after - before) / 2)
    step = "Run a time service (systemctl enable --now systemd-timesyncd) on both machines."
    if skew >= _SKEW_FAIL_SECONDS:
        report(fail(CLOCK, f"this machine and the database differ by {skew:.0f} s", step))
    elif skew >= _SKEW_WARN_SECONDS:
        report(warn(CLOCK, f"this machine and the database differ by {skew:.1f} s", step))
    else:
        report(ok(CLOCK, "this machine and the database agree"))


async def _check_schema(conn: Connection, report: Report) -> bool:
    try:
        checksums = await applied_checksums(conn)
    except StatementFailed as failed:
        step = "Use the DATABASE_URL of a user who was granted the roles zapline_engine and zapline_api."
        report(fail(SCHEMA, f"cannot be read: {failed}", step))
        return False
    missing = [migration for migration in migrations() if migration.number not in checksums]
    if missing:
        observation = (
            "none is applied" if not checksums else f"{len(missing)} are missing, from {missing[0].number:04} on"
        )
        report(fail(SCHEMA, observation, "Run: zapline migrate"))
        return False
    altered = [migration for migration in migrations() if checksums[migration.number] != migration.checksum]
    if altered:
        observation = f"{altered[0].number:04} was applied with another text: this database belongs to another build"
        report(fail(SCHEMA, observation, "Install the build that this database belongs to, or use another database."))
        return False
    report(ok(SCHEMA, f"{len(checksums)} applied"))
    return True


async def _check_roles(conn: Connection, report: Report) -> bool:
    for role in _ROLES:
        try:
            await conn.execute(f"set role {role}; reset role")
        except StatementFailed as failed:
            step = f"As the owner: grant {', '.join(_ROLES)} to the user of DATABASE_URL (zapline migrate does it)."
            report(fail(ROLES, f"{role} cannot be taken: {failed}", step))
            return False
    report(ok(ROLES, f"the user of DATABASE_URL may act as {' and '.join(_ROLES)}"))
    return True


async def _check_rows(conn: Connection, units: list[UnitRecord], report: Report) -> None:
    await conn.execute("set role zapline_engine")
    units += only_active(await load_units(conn))
    known = await message_id_support.list_all(conn)
    await conn.execute("reset role")
    for sentence in _describe_support(known):
        report(ok(MESSAGE_IDS, sentence))
    what = "stored rows"
    failures = None
    with trio.move_on_after(_INTEGRITY_SECONDS):
        try:
            failures = failed_checks(await check_integrity(conn))
        except StatementFailed as failed:
            report(warn(what, f"not checked: {failed}", "Run: zapline check integrity"))
            return
    if failures is None:
        report(warn(what, "too many to check in passing", "Run: zapline check integrity, which takes its time"))
    elif failures:
        report(fail(what, f"{len(failures)} checks fail: {failures[0].sentence}", "Run: zapline check integrity"))
    else:
        report(ok(what, "every integrity check passes"))


def _describe_support(known: Sequence[KnownSupport]) -> list[str]:
    """For each server, what the version that answered last does with the ids that are chosen for messages."""
    if not known:
        return ["no message has been sent yet, so it is not known whether Evolution takes the ids that Zapline chooses"]
    sentences = []
    for server in dict.fromkeys(row.server for row in known):
        rows = [row for row in known if row.server == server]
        version = rows[0].version
        routes = [row for row in rows if row.version == version]
        taken = ", ".join(sorted(row.route for row in routes if row.honoured))
        others = ", ".join(sorted(row.route for row in routes if not row.honoured))
        where = f"Evolution {version} at {server}"
        if not taken:
            text = f"{where} gives ids of its own ({others}): a call without an answer may wait for a person"
        else:
            text = f"{where} takes the ids that Zapline chooses at {taken}" + (f"; not at {others}" if others else "")
        sentences.append(text)
    return sentences


async def _check_lock(conn: Connection) -> Finding:
    if await daemon_is_running(conn):
        return ok(LOCK, "a daemon works on this database")
    return warn(LOCK, "no daemon works on this database", "Start it: systemctl start zapline (or zapline run)")
