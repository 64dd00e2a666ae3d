"""What an operator lets a tenant's token set: no faster a pace, no more hooks and tokens than these."""

from dataclasses import dataclass
from math import inf

from zapline.domain.errors import InvalidField
from zapline.domain.text import Sentence


class AboveCeiling(InvalidField):
    """A token asks for more than the operator lets tenants set; the text says how much that is."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits of a unit that have a ceiling. ``daily_cap`` None: as many as there are."""

    per_minute: float
    burst: int
    gap_seconds: float
    campaign_seconds: float
    daily_cap: int | None


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Of the installation; None: no ceiling."""

    per_minute: float | None = None
    burst: int | None = None
    gap_seconds: float | None = None
    """Seconds between two messages to one recipient, at least."""
    campaign_seconds: float | None = None
    """Seconds between two messages of campaigns, at least."""
    daily_cap: int | None = None
    hooks: int | None = None
    """Of one unit or organization, as far as a token makes them."""
    tokens: int | None = None
    """Valid ones of one unit or organization, whoever makes them."""
    requests_per_minute: int | None = None
    """Of each token that has no limit of its own."""

    def check_pace(self, wanted: Pace, present: Pace) -> None:
        """Raises AboveCeiling for a pace above a ceiling, unless it is no faster than the present one.

        ``present``: as it is, perhaps set by an administrator; who replaces it may leave in it what is there.
        """
        for field, asked, has, ceiling in (
            ("perMinute", wanted.per_minute, present.per_minute, self.per_minute),
            ("burst", wanted.burst, present.burst, self.burst),
            ("dailyCap", _cap(wanted), _cap(present), self.daily_cap),
        ):
            if ceiling is not None and asked > max(ceiling, has):
                raise AboveCeiling(
                    Sentence("the operator lets a token set at most {limit}", limit=f"{ceiling:.12g}"), field
                )
        for field, asked, has, floor in (
            ("gapSeconds", wanted.gap_seconds, present.gap_seconds, self.gap_seconds),
            ("campaignSeconds", wanted.campaign_seconds, present.campaign_seconds, self.campaign_seconds),
        ):
            if floor is not None and asked < min(floor, has):
                raise AboveCeiling(
                    Sentence("the operator lets a token set no less than {limit}", limit=f"{floor:.12g}"), field
                )

    def most_hooks(self, of_all: int) -> int:
        """How many hooks a token may make where ``of_all`` may be there."""
        return of_all if self.hooks is None else min(of_all, self.hooks)


def _cap(pace: Pace) -> float:
    return inf if pace.daily_cap is None else pace.daily_cap
