"""Stores opt-outs from campaigns, by a contact's own message or by a person's command."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid5

import msgspec

from zapline.domain.ids import PROVIDER, UnitId, conversation_id
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)
Row = dict[str, object]
_CONFIRMED_WITHIN = 86_400.0
"""Seconds after which a confirmation expires."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """A contact that wants no campaigns. ``phone`` None: only a LID is known, and a person must identify it."""

    canonical: str
    reason: str
    word: str | None
    external_id: str | None
    created_at: datetime
    phone: str | None
    lid: str | None
    name: str | None


async def record_opt_outs(conn: Connection, rows: Sequence[Row]) -> dict[UnitId, int]:
    """Suppress these contacts for campaigns; returns how many are new in each unit.

    Their queued campaign messages are cancelled. A row's ``confirmation`` is a text that is queued as a reply in
    the same commit; None, as for rows that are not live: no reply.
    """
    if not rows:
        return {}
    fresh = await _suppress(conn, rows)
    replies = [_confirmation(row) for row in fresh if row.confirmation and row.external_id]
    if replies:
        await _SQL.execute(conn, "enqueue_confirmations", provider=PROVIDER, rows=as_json(replies))
    return dict(Counter(UnitId(row.unit_id) for row in fresh))


async def _suppress(conn: Connection, rows: Sequence[Row]) -> list[Any]:
    return await _SQL.rows(conn, "insert_suppressions", rows=as_json(rows))


def _confirmation(row: Any) -> Row:
    outgoing = OutgoingMessage(Text(row.confirmation))
    encoded = msgspec.json.encode(outgoing)
    by_phone = row.root.startswith("+")
    return {
        # The same again where a database that was set back is told of it anew: the journal knows then that it was sent.
        "message_id": uuid5(row.unit_id, f"optout:{row.external_id}"),
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
        # Whatever a clock that was weeks behind has made of its arrival.
        "expires_at": max(row.received_at, row.said_at or 0.0) + _CONFIRMED_WITHIN,
    }


async def insert_suppression(conn: Connection, unit: UnitId, canonical: str, now: float) -> bool:
    """Suppress a contact by command; False where it is suppressed already. ``canonical``: phone or LID."""
    row: Row = {
        "unit_id": unit,
        "canonical": canonical,
        "conversation_id": conversation_id(unit, canonical),
        "reason": "manual",
        "received_at": now,
    }
    return bool(await _suppress(conn, [row]))


async def delete_suppression(conn: Connection, unit: UnitId, canonical: str) -> bool:
    """Remove the suppression of a contact under all its names; False where there is none."""
    return bool(await _SQL.rows(conn, "delete_suppression", unit_id=unit, canonical=canonical))


async def list_suppressions(
    pool: Pool, unit: UnitId, before: tuple[datetime, str] | None, limit: int, canonical: str | None = None
) -> list[Suppression]:
    """A page, latest first, after the position ``before``; or the one of this name."""
    at, last = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(
            conn, "list_suppressions", unit_id=unit, canonical=canonical, before_at=at, before=last, limit=limit
        )
    return [Suppression(*row) for row in rows]
