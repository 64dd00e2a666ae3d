"""Routes of what has become of a campaign: in percent and over time, and of each recipient as CSV."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.campaigns.results import CampaignResults, Figures, Outcome
from zapline.domain.ids import UnitId
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.domain.timestamps import iso
from zapline.http.api.framework.csv_bodies import csv_bytes
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, json_response
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.campaigns import campaign_results as stored
from zapline.sql.campaigns.campaign_results import RecipientOutcome
from zapline.sql.campaigns.campaigns import list_variables
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import UnknownCampaign
from zapline.supervisors.units.unit_commands import UnitCommands

_BATCH = 2000
"""Rows of the CSV that are read at a time."""
_Percent = Annotated[float | None, Meta(description="Of those sent, to a tenth; null where there are none.")]


class FiguresBody(ResponseBody, frozen=True, kw_only=True):
    """How many recipients came how far. Who has read it is among those delivered, and all of them among those sent."""

    sent: Annotated[int, Meta(description="Evolution took it.")]
    undelivered: Annotated[int, Meta(description="WhatsApp did not.")]
    delivered: int
    read: int
    replied: Annotated[int, Meta(description="Wrote within seven days.")]
    opted_out: Annotated[int, Meta(description="Asked for no more campaigns within seven days.")]
    undelivered_percent: _Percent
    delivered_percent: _Percent
    read_percent: _Percent
    replied_percent: _Percent
    opted_out_percent: _Percent


class ResultStepBody(FiguresBody, frozen=True, kw_only=True):
    """The figures as they were at a time."""

    at: Timestamp


class WordingResultBody(FiguresBody, frozen=True, kw_only=True):
    """The figures of one of several wordings."""

    wording: Annotated[int, Meta(description="Its place, from 1.")]
    text: str


class CampaignResultsBody(ResponseBody, frozen=True, kw_only=True):
    """What has become of a campaign."""

    total: FiguresBody
    wordings: Annotated[Sequence[WordingResultBody], Meta(description="Empty where there is one.")]
    timeline: Annotated[Sequence[ResultStepBody], Meta(description="At most some fifty equal steps since its start.")]


_NOT_FOUND = {"campaign_not_found": 404}
_RESULTS = RouteDoc(
    "What has become of a campaign, in percent and over time",
    {200: CampaignResultsBody},
    errors=_NOT_FOUND,
    polled=True,
    detail="""\
A reply is the first message of a recipient within seven days after the campaign's; the wish for no more campaigns is
counted as that, and as no reply. The figures may be
five seconds old, and those of tens of thousands of recipients a minute.""",
)
_EXPORT = RouteDoc(
    "Every recipient of a campaign with what became of him, as CSV",
    {200: "text/csv"},
    errors=_NOT_FOUND,
    detail="In the order of the list, with times in UTC, and the list's own columns behind.",
    headers={"Content-Disposition": "The file's name."},
)


class ResultRoutes:
    """``/units/{id}/campaigns/{id}/results`` and ``.../results.csv``."""

    def __init__(self, commands: UnitCommands, pool: Pool) -> None:
        self._commands = commands
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        campaign = "/units/<uuid:unit>/campaigns/<uuid:campaign>"
        routes.add("GET", f"{campaign}/results", "get_campaign_results", self.get, Access.READ, _RESULTS)
        routes.add("GET", f"{campaign}/results.csv", "export_campaign_results", self.export, Access.READ, _EXPORT)

    async def get(self, unit: UUID, campaign: UUID) -> Response:
        return json_response(_body(await self.read(unit, campaign)))

    async def read(self, unit: UUID, campaign: UUID) -> CampaignResults:
        """The results. Raises UnknownCampaign, DatabaseUnavailable."""
        results = await stored.read_results(self._pool, self._commands.find(UnitId(unit)).id, campaign)
        if results is None:
            raise UnknownCampaign("the unit has no such campaign")
        return results

    async def export(self, unit: UUID, campaign: UUID) -> Response:
        """All recipients, read and sent in parts."""
        id = self._commands.find(UnitId(unit)).id
        wordings = max(1, len((await self.read(unit, campaign)).wordings))
        columns = sorted(await list_variables(self._pool, id, campaign))
        response = Response(self._rows(id, campaign, columns, wordings), 200, content_type="text/csv; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="results-{campaign}.csv"'
        return response

    async def _rows(self, unit: UnitId, campaign: UUID, columns: Iterable[str], wordings: int) -> AsyncIterator[bytes]:
        names = [name for name in columns if name not in _OWN_COLUMNS]
        yield csv_bytes([[*_OWN_COLUMNS, *names]])
        after = 0
        while page := await stored.list_outcomes(self._pool, unit, campaign, after, _BATCH):
            yield csv_bytes([_cells(recipient, names, wordings) for recipient in page])
            after = page[-1].number


_OWN_COLUMNS = (
    *("number", "to", "wording", "state", "reason", "detail"),
    *("sent_at", "delivered_at", "read_at", "replied_at", "opted_out_at"),
)


def _cells(recipient: RecipientOutcome, names: Iterable[str], wordings: int) -> list[str]:
    # Without its plus a phone is no formula.
    to, reason = recipient.recipient.removeprefix("+"), recipient.reason
    detail = recipient.detail
    if detail is None and reason is not None and reason in FAILURE_TEXTS and recipient.state != "skipped":
        detail = failure_text(reason)
    wording = (recipient.number - 1) % wordings + 1
    own = [str(recipient.number), to, str(wording), recipient.state, reason or "", detail or ""]
    times: Sequence[datetime | None] = (
        *(recipient.sent_at, recipient.delivered_at, recipient.read_at),
        *(recipient.replied_at, recipient.opted_out_at),
    )
    return [*own, *(iso(at) or "" for at in times), *(recipient.values.get(name, "") for name in names)]


def figures_values(figures: Figures) -> dict[str, int | float | None]:
    """Counts and percents by their names in answers."""
    counts: dict[str, int | float | None] = {outcome.value: figures[outcome] for outcome in Outcome}
    shares = {f"{each.value}_percent": figures.percent(each) for each in Outcome if each is not Outcome.SENT}
    return counts | shares


def _body(results: CampaignResults) -> CampaignResultsBody:
    return CampaignResultsBody(
        total=FiguresBody(**figures_values(results.total)),  # type: ignore[arg-type]
        wordings=[
            WordingResultBody(wording=place, text=text, **figures_values(figures))  # type: ignore[arg-type]
            for place, (text, figures) in enumerate(results.wordings, 1)
        ],
        timeline=[
            ResultStepBody(at=iso(at) or "", **figures_values(figures))  # type: ignore[arg-type]
            for at, figures in results.timeline
        ],
    )
