"""Routes of a unit's groups and of who is in them."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.evolution.client.directory_calls import GroupRole
from zapline.http.api.directory.contacts import query_search
from zapline.http.api.directory.numbers import PROBLEMS as LINE_PROBLEMS
from zapline.http.api.directory.numbers import held_problem
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, body_from, json_response, one_of
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, query_bool, split_page
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.directory import groups as stored
from zapline.sql.directory.groups import Group, Member
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.directory.group_members import GroupMembers, UnknownGroup
from zapline.supervisors.directory.lookups import LookupsHeld
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {**LINE_PROBLEMS, UnknownGroup: ProblemType(404, "group_not_found")}


class _After(Position, frozen=True, tag="gr"):
    canonical: Annotated[str, Meta(max_length=200)]


class GroupBody(ResponseBody, frozen=True, kw_only=True):
    """A group that the unit knows."""

    id: UUID
    jid: Annotated[str, Meta(description="WhatsApp's id of the group, to which messages are sent.")]
    name: Annotated[str | None, Meta(description="Its subject; null: not told yet.")]
    conversation_id: UUID | None
    last_message_at: Timestamp | None
    known_since: Timestamp | None
    size: Annotated[int | None, Meta(description="How many are in it; null: WhatsApp was not asked yet.")]
    admins_only: Annotated[bool | None, Meta(description="Whether only admins write in it.")]
    members_at: Annotated[Timestamp | None, Meta(description="When WhatsApp has told who is in it.")]


class MemberBody(ResponseBody, frozen=True):
    """Who is in a group."""

    phone: str | None
    lid: Annotated[str | None, Meta(description="WhatsApp's id of a person who hides the phone.")]
    role: Annotated[str, one_of(GroupRole)]
    name: Annotated[str | None, Meta(description="What the unit knows the person by.")]
    contact_id: Annotated[UUID | None, Meta(description="The person among the unit's contacts, if known there.")]


class GroupWithMembersBody(GroupBody, frozen=True, kw_only=True):
    """A group with those who are in it: the owner first, then the admins, then all others."""

    members: Sequence[MemberBody]


class GroupPage(Page[GroupBody], frozen=True):
    """Groups, in the order of their ids at WhatsApp."""


_SEARCH = QueryParameter(
    "search", Annotated[str, Meta(min_length=1, max_length=100)], "Only those with this in their name."
)
_ALL = QueryParameter(
    "refresh",
    Literal["true", "false"],
    "`true`: ask WhatsApp first for all groups that the line is in, at most every ten minutes. It may take a minute.",
)
_FRESH = QueryParameter(
    "refresh", Literal["true", "false"], "`true`: ask WhatsApp unless it was asked within this minute."
)
_ASKING = {"line_not_connected": 409, "lookups_held": 429, "evolution_failed": 502}
_LIST = RouteDoc(
    "A unit's groups",
    {200: GroupPage},
    query=(_SEARCH, _ALL, *PAGED),
    errors=_ASKING,
    detail="Those of which something was heard. With `refresh` also those in which nothing was written yet.",
)
_GET = RouteDoc(
    "A group, and who is in it with which role",
    {200: GroupWithMembersBody},
    query=(_FRESH,),
    errors={"group_not_found": 404, **_ASKING},
    detail="WhatsApp is asked where nobody has within the hour. Where it cannot be, what it told last is told, and "
    "`membersAt` says how old that is.",
)


class GroupRoutes:
    """``/units/{id}/groups``."""

    def __init__(self, commands: UnitCommands, pool: Pool, members: GroupMembers) -> None:
        self._commands = commands
        self._pool = pool
        self._members = members

    def attach(self, routes: RouteTable) -> None:
        groups = "/units/<uuid:unit>/groups"
        routes.add("GET", groups, "list_groups", self.list, Access.READ, _LIST)
        routes.add("GET", f"{groups}/<uuid:group>", "get_group", self.get, Access.READ, _GET)

    async def list(self, unit: UUID) -> Response:
        record, (limit, after) = self._commands.find(UnitId(unit)), page_query(_After)
        search = query_search()
        if query_bool("refresh"):
            try:
                await self._members.look_for_groups(record)
            except LookupsHeld as held:
                raise held_problem(held) from held
        canonical = after.canonical if after is not None else ""
        rows = await stored.list_groups(self._pool, record.id, canonical, limit + 1, search)
        page, next_cursor = split_page(rows, limit, lambda row: _After(row.canonical))
        return json_response(GroupPage([_group_body(row) for row in page], next_cursor))

    async def get(self, unit: UUID, group: UUID) -> Response:
        record, fresh = self._commands.find(UnitId(unit)), query_bool("refresh")
        try:
            found, members = await self._members.find(record, group, fresh=fresh)
        except LookupsHeld as held:
            raise held_problem(held) from held
        bodies = [_member_body(member) for member in members]
        return json_response(body_from(GroupWithMembersBody, found, **_own(found), members=bodies))


def _own(group: Group) -> dict[str, object]:
    return {"conversation_id": group.conversation, "known_since": iso(group.created_at)}


def _group_body(group: Group) -> GroupBody:
    return body_from(GroupBody, group, **_own(group))


def _member_body(member: Member) -> MemberBody:
    return MemberBody(member.phone, member.lid, member.role, member.name, member.contact)
