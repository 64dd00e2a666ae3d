"""Stores who wants no campaigns: by their own word, in the recorder's transaction, or by a person's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from zapline.domain.ids import PROVIDER, UnitId, conversation_id
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.sql.inbound.recorder_types import Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)
_CONFIRMED_WITHIN = 86_400.0
"""Seconds after which nobody waits for the confirmation any more."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """Somebody who wants no campaigns. ``phone`` None: only a LID is known, and a person must find out whose."""

    canonical: str
    reason: str
    word: str | None
    external_id: str | None
    created_at: datetime
    phone: str | None
    lid: str | None
    name: str | None


async def record_opt_outs(conn: Connection, rows: Sequence[Row]) -> dict[UnitId, int]:
    """Suppress these contacts for campaigns; how many of each unit are new.

    What lies ready for them in campaigns is taken back. A row's ``confirmation`` is the text that tells a new one
    so, as a reply of the same commit; without it, or None, nothing is said: so for rows that are not live.
    """
    if not rows:
        return {}
    fresh = await _suppress(conn, rows)
    told = [_confirmation(row) for row in fresh if row.confirmation and row.external_id]
    if told:
        await _SQL.execute(conn, "confirm", provider=PROVIDER, rows=as_json(told))
    return dict(Counter(UnitId(row.unit_id) for row in fresh))


async def _suppress(conn: Connection, rows: Sequence[Row]) -> list[Any]:
    return await _SQL.rows(conn, "suppress", rows=as_json(rows))


def _confirmation(row: Any) -> Row:
    outgoing = OutgoingMessage(Text(row.confirmation))
    encoded = msgspec.json.encode(outgoing)
    by_phone = row.root.startswith("+")
    return {
        "message_id": uuid4(),
        "unit_id": row.unit_id,
        "client_id": f"optout:{row.external_id}",
        "conversation_id": row.root_id,
        "recipient": row.root,
        "address": row.root.removeprefix("+") if by_phone else row.address,
        "body": row.confirmation,
        "fingerprint": fingerprint_content(outgoing.content),
        "content": msgspec.Raw(encoded),
        "digest": sha256(encoded).hexdigest(),
        "at": row.received_at,
        "expires_at": row.received_at + _CONFIRMED_WITHIN,
    }


async def insert_suppression(conn: Connection, unit: UnitId, canonical: str, now: float) -> bool:
    """A person knows that somebody wants no campaigns; False where that was known. ``canonical``: phone or LID."""
    row: Row = {
        "unit_id": unit,
        "canonical": canonical,
        "conversation_id": conversation_id(unit, canonical),
        "reason": "manual",
        "received_at": now,
    }
    return bool(await _suppress(conn, [row]))


async def delete_suppression(conn: Connection, unit: UnitId, canonical: str) -> bool:
    """Somebody may be written to again, under all his names; False where he always could."""
    return bool(await _SQL.rows(conn, "release", unit_id=unit, canonical=canonical))


async def list_suppressions(
    pool: Pool, unit: UnitId, before: tuple[datetime, str] | None, limit: int, canonical: str | None = None
) -> list[Suppression]:
    """A page, the latest first, below the position ``before``; or the one of this name."""
    at, last = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(
            conn, "list_suppressions", unit_id=unit, canonical=canonical, before_at=at, before=last, limit=limit
        )
    return [Suppression(*row) for row in rows]
