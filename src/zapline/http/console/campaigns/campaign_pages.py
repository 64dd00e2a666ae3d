"""A unit's campaigns: the list, one with its progress and recipients, and the commands that change its state."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from quart import Response

from zapline.domain.campaigns.states import COMMAND_STATES, CampaignCommand, CampaignState
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File, text_of_content
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.domain.privacy.masking import mask_text
from zapline.http.api.campaigns.recipients import RecipientRoutes
from zapline.http.api.framework.json_bodies import AwareDatetime
from zapline.http.api.framework.paging import Position, encode_cursor, query_cursor
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text, masked
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import clean_lines, clean_name, kind_label
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.units.sending_hold import campaign_hold_reason
from zapline.sql.campaigns import campaigns as stored
from zapline.sql.campaigns.campaigns import Campaign, Recipient
from zapline.sql.outbound.unit_pace import find_pace
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.campaigns.campaign_commands import Campaigns, Forecast, UnknownCampaign
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 20
_RECIPIENT_PAGE = 50
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
_UNFINISHED = frozenset({"pending", "queued", "sending"})
SKIP_REASONS: Mapping[str, str] = {
    "invalid_phone": N_("This is no phone number."),
    "duplicate": N_("The phone is on the list already."),
    "missing_variable": N_("A value that the text needs is missing."),
    "too_long": N_("The text would be too long for WhatsApp."),
    "not_on_whatsapp": N_("WhatsApp says that the number is not there."),
    "opted_out": N_("The contact wants no campaigns."),
    "frequency_cap": N_("The organization has written to the contact as often as it may."),
}
_CONFIRMATIONS: Mapping[CampaignCommand, str] = {
    CampaignCommand.START: N_("The campaign is started."),
    CampaignCommand.PAUSE: N_("The campaign is paused. What lies ready waits too."),
    CampaignCommand.RESUME: N_("The campaign goes on."),
    CampaignCommand.CANCEL: N_("The campaign is cancelled. Nothing more of it is sent."),
}


class _ListPosition(Position, frozen=True, tag="cg"):
    at: AwareDatetime
    id: UUID


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """The state of a campaign, its progress, and the commands that it accepts."""

    tone: str
    label: str
    total: int
    done: int
    counts: tuple[tuple[str, str, int], ...]
    """(state, label, count) of the states that any recipient is in."""
    commands: frozenset[CampaignCommand]
    failed: int


def campaign_progress(campaign: Campaign) -> CampaignProgress:
    (tone, label), counts = STATES[campaign.state], campaign.counts
    total = sum(count for state, count in counts.items() if state != "skipped")
    done = total - sum(counts[state] for state in _UNFINISHED)
    labelled = tuple((state, _(name), counts[state]) for state, name in RECIPIENT_STATES.items() if counts[state])
    commands = frozenset(command for command in CampaignCommand if campaign.state in COMMAND_STATES[command])
    return CampaignProgress(tone, _(label), total, done, labelled, commands, counts["failed"] + counts["undelivered"])


def recipient_reason(code: str | None) -> str:
    """Why a recipient was not reached, in the operator's language."""
    if code is None:
        return _("No reason was told.")
    return _(SKIP_REASONS[code] if code in SKIP_REASONS and code not in FAILURE_TEXTS else failure_text(code))


def recipient_detail(detail: str | None) -> str:
    """What is wrong with a phone, in the operator's language; names of variables as they are."""
    return _(detail) if detail is not None and " " in detail else detail or ""


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
        for command in CampaignCommand:
            layout.post(f"{one}/{command.value}", f"campaign_{command.value}", partial(self._change_state, command))

    # -- the list --------------------------------------------------------------------------------------------

    async def list(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._list_values(record)
        return self._layout.render("campaigns.html", at="campaigns", events=unit_events_path(record.id), **values)

    async def list_part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        return self._layout.render("campaign_list.html", **await self._list_values(record))

    async def _list_values(self, record: UnitRecord) -> dict[str, Any]:
        after, base = query_cursor(_ListPosition), PATH.format(unit=record.id)
        position = (after.at, after.id) if after is not None else None
        campaigns = await stored.list_campaigns(self._pool, record.id, position, _PAGE + 1)
        page = campaigns[:_PAGE]
        more = encode_cursor(_ListPosition(page[-1].created_at, page[-1].id)) if len(campaigns) > _PAGE else None
        return {
            "unit": record,
            "campaigns": [(each, clean_name(each.name), campaign_progress(each)) for each in page],
            "newest": base if after is not None else None,
            "older": f"{base}?cursor={more}" if more is not None else None,
            "query": f"?cursor={encode_cursor(after)}" if after is not None else "",
            "zone": record.time_zone,
            "base": base,
        }

    # -- one -------------------------------------------------------------------------------------------------

    async def show(self, unit: UUID, campaign: UUID) -> Response:
        record, loaded = await self._find(unit, campaign)
        values = await self._values(record, loaded)
        if loaded.state is CampaignState.READY:
            values |= await self._planned_values(record, loaded)
        return self._layout.render("campaign.html", at="campaigns", events=unit_events_path(record.id), **values)

    async def part(self, unit: UUID, campaign: UUID) -> Response:
        record, loaded = await self._find(unit, campaign)
        return self._layout.render("campaign_progress.html", **await self._values(record, loaded))

    async def _values(self, record: UnitRecord, loaded: Campaign) -> dict[str, Any]:
        reasons = sorted(loaded.reasons.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
        pace = await find_pace(self._pool, record.id) if loaded.state is CampaignState.RUNNING else None
        content = loaded.outgoing.content
        return {
            "unit": record,
            "campaign": loaded,
            "name": clean_name(loaded.name),
            "progress": campaign_progress(loaded),
            "hold": campaign_hold_reason(self._commands.find(record.id), loaded, pace, time.time()),
            "reasons": [
                (_(RECIPIENT_STATES[state]), recipient_reason(reason), count) for (state, reason), count in reasons
            ],
            "texts": [clean_lines(text) for text in loaded.wordings or (text_of_content(content) or "",) if text],
            "file": _file_label(content) if isinstance(content, File) else "",
            "zone": record.time_zone,
            "base": f"{PATH.format(unit=record.id)}/{loaded.id}",
        }

    async def _planned_values(self, record: UnitRecord, loaded: Campaign) -> dict[str, Any]:
        """The forecast of a campaign that is not started: the first texts, who is skipped, and its end."""
        template = MessageTemplate.parse(loaded.outgoing, loaded.wordings)
        first = await stored.list_recipients(self._pool, record.id, loaded.id, ("pending",), 0, _PREVIEWS)
        skipped = await stored.list_recipients(self._pool, record.id, loaded.id, ("skipped",), 0, _EXAMPLES)
        forecast: Forecast | None = None
        if first:
            forecast = await self._campaigns.forecast_load(record.id, loaded.id, ())
        return {
            "previews": [(masked(each.recipient), _preview_text(template, each)) for each in first],
            "examples": [_recipient_row(each) for each in skipped],
            "forecast": forecast,
        }

    async def recipients(self, unit: UUID, campaign: UUID) -> Response:
        record, loaded = await self._find(unit, campaign)
        state, after = query_text("state", 20), query_number("after", 0, 2**31 - 1)
        states = (state,) if state in RECIPIENT_STATES else None
        rows = await stored.list_recipients(self._pool, record.id, loaded.id, states, after, _RECIPIENT_PAGE + 1)
        page, base = rows[:_RECIPIENT_PAGE], f"{PATH.format(unit=record.id)}/{loaded.id}"
        query = {"state": state} if states else {}
        more = urlencode({**query, "after": page[-1].number}) if len(rows) > _RECIPIENT_PAGE else None
        return self._layout.render(
            "campaign_recipients.html",
            at="campaigns",
            unit=record,
            campaign=loaded,
            name=clean_name(loaded.name),
            progress=campaign_progress(loaded),
            recipients=[_recipient_row(each) for each in page],
            state=state if states else "",
            zone=record.time_zone,
            base=base,
            first=f"{base}/recipients?{urlencode(query)}" if after else None,
            more=f"{base}/recipients?{more}" if more else None,
        )

    async def _find(self, unit: UUID, campaign: UUID) -> tuple[UnitRecord, Campaign]:
        record = self._commands.find(UnitId(unit)).record
        loaded = await stored.find_campaign(self._pool, record.id, campaign)
        if loaded is None:
            raise UnknownCampaign("the unit has no such campaign")
        return record, loaded

    # -- commands --------------------------------------------------------------------------------------------

    async def _change_state(self, command: CampaignCommand, unit: UUID, campaign: UUID) -> Response:
        id, page = self._commands.find(UnitId(unit)).id, f"{PATH.format(unit=unit)}/{campaign}"
        try:
            async with self._layout.audited(f"{command.value.replace('-', '_')}_campaign", id, str(campaign)):
                count = await self._campaigns.change_state(id, campaign, command)
            stored.forget_counts(campaign)
        except UnknownCampaign:
            raise
        except LocalError as error:
            return self._layout.redirect(page, Tone.BAD, error_text(error))
        if command is CampaignCommand.RETRY_FAILED:
            done = ngettext("{count} recipient is tried again.", "{count} recipients are tried again.", count)
            return self._layout.redirect(page, Tone.GOOD if count else Tone.WARN, done)
        return self._layout.redirect(page, Tone.GOOD, _(_CONFIRMATIONS[command]))


def _file_label(file: File) -> str:
    return f"{kind_label(file.kind)}: {clean_name(file.file_name)}" if file.file_name else kind_label(file.kind)


def _preview_text(template: MessageTemplate, recipient: Recipient) -> str:
    content = template.of(recipient.number).render(recipient.values).content
    return clean_lines(getattr(content, "text", None) or getattr(content, "caption", None) or "")


def _recipient_row(recipient: Recipient) -> dict[str, Any]:
    return {
        "number": recipient.number,
        "phone": masked(recipient.recipient)
        if recipient.recipient.startswith("+")
        else mask_text(clean_name(recipient.recipient)),
        "state": _(RECIPIENT_STATES.get(recipient.state, recipient.state)),
        "reason": recipient_reason(recipient.reason) if recipient.reason is not None else "",
        "detail": clean_name(recipient_detail(recipient.detail))[:200],
        "sent_at": recipient.sent_at,
        "message": recipient.message,
    }
