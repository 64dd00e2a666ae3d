"""Finds units, conversations and messages at once, for the dialog that Ctrl-K opens."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.text import folded
from zapline.http.api.framework.paging import query_unit
from zapline.http.console.framework.layout import Layout, query_text
from zapline.http.console.inbox.conversation_list import conversation_row, is_searchable
from zapline.http.console.inbox.message_search import PATH as SEARCH_PATH
from zapline.sql.conversations import inbox
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster

PATH = "/console/find"
_UNITS, _CHATS = 6, 6
"""Of each kind at most."""
_SEARCHED = 4
"""Units in whose conversations is searched: the one whose page is open, and the first others."""


@dataclass(frozen=True, slots=True)
class FoundChat:
    """A conversation as the dialog lists it."""

    path: str
    name: str
    detail: str
    unit: str
    last: str
    at: datetime
    zone: str


class Palette:
    """``/console/find``: with ``unitId``, that unit's conversations first."""

    def __init__(self, layout: Layout, roster: Roster, pool: Pool) -> None:
        self._layout = layout
        self._roster = roster
        self._pool = pool

    def attach(self) -> None:
        self._layout.get(PATH, "palette", self.find)

    async def find(self) -> Response:
        """A part: units by name, conversations by name or phone, and the way to the messages with these words."""
        text, here = query_text("q"), query_unit()
        records = sorted((unit.record for unit in self._roster.units()), key=lambda one: (one.id != here, one.name))
        units = [one for one in records if folded(text) in folded(one.name)]
        chats: list[FoundChat] = []
        if is_searchable(text):
            for record in records[:_SEARCHED]:
                if len(chats) < _CHATS:
                    chats += await self._chats(record.id, record.name, record.time_zone, text)
        elif not text and here is not None and records and records[0].id == here:
            chats = await self._chats(here, records[0].name, records[0].time_zone, "")
        more = f"{SEARCH_PATH}?{urlencode({'q': text})}" if text else None
        values: dict[str, Any] = {"units": units[:_UNITS], "chats": chats[:_CHATS], "more": more, "text": text}
        return self._layout.render("palette.html", **values)

    async def _chats(self, unit: UnitId, name: str, zone: str, text: str) -> list[FoundChat]:
        """Those that fit; the latest ones for an empty text."""
        if text:
            found = await inbox.search_chats(self._pool, unit, text, _CHATS)
        else:
            found = await inbox.list_chats(self._pool, unit, None, _CHATS)
        rows = [conversation_row(chat) for chat in found if not chat.superseded]
        base = f"/console/units/{unit}/conversations"
        return [FoundChat(f"{base}/{row.id}", row.name, row.phone, name, row.last, row.at, zone) for row in rows]
