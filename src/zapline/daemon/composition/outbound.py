"""Builds the outbound half: senders, uncertain sends, reconciliation, campaigns, and their commands."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import trio

from zapline.daemon.composition.servers import WATCH_POLICY
from zapline.daemon.settings import Settings
from zapline.domain.campaigns.opt_out_words import OptOutWords, normalize_words
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import SendAnswered
from zapline.domain.restart_policy import RestartIntensity
from zapline.domain.timestamps import iso
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.http.api.units.unit_responses import OutboundBody, ReconciliationBody, SendingBody
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound.uploads import load_upload_bytes
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.campaigns.outbox_feeder import OutboxFeeder
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.number_checks import CheckPolicy, NumberChecks
from zapline.supervisors.health.outbound_checks import OutboundReport
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.media_cache import MediaFetcher
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import SILENCE_SECONDS, Leadership
from zapline.supervisors.lines.line_settings import LineSettingsKeeper
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.changes.change_lookup import ChangeLookup
from zapline.supervisors.outbound.changes.message_changes import MessageChanges
from zapline.supervisors.outbound.outbox_monitor import OutboxMonitor
from zapline.supervisors.outbound.read_receipts import ReadReceipts, ReplyReceipts
from zapline.supervisors.outbound.sender_pool import SenderPool
from zapline.supervisors.outbound.submission import SubmissionPolicy, Submissions
from zapline.supervisors.outbound.uncertain_send_lookup import LookupPolicy, UncertainSendLookup
from zapline.supervisors.reconciliation.line_schedule import ReconcilePolicy
from zapline.supervisors.reconciliation.scheduler import Reconciler
from zapline.supervisors.servers.server_commands import ServerCommands
from zapline.supervisors.units.message_id_support import MessageIdSupport
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.server_watch import ServerWatch
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle

NO_CONFIRMATION = "-"
"""As the confirmation of an opt-out: none is sent."""


@dataclass(frozen=True, slots=True)
class DaemonCore:
    """Objects that most parts of the daemon share."""

    pool: Pool
    """With the engine's role."""
    client: EvolutionClient
    intake: Intake
    journal: Journal
    roster: Roster
    leadership: Leadership
    counters: Counters
    commands: UnitCommands
    feed: LiveFeed
    clock: Callable[[], float]
    """UTC seconds."""
    servers: ServerCommands
    line_settings: LineSettingsKeeper


class Outbound:
    """Everything that sends. ``run`` starts it; ``senders.drain`` is called before the process ends."""

    def __init__(self, settings: Settings, core: DaemonCore, erasure_key: bytes) -> None:
        pool, client, counters = core.pool, core.client, core.counters
        intake, journal, roster, leadership = core.intake, core.journal, core.roster, core.leadership
        support, self._roster = MessageIdSupport(pool, client), roster
        self.senders = SenderPool(
            pool,
            intake,
            roster,
            leadership.may_write,
            client,
            counters,
            RestartIntensity(settings.restart_limit, settings.restart_period_seconds),
            partial(load_upload_bytes, pool),
            uuid4(),
            clock=leadership.clock.now,
            feed=core.feed,
            support=support,
            standing=leadership.standing,
            clocks_agree=leadership.clock.agrees,
        )
        reconcile_policy = ReconcilePolicy(interval=settings.reconcile_seconds)
        self.reconciler = Reconciler(pool, client, intake, journal, roster, leadership, counters, reconcile_policy)
        wake = self.senders.wake
        # Another node may have made a call, and stood still in it: it ends within its lease and Evolution's time.
        min_age = SILENCE_SECONDS + settings.evolution_timeout_seconds + 30
        policy = LookupPolicy(min_age=min_age) if settings.cluster else None
        self.uncertain = UncertainSendLookup(
            pool, client, intake, journal, roster, leadership, counters, wake, policy, support=support
        )
        compared = leadership.clock
        parts = (pool, roster.get, leadership.may_write, wake, compared.now)
        self.feeder = feeder = OutboxFeeder(*parts, feed=core.feed, clocks_agree=compared.agrees)
        stalled_after = settings.stalled_minutes * 60
        expiry = settings.message_expiry_hours * 3600
        self.monitor = OutboxMonitor(pool, counters, stalled_after, compared.now, compared.agrees, expiry)
        self.changes = UnitLifecycle(core.commands, pool, self._on_settings_changed)
        submission_policy = SubmissionPolicy(settings.default_region, expiry)
        submitting = (pool, leadership.clock.now, wake, self.senders.reload_pace, submission_policy)
        self.outgoing = Submissions(
            *submitting, feed=core.feed, know_time=leadership.know_time, clocks_agree=compared.agrees
        )
        cache = settings.state_dir / "media"
        self.media = MediaFetcher(client, cache, int(settings.media_cache_bytes), counters)
        self.receipts = ReadReceipts(pool, client)
        self.edits = MessageChanges(
            pool, client, intake, leadership.clock.now, standing=leadership.standing, feed=core.feed
        )
        self.lookup = ChangeLookup(pool, client, intake, journal, roster, leadership, counters)
        self.check_line_settings = core.line_settings.check
        self._reply_receipts = ReplyReceipts(self.receipts, pool, counters)
        self._watch_server = partial(_watch_server, settings, core, self.senders.scan_soon)
        checking = CheckPolicy(daily=settings.number_checks_per_day)
        self.checks = checks = NumberChecks(pool, client, counters, checking, clock=compared.now)
        campaigning = (pool, feeder, core.commands.find, settings.default_region)
        self.campaigns = Campaigns(*campaigning, clock=compared.now, erasure_key=erasure_key, checks=checks)

    def on_line_opened(self, unit: Unit) -> None:
        """A line is open now."""
        self.senders.line_opened(unit)
        self.reconciler.line_opened(unit)
        self.feeder.wake()

    def on_send_answered(self, unit: Unit, answer: SendAnswered) -> None:
        """The outcome of a send call is stored."""
        self.senders.answer_stored(unit, answer)
        self._reply_receipts.note(unit, answer)

    def _on_settings_changed(self, unit: UnitId) -> None:
        """A unit's settings were changed."""
        self.senders.reload_pace(unit)
        self.senders.wake(unit)
        self.feeder.wake()

    def on_leadership_regained(self) -> None:
        """This process may write again."""
        self.senders.leadership_regained()
        self.feeder.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            jobs = (self.senders, self.reconciler, self.uncertain, self.feeder, self.monitor, self.lookup)
            for job in (*jobs, self._reply_receipts):
                nursery.start_soon(job.run)
            nursery.start_soon(self._watch_server)

    def unit_status(self, unit: UnitId) -> OutboundBody:
        """State of a unit's sender and reconciliation, for its status."""
        sender, comparison = self.senders.status(unit), self.reconciler.status(unit)
        sending = SendingBody(
            state=sender.state.value,
            reason=sender.reason,
            paused_until=iso(sender.paused_until),
            campaigns_paused_until=iso(sender.throttled_until),
        )
        if comparison is None:
            return OutboundBody(sending, None)
        reconciliation = ReconciliationBody(
            reconciled_until=iso(comparison.reconciled_until),
            gap_since=iso(comparison.gap_since),
            running=comparison.running,
            store_kept=comparison.store_kept,
            error=comparison.error,
        )
        return OutboundBody(sending, reconciliation)

    def report(self) -> OutboundReport:
        """State of sending, for the health report."""
        senders = self.senders.statistics()
        without_store = len(self.reconciler.units_without_store())
        records = [unit.record for unit in self._roster.units()]
        held = {each.id: each.campaigns_held_reason or "" for each in records if each.campaigns_held_at is not None}
        counts = (senders.throttled, senders.paused, without_store, len(held), held)
        return OutboundReport(self.monitor.totals, *counts, sends_held=self.senders.held_since is not None)


async def _watch_server(settings: Settings, core: DaemonCore, on_return: Callable[[], None]) -> None:
    """Watch the server over connections of its own: all others may wait for answers."""
    key = settings.evolution_api_key.get_secret_value()
    async with open_http_client(2) as http:
        client = EvolutionClient(http, settings.evolution_api_url, key, WATCH_POLICY)
        await ServerWatch(
            client.server_info, core.roster.server, core.roster, core.counters, on_return, core.clock
        ).run()


def opt_out_policy(settings: Settings) -> OptOutWords:
    """The opt-out words and the confirmation sent for them."""
    confirmation = settings.opt_out_confirmation.strip()
    words = frozenset(normalize_words(word) for word in settings.opt_out_words)
    return OptOutWords(words - {""}, None if confirmation == NO_CONFIRMATION else confirmation)
