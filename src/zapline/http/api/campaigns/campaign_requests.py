"""What requests about campaigns say, and what became of recipients as CSV."""

import re
from datetime import datetime, time
from typing import Annotated
from uuid import UUID

from msgspec import Meta, field

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.json_bodies import RequestBody
from zapline.http.api.framework.problems import invalid
from zapline.http.api.messages.message_requests import MIMETYPE, file_name
from zapline.supervisors.campaigns.campaign_commands import CampaignPlan

_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_Value = Annotated[str, Meta(max_length=1000)] | int | float | None
_Recipients = tuple[dict[str, _Value], ...]
_Caption = Annotated[str, Meta(max_length=65_536)]
_Url = Annotated[str, Meta(min_length=1, max_length=4096)]
_Name = Annotated[str, Meta(min_length=1, max_length=255)]
_Mimetype = Annotated[str, Meta(max_length=150)]


class CampaignFile(RequestBody, frozen=True):
    """``url`` or ``upload``: the id of what was uploaded. ``caption`` and ``file_name`` may hold variables."""

    url: _Url | None = None
    upload: UUID | None = None
    caption: _Caption | None = None
    file_name: _Name | None = None
    mimetype: _Mimetype | None = None


class CampaignAudio(RequestBody, frozen=True):
    """A voice note; ``voice`` false: a file."""

    url: _Url | None = None
    upload: UUID | None = None
    file_name: _Name | None = None
    mimetype: _Mimetype | None = None
    voice: bool = True


class CampaignWindow(RequestBody, frozen=True):
    """Hours of the unit's time zone; over midnight if ``until`` is earlier."""

    from_: str = field(name="from")
    until: Annotated[str, Meta(description="Over midnight if it is earlier than `from`.")]


class NewCampaign(RequestBody, frozen=True):
    """Body of ``POST /units/{id}/campaigns`` and of its dry run: exactly one content; ``recipients`` may follow.

    ``pace``: seconds between two messages; left out, the unit's pace. ``start``: at once, or at ``start_at``.
    """

    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)], Meta(description="For people; recipients do not see it.")
    ]
    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=65_536)] | None,
        Meta(description="May hold variables, as `Olá {{nome}}`, with a fallback as `{{nome|cliente}}`."),
    ] = None
    image: CampaignFile | None = None
    video: CampaignFile | None = None
    audio: CampaignAudio | None = None
    document: CampaignFile | None = None
    link_preview: bool | None = None
    recipients: Annotated[_Recipients, Meta(description="Who gets it: `to`, and the variables.")] = ()
    pace: Annotated[
        Annotated[float, Meta(ge=1, le=86_400)] | None,
        Meta(description="Seconds between two messages; null: as the unit's pace says. The slower of both counts."),
    ] = None
    window: Annotated[CampaignWindow | None, Meta(description="Hours between which it sends.")] = None
    start_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="Start at this time, with its zone.")
    ] = None
    client_campaign_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="Your key for this campaign; repeating it is safe."),
    ] = None
    start: Annotated[bool, Meta(description="Start it at once, or at `startAt`.")] = False


class MoreRecipients(RequestBody, frozen=True):
    """JSON body of ``POST .../recipients``."""

    recipients: Annotated[_Recipients, Meta(min_length=1)]


def plan_of(asked: NewCampaign) -> CampaignPlan:
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
    return CampaignPlan(
        name=name,
        content=_content(asked),
        recipients=asked.recipients,
        timing=CampaignTiming(asked.pace, opens, closes),
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
    kind = MessageKind(name)
    if isinstance(file, CampaignAudio):
        kind = MessageKind.VOICE if file.voice else MessageKind.AUDIO
    mimetype = file.mimetype.partition(";")[0].strip().lower() if file.mimetype is not None else None
    if mimetype is not None and MIMETYPE.fullmatch(mimetype) is None:
        raise invalid(f"{name}.mimetype", "is a media type, as image/jpeg")
    return File(
        kind=kind,
        url=file.url,
        upload=file.upload,
        mimetype=mimetype,
        file_name=file_name(f"{name}.fileName", file.file_name) if file.file_name is not None else None,
        caption=file.caption if isinstance(file, CampaignFile) else None,
    )


def _hour(field: str, given: str) -> time:
    read = _HOUR.fullmatch(given)
    if read is None:
        raise invalid(field, "is an hour of the day, as 09:30")
    return time(int(read[1]), int(read[2]))
