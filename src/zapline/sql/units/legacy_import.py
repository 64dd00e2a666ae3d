"""Imports units and instances of the old system, after a list of their contradictions.

The old backend keeps running on its tables, so that a rollback is possible. Therefore only its table
``unit_whatsapp_connections`` gets four empty columns and an index; no foreign row is ever written.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from psycopg import sql

from zapline.domain.errors import LocalError
from zapline.domain.ids import PROVIDER, UnitId, is_valid_instance_name
from zapline.domain.line.reasons import STATUS_OF_PHASE, Phase, Reason
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)

TABLE = "unit_whatsapp_connections"
INDEX = "idx_unit_whatsapp_instance_lookup"
ADDED = {
    "status_reason": "text",
    "connected_at": "timestamptz",
    "disconnected_at": "timestamptz",
    "qr_updated_at": "timestamptz",
}
"""Columns added to the old table: nullable, so that the old backend's inserts still work."""
_INSTANCE_COLUMNS = ("instance_id", "instance_name", "instance")
_OPEN = {"connected", "open"}
_NEVER = {"", "never_connected", "created", "pending", "new"}
_NAMESPACE = UUID("5a61706c-696e-5500-8000-6c6567616379")
"""Units whose old id is no UUID get one derived from it, the same in every run."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOT_ALLOWED = "42501"
_LOCKED = "55P03"
_LOCK_SECONDS = 3
"""While we wait for a lock on the old table, all others wait behind us."""


class LegacyRefused(LocalError):
    """The old tables are missing, unexpected, or may not be changed; the message says what to do."""


class LegacyConflicts(LocalError):
    """The old tables contradict themselves or Zapline's; nothing was changed."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        super().__init__("\n".join(conflicts))
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """The table and columns in which the old system stores lines; None for missing columns."""

    schema: str
    instance: str
    provider: str | None
    status: str | None
    phone: str | None
    missing: tuple[str, ...]
    """Columns of ``ADDED`` that it does not have yet."""
    units_have_names: bool


@dataclass(frozen=True, slots=True)
class LegacyLine:
    """A unit and its instance. ``old_id`` is the old id as text; ``legacy_id`` too, None where it is ours as well."""

    unit: UnitId
    legacy_id: str | None
    old_id: str
    name: str
    instance: str
    phase: Phase
    reason: Reason


@dataclass(frozen=True, slots=True)
class Survey:
    """What an import would do. Counts are rows of the old table."""

    table: LegacyTable
    new: tuple[LegacyLine, ...]
    conflicts: tuple[str, ...]
    known: int
    without_instance: int
    other_provider: int
    hijacked_login: bool
    """Whether the old backend may log in as ``zapline``: its unqualified names would then refer to our tables."""


async def find_table(conn: Connection, schema: str) -> LegacyTable | None:
    """The old table, or None. Raises LegacyRefused where it lacks a unit or an instance."""
    columns = await _columns(conn, schema, TABLE)
    if not columns:
        return None
    instance = _first(columns, _INSTANCE_COLUMNS)
    if "unit_id" not in columns or instance is None:
        raise LegacyRefused(
            f"{schema}.{TABLE} needs a column unit_id and one of {', '.join(_INSTANCE_COLUMNS)}; "
            f"it has {', '.join(sorted(columns))}. Name the right schema with --legacy-schema."
        )
    return LegacyTable(
        schema=schema,
        instance=instance,
        provider=_first(columns, ("provider",)),
        status=_first(columns, ("status", "connection_status", "state")),
        phone=_first(columns, ("phone_number", "phone", "number")),
        missing=tuple(name for name in ADDED if name not in columns),
        units_have_names={"id", "name"} <= await _columns(conn, schema, "units"),
    )


async def survey(conn: Connection, schema: str) -> Survey:
    """Read what would be imported, and all contradictions; changes nothing.

    ``conn`` may read the old tables and take the role zapline_engine. Raises LegacyRefused.
    """
    table = await find_table(conn, schema)
    if table is None:
        raise LegacyRefused(
            f"there is no table {schema}.{TABLE} in this database: nothing to adopt. If the old system used "
            "another schema, name it with --legacy-schema; for a fresh start run `zapline migrate` alone."
        )
    try:
        rows = await conn.fetch(_select(table))
    except StatementFailed as failed:
        if failed.sqlstate != _NOT_ALLOWED:
            raise
        raise LegacyRefused(f"the user of DATABASE_URL may not read the old tables: {failed.text}") from failed
    ours = [row for row in rows if (row.provider or PROVIDER).strip().lower() == PROVIDER]
    usable = [row for row in ours if row.unit and (row.instance or "").strip()]
    lines = list(dict.fromkeys(_line(row) for row in usable))
    known = await _known(conn)
    return Survey(
        table=table,
        new=tuple(line for line in lines if line.unit not in known),
        conflicts=tuple(_conflicts(lines, known)),
        known=sum(line.unit in known for line in lines),
        without_instance=len(ours) - len(usable),
        other_provider=len(rows) - len(ours),
        hijacked_login=await _hijacked(conn, table),
    )


async def adopt(
    conn: Connection, schema: str, digest_of: Callable[[UnitId], bytes], report: Callable[[str], None]
) -> int:
    """Extend the old table and import the new units, in one transaction; returns how many.

    ``conn`` belongs to the owner of both schemas, ours migrated. ``digest_of`` returns the SHA-256 of the
    first webhook secret of a unit. Raises LegacyConflicts and LegacyRefused; then nothing is changed.
    """
    try:
        async with conn.transaction():
            table = (await survey(conn, schema)).table
            await conn.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
            for statement in await _extend(conn, table):
                await conn.execute(statement)
                report(statement)
            # Once more under the lock of the change, since the old backend may have written meanwhile.
            checked = await survey(conn, schema)
            if checked.conflicts:
                raise LegacyConflicts(checked.conflicts)
            # Even the owner reads and writes our rows only through a policy.
            await conn.execute("set local role zapline_engine")
            for line in checked.new:
                await _import(conn, line, digest_of(line.unit))
            await conn.execute("reset role")
    except StatementFailed as failed:
        raise _refused(schema, failed) from failed
    return len(checked.new)


def _refused(schema: str, failed: StatementFailed) -> Exception:
    if failed.sqlstate == _NOT_ALLOWED:
        return LegacyRefused(
            f"the user of DATABASE_URL may not change {schema}.{TABLE}: {failed.text}. "
            "Run this once with a DATABASE_URL of the table's owner."
        )
    if failed.sqlstate == _LOCKED:
        return LegacyRefused(f"{schema}.{TABLE} is in use by a long transaction of the old system; try again.")
    return failed


async def _import(conn: Connection, line: LegacyLine, digest: bytes) -> None:
    await _SQL.execute(conn, "import_unit", id=line.unit, name=line.name, legacy_id=line.legacy_id)
    await _SQL.execute(
        conn,
        "import_line",
        unit_id=line.unit,
        provider=PROVIDER,
        instance=line.instance,
        phase=line.phase,
        status=STATUS_OF_PHASE[line.phase],
        reason=line.reason,
        wanted=line.phase is Phase.OPEN,
        digest=digest,
    )


# -- reading the old tables ------------------------------------------------------------------------------


def _first(columns: Iterable[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


async def _columns(conn: Connection, schema: str, relation: str) -> set[str]:
    return {row.name for row in await _SQL.rows(conn, "list_columns", schema=schema, relation=relation)}


def _select(table: LegacyTable) -> str:
    """Everything as text: the types of the old columns are not known."""

    def column(name: str | None) -> sql.Composable:
        return sql.SQL("null::text") if name is None else sql.SQL("l.{}::text").format(sql.Identifier(name))

    query = sql.SQL(
        "select l.unit_id::text as unit, {instance} as instance, {provider} as provider, {status} as status, "
        "{phone} as phone, {name} as name from {lines} l {units} order by 1, 2"
    ).format(
        instance=column(table.instance),
        provider=column(table.provider),
        status=column(table.status),
        phone=column(table.phone),
        name=sql.SQL("u.name::text" if table.units_have_names else "null::text"),
        lines=sql.Identifier(table.schema, TABLE),
        units=sql.SQL("left join {} u on u.id::text = l.unit_id::text").format(sql.Identifier(table.schema, "units"))
        if table.units_have_names
        else sql.SQL(""),
    )
    return query.as_string(None)


def _line(row: Any) -> LegacyLine:
    old_id, instance = row.unit, row.instance.strip()
    is_uuid = _UUID.fullmatch(old_id) is not None
    status = (row.status or "").strip().lower()
    phase, reason = Phase.IDLE, Reason.DISCONNECTED
    if status in _OPEN:
        phase, reason = Phase.OPEN, Reason.SCAN_COMPLETED
    elif status in _NEVER and not row.phone:
        reason = Reason.NEVER_CONNECTED
    return LegacyLine(
        unit=UnitId(UUID(old_id) if is_uuid else uuid5(_NAMESPACE, old_id)),
        legacy_id=None if is_uuid else old_id,
        old_id=old_id,
        name=((row.name or "").strip() or instance)[:200],
        instance=instance,
        phase=phase,
        reason=reason,
    )


async def _hijacked(conn: Connection, table: LegacyTable) -> bool:
    relation = sql.Identifier(table.schema, TABLE).as_string(None)
    row = await _SQL.one(conn, "hijacked_login", relation=relation)
    return row is not None and bool(row.hijacked)


async def _known(conn: Connection) -> dict[UnitId, tuple[str, bool]]:
    """Units that Zapline has already: unit -> (instance, archived)."""
    schema = await _SQL.one(conn, "has_schema")
    if schema is None or not schema.there:
        return {}
    await conn.execute("set role zapline_engine")
    rows = await _SQL.rows(conn, "list_known_lines", provider=PROVIDER)
    await conn.execute("reset role")
    return {UnitId(row.id): (row.instance, row.archived) for row in rows}


def _conflicts(lines: Sequence[LegacyLine], known: Mapping[UnitId, tuple[str, bool]]) -> Iterable[str]:
    instances: dict[UnitId, list[LegacyLine]] = defaultdict(list)
    units: dict[str, list[LegacyLine]] = defaultdict(list)
    for line in lines:
        instances[line.unit].append(line)
        units[line.instance].append(line)
    for rows in instances.values():
        names = sorted({line.instance for line in rows})
        if len(names) > 1:
            yield f"unit {rows[0].old_id} has {len(names)} instances: {', '.join(map(repr, names))}"
        elif len(rows) > 1:
            yield f"unit {rows[0].old_id} has {len(rows)} rows that contradict each other"
    for instance, rows in units.items():
        ids = sorted({line.old_id for line in rows})
        if len({line.unit for line in rows}) > 1:
            yield f"instance {instance!r} has {len(ids)} units: {', '.join(ids)}"
        if not is_valid_instance_name(instance):
            yield (
                f"instance {instance!r} of unit {ids[0]}: a name has 1 to 80 letters, digits, '_' or '-'; "
                "make an instance with such a name and pair it again"
            )
    yield from _against_known(lines, known)


def _against_known(lines: Sequence[LegacyLine], known: Mapping[UnitId, tuple[str, bool]]) -> Iterable[str]:
    taken = {instance: unit for unit, (instance, archived) in known.items() if not archived}
    for line in lines:
        instance, archived = known.get(line.unit, (line.instance, False))
        if instance != line.instance and not archived:
            yield f"unit {line.old_id} has instance {instance!r} in Zapline and {line.instance!r} in the old table"
        holder = taken.get(line.instance)
        if holder is not None and holder != line.unit:
            yield f"instance {line.instance!r} of unit {line.old_id} belongs to unit {holder} in Zapline"


# -- changing the old table ------------------------------------------------------------------------------


async def _extend(conn: Connection, table: LegacyTable) -> list[str]:
    """The statements that the old table still needs. A second run needs none, so it locks nothing."""
    relation = sql.Identifier(table.schema, TABLE)
    done: list[sql.Composable] = []
    if table.missing:
        added = sql.SQL(", ").join(
            sql.SQL("add column if not exists {} " + ADDED[name]).format(sql.Identifier(name)) for name in table.missing
        )
        done.append(sql.SQL("alter table {} ").format(relation) + added)
    pattern = INDEX.replace("_", r"\_") + "%"
    rows = await _SQL.rows(conn, "list_taken_names", schema=table.schema, relation=TABLE, pattern=pattern)
    taken = {row.name: row.ours for row in rows}
    if not any(taken.values()):
        name = next(name for name in (INDEX, *(f"{INDEX}_{n}" for n in range(2, 1000))) if name not in taken)
        columns = [column for column in (table.provider, table.instance) if column is not None]
        done.append(
            sql.SQL("create index {} on {} ({}) where {} is not null").format(
                sql.Identifier(name),
                relation,
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.Identifier(table.instance),
            )
        )
    return [statement.as_string(None) for statement in done]
