"""Judges the outbound half: what waits for a person, what stands still, what was sent twice."""

from collections.abc import Iterator
from dataclasses import dataclass

from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check import Check, Verdict, above
from zapline.supervisors.outbound.outbox_monitor import OutboxTotals

_NEVER = float("inf")
REPLY_WAITS = 120.0
"""Seconds a reply may wait before somebody should look; a line that is away says so itself."""


@dataclass(frozen=True, slots=True)
class SendingReport:
    """The outbound half at one moment. ``totals`` None: not counted yet."""

    totals: OutboxTotals | None
    throttled_units: int = 0
    paused_units: int = 0
    units_without_store: int = 0


NOTHING_SENT = SendingReport(None)


def sending_checks(report: SendingReport, counters: Counters) -> Iterator[Check]:
    """The lines of the health report about sending."""
    totals = report.totals or OutboxTotals()
    waits, stalled = totals.of("waits_for_person"), totals.of("stalled")
    twice, unexplained = counters.recent("sent_twice"), counters.recent("repairs_unexplained")
    yield Check(
        "uncertainMessages",
        waits,
        "0",
        above(waits, 0, _NEVER),
        "may have been delivered, or not: a person decides (POST .../messages/{id}/release)",
    )
    yield Check(
        "stalledMessages",
        stalled,
        "0",
        above(stalled, 0, _NEVER),
        "taken by Evolution and confirmed by nobody; look at the phone, then restart the instance",
    )
    yield Check("sentTwice", twice, "0", Verdict.FAIL if twice else Verdict.PASS, "delivered a second time")
    yield Check(
        "replyWaitsSeconds",
        totals.oldest_reply,
        f"< {REPLY_WAITS:.0f}",
        above(totals.oldest_reply, REPLY_WAITS, _NEVER),
        "how long the oldest due reply has waited to be sent",
    )
    yield Check(
        "throttledUnits",
        report.throttled_units,
        "0",
        above(report.throttled_units, 0, _NEVER),
        "WhatsApp or Evolution asked these lines to slow down; their campaigns pause",
    )
    yield Check(
        "unexplainedRepairs",
        unexplained,
        "0",
        above(unexplained, 0, _NEVER),
        "messages found in Evolution's store outside any known gap: its webhooks get lost",
    )
    yield Check(
        "unitsWithoutStore",
        report.units_without_store,
        "0",
        above(report.units_without_store, 0, _NEVER),
        "Evolution keeps no messages for these; set DATABASE_SAVE_DATA_NEW_MESSAGE=true there",
    )
