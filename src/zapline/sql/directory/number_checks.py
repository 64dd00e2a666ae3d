"""Keeps which numbers are on WhatsApp, and how many of them a unit may still ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """What WhatsApp said of a phone. ``whatsapp_id``: the JID under which it is there; ``checked_at``: UTC seconds."""

    phone: str
    on_whatsapp: bool
    whatsapp_id: str | None
    checked_at: float


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """How many numbers a unit may ask for: ``burst`` at once, ``rate`` a second after that, ``daily`` on a day."""

    burst: int
    rate: float
    daily: int


@dataclass(frozen=True, slots=True)
class CheckHold:
    """Why so many numbers cannot be asked for now. ``left_today``: how many could be; ``wait``: seconds until then."""

    left_today: int
    wait: float
    until_tomorrow: float
    """Seconds until the unit's next day."""


async def find_checks(
    conn: Connection, unit: UnitId, phones: Sequence[str], known_since: float, missing_since: float
) -> dict[str, NumberCheck]:
    """The answers of these phones that are not older than these times (UTC seconds): of those there, and of others."""
    values = {"phones": list(phones), "known_since": known_since, "missing_since": missing_since}
    return {row.phone: NumberCheck(*row) for row in await _SQL.rows(conn, "find_checks", unit_id=unit, **values)}


async def claim_checks(conn: Connection, unit: UnitId, count: int, limits: CheckLimits) -> CheckHold | None:
    """Count so many numbers as asked for, before they are; None: they may be asked for now.

    What was claimed stays counted, whatever becomes of the call: WhatsApp may have seen it.
    """
    pace = {"burst": float(limits.burst), "rate": limits.rate, "daily": limits.daily}
    if await _SQL.one(conn, "claim_checks", unit_id=unit, count=count, **pace) is not None:
        return None
    row = await _SQL.one(conn, "find_hold", unit_id=unit, count=count, **pace)
    return CheckHold(*row) if row is not None else CheckHold(0, 0.0, 0.0)


async def store_checks(
    conn: Connection, unit: UnitId, answers: Mapping[str, tuple[bool, str | None]], at: float
) -> None:
    """Store what WhatsApp has said of phones; a later answer stays. ``at``: UTC seconds of the question."""
    rows = [
        {"phone": phone, "on_whatsapp": there, "whatsapp_id": jid} for phone, (there, jid) in sorted(answers.items())
    ]
    if rows:
        await _SQL.execute(conn, "store_checks", unit_id=unit, at=at, rows=as_json(rows))


async def prune_checks(conn: Connection, before: float) -> int:
    """Delete the answers from before a time (UTC seconds); returns how many."""
    return await _SQL.execute(conn, "prune_checks", before=before)
