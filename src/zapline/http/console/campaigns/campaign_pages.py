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

from zapline.domain.campaigns.states import FROM, Ask, CampaignState
from zapline.domain.campaigns.text_templates import Letter
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File, Text
from zapline.domain.outbox.failure_texts import REASONS, reason_of
from zapline.domain.privacy.masking import mask_text
from zapline.http.api.campaigns.campaigns import CampaignRoutes as Exports
from zapline.http.api.framework.paging import Position, cursor, encode
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import masked
from zapline.http.console.framework.layout import Frame, asked, number_of
from zapline.http.console.framework.live_updates import of_unit
from zapline.http.console.framework.message_labels import kind_word, plain, whole
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.units.sending_hold import campaign_waits
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
SKIPPED: Mapping[str, str] = {
    "invalid_phone": N_("This is no phone number."),
    "duplicate": N_("The phone is on the list already."),
    "missing_variable": N_("A value that the text needs is missing."),
    "too_long": N_("The text would be too long for WhatsApp."),
    "opted_out": N_("The contact wants no campaigns."),
}
_DONE: Mapping[Ask, str] = {
    Ask.START: N_("The campaign is started."),
    Ask.PAUSE: N_("The campaign is paused. What lies ready waits too."),
    Ask.RESUME: N_("The campaign goes on."),
    Ask.CANCEL: N_("The campaign is cancelled. Nothing more of it is sent."),
}


class _InList(Position, frozen=True, tag="cg"):
    at: Annotated[datetime, Meta(tz=True)]
    id: UUID


@dataclass(frozen=True, slots=True)
class Standing:
    """How a campaign stands, in words and numbers."""

    tone: str
    word: str
    all: int
    done: int
    counts: tuple[tuple[str, str, int], ...]
    """(state, word, how many) of those states that anybody is in."""
    asks: frozenset[Ask]
    failed: int


def standing(one: Campaign) -> Standing:
    tone, word = STATES[one.state]
    all = sum(count for state, count in one.counts.items() if state != "skipped")
    waits = sum(one.counts[state] for state in _OPEN)
    counts = tuple((state, _(name), one.counts[state]) for state, name in RECIPIENT_STATES.items() if one.counts[state])
    asks = frozenset(ask for ask in Ask if one.state in FROM[ask])
    return Standing(tone, _(word), all, all - waits, counts, asks, one.counts["failed"])


def reason_word(code: str | None) -> str:
    """Why a recipient was not written to, for people."""
    if code is None:
        return _("No reason was told.")
    return _(SKIPPED[code] if code in SKIPPED and code not in REASONS else reason_of(code))


class CampaignViews:
    """``/console/units/{unit}/campaigns``."""

    def __init__(self, frame: Frame, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._frame = frame
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool
        self._exports = Exports(commands, campaigns, pool)

    def attach(self) -> None:
        all, one = "/console/units/<uuid:unit>/campaigns", "/console/units/<uuid:unit>/campaigns/<uuid:campaign>"
        frame = self._frame
        frame.get(all, "campaigns", self.list)
        frame.get(f"{all}/part", "campaigns_part", self.list_part)
        frame.tab("campaigns", N_("Campaigns"), PATH, 20)
        frame.get(one, "campaign", self.show)
        frame.get(f"{one}/part", "campaign_part", self.part)
        frame.get(f"{one}/recipients", "campaign_recipients", self.recipients)
        frame.get(f"{one}/failures.csv", "campaign_failures", self._exports.failures)
        for ask in Ask:
            frame.post(f"{one}/{ask.value}", f"campaign_{ask.value}", self._asking(ask))

    # -- the list --------------------------------------------------------------------------------------------

    async def list(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._listed(record)
        return self._frame.render("campaigns.html", at="campaigns", events=of_unit(record.id), **values)

    async def list_part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        return self._frame.render("campaigns_list.html", **await self._listed(record))

    async def _listed(self, record: UnitRecord) -> dict[str, Any]:
        after, base = cursor(_InList), PATH.format(unit=record.id)
        place = (after.at, after.id) if after is not None else None
        found = await stored.list_campaigns(self._pool, record.id, place, _PAGE + 1)
        last = found[:_PAGE][-1] if found else None
        more = encode(_InList(last.created_at, last.id)) if last is not None and len(found) > _PAGE else None
        return {
            "unit": record,
            "shown": [(one, plain(one.name), standing(one)) for one in found[:_PAGE]],
            "newest": base if after is not None else None,
            "older": f"{base}?cursor={more}" if more is not None else None,
            "query": f"?cursor={encode(after)}" if after is not None else "",
            "zone": record.time_zone,
            "base": base,
        }

    # -- one -------------------------------------------------------------------------------------------------

    async def show(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        values = await self._shown(record, one)
        if one.state is CampaignState.READY:
            values |= await self._planned(record, one)
        return self._frame.render("campaign.html", at="campaigns", events=of_unit(record.id), **values)

    async def part(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        return self._frame.render("campaign_part.html", **await self._shown(record, one))

    async def _shown(self, record: UnitRecord, one: Campaign) -> dict[str, Any]:
        reasons = await stored.reasons(self._pool, record.id, one.id)
        pace = await conversations.pace(self._pool, record.id) if one.state is CampaignState.RUNNING else None
        content = one.outgoing.content
        return {
            "unit": record,
            "campaign": one,
            "name": plain(one.name),
            "standing": standing(one),
            "waits": campaign_waits(self._commands.find(record.id), one, pace, time.time()),
            "reasons": [(_(RECIPIENT_STATES[state]), reason_word(reason), count) for state, reason, count in reasons],
            "text": whole(content.text if isinstance(content, Text) else getattr(content, "caption", None) or ""),
            "file": _file_word(content) if isinstance(content, File) else "",
            "zone": record.time_zone,
            "base": f"{PATH.format(unit=record.id)}/{one.id}",
        }

    async def _planned(self, record: UnitRecord, one: Campaign) -> dict[str, Any]:
        """What will become of a campaign that is not started: the first texts, who is skipped, when it would end."""
        letter = Letter.read(one.outgoing)
        first = await stored.recipients(self._pool, record.id, one.id, ("pending",), 0, _PREVIEWS)
        skipped = await stored.recipients(self._pool, record.id, one.id, ("skipped",), 0, _EXAMPLES)
        forecast: Forecast | None = None
        if first:
            forecast = await self._campaigns.forecast_load(record.id, one.id, ())
        return {
            "previews": [(masked(each.recipient), _written(letter, each)) for each in first],
            "examples": [_recipient(each) for each in skipped],
            "forecast": forecast,
        }

    async def recipients(self, unit: UUID, campaign: UUID) -> Response:
        record, one = await self._find(unit, campaign)
        state, after = asked("state", 20), number_of("after", 0, 2**31 - 1)
        states = (state,) if state in RECIPIENT_STATES else None
        found = await stored.recipients(self._pool, record.id, one.id, states, after, _RECIPIENTS + 1)
        page, base = found[:_RECIPIENTS], f"{PATH.format(unit=record.id)}/{one.id}"
        query = {"state": state} if states else {}
        more = urlencode({**query, "after": page[-1].number}) if len(found) > _RECIPIENTS else None
        return self._frame.render(
            "campaign_recipients.html",
            at="campaigns",
            unit=record,
            campaign=one,
            name=plain(one.name),
            standing=standing(one),
            recipients=[_recipient(each) for each in page],
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

    def _asking(self, ask: Ask) -> Callable[[UUID, UUID], Awaitable[Response]]:
        async def asked(unit: UUID, campaign: UUID) -> Response:
            id, here = self._commands.find(UnitId(unit)).id, f"{PATH.format(unit=unit)}/{campaign}"
            try:
                async with self._frame.audited(f"{ask.value.replace('-', '_')}_campaign", id, str(campaign)):
                    count = await self._campaigns.change_state(id, campaign, ask)
            except UnknownCampaign:
                raise
            except LocalError as error:
                return self._frame.go(here, Tone.BAD, _(str(error)))
            if ask is Ask.RETRY_FAILED:
                said = ngettext("{count} recipient is tried again.", "{count} recipients are tried again.", count)
                return self._frame.go(here, Tone.GOOD if count else Tone.WARN, said)
            return self._frame.go(here, Tone.GOOD, _(_DONE[ask]))

        return asked


def _file_word(file: File) -> str:
    return f"{kind_word(file.kind)}: {plain(file.file_name)}" if file.file_name else kind_word(file.kind)


def _written(letter: Letter, one: Recipient) -> str:
    content = letter.write(one.values).content
    return whole(getattr(content, "text", None) or getattr(content, "caption", None) or "")


def _recipient(one: Recipient) -> dict[str, Any]:
    return {
        "number": one.number,
        "phone": masked(one.recipient) if one.recipient.startswith("+") else mask_text(plain(one.recipient)),
        "state": _(RECIPIENT_STATES.get(one.state, one.state)),
        "reason": reason_word(one.reason) if one.reason is not None else "",
        "detail": plain(one.detail or "")[:200],
        "sent_at": one.sent_at,
        "message": one.message,
    }
