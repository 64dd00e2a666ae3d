"""Looks at PostgreSQL: reachable, migrated, the roles, the clock, the daemon's lock, and each unit's secret."""

import time

import trio

from zapline.daemon.control_client import daemon_leads
from zapline.daemon.doctor.finding import Finding, Tell, fail, ok, warn
from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.health.integrity import broken, check_integrity
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.migrate import applied, migrations
from zapline.sql.units.units import UnitRecord, active, load_units

DATABASE, SCHEMA, ROLES, CLOCK, LOCK = "database", "migrations", "database roles", "clock", "daemon's lock"
_SKEW_WARN, _SKEW_FAIL = 2.0, 60.0
"""Seconds. Messages carry WhatsApp's time: beyond a minute, tokens and windows of reconciliation go wrong."""
_ROWS_SECONDS = 15.0
_ROLES = ("zapline_engine", "zapline_api")
_SERVER = 14_00_00
"""The oldest PostgreSQL that is still maintained."""
_REACH = (
    "Check that PostgreSQL runs (systemctl status postgresql), that DATABASE_URL names the right host, port, "
    "user, password and database, and that pg_hba.conf lets this machine in."
)


async def look_at_database(url: str, direct_url: str, units: list[UnitRecord], tell: Tell) -> None:
    """Appends the active units to ``units``, for the probes that follow."""
    try:
        conn = await connect(url, application_name="zapline-doctor")
    except DatabaseUnavailable as away:
        tell(fail(DATABASE, str(away), _REACH))
        return
    async with conn:
        row = await conn.fetch_one(
            "select current_setting('server_version_num')::int as version, current_user::text as name, "
            "(select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as mighty"
        )
        assert row is not None
        shown = f"PostgreSQL {row.version // 10000} answers user {row.name}"
        if row.version < _SERVER:
            tell(warn(DATABASE, shown, "Zapline is tested with PostgreSQL 14 and later: plan an upgrade."))
        else:
            tell(ok(DATABASE, shown))
        await _clock(conn, tell)
    # Roles and locks belong to a session, and a pooler's session is not ours.
    async with await connect(direct_url, application_name="zapline-doctor") as conn:
        if await _schema(conn, tell) and await _roles(conn, tell):
            await _rows(conn, units, tell)
        tell(await _lock(conn))


async def _clock(conn: Connection, tell: Tell) -> None:
    before = time.time()
    row = await conn.fetch_one("select extract(epoch from clock_timestamp())::float8 as now")
    after = time.time()
    assert row is not None
    # What the round trip took may be either way.
    skew = max(0.0, abs(row.now - (before + after) / 2) - (after - before) / 2)
    step = "Run a time service (systemctl enable --now systemd-timesyncd) on both machines."
    if skew >= _SKEW_FAIL:
        tell(fail(CLOCK, f"this machine and the database differ by {skew:.0f} s", step))
    elif skew >= _SKEW_WARN:
        tell(warn(CLOCK, f"this machine and the database differ by {skew:.1f} s", step))
    else:
        tell(ok(CLOCK, "this machine and the database agree"))


async def _schema(conn: Connection, tell: Tell) -> bool:
    try:
        known = await applied(conn)
    except StatementFailed as failed:
        step = "Use the DATABASE_URL of a user who was granted the roles zapline_engine and zapline_api."
        tell(fail(SCHEMA, f"cannot be read: {failed}", step))
        return False
    missing = [migration for migration in migrations() if migration.number not in known]
    if missing:
        said = "none is applied" if not known else f"{len(missing)} are missing, from {missing[0].number:04} on"
        tell(fail(SCHEMA, said, "Run: zapline migrate"))
        return False
    other = [migration for migration in migrations() if known[migration.number] != migration.checksum]
    if other:
        said = f"{other[0].number:04} was applied with another text: this database belongs to another build"
        tell(fail(SCHEMA, said, "Install the build that this database belongs to, or use another database."))
        return False
    tell(ok(SCHEMA, f"{len(known)} applied"))
    return True


async def _roles(conn: Connection, tell: Tell) -> bool:
    for role in _ROLES:
        try:
            await conn.execute(f"set role {role}; reset role")
        except StatementFailed as failed:
            step = f"As the owner: grant {', '.join(_ROLES)} to the user of DATABASE_URL (zapline migrate does it)."
            tell(fail(ROLES, f"{role} cannot be taken: {failed}", step))
            return False
    tell(ok(ROLES, f"the user of DATABASE_URL may act as {' and '.join(_ROLES)}"))
    return True


async def _rows(conn: Connection, units: list[UnitRecord], tell: Tell) -> None:
    await conn.execute("set role zapline_engine")
    units += active(await load_units(conn))
    await conn.execute("reset role")
    what = "stored rows"
    wrong = None
    with trio.move_on_after(_ROWS_SECONDS):
        try:
            wrong = broken(await check_integrity(conn))
        except StatementFailed as failed:
            tell(warn(what, f"not checked: {failed}", "Run: zapline check integrity"))
            return
    if wrong is None:
        tell(warn(what, "too many to check in passing", "Run: zapline check integrity, which takes its time"))
    elif wrong:
        tell(fail(what, f"{len(wrong)} checks fail: {wrong[0].sentence}", "Run: zapline check integrity"))
    else:
        tell(ok(what, "every integrity check passes"))


async def _lock(conn: Connection) -> Finding:
    if await daemon_leads(conn):
        return ok(LOCK, "a daemon works on this database")
    return warn(LOCK, "no daemon works on this database", "Start it: systemctl start zapline (or zapline run)")
