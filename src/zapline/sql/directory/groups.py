"""Lists a unit's groups, and keeps who is in them as WhatsApp has told last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId, contact_id
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.postgres.search_patterns import SearchPatterns

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """A group. ``size``, ``admins_only`` and ``members_at`` are None until WhatsApp was asked for its members."""

    id: UUID
    canonical: str
    name: str | None
    conversation: UUID | None
    last_message_at: datetime | None
    created_at: datetime
    size: int | None
    admins_only: bool | None
    """Whether only its admins write in it."""
    members_at: datetime | None
    """When WhatsApp has told who is in it."""

    @property
    def jid(self) -> str:
        return self.canonical.removeprefix("group:")


@dataclass(frozen=True, slots=True)
class Member:
    """Who is in a group. ``role``: ``member``, ``admin`` or ``owner``. ``name`` as the unit knows the person."""

    canonical: str
    phone: str | None
    lid: str | None
    role: str
    name: str | None = None
    contact: UUID | None = None


async def list_groups(pool: Pool, unit: UnitId, after: str, limit: int, search: str | None) -> list[Group]:
    """A page of groups in the order of their addresses, after one of them; of those whose name contains ``search``."""
    words = SearchPatterns.of(search).words if search is not None else None
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_groups", unit_id=unit, after=after, limit=limit, words=words)
    return [Group(*row) for row in rows]


async def find_group(pool: Pool, unit: UnitId, id: UUID) -> tuple[Group, list[Member]] | None:
    """A group, and its members as they were told last: the owner first, then admins, then all others."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_group", unit_id=unit, id=id)
        members = await _SQL.rows(conn, "list_members", unit_id=unit, id=id) if row is not None else []
    return (Group(*row), [Member(*member) for member in members]) if row is not None else None


def group_id(unit: UnitId, jid: str) -> UUID:
    """The id of the contact that a group is."""
    return UUID(contact_id(unit, f"group:{jid}"))


async def store_groups(conn: Connection, unit: UnitId, jids: Sequence[str]) -> None:
    """Store groups that the unit did not know yet, without their subjects."""
    rows = [{"id": group_id(unit, jid), "canonical": f"group:{jid}"} for jid in sorted(set(jids))]
    if rows:
        await _SQL.execute(conn, "store_groups", unit_id=unit, rows=as_json(rows))


async def store_members(
    conn: Connection, unit: UnitId, group: UUID, admins_only: bool, members: Sequence[Member], at: float
) -> None:
    """Replace who is in a group by what WhatsApp has told; a later answer stays.

    ``at``: UTC seconds of the question. Call it in a transaction.
    """
    rows = [
        {"canonical": one.canonical, "phone": one.phone, "lid": one.lid, "role": one.role}
        for one in sorted(members, key=lambda one: one.canonical)
    ]
    told = {"unit_id": unit, "id": group, "size": len(rows), "admins_only": admins_only, "at": at}
    if await _SQL.one(conn, "store_details", **told) is not None:
        await _SQL.execute(conn, "delete_members", unit_id=unit, id=group)
        await _SQL.execute(conn, "store_members", unit_id=unit, id=group, rows=as_json(rows))
