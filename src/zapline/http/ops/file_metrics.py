"""Defines the metrics of files that units keep."""

from zapline.http.ops.metric_kinds import Counter, Gauge

FILE_COUNTERS = (
    Counter("files_ended", "Files that units wanted to keep.", "end", ("kept", "gone", "too_large")),
    Counter("files_failed", "Tries to keep a file that failed.", "reason", ("quota", "disk", "missing", "media_gone")),
    Counter("files_removed", "Files that were kept, and were removed."),
    Counter("file_bytes_kept", "Bytes of files that were kept."),
)
FILE_GAUGES = (
    Gauge("files_waiting", "Files to be fetched yet.", lambda report: report.files.counted.waiting),
    Gauge("file_removals_waiting", "Files to be removed yet.", lambda report: report.files.counted.removals),
)
