"""Formats times, numbers and phones for pages: in the unit's time zone, in the operator's language, masked."""

from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup

from zapline.domain.errors import RemoteError, ZaplineError
from zapline.domain.privacy.masking import mask_phone
from zapline.evolution.client.failures import EvolutionFailure
from zapline.http.api.framework.problems import problem_of
from zapline.http.console.framework.translation import N_, _, language

_RELATIVE = (
    (60.0, 1, N_("in {n} s"), N_("{n} s ago")),
    (3600.0, 60, N_("in {n} min"), N_("{n} min ago")),
    (86400.0, 3600, N_("in {n} h"), N_("{n} h ago")),
    (float("inf"), 86400, N_("in {n} d"), N_("{n} d ago")),
)
"""(Up to this many seconds, seconds of the unit, text of a time to come, text of a past time)."""


def as_datetime(at: float | str | datetime) -> datetime:
    """Seconds since the epoch, ISO 8601, or an aware time, as an aware time."""
    if isinstance(at, str):
        return datetime.fromisoformat(at)
    return at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)


def now_iso() -> str:
    """The current time in the form that the script parses."""
    return iso_time(datetime.now(UTC))


def iso_time(at: float | str | datetime) -> str:
    """A time in the form that the script parses: ISO 8601 in UTC, with milliseconds."""
    return as_datetime(at).astimezone(UTC).isoformat(timespec="milliseconds")


def date_time(at: float | str | datetime | None, zone: str = "UTC") -> str:
    """Date and time of day on the clocks of ``zone``; empty for None."""
    if at is None:
        return ""
    local = as_datetime(at).astimezone(ZoneInfo(zone))
    return f"{short_date(local)} {_time_of_day(local.time(), 'medium', language().dates)}"


def short_date(day: date) -> str:
    """A day in numbers."""
    return _date_in_numbers(day.toordinal(), language().dates)


def clock_time(at: float | datetime | time, zone: str = "UTC", *, seconds: bool = False) -> str:
    """The time of day on the clocks of ``zone``; a ``time`` is shown as it is."""
    local = at if isinstance(at, time) else as_datetime(at).astimezone(ZoneInfo(zone))
    of_day = local if isinstance(local, time) else local.time()
    return _time_of_day(of_day, "medium" if seconds else "short", language().dates)


def _time_of_day(at: time, width: str, locale: Locale) -> str:
    return _formatted_time(at.hour, at.minute, at.second if width == "medium" else 0, width, locale)


@lru_cache(maxsize=4096)
def _formatted_time(hour: int, minute: int, second: int, width: str, locale: Locale) -> str:
    """A page shows dozens of times, and the library reads its patterns anew for each."""
    return format_time(time(hour, minute, second), width, locale=locale)


@lru_cache(maxsize=1024)
def _date_in_numbers(ordinal: int, locale: Locale) -> str:
    return format_date(date.fromordinal(ordinal), "short", locale)


def relative_time(at: float | str | datetime, now: datetime) -> str:
    """How long ago it was, or how long it will take; the script shows the same while the page stays open."""
    seconds = (now - as_datetime(at)).total_seconds()
    distance = abs(seconds)
    if distance < 10:
        return _("just now")
    unit, ahead, ago = next(row[1:] for row in _RELATIVE if distance < row[0])
    return _(ahead if seconds < 0 else ago, n=int(distance // unit))


_DURATIONS = (
    (60.0, N_("{n} s"), 1, 0),
    (3600.0, N_("{n} min"), 60, 0),
    (86400.0, N_("{n} h {rest} min"), 3600, 60),
    (float("inf"), N_("{n} d {rest} h"), 86400, 3600),
)


def duration(seconds: float) -> str:
    """How long something lasted, in the two largest units."""
    text, size, smaller = next(row[1:] for row in _DURATIONS if seconds < row[0])
    whole = int(seconds // size)
    if not smaller:
        return _(text, n=whole)
    return _(text, n=whole, rest=int((seconds - whole * size) // smaller))


def when(at: float | str | datetime | None, zone: str = "UTC") -> Markup:
    """A ``<time>`` that shows the relative time, with the absolute one as its title; a dash for None."""
    if at is None:
        return _never()
    moment = as_datetime(at)
    return Markup('<time datetime="{}" title="{} ({})" data-ago>{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="seconds"),
        date_time(moment, zone),
        zone,
        relative_time(moment, datetime.now(UTC)),
    )


def stamp(at: float | str | datetime | None, zone: str = "UTC") -> Markup:
    """A ``<time>`` that shows the absolute time, with the zone as its title; a dash for None."""
    if at is None:
        return _never()
    moment = as_datetime(at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="seconds"), zone, date_time(moment, zone)
    )


def _never() -> Markup:
    return Markup('<span class="none" aria-label="{}">–</span>').format(_("never"))


def number(value: float | None, digits: int = 0) -> str:
    """A number with grouped thousands and this many digits behind the point; a dash for None."""
    return "–" if value is None else format_decimal(value, _pattern(digits), locale=language().numbers)


def percent(value: float, digits: int) -> str:
    """A share of one as a percentage."""
    return format_percent(value, f"{_pattern(digits)}%", locale=language().numbers)


def _pattern(digits: int) -> str:
    return "#,##0" + ("." + "0" * digits if digits else "")


def sentence(text: str) -> str:
    """A text of an error as a sentence: with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def error_text(error: ZaplineError) -> str:
    """An error in the operator's language; of what is outside of Zapline only what was written for people."""
    if isinstance(error, RemoteError) and not isinstance(error, EvolutionFailure):
        return _(problem_of(error).detail)
    return _(error.sentence)


def masked(phone: str | None) -> str:
    """A phone as lists show it; a dash for None."""
    return mask_phone(phone) if phone else "–"


SCRIPT_TEXTS = (
    N_("just now"),
    *(text for row in _RELATIVE for text in row[2:]),
    N_("It did not arrive. Send it again: it is sent once."),
)
"""Texts that the script shows in the language of the page."""
