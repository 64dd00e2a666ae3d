"""Checks the files that units keep: whether they can be fetched, have room, and are removed when they are to be."""

from dataclasses import dataclass

from zapline.sql.files.kept_files import FileTotals
from zapline.supervisors.health.check_result import HealthCheck, expect_below, expect_none

MAX_WAIT = 6 * 3600.0
"""Seconds that a file may wait to be fetched: a server that is away for a night comes back."""
MAX_REMOVAL_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class FilesReport:
    """The files of all units at one moment. ``totals`` None: not counted yet. ``at``: UTC seconds."""

    totals: FileTotals | None = None
    disk_full: bool = False
    at: float = 0.0

    @property
    def counted(self) -> FileTotals:
        """The totals; all 0 where they were not counted yet."""
        return self.totals or FileTotals()


NO_FILES = FilesReport()


def check_files(report: FilesReport) -> list[HealthCheck]:
    totals = report.counted
    disk = "files of messages are not fetched, because the disk has no room; free it"
    room = "units whose quota for files is used up; raise it, or keep files for fewer days"
    waits = "how long the oldest file has waited to be fetched; look at the log and at the Evolution server"
    removal = "how long the oldest file has waited to be removed; look at the disk's rights"
    return [
        expect_none("filesDiskFull", int(report.disk_full), disk),
        expect_none("filesWithoutRoom", len(totals.full), room, units=totals.full),
        expect_below("fileWaitsSeconds", _age(report, totals.oldest), MAX_WAIT, waits),
        expect_below("fileRemovalWaitsSeconds", _age(report, totals.oldest_removal), MAX_REMOVAL_WAIT, removal),
    ]


def _age(report: FilesReport, since: float | None) -> float:
    return max(0.0, report.at - since) if since is not None else 0.0
