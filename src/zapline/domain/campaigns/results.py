"""Counts what has become of a campaign's recipients, in all and over time, and says it in percent."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

_WIDTHS = (300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)
"""Seconds of a step; the shortest with which the steps are few enough."""
MOST_STEPS = 48
FOLLOWED = 7 * 86_400.0
"""Seconds after a message within which a reply, or the wish for no more campaigns, is counted as its result."""


class Outcome(StrEnum):
    """What has become of a recipient; one that was read was delivered, and sent, too."""

    SENT = "sent"
    """Evolution took it."""
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"
    READ = "read"
    REPLIED = "replied"
    OPTED_OUT = "opted_out"


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How many of a wording's recipients came to an outcome within a step; ``step`` from 0."""

    wording: int
    outcome: Outcome
    step: int
    recipients: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of recipients by outcome."""

    counts: Counter[Outcome]

    def __getitem__(self, outcome: Outcome) -> int:
        return self.counts[outcome]

    def percent(self, outcome: Outcome) -> float | None:
        """Of those whom Evolution took, to a tenth; None where there are none."""
        sent = self.counts[Outcome.SENT]
        return round(100 * self.counts[outcome] / sent, 1) if sent else None


@dataclass(frozen=True, slots=True)
class Steps:
    """Equal steps of time, from ``start`` (UTC seconds); ``width`` in seconds."""

    start: float
    width: float
    count: int

    @classmethod
    def between(cls, start: float, end: float) -> "Steps":
        """Few enough steps of a round width; the last one holds ``end``."""
        span = max(0.0, end - start)
        widths = (width for width in _WIDTHS if span < width * MOST_STEPS)
        width = next(widths, _WIDTHS[-1])
        return cls(start, width, min(int(span // width) + 1, 10 * MOST_STEPS))

    def ends(self) -> list[float]:
        """When each of them ends, in UTC seconds."""
        return [self.start + self.width * (step + 1) for step in range(self.count)]


@dataclass(frozen=True, slots=True)
class CampaignResults:
    """The results of a campaign: in all, of each wording, and at the end of each step of time."""

    total: Figures
    wordings: Sequence[tuple[str, Figures]]
    """(text, figures), where there are several."""
    timeline: Sequence[tuple[float, Figures]]
    """(UTC seconds, what had come until then)."""


def summarize(counts: Iterable[OutcomeCount], steps: Steps, texts: Sequence[str], now: float) -> CampaignResults:
    """Sum up counts, in any order; what came after the last step counts in it.

    ``texts``: the wordings; empty: there is one. ``now`` in UTC seconds.
    """
    by_wording: defaultdict[int, Counter[Outcome]] = defaultdict(Counter)
    by_step: defaultdict[int, Counter[Outcome]] = defaultdict(Counter)
    for each in counts:
        by_wording[each.wording][each.outcome] += each.recipients
        by_step[min(max(each.step, 0), steps.count - 1)][each.outcome] += each.recipients
    so_far: Counter[Outcome] = Counter()
    timeline: list[tuple[float, Figures]] = []
    for step, end in enumerate(steps.ends()):
        so_far = so_far + by_step[step]
        timeline.append((min(end, max(now, steps.start)), Figures(so_far)))
    return CampaignResults(
        Figures(so_far), [(text, Figures(by_wording[index])) for index, text in enumerate(texts)], timeline
    )
