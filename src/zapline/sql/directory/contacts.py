"""Lists the people whom a unit knows."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.postgres.search_patterns import SearchPatterns

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Contact:
    """A person, by all that is known under the merged addresses. ``canonical`` is the position in the list."""

    id: UUID
    canonical: str
    phone: str | None
    lid: str | None
    name: str | None
    username: str | None
    conversation: UUID | None
    last_message_at: datetime | None
    created_at: datetime


async def list_contacts(pool: Pool, unit: UnitId, after: str, limit: int, search: str | None) -> list[Contact]:
    """A page of people in the order of their canonical names, after one of them. Raises DatabaseUnavailable."""
    page = {"unit_id": unit, "after": after, "limit": limit}
    async with unit_scope(pool, unit) as conn:
        if search is None:
            rows = await _SQL.rows(conn, "list_contacts", **page)
        else:
            rows = await _SQL.rows(conn, "search_contacts", **page, **SearchPatterns.of(search).parameters)
    return [Contact(*row) for row in rows]


async def find_contact(pool: Pool, unit: UnitId, id: UUID) -> Contact | None:
    """A person of the unit, by the contact's own id."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_contact", unit_id=unit, id=id)
    return Contact(*row) if row is not None else None


async def find_contact_by_phone(pool: Pool, unit: UnitId, phone: str) -> Contact | None:
    """The person of this canonical phone."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_contact_by_phone", unit_id=unit, phone=phone)
    return Contact(*row) if row is not None else None
