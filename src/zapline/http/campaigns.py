"""Campaigns of a unit: make, fill from JSON or CSV, try out, start and stop, and see how each recipient stands."""

import csv
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import datetime, time
from typing import Annotated
from uuid import UUID

from msgspec import Meta, field
from quart import Response, request
from quart_trio import QuartTrio

from zapline.domain.campaigns import Ask, Timing
from zapline.domain.events import Kind
from zapline.domain.ids import UnitId
from zapline.domain.outbox import File, Text
from zapline.domain.recipients import CHARSETS, Tally
from zapline.domain.text import clean_text
from zapline.http.messages import MIMETYPE, file_name
from zapline.http.paging import Position, cursor, encode, limit, number
from zapline.http.problems import Problem, invalid
from zapline.http.wire import Body, iso, read_body, reply
from zapline.sql import campaigns as stored
from zapline.sql.campaigns import Campaign, Recipient
from zapline.sql.pool import Pool
from zapline.supervisors.campaigns import Campaigns, Forecast, Plan, UnknownCampaign
from zapline.supervisors.loading import Csv, Listed
from zapline.supervisors.submit import Submit

MAX_LIST = 32 * 1024 * 1024
"""Bytes of a CSV: a hundred thousand lines of three hundred."""
LIST_PATH = re.compile(r"/units/[^/]+/campaigns/[^/]+/recipients/?")
"""Where such a body is posted; everywhere else the API's own limit holds."""
STATES = (
    *("pending", "queued", "sending", "sent", "delivered", "read", "undelivered", "uncertain", "failed"),
    *("skipped", "cancelled"),
)
"""Where a recipient may stand, as ``zapline.recipient_state`` of the schema names it."""
_FAILURES = ("failed", "undelivered", "uncertain", "skipped")
_PAGE = 2000
"""Rows of an export that are read at a time."""
_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_Moment = Annotated[datetime, Meta(tz=True)]
_Value = Annotated[str, Meta(max_length=1000)] | int | float | None
_Recipients = tuple[dict[str, _Value], ...]
_Caption = Annotated[str, Meta(max_length=65_536)]
_Url = Annotated[str, Meta(min_length=1, max_length=4096)]
_Name = Annotated[str, Meta(min_length=1, max_length=255)]
_Mimetype = Annotated[str, Meta(max_length=150)]


class _File(Body, frozen=True):
    """``url`` or ``upload``: the id of what was uploaded. ``caption`` and ``file_name`` may hold variables."""

    url: _Url | None = None
    upload: UUID | None = None
    caption: _Caption | None = None
    file_name: _Name | None = None
    mimetype: _Mimetype | None = None


class _Audio(Body, frozen=True):
    """A voice note; ``voice`` false: a file."""

    url: _Url | None = None
    upload: UUID | None = None
    file_name: _Name | None = None
    mimetype: _Mimetype | None = None
    voice: bool = True


class _Window(Body, frozen=True):
    """Hours of the unit's time zone; over midnight if ``until`` is earlier."""

    from_: str = field(name="from")
    until: str


class NewCampaign(Body, frozen=True):
    """Body of ``POST /units/{id}/campaigns`` and of its dry run: exactly one content; ``recipients`` may follow.

    ``pace``: seconds between two messages; left out, the unit's pace. ``start``: at once, or at ``start_at``.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Annotated[str, Meta(min_length=1, max_length=65_536)] | None = None
    image: _File | None = None
    video: _File | None = None
    audio: _Audio | None = None
    document: _File | None = None
    link_preview: bool | None = None
    recipients: _Recipients = ()
    pace: Annotated[float, Meta(ge=1, le=86_400)] | None = None
    window: _Window | None = None
    start_at: _Moment | None = None
    client_campaign_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    start: bool = False


class MoreRecipients(Body, frozen=True):
    """JSON body of ``POST .../recipients``."""

    recipients: Annotated[_Recipients, Meta(min_length=1)]


class _InList(Position, frozen=True, tag="g"):
    at: _Moment
    id: UUID


class CampaignPages:
    """``/units/{id}/campaigns``."""

    def __init__(self, submit: Submit, campaigns: Campaigns, pool: Pool) -> None:
        self._submit = submit
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, app: QuartTrio) -> None:
        all_, one = "/units/<uuid:unit>/campaigns", "/units/<uuid:unit>/campaigns/<uuid:campaign>"
        app.add_url_rule(all_, "create_campaign", self.create, methods=["POST"])
        app.add_url_rule(f"{all_}/dry-run", "try_campaign", self.try_out, methods=["POST"])
        app.add_url_rule(all_, "list_campaigns", self.list, methods=["GET"])
        app.add_url_rule(one, "get_campaign", self.get, methods=["GET"])
        app.add_url_rule(f"{one}/recipients", "add_recipients", self.add, methods=["POST"])
        app.add_url_rule(f"{one}/recipients", "list_recipients", self.recipients, methods=["GET"])
        app.add_url_rule(f"{one}/failures.csv", "export_failures", self.failures, methods=["GET"])
        for ask in Ask:
            name = f"{ask.value.replace('-', '_')}_campaign"
            app.add_url_rule(f"{one}/{ask.value}", name, self._asking(ask), methods=["POST"])

    async def create(self, unit: UUID) -> Response:
        """201 with the campaign; 200 where the same was asked for under this ``clientCampaignId`` before."""
        plan = _plan(await read_body(NewCampaign))
        id, fresh = await self._campaigns.create(UnitId(unit), plan)
        made = await self._shown(UnitId(unit), id, 201 if fresh else 200)
        made.headers["Location"] = f"/units/{unit}/campaigns/{id}"
        return made

    async def try_out(self, unit: UUID) -> Response:
        """What would become of such a campaign; nothing is stored."""
        plan = _plan(await read_body(NewCampaign))
        return reply(_forecast(await self._campaigns.try_out(UnitId(unit), plan)))

    async def list(self, unit: UUID) -> Response:
        """Newest first. Few at a time: the recipients of each are counted."""
        id, most, after = self._submit.find(UnitId(unit)).id, number("limit", 20, 1, 50), cursor(_InList)
        found = await stored.list_campaigns(self._pool, id, (after.at, after.id) if after else None, most + 1)
        page = found[:most]
        more = encode(_InList(page[-1].created_at, page[-1].id)) if len(found) > most else None
        return reply({"items": [_campaign(one) for one in page], "nextCursor": more})

    async def get(self, unit: UUID, campaign: UUID) -> Response:
        return await self._shown(self._submit.find(UnitId(unit)).id, campaign)

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """A list as ``text/csv`` or JSON, all of it or nothing; ``?dryRun=true`` stores nothing."""
        dry = request.args.get("dryRun", "false")
        if dry not in ("true", "false"):
            raise invalid("dryRun", "is true or false")
        async with aclosing(_chunks()) as chunks:
            source = await _source(chunks)
            if dry == "true":
                return reply(_forecast(await self._campaigns.try_list(UnitId(unit), campaign, source)))
            tally = await self._campaigns.load(UnitId(unit), campaign, source)
        found = await self._find(UnitId(unit), campaign)
        return reply({"list": _tally(tally), "campaign": _campaign(found)})

    async def recipients(self, unit: UUID, campaign: UUID) -> Response:
        """In the order of the list behind ``after``; in one ``state``, or all."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), number("after", 0, 0, 2**31 - 1)
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        await self._find(id, campaign)
        states = (state,) if state is not None else None
        found = await stored.recipients(self._pool, id, campaign, states, after, most + 1)
        page = found[:most]
        more = page[-1].number if len(found) > most else None
        return reply({"items": [_recipient(one) for one in page], "nextAfter": more})

    async def failures(self, unit: UUID, campaign: UUID) -> Response:
        """Whoever was not written to, or not surely, as CSV: it can be mended and sent in again as a list."""
        id = self._submit.find(UnitId(unit)).id
        found = await self._find(id, campaign)
        columns = sorted(await stored.variables(self._pool, id, campaign))
        exported = Response(self._export(id, campaign, columns), 200, content_type="text/csv; charset=utf-8")
        exported.headers["Content-Disposition"] = f'attachment; filename="failures-{found.id}.csv"'
        return exported

    async def _export(self, unit: UnitId, campaign: UUID, columns: Iterable[str]) -> AsyncIterator[bytes]:
        names = [name for name in columns if name not in _OWN_COLUMNS]
        yield _lines([[*_OWN_COLUMNS, *names]])
        after = 0
        while page := await stored.recipients(self._pool, unit, campaign, _FAILURES, after, _PAGE):
            yield _lines([_cells(one, names) for one in page])
            after = page[-1].number

    def _asking(self, ask: Ask) -> Callable[[UUID, UUID], Awaitable[Response]]:
        async def asked(unit: UUID, campaign: UUID) -> Response:
            await read_body(Body)
            count = await self._campaigns.ask(UnitId(unit), campaign, ask)
            found = _campaign(await self._find(UnitId(unit), campaign))
            return reply({**found, "retried": count} if ask is Ask.RETRY_FAILED else found)

        return asked

    async def _find(self, unit: UnitId, id: UUID) -> Campaign:
        found = await stored.find_campaign(self._pool, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        return found

    async def _shown(self, unit: UnitId, id: UUID, status: int = 200) -> Response:
        return reply(_campaign(await self._find(unit, id)), status)


# -- what is asked -------------------------------------------------------------------------------------------


async def _chunks() -> AsyncGenerator[bytes, None]:
    """The request's body as it comes in. Raises Problem 413."""
    size = 0
    async for chunk in request.body:
        size += len(chunk)
        if size > MAX_LIST:
            raise Problem(413, "body_too_large", f"a list has at most {MAX_LIST:,} bytes")
        yield chunk


async def _source(chunks: AsyncIterator[bytes]) -> Csv | Listed:
    """The list that the request's body is. Raises Problem 415 and 422."""
    if request.mimetype == "text/csv":
        charset = request.mimetype_params.get("charset", "utf-8").lower()
        if charset not in CHARSETS:
            raise invalid("Content-Type", f"has a charset of {', '.join(sorted(CHARSETS))}")
        return Csv(chunks, charset)
    if request.mimetype in ("application/json", ""):
        return (await read_body(MoreRecipients)).recipients
    raise Problem(415, "unsupported_media_type", "a list is text/csv or application/json")


def _plan(asked: NewCampaign) -> Plan:
    """What the body asks for. Raises Problem 422 naming the field."""
    name = clean_text(asked.name).strip()
    if not name:
        raise invalid("name", "is empty")
    if asked.client_campaign_id is not None and not asked.client_campaign_id.isprintable():
        raise invalid("clientCampaignId", "holds printable characters only")
    opens = closes = None
    if asked.window is not None:
        opens, closes = _hour("window.from", asked.window.from_), _hour("window.until", asked.window.until)
        if opens == closes:
            raise invalid("window.until", "is the same as window.from; leave the window out for no window")
    return Plan(
        name=name,
        content=_content(asked),
        listed=asked.recipients,
        timing=Timing(asked.pace, opens, closes),
        start_at=asked.start_at.timestamp() if asked.start_at is not None else None,
        client_id=asked.client_campaign_id,
        start=asked.start,
    )


def _content(asked: NewCampaign) -> Text | File:
    files = {"image": asked.image, "video": asked.video, "audio": asked.audio, "document": asked.document}
    given = [name for name, one in {"text": asked.text, **files}.items() if one is not None]
    if len(given) != 1:
        said = "is one too many" if given else "is missing"
        raise invalid(given[-1] if given else "text", f"{said}: a campaign has one of text, {', '.join(files)}")
    if asked.text is not None:
        return Text(asked.text, asked.link_preview is not False)
    if asked.link_preview is not None:
        raise invalid("linkPreview", "is for texts only")
    (name,) = given
    file = files[name]
    assert file is not None
    kind = Kind(name)
    if isinstance(file, _Audio):
        kind = Kind.VOICE if file.voice else Kind.AUDIO
    mimetype = file.mimetype.partition(";")[0].strip().lower() if file.mimetype is not None else None
    if mimetype is not None and MIMETYPE.fullmatch(mimetype) is None:
        raise invalid(f"{name}.mimetype", "is a media type, as image/jpeg")
    return File(
        kind=kind,
        url=file.url,
        upload=file.upload,
        mimetype=mimetype,
        file_name=file_name(f"{name}.fileName", file.file_name) if file.file_name is not None else None,
        caption=file.caption if isinstance(file, _File) else None,
    )


def _hour(field: str, given: str) -> time:
    read = _HOUR.fullmatch(given)
    if read is None:
        raise invalid(field, "is an hour of the day, as 09:30")
    return time(int(read[1]), int(read[2]))


# -- answers -------------------------------------------------------------------------------------------------


def _campaign(one: Campaign) -> dict[str, object]:
    window = None
    if one.timing.window_from is not None and one.timing.window_until is not None:
        window = {"from": f"{one.timing.window_from:%H:%M}", "until": f"{one.timing.window_until:%H:%M}"}
    return {
        "id": str(one.id),
        "name": one.name,
        "state": one.state,
        "content": _shown_content(one.outgoing.content) if isinstance(one.outgoing.content, Text | File) else None,
        "pace": one.timing.seconds,
        "window": window,
        "startAt": iso(one.start_at),
        "startedAt": iso(one.started_at),
        "endedAt": iso(one.ended_at),
        "createdAt": iso(one.created_at),
        "clientCampaignId": one.client_id,
        "recipients": one.counts.total(),
        "counts": {state: one.counts[state] for state in STATES},
        "skipped": dict(one.skipped),
    }


def _shown_content(content: Text | File) -> dict[str, object]:
    """The URL of a file stays out of it: a signed one opens the file to whoever reads it."""
    if isinstance(content, Text):
        return {"type": "text", "text": content.text, "linkPreview": content.link_preview}
    return {
        "type": content.kind,
        "upload": str(content.upload) if content.upload is not None else None,
        "caption": content.caption,
        "fileName": content.file_name,
        "mimetype": content.mimetype,
    }


def _recipient(one: Recipient) -> dict[str, object]:
    return {
        "number": one.number,
        "to": one.recipient,
        "variables": one.values,
        "state": one.state,
        "reason": one.reason,
        "detail": one.detail,
        "messageId": str(one.message) if one.message is not None else None,
        "sentAt": iso(one.sent_at),
    }


def _tally(tally: Tally) -> dict[str, object]:
    return {
        "received": tally.received,
        "accepted": tally.accepted,
        "skipped": dict(tally.skipped),
        "skippedExamples": [
            {"number": one.number, "to": one.recipient, "reason": one.reason, "detail": one.detail}
            for one in tally.examples
        ],
    }


def _forecast(forecast: Forecast) -> dict[str, object]:
    """``endsAt`` null: under these limits the campaign would not end within three years."""
    return {
        **_tally(forecast.tally),
        "previews": [{"to": to, "text": text} for to, text in forecast.tally.previews],
        "startsAt": iso(forecast.starts_at),
        "endsAt": iso(forecast.ends_at),
    }


# -- export --------------------------------------------------------------------------------------------------

_OWN_COLUMNS = ("number", "to", "state", "reason", "detail")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet, and may do things there."""


def _cells(one: Recipient, names: Iterable[str]) -> list[str]:
    # Without its plus a phone is no formula, and is read back all the same.
    to = one.recipient.removeprefix("+")
    own = [str(one.number), to, one.state, one.reason or "", one.detail or ""]
    return [*own, *(one.values.get(name, "") for name in names)]


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(["'" + cell if cell.startswith(_FORMULA) else cell for cell in row] for row in rows)
    return written.getvalue().encode()
