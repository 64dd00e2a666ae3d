"""Reads windows of Evolution's store to their last page, and gives what is news to the journal, page by page."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from zapline.domain.errors import RemoteError
from zapline.domain.messages.delivery_status import Delivery
from zapline.domain.reconciliation_windows import Window
from zapline.evolution.client.response_parser import MessagePage
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.evolution.client.stored_messages import stored_bodies
from zapline.evolution.webhooks.message_updates import delivery
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import reconciliation
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_entries import BACKFILL
from zapline.supervisors.inbound.unit_state import Unit

PAGE_SIZE = 100
"""Records of one page: with thumbnails some megabytes."""
MOST_PAGES = 20
"""A window with more is cut in two, so that its end, where the watermark moves, is never far."""
APPLIED_WITHIN = 30.0
"""Seconds for the database to take a page; past it the database is away, and the rest waits too."""
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.25
"""Seconds between looks at how far the unit's actor has come."""
_STARTS = 3
"""How often one window is begun: rows that vanish meanwhile move others to pages that were read already."""


class NotApplied(RemoteError):
    """What was read is in the journal, but not in the database yet."""


class StoreUnsteady(RemoteError):
    """Evolution's pages do not fit together; the window must be read again."""


@dataclass(slots=True)
class Tally:
    """What was read. ``statuses``: records that told one."""

    pages: int = 0
    records: int = 0
    statuses: int = 0


class StoreReader:
    """One serves all units. What it reads goes the way of the webhooks, in the journal's order."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        journal: Journal,
        page_size: int = PAGE_SIZE,
        most_pages: int = MOST_PAGES,
        applied_within: float = APPLIED_WITHIN,
    ) -> None:
        self._pool = pool
        self._client = client
        self._intake = intake
        self._journal = journal
        self._page_size = page_size
        self._most_pages = most_pages
        self._applied_within = applied_within

    async def step(self, unit: Unit, todo: deque[Window], tally: Tally) -> Window | None:
        """Read the first window of ``todo``, take it away and return it; or cut it in two, and return None.

        When it returns, everything of the window is in the database. The unit's own webhooks wait for one page at
        most. Raises an EvolutionFailure, NotApplied, StoreUnsteady or JournalRefused; the window then stays.
        Cancelled, a part may be journaled; reading it again does no harm.
        """
        window = todo[0]
        for _ in range(_STARTS):
            first = await self._page(unit, window, 1, tally)
            halves = window.halves() if first.total > self._page_size * self._most_pages else None
            if halves is not None:
                todo.popleft()
                todo.extendleft(reversed(halves))
                return None
            if await self._read(unit, window, first, tally):
                return todo.popleft()
        raise StoreUnsteady("messages vanish from Evolution's store while it is read")

    async def applied(self, unit: Unit) -> None:
        """Return once everything that was journaled for the unit until now is in the database.

        Raises NotApplied where that takes too long, or the unit is quarantined.
        """
        until = time.time()
        pause = _FIRST_LOOK
        with trio.move_on_after(self._applied_within):
            while unit.quarantined_at is None:
                # Cheap to see; the journal itself is asked only when it may be so.
                if unit.state is not None and unit.applied_seq >= unit.fed:
                    left = await self._journal.unfinished(unit.applied_seq, 1, unit.id)
                    if not left or left[0].received_at > until:
                        return
                await trio.sleep(pause)
                pause = min(pause * 1.5, _LAST_LOOK)
        raise NotApplied("what was read is journaled, but the database has not taken it yet")

    async def _read(self, unit: Unit, window: Window, page: MessagePage, tally: Tally) -> bool:
        """Journal a window from its first page on; False where it must be begun anew."""
        number, total = 1, page.total
        while True:
            await self._keep(unit, page.records, tally)
            if number >= page.pages:
                return True
            number += 1
            page = await self._page(unit, window, number, tally)
            if page.total < total:
                return False
            if not page.records:
                raise StoreUnsteady(f"page {number} of {page.pages} is empty")
            total = page.total

    async def _page(self, unit: Unit, window: Window, number: int, tally: Tally) -> MessagePage:
        name = unit.record.instance
        tally.pages += 1
        return await self._client.find_messages(name, window.since, window.until, number, self._page_size)

    async def _keep(self, unit: Unit, records: Sequence[Mapping[str, Any]], tally: Tally) -> None:
        """Journal what is news: of a line that misses nothing, nothing is written."""
        tally.records += len(records)
        tally.statuses += sum(1 for record in records if record.get("MessageUpdate"))
        ids = [id for record in records if (id := _id(record)) is not None]
        if not ids:
            return
        async with self._pool.connection() as conn:
            known = await reconciliation.known_messages(conn, unit.id, ids)
        news = [record for record in records if _tells_more(record, known)]
        own = unit.state.stored.owner_jid if unit.state is not None else None
        for body in stored_bodies(news, own):
            if not await self._intake.keep(unit, BACKFILL, body):
                raise NotApplied("neither the journal nor the database takes anything now")
        if news:
            await self.applied(unit)


def _id(record: Mapping[str, Any]) -> str | None:
    key = record.get("key")
    id = key.get("id") if isinstance(key, dict) else None
    return id if isinstance(id, str) and "\0" not in id else None


def _tells_more(record: Mapping[str, Any], known: Mapping[str, Delivery | None]) -> bool:
    """Whether a record says what the database may not know: when in doubt, yes."""
    id, message = _id(record), record.get("message")
    if id is None:
        return False  # nobody could say which message it is
    if id not in known or (isinstance(message, dict) and "editedMessage" in message):
        return True
    updates = record.get("MessageUpdate")
    highest = known[id]
    for update in updates if isinstance(updates, list) else ():
        reported = delivery(update.get("status")) if isinstance(update, dict) else None
        if reported is not None and (highest is None or reported > highest):
            return True
    return False
