"""Checks that what was answered 200 is safe: the journal, what it lost, what it cannot route, a database set back."""

from dataclasses import dataclass

from zapline.supervisors.health.check_result import HealthCheck, Verdict, expect_below, expect_none

_FAIL_SECONDS = 3600.0
"""After a loss the verdict is fail for so long, and warn until the next start: a person is to have seen it."""


@dataclass(frozen=True, slots=True)
class SharedReport:
    """Where several processes share the units. ``single_copies``: webhooks that this process's journal alone holds.

    ``inbox_age``: seconds for which the oldest webhook waits for its owner.
    """

    single_copies: int
    inbox_age: float


@dataclass(frozen=True, slots=True)
class DurabilityReport:
    """The inbound half's safety at one moment.

    ``journal_trouble``: why the journal takes nothing, None where it does. ``losses``: entries known to be lost since
    the start; ``lost_ago``: seconds since the last loss, None: there was none. ``unrouted``: webhooks whose unit is not
    known yet. ``catching_up``: units of which a database that was set back is told again.
    """

    journal_trouble: str | None = None
    losses: int = 0
    lost_ago: float | None = None
    unrouted: int = 0
    catching_up: int = 0
    shared: SharedReport | None = None
    """None: the units are not shared with other processes."""


NO_TROUBLE = DurabilityReport()


def check_durability(report: DurabilityReport) -> list[HealthCheck]:
    lost = Verdict.PASS
    if report.lost_ago is not None:
        lost = Verdict.FAIL if report.lost_ago < _FAIL_SECONDS else Verdict.WARN
    return [
        *([] if report.shared is None else _check_shared(report.shared)),
        expect_none(
            "journalClosed",
            int(report.journal_trouble is not None),
            "webhooks go to PostgreSQL directly; free the disk or mend its rights"
            if report.journal_trouble is not None
            else "the journal takes webhooks",
            fail=0,
            detail=report.journal_trouble or "",
        ),
        HealthCheck(
            "journalLosses",
            max(report.losses, int(report.lost_ago is not None)),
            "0",
            lost,
            "entries that the journal lost, at least; what Evolution's store holds is read back by itself; "
            "see the log and operations.md, then restart to clear this",
        ),
        expect_none(
            "unroutedWebhooks",
            report.unrouted,
            "they wait on disk until the units can be read: start PostgreSQL",
        ),
        expect_none(
            "unitsCatchingUp",
            report.catching_up,
            "the database was set back: the journal's entries are stored again, these units send nothing meanwhile; "
            "wait, and if it lasts, look at the checks of the recorder",
        ),
    ]


def _check_shared(report: SharedReport) -> list[HealthCheck]:
    return [
        expect_none(
            "singleCopyWebhooks",
            report.single_copies,
            "only this node's disk holds them, because PostgreSQL did not take them within a second; they are put into "
            "the inbox as soon as it does: start PostgreSQL, or look at its load, and keep this node's state directory",
        ),
        expect_below(
            "inboxAgeSeconds",
            report.inbox_age,
            60.0,
            "the oldest webhook that waits for the owner of its line; look at the nodes, and at quarantined units",
            fail=1200.0,
        ),
    ]
