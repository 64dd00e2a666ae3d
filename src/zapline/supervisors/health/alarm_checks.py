"""Checks the alarms: whether those whom they go to are reached."""

from dataclasses import dataclass

from zapline.supervisors.health.check_result import HealthCheck, expect_none

_PATIENCE = 120.0
"""Seconds for which a mail server or a line may be away before it is told."""


@dataclass(frozen=True, slots=True)
class AlarmReport:
    """The alarms at one moment. ``waits``: seconds for which the oldest notice has failed; ``given_up``: in a day.

    ``reasons``: why it fails, in a word for each destination.
    """

    waits: float = 0.0
    failing: int = 0
    given_up: int = 0
    reasons: tuple[str, ...] = ()


NO_ALARMS = AlarmReport()


def check_alarms(report: AlarmReport) -> HealthCheck:
    late = report.failing if report.waits > _PATIENCE else 0
    return expect_none(
        "alarmsUndelivered",
        late + report.given_up,
        "alarms that did not reach whom they are for: mend the destinations, then run zapline alarms test",
        detail=", ".join(report.reasons) if late or report.given_up else "",
    )
