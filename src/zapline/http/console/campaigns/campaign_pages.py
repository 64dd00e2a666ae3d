"""Campaigns of a unit in the console: the list, one with its progress, and how it is steered."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.campaigns.states import COMMAND_STATES, CampaignCommand, CampaignState
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File, Text
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.domain.privacy.masking import mask_text
from zapline.http.api.campaigns.recipients import RecipientRoutes
from zapline.http.api.framework.paging import Position, encode_cursor, query_cursor
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import masked
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import clean_lines, clean_name, kind_label
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.units.sending_hold import campaign_hold_reason
from zapline.sql.campaigns import campaigns as stored
from zapline.sql.campaigns.campaigns import Campaign, Recipient
from zapline.sql.conversations import conversations
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.campaigns.campaign_commands import Campaigns, Forecast, UnknownCampaign
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 20
_RECIPIENTS = 50
_PREVIEWS = 3
_EXAMPLES = 10
PATH = "/console/units/{unit}/campaigns"
STATES: Mapping[str, tuple[str, str]] = {
    CampaignState.READY: ("idle", N_("Not started")),
    CampaignState.LOADING: ("busy", N_("List is being read")),
    CampaignState.SCHEDULED: ("busy", N_("Scheduled")),
    CampaignState.RUNNING: ("busy", N_("Running")),
    CampaignState.PAUSED: ("warn", N_("Paused")),
    CampaignState.CANCELLED: ("idle", N_("Cancelled")),
    CampaignState.DONE: ("good", N_("Done")),
}
RECIPIENT_STATES: Mapping[str, str] = {
    "pending": N_("waiting"),
    "queued": N_("queued"),
    "sending": N_("being sent"),
    "sent": N_("sent"),
    "delivered": N_("delivered"),
    "read": N_("read"),
    "undelivered": N_("not delivered"),
    "uncertain": N_("uncertain"),
    "failed": N_("failed"),
    "skipped": N_("skipped"),
    "cancelled": N_("cancelled"),
}
_OPEN = frozenset({"pending", "queued", "sending"})
SKIP_REASONS: Mapping[str, str] = {
    "invalid_phone": N_("This is no phone number."),
    "duplicate": N_("The phone is on the list already."),
    "missing_variable": N_("A value that the text needs is missing."),
    "too_long": N_("The text would be too long for WhatsApp."),
    "opted_out": N_("The contact wants no campaigns."),
}
_CONFIRMATIONS: Mapping[CampaignCommand, str] = {
    CampaignCommand.START: N_("The campaign is started."),
    CampaignCommand.PAUSE: N_("The campaign is paused. What lies ready waits too."),
    CampaignCommand.RESUME: N_("The campaign goes on."),
    CampaignCommand.CANCEL: N_("The campaign is cancelled. Nothing more of it is sent."),
}


class _InList(Position, frozen=True, tag="cg"):
    at: Annotated[datetime, Meta(tz=True)]
    id: UUID


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How a campaign stands, in words and numbers."""

    tone: str
    word: str
    all: int
    done: int
    counts: tuple[tuple[str, str, int], ...]
    """(state, word, how many) of those states that anybody is in."""
    asks: frozenset[CampaignCommand]
    failed: int


def campaign_progress(one: Campaign) -> CampaignProgress:
    tone, word = STATES[one.state]
    all = sum(count for state, count in one.counts.items() if state != "skipped")
    waits = sum(one.counts[state] for state in _OPEN)
    counts = tuple((state, _(name), one.counts[state]) for state, name in RECIPIENT_STATES.items() if one.counts[state])
    asks = frozenset(ask for ask in CampaignCommand if one.state in COMMAND_STATES[ask])
    return CampaignProgress(tone, _(word), all, all - waits, counts, asks, one.counts["failed"])


def recipient_reason(code: str | None) -> str:
    """Why a recipient was not written to, for people."""
    if code is None:
        return _("No reason was told.")
    return _(SKIP_REASONS[code] if code in SKIP_REASONS and code not in FAILURE_TEXTS else failure_text(code))


class CampaignPages:
    """``/console/units/{unit}/campaigns``."""

    def __init__(self, layout: Layout, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool
        self._exports = RecipientRoutes(commands, campaigns, pool)

    def attach(self) -> None:
        all, one = "/console/units/<uuid:unit>/campaigns", "/console/units/<uuid:unit>/campaigns/<uuid:campaign>"
        layout = self._layout
        layout.get(all, "campaigns", self.list)
        layout.get(f"{all}/part", "campaigns_part", self.list_part)
        layout.add_tab(NavigationLink("campaigns", N_("Campaigns"), PATH, 20))
        layout.get(one, "campaign", self.show)
        layout.get(f"{one}/part", "campaign_part", self.part)
        layout.get(f"{one}/recipients", "campaign_recipients", self.recipients)
        layout.get(f"{one}/failures.csv", "campaign_failures", self._exports.failures)
        for ask in CampaignCommand:
            layout.post(f"{one}/{ask.value}", f"campaign_{ask.value}", self._asking(ask))

    # -- the list --------------------------------------------------------------------------------------------

    async def list(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._listed(record)
        return self._layout.render("campaigns.html", at="campaigns", events=unit_events_path(record.id), **values)

    async def list_part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        return self._layout.render("campaigns_list.html", **await self._listed(record))

    async def _listed(self, record: UnitRecord) -> dict[str, Any]:
        after, base = query_cursor(_InList), PATH.format(unit=record.id)
        place = (after.at, after.id) if after is not None else None
        found = await stored.list_campaigns(self._pool, record.id, place, _PAGE + 1)
        last = found[:_PAGE][-1] if found else None
        more = encode_cursor(_InList(last.created_at, last.id)) if last is not None and len(found) > _PAGE else None
        return {
            "unit": record,
            "shown": [(one, clean_name(one.name), campaign_progress(one)) for one in found[:_PAGE]],
            "newest": base if after is not None else None,
            "older": f"{base}?cursor={more}" if more is not None else None,
            "query": f"?cursor={encode_cursor(after)}" if after is not None else "",
            "zone": record.time_zone,
            "base": base,
        }

    # -- one -------------------------------------------------------------------------------------------------

    async def show(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        values = await self._shown(record, one)
        if one.state is CampaignState.READY:
            values |= await self._planned(record, one)
        return self._layout.render("campaign.html", at="campaigns", events=unit_events_path(record.id), **values)

    async def part(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        return self._layout.render("campaign_part.html", **await self._shown(record, one))

    async def _shown(self, record: UnitRecord, one: Campaign) -> dict[str, Any]:
        reasons = await stored.count_reasons(self._pool, record.id, one.id)
        pace = await conversations.find_pace(self._pool, record.id) if one.state is CampaignState.RUNNING else None
        content = one.outgoing.content
        return {
            "unit": record,
            "campaign": one,
            "name": clean_name(one.name),
            "standing": campaign_progress(one),
            "waits": campaign_hold_reason(self._commands.find(record.id), one, pace, time.time()),
            "reasons": [
                (_(RECIPIENT_STATES[state]), recipient_reason(reason), count) for state, reason, count in reasons
            ],
            "text": clean_lines(content.text if isinstance(content, Text) else getattr(content, "caption", None) or ""),
            "file": _file_label(content) if isinstance(content, File) else "",
            "zone": record.time_zone,
            "base": f"{PATH.format(unit=record.id)}/{one.id}",
        }

    async def _planned(self, record: UnitRecord, one: Campaign) -> dict[str, Any]:
        """What will become of a campaign that is not started: the first texts, who is skipped, when it would end."""
        letter = MessageTemplate.read(one.outgoing)
        first = await stored.list_recipients(self._pool, record.id, one.id, ("pending",), 0, _PREVIEWS)
        skipped = await stored.list_recipients(self._pool, record.id, one.id, ("skipped",), 0, _EXAMPLES)
        forecast: Forecast | None = None
        if first:
            forecast = await self._campaigns.forecast_load(record.id, one.id, ())
        return {
            "previews": [(masked(each.recipient), _preview_text(letter, each)) for each in first],
            "examples": [_recipient_row(each) for each in skipped],
            "forecast": forecast,
        }

    async def recipients(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        state, after = query_text("state", 20), query_number("after", 0, 2**31 - 1)
        states = (state,) if state in RECIPIENT_STATES else None
        found = await stored.list_recipients(self._pool, record.id, one.id, states, after, _RECIPIENTS + 1)
        page, base = found[:_RECIPIENTS], f"{PATH.format(unit=record.id)}/{one.id}"
        query = {"state": state} if states else {}
        more = urlencode({**query, "after": page[-1].number}) if len(found) > _RECIPIENTS else None
        return self._layout.render(
            "campaign_recipients.html",
            at="campaigns",
            unit=record,
            campaign=one,
            name=clean_name(one.name),
            campaign_progress=campaign_progress(one),
            recipients=[_recipient_row(each) for each in page],
            state=state if states else "",
            zone=record.time_zone,
            base=base,
            first=f"{base}/recipients?{urlencode(query)}" if after else None,
            more=f"{base}/recipients?{more}" if more else None,
        )

    async def _find(self, unit: UUID, campaign: UUID) -> tuple[UnitRecord, Campaign]:
        record = self._commands.find(UnitId(unit)).record
        one = await stored.find_campaign(self._pool, record.id, campaign)
        if one is None:
            raise UnknownCampaign("the unit has no such campaign")
        return record, one

    # -- steering --------------------------------------------------------------------------------------------

    def _asking(self, ask: CampaignCommand) -> Callable[[UUID, UUID], Awaitable[Response]]:
        async def query_text(unit: UUID, campaign: UUID) -> Response:
            id, here = self._commands.find(UnitId(unit)).id, f"{PATH.format(unit=unit)}/{campaign}"
            try:
                async with self._layout.audited(f"{ask.value.replace('-', '_')}_campaign", id, str(campaign)):
                    count = await self._campaigns.change_state(id, campaign, ask)
            except UnknownCampaign:
                raise
            except LocalError as error:
                return self._layout.redirect(here, Tone.BAD, _(str(error)))
            if ask is CampaignCommand.RETRY_FAILED:
                said = ngettext("{count} recipient is tried again.", "{count} recipients are tried again.", count)
                return self._layout.redirect(here, Tone.GOOD if count else Tone.WARN, said)
            return self._layout.redirect(here, Tone.GOOD, _(_CONFIRMATIONS[ask]))

        return query_text


def _file_label(file: File) -> str:
    return f"{kind_label(file.kind)}: {clean_name(file.file_name)}" if file.file_name else kind_label(file.kind)


def _preview_text(letter: MessageTemplate, one: Recipient) -> str:
    content = letter.write(one.values).content
    return clean_lines(getattr(content, "text", None) or getattr(content, "caption", None) or "")


def _recipient_row(one: Recipient) -> dict[str, Any]:
    return {
        "number": one.number,
        "phone": masked(one.recipient) if one.recipient.startswith("+") else mask_text(clean_name(one.recipient)),
        "state": _(RECIPIENT_STATES.get(one.state, one.state)),
        "reason": recipient_reason(one.reason) if one.reason is not None else "",
        "detail": clean_name(one.detail or "")[:200],
        "sent_at": one.sent_at,
        "message": one.message,
    }
