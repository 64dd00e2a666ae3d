"""A unit's conversations, the latest first: whose, what was said last, how much is unread; found by name or phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.ids import UnitId
from zapline.http.api.framework.paging import Position, encode_cursor, query_cursor
from zapline.http.console.framework.formatting import masked
from zapline.http.console.framework.layout import Layout, NavigationLink, query_text
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import Tick, clean_name, message_summary, tick, unread_label
from zapline.http.console.framework.translation import N_, _
from zapline.sql.conversations import inbox
from zapline.sql.conversations.inbox import UNREAD_LIMIT, ChatSummary
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 30
_LEAST_LETTERS, _LEAST_DIGITS = 2, 3
"""What is shorter finds half of all, and nobody by it."""
_PEOPLE = frozenset({AddressKind.PERSON, AddressKind.GROUP})


class _InList(Position, frozen=True, tag="cc"):
    at: Annotated[datetime, Meta(tz=True)]
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation as the list shows it."""

    id: UUID
    name: str
    phone: str
    group: bool
    last: str
    at: datetime
    tick: Tick | None
    unread: str
    unread_label: str


class ConversationListPages:
    """``/console/units/{unit}/conversations`` and its live part."""

    def __init__(self, layout: Layout, commands: UnitCommands, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._pool = pool

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/conversations"
        self._layout.get(path, "chats", self.show)
        self._layout.get(f"{path}/part", "chats_part", self.part)
        self._layout.add_tab(
            NavigationLink("conversations", N_("Conversations"), "/console/units/{unit}/conversations", 10)
        )

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._listed(record.id)
        return self._layout.render(
            "chats.html",
            at="conversations",
            unit=record,
            events=unit_events_path(record.id),
            zone=record.time_zone,
            **values,
        )

    async def part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._listed(record.id)
        return self._layout.render("chats_list.html", unit=record, zone=record.time_zone, **values)

    async def _listed(self, unit: UnitId) -> dict[str, Any]:
        wanted, after = query_text("q"), query_cursor(_InList)
        base = f"/console/units/{unit}/conversations"
        query = urlencode({"q": wanted}) if wanted else urlencode({"cursor": encode_cursor(after)}) if after else ""
        found: Sequence[ChatSummary]
        older = None
        if is_searchable(wanted):
            found = await inbox.search_chats(self._pool, unit, wanted, _PAGE)
        else:
            place = (after.at, after.id) if after is not None else None
            found = await inbox.list_chats(self._pool, unit, place, _PAGE + 1)
            if len(found) > _PAGE:
                found = found[:_PAGE]
                older = f"{base}?" + urlencode(
                    {"cursor": encode_cursor(_InList(found[-1].last_message_at, found[-1].part))}
                )
        return {
            "chats": [conversation_row(one) for one in found if not one.shadowed],
            "wanted": wanted,
            "searched": is_searchable(wanted),
            "most": _PAGE,
            "newest": base if after is not None and not wanted else None,
            "older": older,
            "query": f"?{query}" if query else "",
        }


def is_searchable(wanted: str) -> bool:
    """Whether a search by this would find somebody, and not half of all."""
    digits = sum(letter.isdigit() for letter in wanted)
    named = any(letter.isalpha() for letter in wanted)
    return len(wanted) >= _LEAST_LETTERS if named else digits >= _LEAST_DIGITS


def conversation_row(one: ChatSummary) -> ConversationRow:
    """A conversation as lists show it."""
    group = one.kind == AddressKind.GROUP
    last = message_summary(one.said_kind, one.text, deleted=bool(one.deleted)) if one.message is not None else ""
    if group and one.sender_name and not one.from_me:
        last = f"{clean_name(one.sender_name)}: {last}"
    count = min(one.unread, UNREAD_LIMIT)
    return ConversationRow(
        id=one.id,
        name=conversation_title(one.kind, one.name, one.phone),
        phone=masked(one.phone) if one.phone is not None else "",
        group=group,
        last=last,
        at=one.last_message_at.astimezone(UTC),
        tick=tick(one.work_state, one.delivery) if one.from_me else None,
        unread=f"{count}{'+' if one.unread >= UNREAD_LIMIT else ''}" if count else "",
        unread_label=unread_label(one.unread, UNREAD_LIMIT) if count else "",
    )


def conversation_title(kind: str, name: str | None, phone: str | None) -> str:
    """What a conversation is called in a list, where phones are masked."""
    told = clean_name(name or "")
    if told:
        return told
    if kind == AddressKind.GROUP:
        return _("Group without a name")
    if kind not in _PEOPLE:
        return _("Broadcast") if kind in (AddressKind.BROADCAST, AddressKind.STATUS) else _("Channel")
    return masked(phone) if phone is not None else _("Contact without a number")
