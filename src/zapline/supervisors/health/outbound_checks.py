"""Checks the outbound half: messages that wait for a person, are stalled, or were sent twice."""

from collections.abc import Iterator
from dataclasses import dataclass

from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import NEVER, HealthCheck, Verdict, grade
from zapline.supervisors.outbound.outbox_monitor import OutboxTotals

MAX_REPLY_WAIT = 120.0
"""Seconds that a reply may wait; a line that is not connected is reported by itself."""


@dataclass(frozen=True, slots=True)
class OutboundReport:
    """The outbound half at one moment. ``totals`` None: not counted yet."""

    totals: OutboxTotals | None
    throttled_units: int = 0
    paused_units: int = 0
    units_without_store: int = 0


NO_OUTBOUND = OutboundReport(None)


def check_outbound(report: OutboundReport, counters: Counters) -> Iterator[HealthCheck]:
    totals = report.totals or OutboxTotals()
    waits, stalled = totals.count("waits_for_person"), totals.count("stalled")
    twice, unexplained = counters.recent("sent_twice"), counters.recent("repairs_unexplained")
    yield HealthCheck(
        "uncertainMessages",
        waits,
        "0",
        grade(waits, 0, NEVER),
        "may have been delivered, or not: a person decides (POST .../messages/{id}/release)",
    )
    yield HealthCheck(
        "stalledMessages",
        stalled,
        "0",
        grade(stalled, 0, NEVER),
        "taken by Evolution and confirmed by nobody; look at the phone, then restart the instance",
    )
    yield HealthCheck("sentTwice", twice, "0", Verdict.FAIL if twice else Verdict.PASS, "delivered a second time")
    yield HealthCheck(
        "replyWaitsSeconds",
        totals.oldest_reply,
        f"< {MAX_REPLY_WAIT:.0f}",
        grade(totals.oldest_reply, MAX_REPLY_WAIT, NEVER),
        "how long the oldest due reply has waited to be sent",
    )
    yield HealthCheck(
        "throttledUnits",
        report.throttled_units,
        "0",
        grade(report.throttled_units, 0, NEVER),
        "WhatsApp or Evolution asked these lines to slow down; their campaigns pause",
    )
    yield HealthCheck(
        "unexplainedRepairs",
        unexplained,
        "0",
        grade(unexplained, 0, NEVER),
        "messages found in Evolution's store outside any known gap: its webhooks get lost",
    )
    yield HealthCheck(
        "unitsWithoutStore",
        report.units_without_store,
        "0",
        grade(report.units_without_store, 0, NEVER),
        "Evolution keeps no messages for these; set DATABASE_SAVE_DATA_NEW_MESSAGE=true there",
    )
