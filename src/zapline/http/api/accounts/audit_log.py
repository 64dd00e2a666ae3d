"""Routes of the audit log, for administrators: who changed what, when, from where, and with which outcome."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.principals import ActorKind
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, body_from, json_response
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, page_query, query_unit, split_page
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.accounts.audit_log import AuditFilter, list_entries_for_admin
from zapline.sql.postgres.pool import Pool

_MAX_TEXT = 254


class _After(Position, frozen=True, tag="l"):
    id: Seq


class AuditLineBody(ResponseBody, frozen=True):
    """One change, or one try."""

    id: int
    at: Timestamp | None
    actor_kind: ActorKind
    actor: Annotated[str, Meta(description="An e-mail address, a token's label, or a user of the server.")]
    actor_id: UUID | None
    source: Annotated[str | None, Meta(description="The address or the machine it came from.")]
    unit_id: UUID | None
    action: Annotated[str, Meta(description="The operation's id in this document, or the verb of a command.")]
    target: Annotated[str | None, Meta(description="What of the unit was meant.")]
    detail: Annotated[dict[str, Any], Meta(description="What else is known; phones are masked.")]
    outcome: Annotated[int | None, Meta(description="The HTTP status; null: under way, or Zapline died over it.")]
    ended_at: Timestamp | None


class AuditPage(Page[AuditLineBody], frozen=True):
    """Changes, the latest first."""


_TEXT = Annotated[str, Meta(min_length=1, max_length=_MAX_TEXT)]
_QUERY = (
    QueryParameter("unitId", UUID, "Only changes of this unit."),
    QueryParameter("actor", _TEXT, "Only changes by this address, label or user."),
    QueryParameter("action", _TEXT, "Only this operation or command."),
)
_LIST = RouteDoc("Who changed what", {200: AuditPage}, query=(*PAGED, *_QUERY))


class AuditLogRoutes:
    """``/audit``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/audit", "list_audit", self.list, Access.ADMIN, _LIST)

    async def list(self) -> Response:
        """Newest first."""
        limit, after = page_query(_After)
        wanted = AuditFilter(query_unit(), _query_text("actor"), _query_text("action"))
        lines = await list_entries_for_admin(self._pool, wanted, after.id if after else None, limit + 1)
        page, next_cursor = split_page(lines, limit, lambda line: _After(line.id))
        bodies = [body_from(AuditLineBody, line, unit_id=line.unit) for line in page]
        return json_response(AuditPage(bodies, next_cursor))


def _query_text(name: str) -> str | None:
    text = request.args.get(name)
    if text is not None and not (1 <= len(text) <= _MAX_TEXT and text.isprintable()):
        raise invalid(name, f"is a line of 1 to {_MAX_TEXT} characters")
    return text
