"""Shows times, numbers and phones: in the unit's time zone, in the operator's language, masked."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

from zapline.domain.privacy.masking import mask_phone
from zapline.http.console.framework.translation import PORTUGUESE, _, spoken

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def moment(at: float | str | datetime) -> datetime:
    """Seconds since the epoch, ISO 8601, or an aware time, as an aware time."""
    if isinstance(at, str):
        return datetime.fromisoformat(at)
    return at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)


def now() -> str:
    """This moment, as the script reads it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def iso_time(at: float | str | datetime) -> str:
    """A time as the script reads it."""
    return moment(at).astimezone(UTC).isoformat(timespec="milliseconds")


def clock_time(at: float | str | datetime | None, zone: str = "UTC") -> str:
    """A day and a time of the day as that zone's clocks show it."""
    if at is None:
        return ""
    local = moment(at).astimezone(ZoneInfo(zone))
    return local.strftime("%d/%m/%Y %H:%M:%S" if spoken() == PORTUGUESE else "%Y-%m-%d %H:%M:%S")


def distance(at: float | str | datetime, now: datetime) -> str:
    """How long ago it was, or in what time it will be; the script says the same while the page stays open."""
    seconds = (now - moment(at)).total_seconds()
    far, ahead = abs(seconds), seconds < 0
    if far < 10:
        return _("just now")
    if far < _MINUTE:
        return _("in {n} s", n=int(far)) if ahead else _("{n} s ago", n=int(far))
    if far < _HOUR:
        return _("in {n} min", n=int(far // _MINUTE)) if ahead else _("{n} min ago", n=int(far // _MINUTE))
    if far < _DAY:
        return _("in {n} h", n=int(far // _HOUR)) if ahead else _("{n} h ago", n=int(far // _HOUR))
    return _("in {n} d", n=int(far // _DAY)) if ahead else _("{n} d ago", n=int(far // _DAY))


def when(at: float | str | datetime | None, zone: str = "UTC") -> Markup:
    """A relative time whose title is the absolute one; a dash where there is none."""
    if at is None:
        return Markup('<span class="none" aria-label="{}">–</span>').format(_("never"))
    made = moment(at)
    return Markup('<time datetime="{}" title="{} ({})" data-ago>{}</time>').format(
        made.astimezone(UTC).isoformat(timespec="seconds"),
        clock_time(made, zone),
        zone,
        distance(made, datetime.now(UTC)),
    )


def stamp(at: float | str | datetime | None, zone: str = "UTC") -> Markup:
    """An absolute time whose title is its zone; a dash where there is none."""
    if at is None:
        return Markup('<span class="none" aria-label="{}">–</span>').format(_("never"))
    made = moment(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        made.astimezone(UTC).isoformat(timespec="seconds"), zone, clock_time(made, zone)
    )


def number(value: float | None, digits: int = 0) -> str:
    """A number with its thousands apart."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if spoken() == PORTUGUESE else text


def masked(phone: str | None) -> str:
    """A phone as lists show it."""
    return mask_phone(phone) if phone else "–"


SCRIPT_TEXTS = (
    *("just now", "in {n} s", "{n} s ago", "in {n} min", "{n} min ago"),
    *("in {n} h", "{n} h ago", "in {n} d", "{n} d ago"),
    *("It did not arrive. Send it again: it is sent once.",),
)
"""What the script says in the page's language; ``lost`` and the like are the layout's own."""
