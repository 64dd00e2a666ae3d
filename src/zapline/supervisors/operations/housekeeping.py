"""Periodic work: applies and expires parked reports, prunes the journal, finishes orphans, reloads the roster."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from zapline.domain.errors import JournalRefused, RemoteError
from zapline.domain.ids import Seq
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.sql.directory.number_checks import prune_checks
from zapline.sql.inbound.authorship import Stranger
from zapline.sql.inbound.encrypted.encrypted_reports import expire_encrypted_reports, prune_secrets
from zapline.sql.inbound.parked_reports import apply_parked_reports, expire_parked_reports
from zapline.sql.inbound.recorder_transaction import apply_waiting_facts, open_waiting_reports
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import NOT_ROUTED, Entry, Loss
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.control_requests import prune_requests
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.after_commit import publish_stored, report_strangers
from zapline.supervisors.inbound.journal_losses import JournalLosses
from zapline.supervisors.leadership import Leadership, LeadershipStatus
from zapline.supervisors.notifications.event_payloads import reported_delivery_payload
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed
from zapline.supervisors.operations.later_indexes import LaterIndexes
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

_PARKED_INTERVAL = 5.0
_PARKED_BATCH = 500
_PARKED_DAYS = 7.0
"""WhatsApp keeps an undelivered message for 30 days, but a report whose message is unknown for a week is noise."""
_NEVER_DAYS = 36_500.0
_SECRET_HOURS = 24.0
"""For which the secret of a message is kept: WhatsApp lets a message be edited for 15 minutes."""
_CHECK_DAYS = 30.0
"""For which it is kept whether a number was on WhatsApp; it is believed for a week."""
_ENCRYPTED_BATCH = 200
_PRUNE_INTERVAL = 60.0
_OVERWRITE_INTERVAL = 3600.0
"""Seconds between two times of overwriting removed entries in the journal's WAL; the writer waits for a moment."""
_REFRESH_INTERVAL = 600.0
_ORPHANS_BATCH = 200
_ORPHAN_AFTER = 3600.0
"""Seconds: a unit missing only for a moment (a database being restored) is back sooner."""
_SHED_EVENTS = ("presence.update", "chats.update", "chats.upsert", "chats.set", "contacts.update", "contacts.upsert")
_LOG = structlog.get_logger(scope="Janitor")


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Hours for which done entries stay replayable, and the bytes that the journal may take."""

    keep_hours: float
    budget_bytes: int


@dataclass(eq=False, repr=False)
class Housekeeping:
    """One instance per process; nothing waits for it."""

    _pool: Pool
    _journal: Journal
    _leadership: Leadership
    _commands: UnitCommands
    _roster: Roster
    _counters: Counters
    _limits: JournalLimits
    _feed: LiveFeed
    _sealer: SecretSealer
    _losses: JournalLosses | None = None
    _clock: Callable[[], float] = time.time
    _open_owner: Callable[[], Awaitable[Connection]] | None = None
    """None: indexes that are missing stay so."""

    async def run(self) -> None:
        """Run until cancelled. What disk or database refuses is tried again in the next round."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune_journal)
            nursery.start_soon(self._process_parked_reports)
            nursery.start_soon(self._process_encrypted_reports)
            nursery.start_soon(self._refresh_roster)
            if self._open_owner is not None:
                nursery.start_soon(LaterIndexes(self._pool, self._open_owner, self._leadership.may_write_alone).run)

    async def _prune_journal(self) -> None:
        removed, overwritten_at = False, trio.current_time()
        while True:
            await trio.sleep(_PRUNE_INTERVAL)
            # By a wrong clock nothing is too old.
            older_than = self._clock() - self._limits.keep_hours * 3600 if self._leadership.clock.agrees() else 0.0
            try:
                pruned = await self._journal.prune(older_than, self._limits.budget_bytes, _SHED_EVENTS)
                removed = removed or pruned.removed > 0
                if removed and trio.current_time() >= overwritten_at + _OVERWRITE_INTERVAL:
                    await self._journal.overwrite_removed()
                    removed, overwritten_at = False, trio.current_time()
            except JournalRefused as refused:
                _LOG.warning("The journal could not be pruned", error=str(refused))
                continue
            self._counters.add("journal_pruned", amount=pruned.removed)
            await self._close_orphans()
            if pruned.shed:
                self._counters.add("journal_shed", amount=pruned.shed)
                _LOG.warning("The journal is over its budget; unimportant entries were shed", count=pruned.shed)

    async def _close_orphans(self) -> None:
        """Finish entries that no actor will take: their unit is archived, or not in the database.

        They stay replayable, for the case that the unit comes back.
        """
        if self._leadership.status is not LeadershipStatus.LEADING or not self._leadership.clock.agrees():
            return
        after = Seq(0)
        try:
            while True:
                page = await self._journal.unfinished(after, _ORPHANS_BATCH)
                latest = self._clock() - _ORPHAN_AFTER
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
                unknown = [entry for entry in page if entry.seq in orphans and self._roster.get(entry.unit_id) is None]
                if unknown and self._losses is not None:
                    self._losses.note(Loss("no_unit", len(unknown), unknown[0].received_at))
        except JournalRefused as refused:
            _LOG.warning("The journal could not be read", error=str(refused))

    def _is_orphan(self, entry: Entry) -> bool:
        if entry.unit_id == NOT_ROUTED:
            return False  # they are routed as soon as the units are known
        unit = self._roster.get(entry.unit_id)
        return unit is None or unit.record.archived_at is not None

    async def _process_parked_reports(self) -> None:
        while True:
            await trio.sleep(_PARKED_INTERVAL)
            await self._leadership.may_write_alone()
            strangers: list[Stranger] = []
            # By a wrong clock nothing is too old.
            days = _PARKED_DAYS if self._leadership.clock.agrees() else _NEVER_DAYS
            try:
                async with self._pool.connection() as conn:
                    applied, changed = await apply_parked_reports(conn, _PARKED_BATCH, strangers)
                    expired = await expire_parked_reports(conn, days, strangers)
                    outcomes, buried, given_up = await apply_waiting_facts(conn, _PARKED_BATCH, days)
                    await prune_requests(conn)
            except RemoteError as failure:
                _LOG.debug("Parked reports must wait", error=str(failure))
                continue
            for report in changed:
                self._feed.publish(report.unit_id, EventKind.DELIVERY, partial(reported_delivery_payload, report))
            for unit, outcome in outcomes.items():
                publish_stored(unit, (), outcome, self._feed)
                self._counters.add("waiting_facts", "taken_up", outcome.waiting["taken_up"])
            self._counters.add("waiting_facts", "expired", given_up)
            for stranger in (*strangers, *buried):
                report_strangers(stranger.unit, {(stranger.change, stranger.proven): 1}, self._counters)
            self._counters.add("parked_applied", amount=applied)
            self._counters.add("parked_expired", amount=expired)

    async def _process_encrypted_reports(self) -> None:
        """Delete secrets after their time and reports that nobody opened; try the others again."""
        while True:
            await self._leadership.may_write_alone()
            # By a wrong clock nothing is too old.
            now = self._clock() if self._leadership.clock.agrees() else 0.0
            try:
                async with self._pool.connection() as conn:
                    outcomes = await open_waiting_reports(conn, _ENCRYPTED_BATCH, self._sealer)
                    pruned = await prune_secrets(conn, now - _SECRET_HOURS * 3600)
                    expired = await expire_encrypted_reports(conn, now - _PARKED_DAYS * 86_400)
                    await prune_checks(conn, now - _CHECK_DAYS * 86_400)
            except RemoteError as failure:
                _LOG.debug("Encrypted reports must wait", error=str(failure))
            else:
                for unit, outcome in outcomes.items():
                    publish_stored(unit, (), outcome, self._feed)
                    for what, count in outcome.encrypted.items():
                        self._counters.add("encrypted_reports", what, count)
                self._counters.add("encrypted_reports", "expired", expired)
                self._counters.add("secrets_pruned", amount=pruned)
            await trio.sleep(_PRUNE_INTERVAL)

    async def _refresh_roster(self) -> None:
        while True:
            await trio.sleep(_REFRESH_INTERVAL)
            await self._leadership.may_write()
            try:
                await self._commands.reload()
            except RemoteError as failure:
                _LOG.debug("The roster is not refreshed", error=str(failure))
