"""Finds messages by their words in all units that a person may see, the latest first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.http.api.framework.paging import Position, Seq, encode_cursor, query_cursor, query_unit
from zapline.http.console.framework.layout import Layout, NavigationLink, query_text
from zapline.http.console.framework.message_labels import clean_name, message_summary
from zapline.http.console.framework.translation import N_
from zapline.http.console.inbox.conversation_list import conversation_title
from zapline.http.console.inbox.thread import place_in_thread
from zapline.sql.conversations.message_search import FoundMessage, SearchNotReady, search_units
from zapline.sql.conversations.search_places import SearchesHeld, SearchPlaces
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

PATH = "/console/search"
_PAGE = 30
_LONGEST = 200


class _Found(Position, frozen=True, tag="cf"):
    seq: Seq


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A message as the list shows it."""

    path: str
    unit: str
    name: str
    from_me: bool
    sender: str
    text: str
    at: datetime
    zone: str


class MessageSearchPages:
    """``/console/search``: of all units, or of the one that ``unitId`` names."""

    def __init__(
        self, layout: Layout, commands: UnitCommands, roster: Roster, pool: Pool, places: SearchPlaces
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool
        self._places = places

    def attach(self) -> None:
        self._layout.get(PATH, "search", self.show)
        self._layout.get(f"{PATH}/part", "search_part", self.part)
        self._layout.add_section(NavigationLink("search", N_("Search"), PATH, 10))

    async def show(self) -> Response:
        values = await self._values()
        page = self._layout.render("search.html", 429 if values["held"] else 200, at="search", **values)
        if values["held"]:
            page.headers["Retry-After"] = "5"
        return page

    async def part(self) -> Response:
        """The list alone, while somebody types."""
        return self._layout.render("search_list.html", **await self._values())

    async def _values(self) -> dict[str, Any]:
        text, only, after = query_text("q", _LONGEST), query_unit(), query_cursor(_Found)
        units = {unit.id: unit.record for unit in self._roster.units()}
        chosen = self._commands.find(only).record if only is not None else None
        wanted = [chosen.id] if chosen is not None else list(units)
        found, held, unready, before = None, False, False, after.seq if after is not None else None
        if text:
            try:
                async with self._places.take(chosen.id if chosen is not None else None):
                    found = await search_units(self._pool, wanted, text, before, _PAGE + 1)
            except SearchesHeld:
                held = True
            except SearchNotReady:
                unready = True
        items, stop = (found.items, found.stop) if found is not None else ([], None)
        page = items[:_PAGE]
        query = {"q": text} | ({"unitId": str(only)} if only is not None else {})
        last = page[-1].seq if len(items) > _PAGE else stop.seq if stop is not None else None
        older = f"{PATH}?" + urlencode({**query, "cursor": encode_cursor(_Found(last))}) if last is not None else None
        names = {id: (record.name, record.time_zone) for id, record in units.items()}
        return {
            "search": text,
            "only": chosen,
            "held": held,
            "unready": unready,
            "searched": found is not None,
            "rows": [_row(message, *names.get(message.unit_id, ("", "UTC"))) for message in page],
            "newest": f"{PATH}?" + urlencode(query) if after is not None else None,
            "older": older,
            "stop": stop,
            "zone": chosen.time_zone if chosen is not None else "UTC",
        }


def _row(message: FoundMessage, unit: str, zone: str) -> FoundRow:
    return FoundRow(
        path=place_in_thread(message.unit_id, message.conversation_id, message.id, message.sent_at, message.seq),
        unit=unit,
        name=conversation_title(message),
        from_me=message.from_me,
        sender=clean_name(message.sender_name or ""),
        text=message_summary(message.message_kind, message.text, deleted=False),
        at=message.sent_at,
        zone=zone,
    )
