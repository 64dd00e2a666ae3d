"""Checks the process itself: its database, its recorder, its clock, its actors; each text says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from zapline.supervisors.clock_watch import TOLERANCE
from zapline.supervisors.health.check_result import HealthCheck, Verdict, expect_below, expect_none
from zapline.supervisors.inbound.pending_writes import LaneState, RecorderStatistics
from zapline.supervisors.leadership import LeadershipStatus

_ADVICE: Mapping[LeadershipStatus, str] = {
    LeadershipStatus.UNREACHABLE: "start PostgreSQL, or mend the network; webhooks are kept on disk meanwhile",
    LeadershipStatus.ANOTHER_DAEMON: "another Zapline leads and this one stands by: it takes over by itself when "
    "that one ends; stop one of them unless this is meant",
    LeadershipStatus.SCHEMA_MISSING: "run zapline migrate; webhooks are kept on disk meanwhile",
    LeadershipStatus.SCHEMA_OLD: "run zapline migrate; webhooks are kept on disk meanwhile",
}
"""What to do about each standing."""
_MAX_AGE, _FAIL_AGE = 60.0, 1200.0
"""Seconds that an accepted webhook may wait to be stored."""


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The process at one moment. Times in seconds.

    ``answers``: whether the database answered the last ping. ``lost``: webhooks answered and stored nowhere.
    ``skew``: of this machine's clock against the database's, None: never compared.
    """

    standing: LeadershipStatus
    answers: bool
    recorder: RecorderStatistics
    journal_age: float
    lost: int
    lost_recently: bool
    quarantined: int
    paused: int
    stuck: int
    loop_lag: float
    skew: float | None
    clocks_agree: bool


def check_process(report: ProcessReport) -> list[HealthCheck]:
    states, trouble = report.recorder.states, report.recorder.trouble or ""
    stopped, retrying = states.count(LaneState.STOPPED), states.count(LaneState.RETRYING)
    return [
        _check_database(report),
        expect_none(
            "recorderLanesStopped",
            stopped,
            "PostgreSQL refuses for a reason that needs a person; nothing is lost meanwhile; run zapline doctor",
            fail=0,
            detail=trouble,
        ),
        expect_none(
            "recorderLanesRetrying",
            retrying,
            "storing is tried again by itself; if it lasts, look at the database's load and locks",
            detail=trouble,
        ),
        expect_below(
            "journalAgeSeconds",
            report.journal_age,
            _MAX_AGE,
            "age of the oldest webhook not stored; look at the checks of the database and at the units in quarantine",
            fail=_FAIL_AGE,
        ),
        _check_lost(report),
        expect_none(
            "quarantinedUnits",
            report.quarantined,
            "their actors crashed too often, webhooks wait on disk; look at the log, then run zapline units release",
        ),
        HealthCheck("pausedUnits", report.paused, "as asked", Verdict.PASS, "a person has paused their sending"),
        expect_none(
            "stuckUnits",
            report.stuck,
            "their actors do not come to an end; keep the log and report it; restart the daemon",
            fail=0,
        ),
        expect_below("loopLagSeconds", report.loop_lag, 0.5, "look at the machine's load and memory", fail=5.0),
        _check_clocks(report),
    ]


def _check_database(report: ProcessReport) -> HealthCheck:
    leads = report.standing is LeadershipStatus.LEADING
    standing = report.standing if not leads or report.answers else LeadershipStatus.UNREACHABLE
    passing = (LeadershipStatus.UNREACHABLE, LeadershipStatus.ANOTHER_DAEMON)
    away = Verdict.WARN if standing in passing else Verdict.FAIL
    verdict = Verdict.PASS if standing is LeadershipStatus.LEADING else away
    return HealthCheck(
        "database", float(leads), "reachable, ours alone", verdict, _ADVICE.get(standing, ""), standing.value
    )


def _check_lost(report: ProcessReport) -> HealthCheck:
    """A loss warns until the next start: a person is to have seen it."""
    verdict = Verdict.FAIL if report.lost_recently else Verdict.WARN if report.lost else Verdict.PASS
    why = (
        "answered 200 and stored nowhere since the start: free the disk of the state directory and start PostgreSQL; "
        "what Evolution's store holds is read back by itself; see the log, then restart to clear this"
    )
    return HealthCheck("lostWebhooks", report.lost, "0", verdict, why)


def _check_clocks(report: ProcessReport) -> HealthCheck:
    wrong = not report.clocks_agree and report.skew is not None
    why = "seconds by which this machine's clock and the database's differ"
    if wrong:
        why += "; retention, expiry, scheduled messages and watermarks stand still: set the clocks right"
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    return HealthCheck("clockSkewSeconds", abs(report.skew or 0.0), f"<= {TOLERANCE:g}", verdict, why)
