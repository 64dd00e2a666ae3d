"""What has become of a campaign: in percent, over time, and by wording."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.campaigns.results import Figures, Outcome
from zapline.domain.campaigns.states import CampaignState
from zapline.domain.ids import UnitId
from zapline.http.api.campaigns.campaign_results import ResultRoutes
from zapline.http.api.campaigns.recipients import find_campaign
from zapline.http.console.framework.formatting import date_time
from zapline.http.console.framework.formatting import percent as formatted
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.message_labels import clean_lines, clean_name
from zapline.http.console.framework.translation import N_, _
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import UnitCommands

LABELS: Mapping[Outcome, str] = {
    Outcome.DELIVERED: N_("delivered"),
    Outcome.READ: N_("read"),
    Outcome.REPLIED: N_("replied"),
    Outcome.OPTED_OUT: N_("want no more"),
    Outcome.UNDELIVERED: N_("not delivered"),
}
_ROWS = 12
"""Times that the page shows; the API tells some fifty."""


class ResultPage:
    """``/console/units/{unit}/campaigns/{campaign}/results``."""

    def __init__(self, layout: Layout, commands: UnitCommands, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._pool = pool
        self._results = ResultRoutes(commands, pool)

    def attach(self) -> None:
        one = "/console/units/<uuid:unit>/campaigns/<uuid:campaign>"
        self._layout.get(f"{one}/results", "campaign_results", self.show)
        self._layout.get(f"{one}/results.csv", "campaign_results_csv", self._results.export)

    async def show(self, unit: UUID, campaign: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        loaded = await find_campaign(self._pool, record.id, campaign)
        results = await self._results.read(unit, campaign)
        every = -(-len(results.timeline) // _ROWS)
        shown = list(results.timeline)[::-1][::every][::-1]  # the last one always
        ended = loaded.state in (CampaignState.DONE, CampaignState.CANCELLED)
        return self._layout.render(
            "campaign_results.html",
            at="campaigns",
            unit=record,
            name=clean_name(loaded.name),
            ended=ended,
            sent=results.total[Outcome.SENT],
            total=_figures(results.total),
            labels=[_(label) for label in LABELS.values()],
            wordings=[
                (place, clean_lines(text), figures[Outcome.SENT], _figures(figures))
                for place, (text, figures) in enumerate(results.wordings, 1)
            ],
            rows=[(date_time(at, record.time_zone), figures[Outcome.SENT], _figures(figures)) for at, figures in shown],
            base=f"/console/units/{record.id}/campaigns/{loaded.id}",
        )


def _figures(figures: Figures) -> Sequence[Mapping[str, Any]]:
    """Each outcome's name, percent and count, for people."""
    return [
        {"label": _(label), "percent": percent_text(figures.percent(outcome)), "count": figures[outcome]}
        for outcome, label in LABELS.items()
    ]


def percent_text(percent: float | None) -> str:
    """As ``93.2 %`` in the operator's language; a dash where nothing was sent."""
    return "–" if percent is None else formatted(percent / 100, 1)
