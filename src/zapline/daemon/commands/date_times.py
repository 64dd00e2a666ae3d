"""Parses and formats times as people type them."""

import re
from datetime import UTC, datetime

from zapline.domain.errors import LocalError

_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: str, now: float) -> float:
    """UTC seconds of an ISO time (UTC without a zone) or of a span before ``now`` (``2h``, ``30m``).

    Raises LocalError for anything else, and for the future.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    if ago is not None:
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise LocalError(f"{text!r} is no time; write 2h, 30m, 1d or 2026-11-22T10:00:00Z") from None
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if seconds > now:
        raise LocalError(f"{text} lies in the future")
    return seconds


def iso(at: float | datetime | None) -> str | None:
    """``2026-11-22T10:00:00Z``; ``at`` in seconds since the epoch, or aware."""
    if at is None:
        return None
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
