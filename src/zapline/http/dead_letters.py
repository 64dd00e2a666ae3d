"""Dead letters: what could not be used, why, and giving it to its unit again."""

from typing import Any
from uuid import UUID

from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.http.paging import BIGINT, Position, Seq, cursor, encode, limit
from zapline.http.problems import invalid
from zapline.http.routes import Access, Routes
from zapline.http.wire import Body, iso, read_body, reply
from zapline.sql import reading
from zapline.sql.pool import Pool
from zapline.supervisors.submit import Submit, UnknownDeadLetter


class _After(Position, frozen=True, tag="d"):
    id: Seq


class DeadLetters:
    """``/dead-letters``. Bodies are not shown: they are people's messages."""

    def __init__(self, submit: Submit, pool: Pool) -> None:
        self._submit = submit
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/dead-letters", "list_dead_letters", self.list, Access.ADMIN)
        routes.add("POST", "/dead-letters/<int:letter>/replay", "replay_dead_letter", self.replay, Access.ADMIN)

    async def list(self) -> Response:
        """Newest first; of one unit where ``unitId`` is given."""
        most, after = limit(), cursor(_After)
        rows = await reading.letters(self._pool, _unit_asked(), after.id if after else None, most + 1)
        page = rows[:most]
        more = encode(_After(page[-1].id)) if len(rows) > most else None
        return reply({"items": [_letter(row) for row in page], "nextCursor": more})

    async def replay(self, letter: int) -> Response:
        await read_body(Body)
        if letter > BIGINT:
            raise UnknownDeadLetter("there is no such dead letter")
        await self._submit.replay_dead_letter(letter)
        return reply({"id": letter, "replayed": True}, 202)


def _unit_asked() -> UnitId | None:
    text = request.args.get("unitId")
    if text is None:
        return None
    try:
        return UnitId(UUID(text))
    except ValueError:
        raise invalid("unitId", "is a unit's id") from None


def _letter(row: Any) -> dict[str, object]:
    return {
        "id": row.id,
        "unitId": str(row.unit_id),
        "reason": row.reason,
        "detail": row.detail,
        "event": row.event,
        "size": row.size,
        "replayable": row.has_raw,
        "receivedAt": iso(row.received_at),
        "createdAt": iso(row.created_at),
        "replayedAt": iso(row.revived_at),
    }
