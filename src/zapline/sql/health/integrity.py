"""Checks the integrity of the stored rows; a running daemon is not blocked."""

from collections.abc import Sequence
from dataclasses import dataclass

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.migrate import SchemaState, applied_checksums, migrations, schema_state
from zapline.sql.postgres.queries import Queries
from zapline.sql.units import legacy_import

_SQL = Queries(__name__)
_INFORMATIVE = frozenset({"dead_letters_by_reason"})
EXAMPLES_LIMIT = 20
"""Violations listed for each check: enough to see what they have in common."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A sentence that must be true, and its violations (at most ``EXAMPLES_LIMIT``). ``ok`` None: informative."""

    name: str
    sentence: str
    ok: bool | None
    found: tuple[str, ...]


async def check_integrity(conn: Connection, legacy_schema: str = "public") -> list[CheckResult]:
    """Run all checks. They only read, each in its own transaction, so that a running daemon is not blocked.

    ``conn`` may set the role zapline_engine; its statement timeout must suit the size of the tables.
    """
    results = [await _migrations(conn)]
    if await schema_state(conn) is not SchemaState.MISSING:
        # Without a policy even the owner would see no rows, and every check would pass.
        await conn.execute("set role zapline_engine")
        for statement in _SQL:
            found = tuple(row.found for row in await _SQL.rows(conn, statement.name, most=EXAMPLES_LIMIT))
            ok = None if statement.name in _INFORMATIVE else not found
            results.append(CheckResult(statement.name, statement.sentence, ok, found))
        await conn.execute("reset role")
    return results + await _legacy(conn, legacy_schema)


def failed_checks(results: Sequence[CheckResult]) -> list[CheckResult]:
    return [result for result in results if result.ok is False]


async def _migrations(conn: Connection) -> CheckResult:
    known = await applied_checksums(conn)
    found = [
        f"migration {migration.number:04} {migration.name} "
        + ("is missing: run `zapline migrate`" if migration.number not in known else "was applied with another text")
        for migration in migrations()
        if known.get(migration.number) != migration.checksum
    ]
    return CheckResult(
        "migrations", "Every migration of this program is applied as it reads here.", not found, tuple(found)
    )


async def _legacy(conn: Connection, schema: str) -> list[CheckResult]:
    sentence = (
        f"The old system's {schema}.{legacy_import.TABLE} gives each unit one instance and each instance one unit."
    )
    try:
        if await legacy_import.find_table(conn, schema) is None:
            return []
        found = (await legacy_import.survey(conn, schema)).conflicts
    except legacy_import.LegacyRefused as refused:
        return [CheckResult("legacy", sentence, None, (f"not checked: {refused}",))]
    return [CheckResult("legacy", sentence, not found, found[:EXAMPLES_LIMIT])]
