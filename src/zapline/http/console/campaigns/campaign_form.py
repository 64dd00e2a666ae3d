"""Creates campaigns from a form: forecasts one without storing anything, then creates it and loads its CSV."""

import codecs
import io
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import IO
from uuid import UUID
from zoneinfo import ZoneInfo

import trio
from quart import Response, request

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import File, Text
from zapline.http.console.campaigns.campaign_pages import PATH, recipient_detail, recipient_reason
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text, sentence
from zapline.http.console.framework.forms import Form, UploadedFile, read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.inbox.send_draft import MAX_TEXT, SendDraft, safe_file_name
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.campaigns.campaign_commands import CampaignConflict, CampaignPlan, Campaigns, Forecast
from zapline.supervisors.campaigns.recipient_loading import RecipientCsv
from zapline.supervisors.outbound.message_composition import InvalidMessage
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

NEW_PATH = re.compile(r"/console/units/[^/]+/campaigns/(?:new|try|[0-9a-f-]{36}/list)")
"""Where the form may hold a list."""
_CHUNK = 64 * 1024
_MAX_FILE = 16 * 1024 * 1024
_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_COLUMN_ADVICE = N_("Save the list as CSV with one column named telefone (or phone, or to).")


@dataclass(frozen=True, slots=True)
class CampaignDraft(SendDraft):
    """The fields of the form; ``key`` is the id under which the campaign is created once."""

    name: str = ""
    second: str = ""
    """Another wording, and ``third``: recipients get them in turn."""
    third: str = ""
    pasted: str = ""
    start_at: str = ""
    seconds: str = ""
    opens: str = ""
    closes: str = ""


class _InvalidForm(Exception):
    """The form cannot be accepted; the text says why, in the operator's language."""


@dataclass(frozen=True, slots=True)
class _CampaignRequest:
    """What a form asks for."""

    plan: CampaignPlan
    list: IO[bytes] | None


@dataclass(eq=False, repr=False)
class CampaignFormPages:
    """``/console/units/{unit}/campaigns/new`` and ``/try``, and lists for a campaign that is not started."""

    _layout: Layout
    _commands: UnitCommands
    _campaigns: Campaigns
    _submissions: Submissions
    _pool: Pool

    def attach(self) -> None:
        all = "/console/units/<uuid:unit>/campaigns"
        self._layout.get(f"{all}/new", "campaign_new", self.show)
        self._layout.post(f"{all}/new", "campaign_create", self.create)
        self._layout.post(f"{all}/try", "campaign_try", self.try_out)
        self._layout.post(f"{all}/<uuid:campaign>/list", "campaign_list", self.add)

    async def show(self, unit: UUID) -> Response:
        return self._page(self._commands.find(UnitId(unit)).record, CampaignDraft.fresh())

    async def try_out(self, unit: UUID) -> Response:
        """Show what the campaign would do, without storing anything."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        draft = _read_draft(form)
        forecast: Forecast | None = None
        try:
            forecast = await self._forecast(record, _read_request(record, form, draft, trial=True))
        except (_InvalidForm, ZaplineError) as error:
            draft = replace(draft, error=_error_text(error))
        if LIVE_HEADER in request.headers:
            return self._layout.render(
                "campaign_trial.html",
                unit=record,
                draft=draft,
                forecast=forecast,
                recipient_reason=recipient_reason,
                recipient_detail=recipient_detail,
                zone=record.time_zone,
            )
        return self._page(record, draft, forecast, 422 if draft.error else 200)

    async def create(self, unit: UUID) -> Response:
        """Create it and load its list. It is not started: the operator looks at its page first."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        draft = _read_draft(form)
        try:
            if (file := form.files.get("file")) is not None:
                _check_file_size(file)
                draft = await draft.store_file(self._submissions, record.id, file)
            wanted = _read_request(record, form, draft, trial=False)
            await self._forecast(record, wanted)  # a list that cannot be read leaves no campaign behind
            async with self._layout.audited("create_campaign", record.id) as line:
                line.note(name=wanted.plan.name)
                id, fresh = await self._campaigns.create(record.id, wanted.plan)
                if fresh and wanted.list is not None:
                    await self._campaigns.load(record.id, id, await csv_source(wanted.list))
        except CampaignConflict:
            conflict = _("This form was sent before with something else in it. Look at the list, or send it again.")
            return self._page(record, replace(draft, key=CampaignDraft.fresh().key, error=conflict), None, 422)
        except (_InvalidForm, ZaplineError) as error:
            return self._page(record, replace(draft, error=_error_text(error)), None, 422)
        return self._layout.redirect(f"{PATH.format(unit=record.id)}/{id}")

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """Add a list to a campaign that is not started."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        page = f"{PATH.format(unit=record.id)}/{campaign}"
        try:
            recipients = _uploaded_list(form)
            if recipients is None:
                raise _InvalidForm(_("Choose a list, or paste one."))
            async with self._layout.audited("add_recipients", record.id, str(campaign)):
                counts = await self._campaigns.load(record.id, campaign, await csv_source(recipients))
        except (_InvalidForm, ZaplineError) as error:
            return self._layout.redirect(page, Tone.BAD, _error_text(error))
        added = ngettext("{count} recipient was added.", "{count} recipients were added.", counts.accepted)
        return self._layout.redirect(page, Tone.GOOD if counts.accepted else Tone.WARN, added)

    # -- reading ---------------------------------------------------------------------------------------------

    async def _forecast(self, record: UnitRecord, wanted: _CampaignRequest) -> Forecast:
        source = await csv_source(wanted.list) if wanted.list is not None else None
        return await self._campaigns.forecast(record.id, wanted.plan, source)

    def _page(
        self, record: UnitRecord, draft: CampaignDraft, forecast: Forecast | None = None, status: int = 200
    ) -> Response:
        return self._layout.render(
            "campaign_new.html",
            status,
            at="campaigns",
            unit=record,
            draft=draft,
            forecast=forecast,
            zone=record.time_zone,
            base=PATH.format(unit=record.id),
            recipient_reason=recipient_reason,
            recipient_detail=recipient_detail,
        )


def _read_draft(form: Form) -> CampaignDraft:
    names = ("name", "start_at", "seconds", "opens", "closes")
    longer = {name: form.fields.get(name, "") for name in ("pasted", "second", "third")}
    return CampaignDraft.read(form, **longer, **{name: form.text(name, 300) for name in names})


def _read_request(record: UnitRecord, form: Form, draft: CampaignDraft, *, trial: bool) -> _CampaignRequest:
    """Raises _InvalidForm."""
    if not draft.name:
        raise _InvalidForm(_("Give the campaign a name."))
    if len(draft.name) > 200:
        raise _InvalidForm(_("A name has at most {n} characters.", n=200))
    others = tuple(wording for wording in (draft.second, draft.third) if wording.strip())
    if others and not draft.text:
        raise _InvalidForm(_("Write the first text, too: the others take turns with it."))
    if any(len(wording) > MAX_TEXT for wording in (draft.text, *others)):
        raise _InvalidForm(_("The text is longer than {n} characters.", n=MAX_TEXT))
    plan = CampaignPlan(
        name=draft.name,
        content=_content(form, draft, trial=trial),
        timing=_timing(draft),
        start_at=_start_at(draft, record.time_zone),
        client_id=draft.key,
        wordings=(draft.text, *others) if others else (),
    )
    return _CampaignRequest(plan, _uploaded_list(form))


def _error_text(error: _InvalidForm | ZaplineError) -> str:
    if isinstance(error, _InvalidForm):
        return str(error)
    text = sentence(error_text(error))
    return f"{text} {_(_COLUMN_ADVICE)}" if "header has no column" in str(error) else text


def _content(form: Form, draft: CampaignDraft, *, trial: bool) -> Text | File:
    file = form.files.get("file")
    if not draft.upload and file is None and not draft.text:
        raise _InvalidForm(_("Write a text, or choose a file."))
    if file is not None:
        _check_file_size(file)
    if trial and (draft.upload or file is not None):  # not stored yet, and the forecast does not depend on it
        return Text(draft.text or safe_file_name(file.name if file is not None else draft.file_name))
    try:
        return draft.content()
    except InvalidMessage as error:
        reasons = {"text": _("WhatsApp shows no text with a sound."), "file": _("Choose the file again.")}
        raise _InvalidForm(reasons[error.field]) from None


def _check_file_size(file: UploadedFile) -> None:
    file.stream.seek(0, io.SEEK_END)
    if file.stream.tell() > _MAX_FILE:
        raise _InvalidForm(_("The file is larger than {n} MB.", n=_MAX_FILE // 2**20))


def _timing(draft: CampaignDraft) -> CampaignTiming:
    seconds = None
    if draft.seconds:
        try:
            seconds = float(draft.seconds.replace(",", "."))
        except ValueError:
            seconds = float("nan")
        if not 1 <= seconds <= 86_400:
            raise _InvalidForm(_("Between two messages there are 1 to 86400 seconds."))
    opens, closes = _hour(draft.opens), _hour(draft.closes)
    if (opens is None) != (closes is None) or (opens is not None and opens == closes):
        raise _InvalidForm(_("Give both ends of the hours, and not the same."))
    return CampaignTiming(seconds, opens, closes)


def _hour(text: str) -> time | None:
    if not text:
        return None
    match = _HOUR.fullmatch(text[:5])
    if match is None:
        raise _InvalidForm(_("An hour is written as 09:30."))
    return time(int(match[1]), int(match[2]))


def _start_at(draft: CampaignDraft, zone: str) -> float | None:
    """The start on the unit's clocks, as UTC seconds."""
    if not draft.start_at:
        return None
    try:
        return datetime.fromisoformat(draft.start_at).replace(tzinfo=ZoneInfo(zone)).timestamp()
    except (ValueError, OverflowError):
        raise _InvalidForm(_("The start is a day and an hour.")) from None


# -- a list ---------------------------------------------------------------------------------------------------


def _uploaded_list(form: Form) -> IO[bytes] | None:
    """The chosen or the pasted list; None without one. Raises _InvalidForm for both."""
    file, pasted = form.files.get("list"), form.fields.get("pasted", "").strip()
    if file is not None and pasted:
        raise _InvalidForm(_("Choose a list or paste one, not both."))
    if file is not None:
        return file.stream
    return io.BytesIO(pasted.encode("utf-8", "replace")) if pasted else None


async def csv_source(stream: IO[bytes]) -> RecipientCsv:
    """A list on disk, to be read in chunks. What is not UTF-8 was written by a spreadsheet on Windows."""
    return RecipientCsv(_chunks(stream), await trio.to_thread.run_sync(_charset, stream))


async def _chunks(stream: IO[bytes]) -> AsyncIterator[bytes]:
    stream.seek(0)
    while chunk := await trio.to_thread.run_sync(stream.read, _CHUNK):
        yield chunk


def _charset(stream: IO[bytes]) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    stream.seek(0)
    try:
        while chunk := stream.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"
