"""Tidies: brings parked reports to their messages, expires them, prunes the journal, refreshes the roster."""

import time
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from zapline.domain.errors import JournalRefused, RemoteError
from zapline.domain.ids import Seq
from zapline.sql.inbound.recorder_transaction import apply_waiting, expire_parked
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Entry
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.control_requests import forget_requests
from zapline.supervisors.counters import Counters
from zapline.supervisors.leadership import Leadership, Standing
from zapline.supervisors.notifications.event_payloads import reported_news
from zapline.supervisors.notifications.live_feed import Feed, Kind
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import Submit

_PARKED_EVERY = 5.0
_PARKED_AT_ONCE = 500
_PARKED_DAYS = 7.0
"""WhatsApp keeps an undelivered message for 30 days, but a report for a message not seen in a week is noise."""
_PRUNE_EVERY = 60.0
_REFRESH_EVERY = 600.0
_ORPHANS_AT_ONCE = 200
_ORPHAN_AFTER = 3600.0
"""Seconds: a unit that is only missing for a moment (a database being restored) comes back sooner."""
_SHED_FIRST = ("presence.update", "chats.update", "chats.upsert", "chats.set", "contacts.update", "contacts.upsert")
_LOG = structlog.get_logger(scope="Janitor")


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """How long done entries stay for a replay (hours), and how many bytes all may take."""

    keep_hours: float
    budget_bytes: int


class Janitor:
    """One for the process; nothing waits for it."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        leadership: Leadership,
        submit: Submit,
        roster: Roster,
        counters: Counters,
        limits: JournalLimits,
        feed: Feed,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._leadership = leadership
        self._submit = submit
        self._roster = roster
        self._counters = counters
        self._limits = limits
        self._feed = feed

    async def run(self) -> None:
        """Tidy until cancelled. A refusal of disk or database is tried again with the next round."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune)
            nursery.start_soon(self._tend_parked)
            nursery.start_soon(self._refresh)

    async def _prune(self) -> None:
        while True:
            await trio.sleep(_PRUNE_EVERY)
            older_than = time.time() - self._limits.keep_hours * 3600
            try:
                pruned = await self._journal.prune(older_than, self._limits.budget_bytes, _SHED_FIRST)
            except JournalRefused as refused:
                _LOG.warning("The journal could not be pruned", error=str(refused))
                continue
            self._counters.add("journal_pruned", amount=pruned.removed)
            await self._close_orphans()
            if pruned.shed:
                self._counters.add("journal_shed", amount=pruned.shed)
                _LOG.warning("The journal is over its budget; unimportant entries were shed", count=pruned.shed)

    async def _close_orphans(self) -> None:
        """Finish entries that nobody will ever take: their unit was archived, or is not in the database.

        They stay in the journal's history, so a replay finds them if the unit comes back.
        """
        if self._leadership.standing is not Standing.LEADING:
            return
        after = Seq(0)
        try:
            while True:
                page = await self._journal.unfinished(after, _ORPHANS_AT_ONCE)
                latest = time.time() - _ORPHAN_AFTER
                if not page or page[0].received_at >= latest:
                    return
                after = page[-1].seq
                orphans = [entry.seq for entry in page if entry.received_at < latest and self._is_orphan(entry)]
                if not orphans:
                    continue
                self._journal.mark_done(orphans)
                await self._journal.flush()
                self._counters.add("orphaned_entries", amount=len(orphans))
                _LOG.warning("Webhooks of units that no longer exist were given up", count=len(orphans))
        except JournalRefused as refused:
            _LOG.warning("The journal could not be read", error=str(refused))

    def _is_orphan(self, entry: Entry) -> bool:
        unit = self._roster.get(entry.unit_id)
        return unit is None or unit.record.archived_at is not None

    async def _tend_parked(self) -> None:
        while True:
            await trio.sleep(_PARKED_EVERY)
            await self._leadership.may_write()
            try:
                async with self._pool.connection() as conn:
                    reached, changed = await apply_waiting(conn, _PARKED_AT_ONCE)
                    expired = await expire_parked(conn, _PARKED_DAYS)
                    await forget_requests(conn)
            except RemoteError as away:
                _LOG.debug("Parked reports must wait", error=str(away))
                continue
            for told in changed:
                self._feed.publish(told.unit_id, Kind.DELIVERY, partial(reported_news, told))
            self._counters.add("parked_applied", amount=reached)
            self._counters.add("parked_expired", amount=expired)

    async def _refresh(self) -> None:
        while True:
            await trio.sleep(_REFRESH_EVERY)
            await self._leadership.may_write()
            try:
                await self._submit.reload()
            except RemoteError as away:
                _LOG.debug("The roster is not refreshed", error=str(away))
