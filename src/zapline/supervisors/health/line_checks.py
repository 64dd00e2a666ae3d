"""Checks the lines' surroundings: the Evolution server that serves them, and the webhooks it is asked for."""

from collections.abc import Sequence

from zapline.domain.line.reasons import Reason
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import HealthCheck, expect_none
from zapline.supervisors.inbound.unit_state import Unit

_SERVER_REASONS = frozenset({Reason.EVOLUTION_UNAVAILABLE, Reason.EVOLUTION_UNLICENSED, Reason.EVOLUTION_REFUSED})


def check_lines(units: Sequence[Unit], counters: Counters) -> list[HealthCheck]:
    without = sum(_lacks_server(unit) for unit in units)
    changed = sum(unit.registration is not None and bool(unit.registration.differences) for unit in units)
    restored = counters.recent("registrations_restored")
    return [
        expect_none(
            "linesWithoutServer",
            without,
            "their Evolution server does not answer, has no licence, or refuses the key; start it or mend that",
        ),
        expect_none(
            "changedWebhooks",
            changed + restored,
            "somebody changed the webhook of these lines on Evolution; look who it is: it is set again, "
            "unless the unit says otherwise",
        ),
    ]


def _lacks_server(unit: Unit) -> bool:
    shown = unit.shown
    return shown is not None and shown.wanted and shown.reason in _SERVER_REASONS
