"""Builds the inbound half: intake, what is kept until the units are known, and the guard over journal and database."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog
import trio

from zapline.daemon.composition.outbound import Outbound, opt_out_policy
from zapline.daemon.settings import Settings
from zapline.domain.errors import JournalRefused
from zapline.sql.journal.journal import Journal
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.durability_checks import DurabilityReport, SharedReport
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_losses import JournalLosses
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unrouted import UnroutedWebhooks
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.database_comparison import DatabaseComparison
from zapline.supervisors.units.line_calls import LineCalls
from zapline.supervisors.units.roster import Roster, decode_snapshot

_LOG = structlog.get_logger(scope="Daemon")


@dataclass(slots=True)
class Inbound:
    """What takes webhooks in, and what holds journal, memory and database together."""

    intake: Intake
    losses: JournalLosses
    comparison: DatabaseComparison
    unrouted: UnroutedWebhooks
    journal: Journal
    shared: Callable[[], SharedReport] | None = None
    """None: this process is alone."""

    def report(self) -> DurabilityReport:
        """For the health report."""
        journal, at = self.journal, self.losses.last_at
        trouble = journal.closed_because or ("the last commit was refused" if journal.refusing else None)
        return DurabilityReport(
            journal_trouble=trouble,
            losses=self.losses.entries,
            lost_ago=trio.current_time() - at if at is not None else None,
            unrouted=self.unrouted.waiting,
            catching_up=self.comparison.catching_up,
            shared=self.shared() if self.shared is not None else None,
        )


def build_inbound(
    journal: Journal,
    roster: Roster,
    dispatcher: Dispatcher,
    counters: Counters,
    compare_again: Callable[[], None],
    clock: Callable[[], float],
) -> Inbound:
    """``compare_again`` is called when the journal was opened late or replaced. ``clock`` returns UTC seconds."""
    dispatcher.journal = journal
    intake = Intake(journal, counters, clock=clock)
    losses = JournalLosses(journal, roster.units, counters, clock=clock)
    losses.take()
    comparison = DatabaseComparison(journal, roster, dispatcher, losses, counters)

    def journal_changed() -> None:
        comparison.journal_changed()
        compare_again()

    journal.on_changed = journal_changed
    find = roster.webhook_authentication.find_owner
    return Inbound(intake, losses, comparison, UnroutedWebhooks(journal, intake, counters, find), journal)


def actor_context(
    settings: Settings,
    journal: Journal,
    recorder: Recorder,
    calls: LineCalls,
    counters: Counters,
    dispatcher: Dispatcher,
    inbound: Inbound,
    outbound: Outbound,
    feed: LiveFeed,
) -> ActorContext:
    """What all actors use."""
    return ActorContext(
        journal,
        recorder,
        calls,
        counters,
        dispatcher.refill,
        dispatcher.rewind,
        opt_out_words=opt_out_policy(settings),
        on_damaged_entry=inbound.losses.note_damaged_entry,
        feed=feed,
        on_send_answered=outbound.on_send_answered,
        check_line_settings=outbound.check_line_settings,
        on_message_refused=outbound.senders.message_refused,
        on_line_opened=outbound.on_line_opened,
        clock=inbound.intake.clock,
        on_queued=lambda unit: outbound.senders.wake(unit.id),
    )


def start_inbound(nursery: trio.Nursery, inbound: Inbound, outbound: Outbound) -> None:
    """Run what guards the inbound half, in ``nursery``."""
    outbound.senders.set_bring_back(inbound.comparison.bring_back_message)
    nursery.start_soon(inbound.comparison.run, outbound.senders.wake)
    nursery.start_soon(inbound.unrouted.run)


def load_snapshot(journal: Journal, roster: Roster) -> None:
    """Know the units of the journal's snapshot until the database is there; without one, webhooks are kept unrouted."""
    try:
        snapshot = journal.load_snapshot()
        if snapshot is not None:
            roster.apply(decode_snapshot(snapshot), journal.journal_id)
    except (JournalRefused, msgspec.DecodeError):
        _LOG.error("The journal's snapshot of the units cannot be read; webhooks wait on disk for the database")
