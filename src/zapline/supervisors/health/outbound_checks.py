"""Checks the outbound half: messages that wait for a person, are stalled, or were sent twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zapline.domain.ids import UnitId
from zapline.domain.outbox.failure_texts import failure_text
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import HealthCheck, expect_below, expect_none
from zapline.supervisors.outbound.outbox_monitor import MAX_REPLY_WAIT, OutboxTotals


@dataclass(frozen=True, slots=True)
class OutboundReport:
    """The outbound half at one moment. ``totals`` None: not counted yet."""

    totals: OutboxTotals | None
    throttled_units: int = 0
    paused_units: int = 0
    units_without_store: int = 0
    held_units: int = 0
    """Units whose campaigns wait for a person."""
    held_reasons: Mapping[UnitId, str] = field(default_factory=dict)
    """Why, by unit, as failure codes."""
    sends_held: bool = False
    """The journal refuses, so that nothing is sent."""


NO_OUTBOUND = OutboundReport(None)


def check_outbound(report: OutboundReport, counters: Counters) -> list[HealthCheck]:
    totals = report.totals or OutboxTotals()
    return [
        expect_none(
            "sendsHeld",
            int(report.sends_held),
            "nothing is sent while the journal cannot note it: free the state directory's disk or mend its rights; "
            "what waits then leaves by itself"
            if report.sends_held
            else "the journal notes each call",
            fail=0,
        ),
        expect_none(
            "uncertainMessages",
            totals.count("waits_for_person"),
            "may have been delivered, or not: a person decides (POST .../messages/{id}/release)",
            units=totals.causes.get("waits_for_person", ()),
        ),
        expect_none(
            "stalledMessages",
            totals.count("stalled"),
            "taken by Evolution and confirmed by nobody; look at the phone, then restart the instance",
            units=totals.causes.get("stalled", ()),
        ),
        expect_none(
            "sentTwice", counters.recent("sent_twice"), "delivered a second time; keep the log and report it", fail=0
        ),
        expect_below(
            "replyWaitsSeconds",
            totals.oldest_reply,
            MAX_REPLY_WAIT,
            "how long the oldest due reply has waited, of lines that are connected; look at what holds the sending of "
            "its unit (GET /units/{id}/status)",
            units=totals.causes.get("late", ()),
        ),
        expect_none(
            "throttledUnits",
            report.throttled_units,
            "WhatsApp or Evolution asked these lines to slow down; their campaigns pause: write to fewer new contacts",
        ),
        expect_none(
            "refusedMessages",
            counters.recent("messages_refused"),
            "refused by WhatsApp after Evolution had taken them, most often because too many strangers were "
            "written to; write to fewer new contacts",
        ),
        expect_none(
            "campaignsHeld",
            report.held_units,
            _held_campaigns(report),
            units=tuple(report.held_reasons),
        ),
        expect_none(
            "unexplainedRepairs",
            counters.recent("repairs_unexplained"),
            "messages found in Evolution's store outside any known gap: webhooks get lost; look at the network between",
        ),
        expect_none(
            "unitsWithoutStore",
            report.units_without_store,
            "Evolution keeps no messages for these; set DATABASE_SAVE_DATA_NEW_MESSAGE=true there",
        ),
    ]


def _held_campaigns(report: OutboundReport) -> str:
    """Why campaigns are held, and what to do."""
    why = " ".join(failure_text(code) for code in sorted(set(report.held_reasons.values())))
    told = "the campaigns of these units wait for a person (POST .../release-campaigns)"
    return f"{told}: {why}" if why else f"WhatsApp refused too much or confirmed nothing: {told}"
