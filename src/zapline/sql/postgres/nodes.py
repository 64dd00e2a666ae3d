"""Nodes: a process that leads joins as one, renews its lease, owns units, and hands them back."""

from dataclasses import dataclass
from uuid import UUID

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, from_row

_SQL = Queries(__name__)
_NOBODY = UUID(int=0)


@dataclass(slots=True, eq=False)
class Ownership:
    """By what right this process acts for a unit: as which node, since which epoch. A unit shares it with its writes.

    ``node`` None: that is not checked. It changes in place where nobody else has owned the unit in between. Where
    somebody may have, the unit gets another one, and this one is ``over``: writes that share it are never stored.
    """

    node: UUID | None = None
    epoch: int = 0
    over: bool = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether the unit is another node's, as far as is known."""
        return self.node == _NOBODY

    @property
    def arguments(self) -> dict[str, object]:
        """The arguments of statements that are fenced."""
        return {"owner": self.node, "since": self.epoch}


UNCHECKED = Ownership()
"""The right of whoever acts for a person: nothing is asked."""


def no_right() -> Ownership:
    """The right to a unit that belongs to another node: nothing that is done by it changes anything."""
    return Ownership(_NOBODY)


@dataclass(frozen=True, slots=True)
class NodeName:
    """What a node tells of itself."""

    name: str = ""
    version: str = ""
    sessions: str = ""
    """The application's name that all of its sessions have; empty: they cannot be told from others."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as stored. Times in UTC seconds by the server's clock; ``lives``: its lease is not over.

    ``clock_offset``: seconds by which its clock is ahead of the server's. ``units``: how many it owns.
    """

    id: UUID
    name: str
    version: str
    epoch: int
    joined_at: float
    expires_at: float
    lives: bool
    clock_offset: float | None
    units: int


async def join(conn: Connection, node: UUID, called: NodeName, epoch: int, lease: float) -> None:
    """Have a new node own all units under a new epoch; ``lease`` in seconds.

    In a transaction of the caller, who holds the advisory lock.
    """
    await _SQL.execute(conn, "delete_others", node=node)
    await _SQL.execute(
        conn, "insert_node", node=node, name=called.name, version=called.version, epoch=epoch, lease=lease
    )
    await _SQL.execute(conn, "take_units", node=node, epoch=epoch)


async def renew_lease(conn: Connection, node: UUID, lease: float, wall: float) -> float | None:
    """Renew a node's lease for ``lease`` seconds from now; ``wall``: what its own clock shows.

    Returns what the server's clock shows (UTC seconds); None: the node is out, and owns nothing any more.
    """
    row = await _SQL.one(conn, "renew_lease", node=node, lease=lease, wall=wall)
    return float(row.now) if row is not None else None


async def adopt_units(conn: Connection, node: UUID) -> int:
    """Have a node own the units that nobody owns, as new ones; returns how many."""
    return await _SQL.execute(conn, "adopt_units", node=node)


async def hand_back(conn: Connection, node: UUID) -> None:
    """End a node: nothing that it writes of units is taken any more."""
    await _SQL.execute(conn, "hand_back", node=node)


async def list_nodes(conn: Connection) -> list[Node]:
    """All nodes, in the order in which they joined."""
    return [from_row(Node, row) for row in await _SQL.rows(conn, "list_nodes")]
