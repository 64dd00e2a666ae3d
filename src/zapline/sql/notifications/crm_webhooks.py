"""Stores webhooks to the CRM and their deliveries, which the triggers of the schema insert."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import grant_scope, unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class OrganizationOwner:
    """An organization whose hooks are meant, as the holder of a grant has them; ``grant`` None: an administrator."""

    organization: UUID
    grant: OrganizationGrant | None


HookOwner = UnitId | OrganizationOwner
"""Whose hooks are meant: a unit's, or an organization's."""


@dataclass(frozen=True, slots=True)
class NewHook:
    """A hook to store. ``units``: of an organization's hook; None: all of them. ``headers`` are encrypted.

    ``made_by``: of a unit's hook, the organization whose token has made it.
    """

    id: UUID
    url: str
    events: Sequence[str]
    units: Sequence[UnitId] | None = None
    headers: bytes | None = None
    made_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook with counts. ``previous_until``: until when the previous key signs, too."""

    id: UUID
    unit_id: UUID | None
    url: str
    events: Sequence[str]
    key_generation: int
    previous_until: datetime | None
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    waiting: int
    oldest: datetime | None
    dead: int
    organization_id: UUID | None
    units: Sequence[UUID] | None
    """Of an organization's hook; None: it is told of all units."""
    headers: bytes | None

    @property
    def origin(self) -> str:
        """The URL without its path."""
        return "/".join(self.url.split("/")[:3])


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """A delivery as lists show it; ``seq`` is the order of the events."""

    id: UUID
    seq: int
    event: str
    subject: UUID | None
    state: str
    tries: int
    due_at: datetime
    last_status: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ActiveHook:
    """A hook that gets deliveries. ``previous_until`` in UTC seconds; ``headers`` are encrypted.

    ``wait``: seconds until a delivery is due; None: nothing is queued. ``units``: those that it is told of.
    """

    id: UUID
    units: tuple[UnitId, ...]
    url: str
    key_generation: int
    previous_until: float | None
    wait: float | None
    headers: bytes | None
    organization: UUID | None

    @property
    def owner(self) -> dict[str, str]:
        """Whose it is, as fields of the log."""
        if self.organization is not None:
            return {"organization": str(self.organization)}
        return {"unit": str(self.units[0])}

    @property
    def host(self) -> str:
        """The host with its port, as in a request."""
        return self.url.split("/")[2]


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that is due."""

    id: UUID
    unit: UnitId
    event: str
    subject: UUID | None
    facts: dict[str, Any]
    tries: int
    created_at: float


@dataclass(frozen=True, slots=True)
class HookTotals:
    """``oldest``: time of the first waiting event. ``dead``: within a day. ``disabled``: hooks disabled by failures."""

    waiting: int = 0
    oldest: float | None = None
    dead: int = 0
    active: int = 0
    disabled: int = 0


# -- commands and lists ---------------------------------------------------------------------------------------


async def lock_owner(conn: Connection, owner: HookOwner) -> bool:
    """Have others who make hooks of this owner wait until the transaction ends; False where the owner is gone."""
    if isinstance(owner, OrganizationOwner):
        return await _SQL.one(conn, "lock_organization", owner=owner.organization) is not None
    return await _SQL.one(conn, "lock_unit", owner=owner) is not None


async def insert_hook(conn: Connection, owner: HookOwner, hook: NewHook, most: int) -> bool:
    """Create a hook, in a transaction that has locked its owner; False where the owner has ``most`` already."""
    of_organization = isinstance(owner, OrganizationOwner)
    id = owner.organization if isinstance(owner, OrganizationOwner) else owner
    row = await _SQL.one(
        conn,
        "insert_hook",
        id=hook.id,
        unit_id=None if of_organization else id,
        organization_id=id if of_organization else None,
        url=hook.url,
        events=list(hook.events),
        units=list(hook.units) if hook.units is not None else None,
        headers=hook.headers,
        made_by=hook.made_by,
        most=most,
    )
    return row is not None


def _owned(owner: HookOwner) -> dict[str, object]:
    """The arguments that name an owner."""
    if not isinstance(owner, OrganizationOwner):
        return {"unit_id": owner, "organization_id": None, "chosen": None}
    chosen = owner.grant.chosen if owner.grant is not None else None
    listed = sorted(chosen) if chosen is not None else None
    return {"unit_id": None, "organization_id": owner.organization, "chosen": listed}


def units_seen(owner: HookOwner) -> list[UnitId] | None:
    """The units whose deliveries an owner sees; None: all of his hook."""
    if not isinstance(owner, OrganizationOwner):
        return [owner]
    return sorted(owner.grant.units) if owner.grant is not None else None


def _scope(pool: Pool, owner: HookOwner) -> AbstractAsyncContextManager[Connection]:
    if isinstance(owner, OrganizationOwner):
        return grant_scope(pool, owner.grant)
    return unit_scope(pool, owner)


async def find_hook(conn: Connection, owner: HookOwner, id: UUID) -> Hook | None:
    """One hook, over any connection that may read it."""
    row = await _SQL.one(conn, "list_hooks", **_owned(owner), id=id)
    return Hook(*row) if row is not None else None


async def list_hooks(pool: Pool, owner: HookOwner) -> list[Hook]:
    """All hooks of a unit or an organization, oldest first."""
    async with _scope(pool, owner) as conn:
        return [Hook(*row) for row in await _SQL.rows(conn, "list_hooks", **_owned(owner), id=None)]


async def load_hook(pool: Pool, owner: HookOwner, id: UUID) -> Hook | None:
    """One hook."""
    async with _scope(pool, owner) as conn:
        return await find_hook(conn, owner, id)


async def list_deliveries(
    pool: Pool, owner: HookOwner, hook: UUID, state: str | None, before: int | None, limit: int
) -> list[HookDelivery]:
    """A page, latest first, below the ``seq`` ``before``; in one state, or in all."""
    arguments = {"units": units_seen(owner), "hook": hook, "state": state, "before": before, "limit": limit}
    async with _scope(pool, owner) as conn:
        return [HookDelivery(*row) for row in await _SQL.rows(conn, "list_deliveries", **arguments)]


async def delete_hook(conn: Connection, owner: HookOwner, id: UUID) -> bool:
    return await _SQL.one(conn, "delete_hook", **_owned(owner), id=id) is not None


async def rotate_key(conn: Connection, owner: HookOwner, id: UUID, until: float) -> int | None:
    """Returns the generation of the new key; None where there is no such hook."""
    row = await _SQL.one(conn, "rotate_key", **_owned(owner), id=id, until=until)
    return row.key_generation if row is not None else None


async def enable_hook(conn: Connection, owner: HookOwner, id: UUID) -> bool:
    return await _SQL.one(conn, "enable_hook", **_owned(owner), id=id) is not None


async def insert_test_delivery(conn: Connection, owner: HookOwner, id: UUID) -> UUID | None:
    """Returns the id of the delivery; None where there is no such hook, or it is disabled."""
    row = await _SQL.one(conn, "insert_test_delivery", **_owned(owner), id=id)
    return row.id if row is not None else None


async def replay_delivery(conn: Connection, owner: HookOwner, hook: UUID, id: UUID) -> bool:
    """Queue an ended delivery again; False where it has not ended, or does not exist."""
    return await _SQL.one(conn, "replay_delivery", units=units_seen(owner), hook=hook, id=id) is not None


async def has_delivery(conn: Connection, owner: HookOwner, hook: UUID, id: UUID) -> bool:
    return await _SQL.one(conn, "has_delivery", units=units_seen(owner), hook=hook, id=id) is not None


async def replay_dead(conn: Connection, owner: HookOwner, hook: UUID, since: float, limit: int) -> int:
    """Queue at most ``limit`` dead deliveries since a time (UTC seconds) again; returns how many."""
    return await _SQL.execute(conn, "replay_dead", units=units_seen(owner), hook=hook, since=since, limit=limit)


# -- delivering ------------------------------------------------------------------------------------------------


async def list_active_hooks(conn: Connection, now: float) -> list[ActiveHook]:
    """Every active hook."""
    rows = await _SQL.rows(conn, "list_active_hooks", now=now)
    return [ActiveHook(row.id, tuple(map(UnitId, row.units)), *row[2:]) for row in rows]


async def list_due_deliveries(conn: Connection, hook: UUID, now: float, limit: int) -> list[DueDelivery]:
    """The due deliveries of a hook, in the order of their events."""
    rows = await _SQL.rows(conn, "list_due_deliveries", hook=hook, now=now, limit=limit)
    return [
        DueDelivery(row.id, UnitId(row.unit_id), row.event, row.subject, row.facts, row.tries, row.created_at)
        for row in rows
    ]


async def load_messages(conn: Connection, units: Sequence[UnitId], ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Rows of messages of these units for event payloads, by id; missing ones are left out."""
    return {row.id: row for row in await _SQL.rows(conn, "load_messages", units=list(units), ids=list(ids))}


async def load_contacts(conn: Connection, units: Sequence[UnitId], ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Rows of contacts and groups of these units for event payloads, by id; missing ones are left out."""
    return {row.id: row for row in await _SQL.rows(conn, "load_contacts", units=list(units), ids=list(ids))}


async def load_reactions(
    conn: Connection, units: Sequence[UnitId], messages: Sequence[UUID], ids: Sequence[UUID]
) -> dict[UUID, Any]:
    """Rows of reactions and votes for event payloads, by id; missing ones are left out."""
    rows = await _SQL.rows(conn, "load_reactions", units=list(units), messages=list(messages), ids=list(ids))
    return {row.id: row for row in rows}


async def store_success(
    conn: Connection, hook: UUID, id: UUID, *, status: int, wall: float, held: Ownership = UNCHECKED
) -> None:
    await _SQL.execute(conn, "store_success", hook=hook, id=id, status=status, wall=wall, **held.arguments)


async def store_failure(
    conn: Connection,
    hook: UUID,
    id: UUID,
    *,
    status: int | None,
    error: str,
    wait: float | None,
    now: float,
    wall: float,
    held: Ownership = UNCHECKED,
) -> float | None:
    """Try the delivery again after ``wait`` seconds, or never (None); ``wall`` is this machine's clock.

    Returns since when the hook has been failing; None: it does not exist any more, or is another node's.
    """
    result = {"status": status, "error": error, "wait": wait, "now": now, "wall": wall}
    row = await _SQL.one(conn, "store_failure", hook=hook, id=id, **result, **held.arguments)
    return row.failing_since if row is not None else None


async def bury_delivery(
    conn: Connection, hook: UUID, id: UUID, *, error: str, wall: float, held: Ownership = UNCHECKED
) -> None:
    await _SQL.execute(conn, "bury_delivery", hook=hook, id=id, error=error, wall=wall, **held.arguments)


async def make_waiting_due(conn: Connection, hook: UUID, now: float) -> int:
    """Make waiting deliveries due now; returns how many."""
    return await _SQL.execute(conn, "make_waiting_due", hook=hook, now=now)


async def disable_hook(conn: Connection, hook: UUID, reason: str) -> None:
    """Stop deliveries to a hook; ``bury_waiting`` ends the queued ones."""
    await _SQL.execute(conn, "disable_hook", hook=hook, reason=reason)


async def bury_waiting(conn: Connection, wall: float, limit: int) -> int:
    """Make at most ``limit`` queued deliveries of disabled hooks dead; returns how many."""
    return await _SQL.execute(conn, "bury_waiting", wall=wall, limit=limit)


async def bury_left(conn: Connection, wall: float, limit: int) -> int:
    """Make at most ``limit`` queued deliveries dead whose unit has left the organization; returns how many."""
    return await _SQL.execute(conn, "bury_left", wall=wall, limit=limit)


async def prune_deliveries(conn: Connection, delivered_days: float, dead_days: float, limit: int) -> int:
    """Delete old deliveries, and those of deleted hooks, at most ``limit`` of each; returns how many."""
    deleted = await _SQL.execute(conn, "prune_deleted", limit=limit)
    if not deleted:
        await _SQL.execute(conn, "prune_deleted_hooks")
    days = {"delivered_days": delivered_days, "dead_days": dead_days}
    return deleted + await _SQL.execute(conn, "prune_deliveries", **days, limit=limit)


async def release_misdated(conn: Connection, now: float, longest: float, limit: int) -> int:
    """Make due, at most ``limit``, what is to wait for more than ``longest`` seconds by a wrong clock."""
    return len(await _SQL.rows(conn, "release_misdated", now=now, longest=longest, limit=limit))


async def count_deliveries(conn: Connection) -> HookTotals:
    row = await _SQL.one(conn, "count_deliveries")
    return HookTotals(*row)
