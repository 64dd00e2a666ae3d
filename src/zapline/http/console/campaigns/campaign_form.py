"""Makes a campaign out of a form: tries it first, with nothing stored, and then fills it from a CSV of any length."""

import codecs
import io
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from hashlib import sha256
from typing import IO
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import trio
from quart import Response, request

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.problems import Problem
from zapline.http.console.campaigns.campaign_pages import PATH, recipient_reason
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import Form, read_form
from zapline.http.console.framework.forms import UploadedFile as Given
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.inbox.reply import file_kind, safe_file_name, safe_media_type
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.campaigns.campaign_commands import CampaignConflict, CampaignPlan, Campaigns, Forecast
from zapline.supervisors.campaigns.recipient_loading import RecipientCsv
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

NEW_PATH = re.compile(r"/console/units/[^/]+/campaigns/(?:new|try|[0-9a-f-]{36}/list)")
"""Where a list may come with the form."""
_CHUNK = 64 * 1024
_MAX_TEXT = 65_536
_MAX_FILE = 16 * 1024 * 1024
_MADE = "console:"
_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_LINE_ERROR = re.compile(r"line (?P<line>\d+): (?P<what>.+)", re.DOTALL | re.ASCII)
_LIST_ERRORS = (
    N_("the list is empty; it begins with a header"),
    N_("the header has no column to, phone or telefone"),
    N_("more cells than the header has columns"),
    N_("it does not end; is a quote opened and never closed?"),
)
"""What is wrong with a line of a list, in the words of ``domain.recipients``."""
_CHARSET_ADVICE = N_("Save the list as CSV with one column named telefone (or phone, or to).")


@dataclass(frozen=True, slots=True)
class CampaignDraft:
    """A campaign as it stands in the form; ``key``: under which it is made once."""

    key: str
    name: str = ""
    text: str = ""
    pasted: str = ""
    start_at: str = ""
    seconds: str = ""
    opens: str = ""
    closes: str = ""
    upload: str = ""
    file_name: str = ""
    file_type: str = ""
    error: str = ""

    @classmethod
    def fresh(cls) -> "CampaignDraft":
        return cls(_MADE + secrets.token_urlsafe(18))

    @classmethod
    def of(cls, form: Form) -> "CampaignDraft":
        key = form.text("key", 64)
        if not key.startswith(_MADE):
            raise Problem(422, "invalid_request", "the form is not one of this page; open it again")
        names = ("name", "start_at", "seconds", "opens", "closes", "upload", "file_name", "file_type")
        text = clean_text(form.fields.get("text", "").replace("\r\n", "\n")).strip()
        return cls(key, text=text, pasted=form.fields.get("pasted", ""), **{one: form.text(one, 300) for one in names})


@dataclass(frozen=True, slots=True)
class _InvalidForm(Exception):
    """The form cannot be taken; the text says why, in the operator's language."""

    said: str


@dataclass(frozen=True, slots=True)
class _CampaignRequest:
    """What a form asks for."""

    plan: CampaignPlan
    list: IO[bytes] | None = field(default=None)


class CampaignFormPages:
    """``/console/units/{unit}/campaigns/new`` and ``/try``, and lists for a campaign that is not started."""

    def __init__(
        self, layout: Layout, commands: UnitCommands, campaigns: Campaigns, outgoing: Submissions, pool: Pool
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._campaigns = campaigns
        self._outgoing = outgoing
        self._pool = pool

    def attach(self) -> None:
        all = "/console/units/<uuid:unit>/campaigns"
        self._layout.get(f"{all}/new", "campaign_new", self.show)
        self._layout.post(f"{all}/new", "campaign_create", self.create)
        self._layout.post(f"{all}/try", "campaign_try", self.try_out)
        self._layout.post(f"{all}/<uuid:campaign>/list", "campaign_list", self.add)

    async def show(self, unit: UUID) -> Response:
        return self._page(self._commands.find(UnitId(unit)).record, CampaignDraft.fresh())

    async def try_out(self, unit: UUID) -> Response:
        """What would become of it. Nothing is stored."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        draft = CampaignDraft.of(form)
        forecast: Forecast | None = None
        try:
            asked = self._read(record, form, draft, trying=True)
            forecast = await self._tried(record, asked)
        except (_InvalidForm, ZaplineError) as error:
            draft = replace(draft, error=_error_text(error))
        if LIVE_HEADER in request.headers:
            return self._layout.render(
                "campaign_trial.html",
                unit=record,
                draft=draft,
                forecast=forecast,
                recipient_reason=recipient_reason,
                zone=record.time_zone,
            )
        return self._page(record, draft, forecast, 422 if draft.error else 200)

    async def create(self, unit: UUID) -> Response:
        """Make it and read its list in; it is not started, so that its page can be looked at first."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        draft = CampaignDraft.of(form)
        try:
            draft = await self._kept(record.id, form, draft)
            asked = self._read(record, form, draft, trying=False)
            await self._tried(record, asked)  # a list that cannot be read leaves no campaign behind
            async with self._layout.audited("create_campaign", record.id) as line:
                line.note(name=asked.plan.name)
                id, fresh = await self._campaigns.create(record.id, asked.plan)
                if fresh and asked.list is not None:
                    await self._campaigns.load(record.id, id, await csv_source(asked.list))
        except CampaignConflict:
            again = _("This form was sent before with something else in it. Look at the list, or send it again.")
            return self._page(record, replace(draft, key=CampaignDraft.fresh().key, error=again), None, 422)
        except (_InvalidForm, ZaplineError) as error:
            return self._page(record, replace(draft, error=_error_text(error)), None, 422)
        return self._layout.redirect(f"{PATH.format(unit=record.id)}/{id}")

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """Add a list to a campaign that is not started."""
        record = self._commands.find(UnitId(unit)).record
        form = await read_form()
        here = f"{PATH.format(unit=record.id)}/{campaign}"
        try:
            given = _uploaded_list(form)
            if given is None:
                raise _InvalidForm(_("Choose a list, or paste one."))
            async with self._layout.audited("add_recipients", record.id, str(campaign)):
                tally = await self._campaigns.load(record.id, campaign, await csv_source(given))
        except (_InvalidForm, ZaplineError) as error:
            return self._layout.redirect(here, Tone.BAD, _error_text(error))
        said = ngettext("{count} recipient was added.", "{count} recipients were added.", tally.accepted)
        return self._layout.redirect(here, Tone.GOOD if tally.accepted else Tone.WARN, said)

    # -- reading ---------------------------------------------------------------------------------------------

    async def _tried(self, record: UnitRecord, asked: _CampaignRequest) -> Forecast:
        source = await csv_source(asked.list) if asked.list is not None else None
        return await self._campaigns.forecast(record.id, asked.plan, source)

    async def _kept(self, unit: UnitId, form: Form, draft: CampaignDraft) -> CampaignDraft:
        """Store the file that is to be sent, so that the form needs it only once."""
        given = form.files.get("file")
        if given is None:
            return draft
        content = _check_file_size(given)
        name, mimetype = safe_file_name(given.name), safe_media_type(given.mimetype)
        id = uuid5(unit, draft.key + sha256(content).hexdigest())
        await self._outgoing.store_upload(unit, mimetype, name, content, id)
        return replace(draft, upload=str(id), file_name=name, file_type=mimetype)

    def _read(self, record: UnitRecord, form: Form, draft: CampaignDraft, *, trying: bool) -> _CampaignRequest:
        """Raises _Unfit."""
        if not draft.name:
            raise _InvalidForm(_("Give the campaign a name."))
        if len(draft.name) > 200:
            raise _InvalidForm(_("A name has at most {n} characters.", n=200))
        if len(draft.text) > _MAX_TEXT:
            raise _InvalidForm(_("The text is longer than {n} characters.", n=_MAX_TEXT))
        plan = CampaignPlan(
            name=draft.name,
            content=_content(form, draft, trying=trying),
            timing=_timing(draft),
            start_at=_start_at(draft, record.time_zone),
            client_id=draft.key,
        )
        return _CampaignRequest(plan, _uploaded_list(form))

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
        )


def _error_text(error: Exception) -> str:
    if isinstance(error, _InvalidForm):
        return error.said
    said = str(error)
    if (placed := _LINE_ERROR.fullmatch(said)) is not None:
        said = _("Line {n}: {what}", n=placed["line"], what=_(placed["what"]))
    said = _(said)
    said = said[:1].upper() + said[1:] + ("" if said.endswith((".", "?")) else ".")
    return f"{said} {_(_CHARSET_ADVICE)}" if "header has no column" in str(error) else said


def _content(form: Form, draft: CampaignDraft, *, trying: bool) -> Text | File:
    given = form.files.get("file")
    if not draft.upload and given is None:
        if not draft.text:
            raise _InvalidForm(_("Write a text, or choose a file."))
        return Text(draft.text)
    if given is not None:
        _check_file_size(given, read=False)
    if trying:  # the file is not stored yet; what can be said of the campaign does not hang on it
        return Text(draft.text or safe_file_name(given.name if given is not None else draft.file_name))
    kind = file_kind(safe_media_type(draft.file_type))
    if kind is MessageKind.AUDIO and draft.text:
        raise _InvalidForm(_("WhatsApp shows no text with a sound."))
    try:
        return File(kind=kind, upload=UUID(draft.upload), caption=draft.text or None)
    except ValueError:
        raise _InvalidForm(_("Choose the file again.")) from None


def _check_file_size(given: Given, *, read: bool = True) -> bytes:
    given.stream.seek(0, io.SEEK_END)
    if given.stream.tell() > _MAX_FILE:
        raise _InvalidForm(_("The file is larger than {n} MB.", n=_MAX_FILE // 2**20))
    return given.content if read else b""


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
    read = _HOUR.fullmatch(text[:5])
    if read is None:
        raise _InvalidForm(_("An hour is written as 09:30."))
    return time(int(read[1]), int(read[2]))


def _start_at(draft: CampaignDraft, zone: str) -> float | None:
    """Its time on the unit's clocks, as UTC seconds."""
    if not draft.start_at:
        return None
    try:
        return datetime.fromisoformat(draft.start_at).replace(tzinfo=ZoneInfo(zone)).timestamp()
    except (ValueError, OverflowError):
        raise _InvalidForm(_("The start is a day and an hour.")) from None


# -- a list ---------------------------------------------------------------------------------------------------


def _uploaded_list(form: Form) -> IO[bytes] | None:
    """The list that was chosen, or pasted; both are one too many."""
    given, pasted = form.files.get("list"), form.fields.get("pasted", "").strip()
    if given is not None and pasted:
        raise _InvalidForm(_("Choose a list or paste one, not both."))
    if given is not None:
        return given.stream
    return io.BytesIO(pasted.encode("utf-8", "replace")) if pasted else None


async def csv_source(stream: IO[bytes]) -> RecipientCsv:
    """A list that lies on disk, to be read in pieces. What is not UTF-8 is what spreadsheets of Windows write."""
    return RecipientCsv(_pieces(stream), await trio.to_thread.run_sync(_charset, stream))


async def _pieces(stream: IO[bytes]) -> AsyncIterator[bytes]:
    stream.seek(0)
    while piece := await trio.to_thread.run_sync(stream.read, _CHUNK):
        yield piece


def _charset(stream: IO[bytes]) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    stream.seek(0)
    try:
        while piece := stream.read(_CHUNK):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"
