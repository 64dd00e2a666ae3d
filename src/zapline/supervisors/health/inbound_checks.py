"""Checks the rates of the inbound half: errors, unknown instances, duplicates, lost lines."""

from zapline.supervisors.counters import RATE_WINDOW, Counters
from zapline.supervisors.health.check_result import HealthCheck, Verdict, expect_none, grade

MAX_ERROR_RATE = 0.001
"""Of all webhooks; the operators' requirement."""
MAX_DEDUPE_RATE = 0.02
FAIL_DEDUPE_RATE = 0.10
"""Evolution sends 1-2% twice; far more means that webhooks are answered too late, or replayed by somebody."""
MIN_SAMPLE = 100
"""Messages; with fewer a single duplicate says nothing."""


def inbound_rates(counters: Counters) -> list[HealthCheck]:
    """Return the four rates over the counters' window."""
    recent = counters.recent
    webhooks, errors = recent("webhooks"), recent("webhook_errors")
    error_rate = errors / webhooks if webhooks else 0.0
    seen, duplicates = recent("messages_seen"), recent("duplicates")
    dedupe_rate = duplicates / seen if seen else 0.0
    dedupe, enough = Verdict.PASS, seen >= MIN_SAMPLE
    if enough and dedupe_rate > MAX_DEDUPE_RATE:
        dedupe = Verdict.FAIL if dedupe_rate > FAIL_DEDUPE_RATE else Verdict.WARN
    return [
        HealthCheck(
            "webhookErrorRate",
            error_rate,
            "< 0.1%",
            grade(error_rate, MAX_ERROR_RATE, 10 * MAX_ERROR_RATE),
            "webhooks of known units that could not be used, of all webhooks; look at the dead letters",
        ),
        expect_none(
            "unknownInstances",
            recent("unknown_instances"),
            "webhooks whose instance or secret is not ours; look at the SECURITY lines of the log",
        ),
        HealthCheck(
            "dedupeRate",
            dedupe_rate,
            "1-2% is normal" if enough or not duplicates else "1-2% is normal; too few messages to judge",
            dedupe,
            "messages that came again, of all messages; look at the loop's lag and at the disk",
        ),
        expect_none(
            "unexpectedDisconnects",
            recent("unexpected_disconnects"),
            f"open lines lost in the last {RATE_WINDOW:.0f} s without anybody having asked; look at their status",
        ),
    ]
