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

from zapline.domain.campaigns.schedule import Timing
from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import Kind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.problems import Problem
from zapline.http.console.campaigns.campaign_pages import PATH, reason_word
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import File as Given
from zapline.http.console.framework.forms import Form
from zapline.http.console.framework.layout import Frame
from zapline.http.console.framework.session_guard import LIVE
from zapline.http.console.framework.translation import N_, _, ngettext
from zapline.http.console.inbox.reply import file_kind, own_name, own_type
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.campaigns.campaign_commands import CampaignConflict, CampaignPlan, Campaigns, Forecast
from zapline.supervisors.campaigns.recipient_loading import RecipientCsv
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

NEW_PATH = re.compile(r"/console/units/[^/]+/campaigns/(?:new|try|[0-9a-f-]{36}/list)")
"""Where a list may come with the form."""
_CHUNK = 64 * 1024
_LONGEST = 65_536
_MOST_FILE = 16 * 1024 * 1024
_MADE = "console:"
_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_PLACED = re.compile(r"line (?P<line>\d+): (?P<what>.+)", re.DOTALL | re.ASCII)
_OF_LISTS = (
    N_("the list is empty; it begins with a header"),
    N_("the header has no column to, phone or telefone"),
    N_("more cells than the header has columns"),
    N_("it does not end; is a quote opened and never closed?"),
)
"""What is wrong with a line of a list, in the words of ``domain.recipients``."""
_CHARSET_ADVICE = N_("Save the list as CSV with one column named telefone (or phone, or to).")


@dataclass(frozen=True, slots=True)
class Draft:
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
    def fresh(cls) -> "Draft":
        return cls(_MADE + secrets.token_urlsafe(18))

    @classmethod
    def of(cls, form: Form) -> "Draft":
        key = form.text("key", 64)
        if not key.startswith(_MADE):
            raise Problem(422, "invalid_request", "the form is not one of this page; open it again")
        names = ("name", "start_at", "seconds", "opens", "closes", "upload", "file_name", "file_type")
        text = clean_text(form.fields.get("text", "").replace("\r\n", "\n")).strip()
        return cls(key, text=text, pasted=form.fields.get("pasted", ""), **{one: form.text(one, 300) for one in names})


@dataclass(frozen=True, slots=True)
class _Unfit(Exception):
    """The form cannot be taken; the text says why, in the operator's language."""

    said: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a form asks for."""

    plan: CampaignPlan
    list: IO[bytes] | None = field(default=None)


class CampaignForms:
    """``/console/units/{unit}/campaigns/new`` and ``/try``, and lists for a campaign that is not started."""

    def __init__(
        self, frame: Frame, commands: UnitCommands, campaigns: Campaigns, outgoing: Submissions, pool: Pool
    ) -> None:
        self._frame = frame
        self._commands = commands
        self._campaigns = campaigns
        self._outgoing = outgoing
        self._pool = pool

    def attach(self) -> None:
        all = "/console/units/<uuid:unit>/campaigns"
        self._frame.get(f"{all}/new", "campaign_new", self.show)
        self._frame.post(f"{all}/new", "campaign_create", self.create)
        self._frame.post(f"{all}/try", "campaign_try", self.try_out)
        self._frame.post(f"{all}/<uuid:campaign>/list", "campaign_list", self.add)

    async def show(self, unit: UUID) -> Response:
        return self._page(self._commands.find(UnitId(unit)).record, Draft.fresh())

    async def try_out(self, unit: UUID) -> Response:
        """What would become of it. Nothing is stored."""
        record = self._commands.find(UnitId(unit)).record
        form = await self._frame.form()
        draft = Draft.of(form)
        forecast: Forecast | None = None
        try:
            asked = self._read(record, form, draft, trying=True)
            forecast = await self._tried(record, asked)
        except (_Unfit, ZaplineError) as error:
            draft = replace(draft, error=_told(error))
        if LIVE in request.headers:
            return self._frame.render(
                "campaign_trial.html",
                unit=record,
                draft=draft,
                forecast=forecast,
                reason_word=reason_word,
                zone=record.time_zone,
            )
        return self._page(record, draft, forecast, 422 if draft.error else 200)

    async def create(self, unit: UUID) -> Response:
        """Make it and read its list in; it is not started, so that its page can be looked at first."""
        record = self._commands.find(UnitId(unit)).record
        form = await self._frame.form()
        draft = Draft.of(form)
        try:
            draft = await self._kept(record.id, form, draft)
            asked = self._read(record, form, draft, trying=False)
            await self._tried(record, asked)  # a list that cannot be read leaves no campaign behind
            async with self._frame.audited("create_campaign", record.id) as line:
                line.note(name=asked.plan.name)
                id, fresh = await self._campaigns.create(record.id, asked.plan)
                if fresh and asked.list is not None:
                    await self._campaigns.load(record.id, id, await csv_of(asked.list))
        except CampaignConflict:
            again = _("This form was sent before with something else in it. Look at the list, or send it again.")
            return self._page(record, replace(draft, key=Draft.fresh().key, error=again), None, 422)
        except (_Unfit, ZaplineError) as error:
            return self._page(record, replace(draft, error=_told(error)), None, 422)
        return self._frame.go(f"{PATH.format(unit=record.id)}/{id}")

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """Add a list to a campaign that is not started."""
        record = self._commands.find(UnitId(unit)).record
        form = await self._frame.form()
        here = f"{PATH.format(unit=record.id)}/{campaign}"
        try:
            given = _list_of(form)
            if given is None:
                raise _Unfit(_("Choose a list, or paste one."))
            async with self._frame.audited("add_recipients", record.id, str(campaign)):
                tally = await self._campaigns.load(record.id, campaign, await csv_of(given))
        except (_Unfit, ZaplineError) as error:
            return self._frame.go(here, Tone.BAD, _told(error))
        said = ngettext("{count} recipient was added.", "{count} recipients were added.", tally.accepted)
        return self._frame.go(here, Tone.GOOD if tally.accepted else Tone.WARN, said)

    # -- reading ---------------------------------------------------------------------------------------------

    async def _tried(self, record: UnitRecord, asked: _Asked) -> Forecast:
        source = await csv_of(asked.list) if asked.list is not None else None
        return await self._campaigns.forecast(record.id, asked.plan, source)

    async def _kept(self, unit: UnitId, form: Form, draft: Draft) -> Draft:
        """Store the file that is to be sent, so that the form needs it only once."""
        given = form.files.get("file")
        if given is None:
            return draft
        content = _bounded(given)
        name, mimetype = own_name(given.name), own_type(given.mimetype)
        id = uuid5(unit, draft.key + sha256(content).hexdigest())
        await self._outgoing.store_upload(unit, mimetype, name, content, id)
        return replace(draft, upload=str(id), file_name=name, file_type=mimetype)

    def _read(self, record: UnitRecord, form: Form, draft: Draft, *, trying: bool) -> _Asked:
        """Raises _Unfit."""
        if not draft.name:
            raise _Unfit(_("Give the campaign a name."))
        if len(draft.name) > 200:
            raise _Unfit(_("A name has at most {n} characters.", n=200))
        if len(draft.text) > _LONGEST:
            raise _Unfit(_("The text is longer than {n} characters.", n=_LONGEST))
        plan = CampaignPlan(
            name=draft.name,
            content=_content(form, draft, trying=trying),
            timing=_timing(draft),
            start_at=_start(draft, record.time_zone),
            client_id=draft.key,
        )
        return _Asked(plan, _list_of(form))

    def _page(self, record: UnitRecord, draft: Draft, forecast: Forecast | None = None, status: int = 200) -> Response:
        return self._frame.render(
            "campaign_new.html",
            status,
            at="campaigns",
            unit=record,
            draft=draft,
            forecast=forecast,
            zone=record.time_zone,
            base=PATH.format(unit=record.id),
            reason_word=reason_word,
        )


def _told(error: Exception) -> str:
    if isinstance(error, _Unfit):
        return error.said
    said = str(error)
    if (placed := _PLACED.fullmatch(said)) is not None:
        said = _("Line {n}: {what}", n=placed["line"], what=_(placed["what"]))
    said = _(said)
    said = said[:1].upper() + said[1:] + ("" if said.endswith((".", "?")) else ".")
    return f"{said} {_(_CHARSET_ADVICE)}" if "header has no column" in str(error) else said


def _content(form: Form, draft: Draft, *, trying: bool) -> Text | File:
    given = form.files.get("file")
    if not draft.upload and given is None:
        if not draft.text:
            raise _Unfit(_("Write a text, or choose a file."))
        return Text(draft.text)
    if given is not None:
        _bounded(given, read=False)
    if trying:  # the file is not stored yet; what can be said of the campaign does not hang on it
        return Text(draft.text or own_name(given.name if given is not None else draft.file_name))
    kind = file_kind(own_type(draft.file_type))
    if kind is Kind.AUDIO and draft.text:
        raise _Unfit(_("WhatsApp shows no text with a sound."))
    try:
        return File(kind=kind, upload=UUID(draft.upload), caption=draft.text or None)
    except ValueError:
        raise _Unfit(_("Choose the file again.")) from None


def _bounded(given: Given, *, read: bool = True) -> bytes:
    given.stream.seek(0, io.SEEK_END)
    if given.stream.tell() > _MOST_FILE:
        raise _Unfit(_("The file is larger than {n} MB.", n=_MOST_FILE // 2**20))
    return given.content if read else b""


def _timing(draft: Draft) -> Timing:
    seconds = None
    if draft.seconds:
        try:
            seconds = float(draft.seconds.replace(",", "."))
        except ValueError:
            seconds = float("nan")
        if not 1 <= seconds <= 86_400:
            raise _Unfit(_("Between two messages there are 1 to 86400 seconds."))
    opens, closes = _hour(draft.opens), _hour(draft.closes)
    if (opens is None) != (closes is None) or (opens is not None and opens == closes):
        raise _Unfit(_("Give both ends of the hours, and not the same."))
    return Timing(seconds, opens, closes)


def _hour(text: str) -> time | None:
    if not text:
        return None
    read = _HOUR.fullmatch(text[:5])
    if read is None:
        raise _Unfit(_("An hour is written as 09:30."))
    return time(int(read[1]), int(read[2]))


def _start(draft: Draft, zone: str) -> float | None:
    """Its time on the unit's clocks, as UTC seconds."""
    if not draft.start_at:
        return None
    try:
        return datetime.fromisoformat(draft.start_at).replace(tzinfo=ZoneInfo(zone)).timestamp()
    except (ValueError, OverflowError):
        raise _Unfit(_("The start is a day and an hour.")) from None


# -- a list ---------------------------------------------------------------------------------------------------


def _list_of(form: Form) -> IO[bytes] | None:
    """The list that was chosen, or pasted; both are one too many."""
    given, pasted = form.files.get("list"), form.fields.get("pasted", "").strip()
    if given is not None and pasted:
        raise _Unfit(_("Choose a list or paste one, not both."))
    if given is not None:
        return given.stream
    return io.BytesIO(pasted.encode("utf-8", "replace")) if pasted else None


async def csv_of(stream: IO[bytes]) -> RecipientCsv:
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
