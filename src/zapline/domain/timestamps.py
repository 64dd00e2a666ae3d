"""Defines readings of the wall and the monotonic clock, and writes times as the API shows them."""

from dataclasses import dataclass
from datetime import UTC, datetime

NEVER = float("-inf")
"""A time that lies before every reading of a clock."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of both clocks. ``wall``: seconds since the epoch, for display; ``mono``: monotonic, for delays."""

    wall: float
    mono: float


def iso(at: float | datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and ``Z``; ``at`` in seconds since the epoch, or aware."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, float | int) else at.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
