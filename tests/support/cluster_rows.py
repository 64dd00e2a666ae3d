"""Rows of nodes, units and webhooks, for tests of daemons that share the units."""

from uuid import UUID, uuid4

from zapline.domain.ids import UnitId
from zapline.sql.cluster import membership
from zapline.sql.journal.schema import Arrival
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import NodeName
from zapline.sql.units.units import insert_unit

LEASE = 60.0


def arrival(unit: UUID, number: int) -> Arrival:
    """A webhook that differs from those of other numbers."""
    return Arrival(UnitId(unit), "messages.upsert", 1_795_364_000.0 + number / 7, b"%d" % number)


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


async def join(conn: Connection, name: str) -> UUID:
    """A node that shares the units; whoever leads has its row already."""
    node = uuid4()
    await conn.execute("insert into zapline.leader (epoch) values (1) on conflict do nothing")
    await membership.join_members(conn, node, NodeName(name, "1.0", f"zapline-{name}"), 1, LEASE)
    return node


async def owners(conn: Connection) -> dict[UUID, tuple[UUID | None, int]]:
    """Each unit's owner and epoch."""
    rows = await conn.fetch("select unit_id, owner, epoch from zapline.unit_whatsapp_connections")
    return {row.unit_id: (row.owner, row.epoch) for row in rows}
