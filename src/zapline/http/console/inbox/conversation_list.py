"""Lists and searches a unit's conversations, the latest first: name, last message, unread count."""

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
from zapline.sql.conversations.inbox import UNREAD_LIMIT, ChatHeader, ChatSummary
from zapline.sql.conversations.message_search import FoundMessage
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 30
_MIN_LETTERS, _MIN_DIGITS = 2, 3
"""A shorter search would match too many conversations."""
_PEOPLE = frozenset({AddressKind.PERSON, AddressKind.GROUP})


class _ListPosition(Position, frozen=True, tag="cc"):
    at: Annotated[datetime, Meta(tz=True)]
    id: UUID


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation as lists show it."""

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
        self._layout.get(path, "conversations", self.show)
        self._layout.get(f"{path}/part", "conversations_part", self.part)
        self._layout.add_tab(
            NavigationLink("conversations", N_("Conversations"), "/console/units/{unit}/conversations", 10)
        )

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._values(record.id)
        return self._layout.render(
            "conversations.html",
            at="conversations",
            unit=record,
            events=unit_events_path(record.id),
            zone=record.time_zone,
            **values,
        )

    async def part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._values(record.id)
        return self._layout.render("conversation_list.html", unit=record, zone=record.time_zone, **values)

    async def _values(self, unit: UnitId) -> dict[str, Any]:
        search, after = query_text("q"), query_cursor(_ListPosition)
        base = f"/console/units/{unit}/conversations"
        query = urlencode({"q": search}) if search else urlencode({"cursor": encode_cursor(after)}) if after else ""
        chats: Sequence[ChatSummary]
        older = None
        if is_searchable(search):
            chats = await inbox.search_chats(self._pool, unit, search, _PAGE)
        else:
            position = (after.at, after.id) if after is not None else None
            chats = await inbox.list_chats(self._pool, unit, position, _PAGE + 1)
            if len(chats) > _PAGE:
                chats = chats[:_PAGE]
                older = f"{base}?" + urlencode(
                    {"cursor": encode_cursor(_ListPosition(chats[-1].last_message_at, chats[-1].member))}
                )
        return {
            "conversations": [conversation_row(chat) for chat in chats if not chat.superseded],
            "search": search,
            "searched": is_searchable(search),
            "limit": _PAGE,
            "open": query_text("open"),
            "newest": base if after is not None and not search else None,
            "older": older,
            "query": f"?{query}" if query else "",
        }


async def newest_conversations(pool: Pool, unit: UnitId, open: UUID) -> dict[str, Any]:
    """What the list beside the thread of a conversation shows: the latest ones. Raises DatabaseUnavailable."""
    chats = await inbox.list_chats(pool, unit, None, _PAGE)
    rows = [conversation_row(chat) for chat in chats if not chat.superseded]
    more = f"/console/units/{unit}/conversations" if len(chats) == _PAGE else None
    empty: dict[str, Any] = {"search": "", "searched": False, "newest": None, "limit": _PAGE}
    return {**empty, "conversations": rows, "older_conversations": more, "open": str(open)}


def is_searchable(search: str) -> bool:
    """Whether the text is long enough to search for."""
    digits = sum(letter.isdigit() for letter in search)
    named = any(letter.isalpha() for letter in search)
    return len(search) >= _MIN_LETTERS if named else digits >= _MIN_DIGITS


def conversation_row(chat: ChatSummary) -> ConversationRow:
    group = chat.kind == AddressKind.GROUP
    last = message_summary(chat.message_kind, chat.text, deleted=bool(chat.deleted)) if chat.message is not None else ""
    if group and chat.sender_name and not chat.from_me:
        last = f"{clean_name(chat.sender_name)}: {last}"
    count = min(chat.unread, UNREAD_LIMIT)
    return ConversationRow(
        id=chat.id,
        name=conversation_title(chat),
        phone=masked(chat.phone) if chat.phone is not None else shown_username(chat),
        group=group,
        last=last,
        at=chat.last_message_at.astimezone(UTC),
        tick=tick(chat.work_state, chat.delivery) if chat.from_me else None,
        unread=f"{count}{'+' if chat.unread >= UNREAD_LIMIT else ''}" if count else "",
        unread_label=unread_label(chat.unread, UNREAD_LIMIT) if count else "",
    )


def conversation_title(chat: ChatSummary | ChatHeader | FoundMessage) -> str:
    """The title of a conversation in lists, where phones are masked."""
    if title := clean_name(chat.name or ""):
        return title
    if chat.kind == AddressKind.GROUP:
        return _("Group without a name")
    if chat.kind not in _PEOPLE:
        return _("Broadcast") if chat.kind in (AddressKind.BROADCAST, AddressKind.STATUS) else _("Channel")
    if chat.phone is not None:
        return masked(chat.phone)
    return shown_username(chat) or _("Contact without a number")


def shown_username(chat: ChatSummary | ChatHeader | FoundMessage) -> str:
    """The username of a contact with its ``@``; empty where there is none."""
    called = clean_name(chat.username or "")
    return f"@{called}" if called else ""
