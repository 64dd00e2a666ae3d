"""Composes the outbound half: senders, what is uncertain, reconciliation, campaigns, and what the API asks of them."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import trio

from zapline.daemon.settings import Settings
from zapline.domain.campaigns.opt_out_words import OptOuts, plain
from zapline.domain.ids import UnitId
from zapline.domain.messages.events import SendAnswered
from zapline.domain.restart_policy import Intensity
from zapline.domain.timestamps import iso
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.http.api.units.unit_schemas import OutboundBody, ReconciliationBody, SendingBody
from zapline.sql.journal.journal import Journal
from zapline.sql.outbound.outbox import load_upload
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.campaigns.feeder import Feeder
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.outbound_checks import SendingReport
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.media_cache import Media
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.notifications.live_feed import Feed
from zapline.supervisors.outbound.outbox_monitor import OutboxWatch
from zapline.supervisors.outbound.read_receipts import Receipts
from zapline.supervisors.outbound.sender_pool import Senders
from zapline.supervisors.outbound.submission import Outgoing, OutgoingPolicy
from zapline.supervisors.outbound.uncertain_sends import Uncertain
from zapline.supervisors.reconciliation.line_state import ReconcilePolicy
from zapline.supervisors.reconciliation.scheduler import Reconciler
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import Submit
from zapline.supervisors.units.unit_lifecycle import UnitChanges

SILENCE = "-"
"""As the confirmation of an opt-out: none is sent."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """What the outbound half needs of the other."""

    pool: Pool
    """The engine's."""
    client: EvolutionClient
    intake: Intake
    journal: Journal
    roster: Roster
    leadership: Leadership
    counters: Counters
    submit: Submit
    feed: Feed


class Outbound:
    """Everything that sends. ``run`` starts it; ``drain`` comes before the end of the process."""

    def __init__(self, settings: Settings, parts: Inbound, erasure_key: bytes) -> None:
        pool, client, counters = parts.pool, parts.client, parts.counters
        intake, journal, roster, leadership = parts.intake, parts.journal, parts.roster, parts.leadership
        self.senders = Senders(
            pool,
            intake,
            roster,
            leadership.may_write,
            client,
            counters,
            Intensity(settings.restart_limit, settings.restart_period_seconds),
            partial(load_upload, pool),
            uuid4(),
            feed=parts.feed,
        )
        policy = ReconcilePolicy(every=settings.reconcile_seconds)
        self.reconciler = Reconciler(pool, client, intake, journal, roster, leadership, counters, policy)
        wake = self.senders.wake
        self.uncertain = Uncertain(pool, client, intake, journal, roster, leadership, counters, wake)
        self.feeder = feeder = Feeder(pool, roster.get, leadership.may_write, wake, feed=parts.feed)
        self.watch = OutboxWatch(pool, counters, settings.stalled_minutes * 60)
        self.changes = UnitChanges(parts.submit, pool, self._renewed)
        said = OutgoingPolicy(settings.default_region, settings.message_expiry_hours * 3600)
        self.outgoing = Outgoing(pool, time.time, wake, self.senders.reload_pace, said, feed=parts.feed)
        cache = settings.state_dir / "media"
        self.media = Media(client, cache, int(settings.media_cache_bytes), counters)
        self.receipts = Receipts(pool, client)
        self.campaigns = Campaigns(pool, feeder, parts.submit.find, settings.default_region, erasure_key=erasure_key)

    def answered(self, unit: Unit, answer: SendAnswered) -> None:
        """What became of a call is stored."""
        self.senders.answered(unit, answer)

    def opened(self, unit: Unit) -> None:
        """A line has become open."""
        self.senders.opened(unit)
        self.reconciler.opened(unit)
        self.feeder.ring()

    def _renewed(self, unit: UnitId) -> None:
        """A unit's settings have changed."""
        self.senders.reload_pace(unit)
        self.senders.wake(unit)
        self.feeder.ring()

    def queued(self, unit: Unit) -> None:
        """Something lies ready for a unit's sender."""
        self.senders.wake(unit.id)

    def campaigning(self) -> Collection[UnitId]:
        """Units of which a campaign runs."""
        return self.feeder.campaigning

    def led_anew(self) -> None:
        """This process may write again."""
        self.senders.led_anew()
        self.feeder.ring()

    async def run(self) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            for part in (self.senders, self.reconciler, self.uncertain, self.feeder, self.watch):
                nursery.start_soon(part.run)

    async def drain(self, seconds: float) -> None:
        """Claim nothing any more, and let the calls under way come to their end."""
        await self.senders.drain(seconds)

    def told(self, unit: UnitId) -> OutboundBody:
        """How a unit's sending and its comparison with Evolution's store stand, for its status."""
        sender, compared = self.senders.status(unit), self.reconciler.status(unit)
        sending = SendingBody(
            state=sender.state.value,
            reason=sender.reason,
            paused_until=iso(sender.paused_until),
            campaigns_paused_until=iso(sender.throttled_until),
        )
        if compared is None:
            return OutboundBody(sending, None)
        reconciliation = ReconciliationBody(
            reconciled_until=iso(compared.reconciled_until),
            gap_since=iso(compared.gap_since),
            running=compared.running,
            store_kept=compared.store_kept,
            error=compared.error,
        )
        return OutboundBody(sending, reconciliation)

    def report(self) -> SendingReport:
        """How sending stands, for the health report."""
        at_work = self.senders.statistics()
        without_store = len(self.reconciler.units_without_store())
        return SendingReport(self.watch.totals, at_work.throttled, at_work.paused, without_store)


def opt_outs(settings: Settings) -> OptOuts:
    """The agreed words, and what is answered to them."""
    confirmation = settings.opt_out_confirmation.strip()
    words = frozenset(plain(word) for word in settings.opt_out_words)
    return OptOuts(words - {""}, None if confirmation == SILENCE else confirmation)
