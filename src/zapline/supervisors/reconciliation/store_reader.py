"""Reads windows of Evolution's message store page by page, and journals what the database does not have."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import ExternalId
from zapline.domain.reconciliation_windows import Window
from zapline.evolution.client.response_parser import MessagePage
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.evolution.client.stored_messages import entry_bodies, is_stored_deletion, stored_edit
from zapline.evolution.webhooks.json_fields import optional_id
from zapline.evolution.webhooks.status_updates import parse_delivery_status
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound import reconciliation
from zapline.sql.outbound.reconciliation import KnownMessage
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_entries import BACKFILL
from zapline.supervisors.inbound.unit_state import Unit

PAGE_SIZE = 100
"""Records per page: some megabytes with thumbnails."""
MAX_PAGES = 20
"""A window with more pages is split in two, so that the watermark moves often."""
APPLY_TIMEOUT = 30.0
"""Seconds for a page to be stored; after that the database counts as down, and the run fails."""
_MIN_POLL, _MAX_POLL = 0.01, 0.25
"""Seconds between checks of how far the unit's actor has come."""
_MAX_STARTS = 3
"""How often a window is started: rows deleted meanwhile move others to pages that were read already."""


class NotApplied(RemoteError):
    """The messages read are in the journal, but not in the database yet."""


class StoreUnsteady(RemoteError):
    """Evolution's pages are inconsistent; the window must be read again."""


@dataclass(slots=True)
class ReadCounts:
    """Pages and records read; ``statuses``: records with a status."""

    pages: int = 0
    records: int = 0
    statuses: int = 0


class StoreReader:
    """One instance serves all units. Messages read back are processed like webhooks, in the journal's order."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        journal: Journal,
        page_size: int = PAGE_SIZE,
        max_pages: int = MAX_PAGES,
        apply_timeout: float = APPLY_TIMEOUT,
    ) -> None:
        self._pool = pool
        self._client = client
        self._intake = intake
        self._journal = journal
        self._page_size = page_size
        self._max_pages = max_pages
        self._apply_timeout = apply_timeout

    async def read_window(self, unit: Unit, windows: deque[Window], counts: ReadCounts) -> Window | None:
        """Read the first window of ``windows``, remove and return it; or split it in two, and return None.

        When it returns, the whole window is in the database. The unit's own webhooks are delayed by one page at
        most. Raises EvolutionFailure, NotApplied, StoreUnsteady or JournalRefused; the window then stays first.
        If cancelled, a part may be journaled; reading it again is harmless.
        """
        window = windows[0]
        for _ in range(_MAX_STARTS):
            first = await self._page(unit, window, 1, counts)
            halves = window.halves() if first.total > self._page_size * self._max_pages else None
            if halves is not None:
                windows.popleft()
                windows.extendleft(reversed(halves))
                return None
            if await self._read_pages(unit, window, first, counts):
                return windows.popleft()
        raise StoreUnsteady("messages vanish from Evolution's store while it is read")

    async def read_message(self, unit: Unit, message_id: ExternalId) -> bool:
        """Whether Evolution's store may hold a message of this id; if it does, it is in the database afterwards.

        Raises as ``read_window``.
        """
        page = await unit.evolution(self._client).find_message(unit.record.instance, message_id)
        # A server that ignores the filter answers with other messages, and so proves nothing.
        records = [record for record in page.records if _external_id(record) == message_id]
        await self._journal_new(unit, records, ReadCounts())
        return bool(page.records)

    async def wait_applied(self, unit: Unit) -> None:
        """Return once everything journaled for the unit until now is in the database.

        Raises NotApplied if that takes too long or the unit is quarantined.
        """
        until = self._intake.clock()
        pause = _MIN_POLL
        with trio.move_on_after(self._apply_timeout):
            while unit.quarantined_at is None:
                # A cheap check; the journal is read only if this is true.
                if unit.state is not None and unit.applied_seq >= unit.last_fed_seq:
                    left = await self._journal.unfinished(unit.applied_seq, 1, unit.id)
                    if (not left or left[0].received_at > until) and not await self._intake.has_waiting(unit, until):
                        return
                await trio.sleep(pause)
                pause = min(pause * 1.5, _MAX_POLL)
        raise NotApplied("what was read is journaled, but the database has not taken it yet")

    async def _read_pages(self, unit: Unit, window: Window, page: MessagePage, counts: ReadCounts) -> bool:
        """Journal the pages of a window; False if it must be read again from its first page."""
        number, total = 1, page.total
        while True:
            await self._journal_new(unit, page.records, counts)
            if number >= page.pages:
                return True
            number += 1
            page = await self._page(unit, window, number, counts)
            if page.total < total:
                return False
            if not page.records:
                raise StoreUnsteady(f"page {number} of {page.pages} is empty")
            total = page.total

    async def _page(self, unit: Unit, window: Window, number: int, counts: ReadCounts) -> MessagePage:
        name = unit.record.instance
        counts.pages += 1
        return await unit.evolution(self._client).find_messages(
            name, window.since, window.until, number, self._page_size
        )

    async def _journal_new(self, unit: Unit, records: Sequence[Mapping[str, Any]], counts: ReadCounts) -> None:
        """Journal the records that the database does not have, and wait until they are stored."""
        counts.records += len(records)
        counts.statuses += sum(1 for record in records if record.get("MessageUpdate"))
        if not records:
            return
        ids = [id for record in records if (id := _external_id(record)) is not None]
        async with self._pool.connection() as conn:
            known = await reconciliation.find_known_messages(conn, unit.id, ids)
        new = [record for record in records if _adds_information(record, known)]
        own = unit.state.stored.owner_jid if unit.state is not None else None
        for body in entry_bodies(new, own):
            if not await self._intake.accept_internal(unit, BACKFILL, body):
                raise NotApplied("neither the journal nor the database takes anything now")
        if new:
            await self.wait_applied(unit)


def _external_id(record: Mapping[str, Any]) -> ExternalId | None:
    """The record's id; None where it has none that a message could be stored under."""
    key = record.get("key")
    return optional_id(key.get("id")) if isinstance(key, dict) else None


def _adds_information(record: Mapping[str, Any], known: Mapping[str, KnownMessage]) -> bool:
    """Whether a record may contain something that the database does not have.

    A record without an id is passed on too: where the others are read, it is counted as one that cannot be used.
    """
    id, message = _external_id(record), record.get("message")
    if id is None or id not in known or (isinstance(message, dict) and "editedMessage" in message):
        return True
    stored = known[id]
    if is_stored_deletion(record) and not stored.deleted:
        return True
    edit = stored_edit(record)
    if edit is not None and edit != stored.edited_text:
        return True
    updates = record.get("MessageUpdate")
    for update in updates if isinstance(updates, list) else ():
        reported = parse_delivery_status(update.get("status")) if isinstance(update, dict) else None
        if reported is not None and (stored.delivery is None or reported > stored.delivery):
            return True
    return False
