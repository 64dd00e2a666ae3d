"""Stores organizations and which units are in them: each unit in one at most."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, grant_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization; ``units``: how many of its units the reader sees.

    ``campaign_messages`` of campaigns in ``campaign_days`` reach one person at most, from all of its units; None: any.
    """

    id: UUID
    name: str
    created_at: datetime
    units: int
    campaign_messages: int | None = None
    campaign_days: int | None = None
    shared_opt_outs: bool = True
    """Whoever wants no campaigns of one unit gets none of the others."""


async def insert_organization(conn: Connection, id: UUID, name: str) -> None:
    await _SQL.execute(conn, "insert_organization", id=id, name=name)


async def rename_organization(conn: Connection, id: UUID, name: str) -> bool:
    """False where there is no such organization."""
    return await _SQL.one(conn, "rename_organization", id=id, name=name) is not None


async def set_campaign_rules(
    conn: Connection, id: UUID, messages: int | None, days: int | None, *, shared_opt_outs: bool
) -> None:
    """Both limits or none; as in ``Organization``."""
    rules = {"messages": messages, "days": days, "shared": shared_opt_outs}
    await _SQL.one(conn, "set_campaign_rules", id=id, **rules)


async def delete_organization(conn: Connection, id: UUID) -> bool:
    """Delete it with its tokens and hooks, in a transaction; False where it has units, or does not exist."""
    await _SQL.one(conn, "lock_organization", id=id)
    if await _SQL.one(conn, "delete_organization", id=id) is None:
        return False
    for part in ("delete_tokens", "delete_hooks"):
        await _SQL.execute(conn, part, id=id)
    return True


async def prune_organizations(conn: Connection) -> int:
    """Delete what is left of deleted organizations whose hooks are gone; returns how many."""
    return await _SQL.execute(conn, "prune_organizations")


async def hold_unit(conn: Connection, organization: UUID, unit: UnitId) -> bool:
    """Keep the unit in the organization until the transaction ends; False where it is not in it."""
    return await _SQL.one(conn, "hold_unit", organization_id=organization, unit_id=unit) is not None


async def find_organization(conn: Connection, id: UUID) -> Organization | None:
    row = await _SQL.one(conn, "find_organization", id=id)
    return Organization(*row) if row is not None else None


async def load_organization(pool: Pool, id: UUID, grant: OrganizationGrant | None) -> Organization | None:
    """One organization, as the holder of a grant sees it; None: as an administrator does."""
    async with grant_scope(pool, grant) as conn:
        return await find_organization(conn, id)


async def list_organizations(conn: Connection, after: tuple[datetime, UUID] | None, limit: int) -> list[Organization]:
    """A page, the first made first."""
    at, id = after or (None, None)
    rows = await _SQL.rows(conn, "list_organizations", after_at=at, after_id=id, limit=limit)
    return [Organization(*row) for row in rows]


async def list_organizations_for_admin(
    pool: Pool, after: tuple[datetime, UUID] | None, limit: int
) -> list[Organization]:
    """A page for an administrator."""
    async with admin_scope(pool) as conn:
        return await list_organizations(conn, after, limit)


async def add_unit(conn: Connection, organization: UUID, unit: UnitId) -> UUID | None:
    """Add a unit; returns the organization that it is in now: another one where it was in that already.

    None: the organization is deleted.
    """
    await _SQL.execute(conn, "insert_unit", organization_id=organization, unit_id=unit)
    row = await _SQL.one(conn, "find_organization_of", unit_id=unit)
    return row.organization_id if row is not None else None


async def remove_unit(conn: Connection, organization: UUID, unit: UnitId) -> bool:
    """False where the unit is not in this organization."""
    return await _SQL.one(conn, "delete_unit", organization_id=organization, unit_id=unit) is not None


async def list_units(conn: Connection, organization: UUID) -> list[UnitId]:
    """The units that were added, in that order."""
    rows = await _SQL.rows(conn, "list_units", organization_id=organization)
    return [UnitId(row.unit_id) for row in rows]


async def load_units(pool: Pool, organization: UUID, grant: OrganizationGrant | None) -> list[UnitId]:
    """The same, so far as the holder of a grant sees them; None: an administrator."""
    async with grant_scope(pool, grant) as conn:
        return await list_units(conn, organization)
