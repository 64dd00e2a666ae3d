"""Which groups have no subject, and the subjects that Evolution answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class NamelessGroup:
    """A group to be asked for, and the instance that is in it."""

    id: UUID
    unit: UnitId
    canonical: str
    instance: str

    @property
    def jid(self) -> str:
        return self.canonical.removeprefix("group:")


async def claim_groups(conn: Connection, waits: Sequence[float], limit: int) -> list[NamelessGroup]:
    """Groups without a subject, one of each connected line. ``waits``: seconds until they are due again, by tries."""
    rows = await _SQL.rows(conn, "claim_groups", waits=list(waits), limit=limit)
    return [NamelessGroup(*row) for row in rows]


async def claim_named_groups(conn: Connection, age: float, limit: int) -> list[NamelessGroup]:
    """Groups whose subject is older than ``age`` seconds, with a message since; one of each connected line."""
    rows = await _SQL.rows(conn, "claim_named_groups", age=age, limit=limit)
    return [NamelessGroup(*row) for row in rows]


async def store_subjects(conn: Connection, subjects: Mapping[UUID, str], at: float, *, again: bool = False) -> None:
    """Store subjects of groups. ``at``: UTC seconds of the question.

    It touches only those that were called otherwise; with ``again`` all, so that nothing older replaces them.
    """
    rows = [{"id": id, "subject": subject} for id, subject in subjects.items()]
    await _SQL.execute(conn, "store_subjects", rows=as_json(rows), at=at, again=again)


async def postpone(conn: Connection, unit: UnitId, id: UUID, seconds: float) -> None:
    """Ask for this group, and for the others of its unit, in some seconds at the earliest; the failed try does not
    count."""
    await _SQL.execute(conn, "postpone", unit=unit, id=id, seconds=seconds)
