"""The audit log for administrators: who changed what, when, from where, and what came of it."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Moment, reply
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, cursor, encode, limit
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.sql.accounts.audit_log import AuditLine, Wanted, read_audit
from zapline.sql.postgres.pool import Pool

_LONGEST = 254


class _After(Position, frozen=True, tag="l"):
    id: Seq


class AuditLineBody(Answer, frozen=True):
    """One change, or one try."""

    id: int
    at: Moment | None
    actor_kind: ActorKind
    actor: Annotated[str, Meta(description="An e-mail address, a token's label, or a user of the server.")]
    actor_id: UUID | None
    source: Annotated[str | None, Meta(description="The address or the machine it came from.")]
    unit_id: UUID | None
    action: Annotated[str, Meta(description="The operation's id in this document, or the verb of a command.")]
    target: Annotated[str | None, Meta(description="What of the unit was meant.")]
    detail: Annotated[dict[str, Any], Meta(description="What else is known; phones are masked.")]
    outcome: Annotated[int | None, Meta(description="The HTTP status; null: under way, or Zapline died over it.")]
    ended_at: Moment | None


class AuditPage(Page[AuditLineBody], frozen=True):
    """Changes, the latest first."""


_WORD = Annotated[str, Meta(min_length=1, max_length=_LONGEST)]
_QUERY = (
    Query("unitId", UUID, "Only changes of this unit."),
    Query("actor", _WORD, "Only changes by this address, label or user."),
    Query("action", _WORD, "Only this operation or command."),
)
_LIST = Doc("Who changed what", {200: AuditPage}, query=(*PAGED, *_QUERY))


class AuditLines:
    """``/audit``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/audit", "list_audit", self.list, Access.ADMIN, _LIST)

    async def list(self) -> Response:
        """Newest first."""
        most, after = limit(), cursor(_After)
        wanted = Wanted(_unit(), _word("actor"), _word("action"))
        found = await read_audit(self._pool, wanted, after.id if after else None, most + 1)
        page = found[:most]
        more = encode(_After(page[-1].id)) if len(found) > most else None
        return reply(AuditPage([_line(line) for line in page], more))


def _unit() -> UnitId | None:
    text = request.args.get("unitId")
    try:
        return UnitId(UUID(text)) if text is not None else None
    except ValueError:
        raise invalid("unitId", "is a unit's id") from None


def _word(name: str) -> str | None:
    text = request.args.get(name)
    if text is not None and not (1 <= len(text) <= _LONGEST and text.isprintable()):
        raise invalid(name, f"is a line of 1 to {_LONGEST} characters")
    return text


def _line(line: AuditLine) -> AuditLineBody:
    return AuditLineBody(
        id=line.id,
        at=iso(line.at),
        actor_kind=ActorKind(line.actor_kind),
        actor=line.actor,
        actor_id=line.actor_id,
        source=line.source,
        unit_id=line.unit,
        action=line.action,
        target=line.target,
        detail=line.detail,
        outcome=line.outcome,
        ended_at=iso(line.ended_at),
    )
