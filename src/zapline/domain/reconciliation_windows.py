"""Decides which time windows of Evolution's message store a reconciliation reads.

Evolution compares whole seconds, both ends included (contract, section 4).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

SETTLE_TIME = 60.0
"""Seconds until Evolution has surely stored a message; younger messages are left to the next run."""
OVERLAP = 900.0
"""Seconds before the watermark that are read again: WhatsApp delivers messages written offline with their old time."""
WEBHOOK_HORIZON = 1200.0
"""Seconds for which Evolution repeats a webhook (contract, section 2); until then it may still arrive by itself."""
FIRST_SLACK = 60.0
"""Seconds by which the time of a line's first connection may be late: so much a clock may be ahead that nobody takes
for wrong."""
WINDOW_SPAN = 3600
"""Seconds of one window; after a failure no more than this is read again."""
MAX_WINDOWS = 2000
"""Windows of one run; where years are read at once, the windows are longer."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole seconds since the epoch, both included."""

    since: int
    until: int

    def __post_init__(self) -> None:
        if self.since > self.until:
            raise ValueError("a window ends before it begins")

    def halves(self) -> tuple["Window", "Window"] | None:
        """The older half and the newer one; None where a single second is left."""
        if self.since == self.until:
            return None
        middle = (self.since + self.until) // 2
        return Window(self.since, middle), Window(middle + 1, self.until)


def reading_start(
    watermark: float | None,
    first_connected: float | None,
    gaps: Iterable[float | None],
    now: float,
    overlap: float = OVERLAP,
) -> float | None:
    """The time (UTC seconds) from which a run reads; None for a line that was never connected.

    ``gaps`` are times since which webhooks may be missing. Nothing before the line's first connection is read: that is
    another program's history. Without a watermark, reading starts there; where a wrong clock has put that into the
    future, it starts where the watermark stands, or as far back as webhooks are repeated.
    """
    if first_connected is None:
        return None
    first = first_connected - FIRST_SLACK
    if first_connected > now + FIRST_SLACK:
        first = min(now - WEBHOOK_HORIZON if watermark is None else watermark, now) - overlap
    if watermark is None:
        return first
    return max(first, min(watermark, *(gap for gap in gaps if gap is not None), float("inf")) - overlap)


def split_into_windows(since: float, until: float, span: int = WINDOW_SPAN, most: int = MAX_WINDOWS) -> list[Window]:
    """Cut [since, until] into windows of ``span`` seconds, oldest first; no windows where it ends before it begins.

    The windows are longer where there would be more than ``most``.
    """
    first, last = math.floor(since), math.floor(until)
    span = max(span, math.ceil((last - first + 1) / most))
    return [Window(start, min(start + span - 1, last)) for start in range(first, last + 1, span)]


def explained_by_gap(sent_at: float, gap_since: float | None, horizon: float = WEBHOOK_HORIZON) -> bool:
    """Whether a known gap explains a missed message: webhooks under way when the gap began are lost with it."""
    return gap_since is not None and sent_at >= gap_since - horizon


def past_webhook_horizon(sent_at: float, at: float, horizon: float = WEBHOOK_HORIZON) -> bool:
    """Whether Evolution no longer repeats the webhook of a message at the time ``at``."""
    return at - sent_at >= horizon
