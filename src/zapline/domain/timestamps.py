"""Writes moments as the API shows them."""

from datetime import UTC, datetime


def iso(at: float | datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and ``Z``; ``at`` in seconds since the epoch, or aware."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, float | int) else at.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
