"""Request bodies of campaigns and recipients, and their conversion to a campaign plan."""

import re
from datetime import time
from typing import Annotated
from uuid import UUID

from msgspec import Meta, field

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.json_bodies import AwareDatetime, RequestBody
from zapline.http.api.framework.problems import invalid
from zapline.http.api.messages.message_requests import file_name, media_type
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
    wordings: Annotated[
        Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=65_536)], ...], Meta(min_length=2, max_length=5)]
        | None,
        Meta(
            description="Several texts instead of `text`, or captions instead of the file's `caption`: recipients get "
            "them in turn, and the results tell each apart."
        ),
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
    start_at: Annotated[AwareDatetime | None, Meta(description="Start at this time, with its zone.")] = None
    client_campaign_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="Your key for this campaign; repeating it is safe."),
    ] = None
    start: Annotated[bool, Meta(description="Start it at once, or at `startAt`.")] = False


class MoreRecipients(RequestBody, frozen=True):
    """JSON body of ``POST .../recipients``."""

    recipients: Annotated[_Recipients, Meta(min_length=1)]


def plan_of(body: NewCampaign) -> CampaignPlan:
    """The plan of a body. Raises Problem 422 naming the field."""
    name = clean_text(body.name).strip()
    if not name:
        raise invalid("name", "is empty")
    if body.client_campaign_id is not None and not body.client_campaign_id.isprintable():
        raise invalid("clientCampaignId", "holds printable characters only")
    opens = closes = None
    if body.window is not None:
        opens, closes = _hour("window.from", body.window.from_), _hour("window.until", body.window.until)
        if opens == closes:
            raise invalid("window.until", "is the same as window.from; leave the window out for no window")
    return CampaignPlan(
        name=name,
        content=_content(body),
        recipients=body.recipients,
        timing=CampaignTiming(body.pace, opens, closes),
        start_at=body.start_at.timestamp() if body.start_at is not None else None,
        client_id=body.client_campaign_id,
        start=body.start,
        wordings=body.wordings or (),
    )


def _content(body: NewCampaign) -> Text | File:
    files = {"image": body.image, "video": body.video, "audio": body.audio, "document": body.document}
    text = body.text
    if body.wordings is not None:
        captions = [getattr(file, "caption", None) for file in files.values()]
        if text is not None or any(caption is not None for caption in captions):
            raise invalid("wordings", "stand in the place of the text, or of the caption")
        text = None if any(files.values()) else body.wordings[0]
    contents = [name for name, content in {"text": text, **files}.items() if content is not None]
    if len(contents) != 1:
        sentence = "is one too many" if contents else "is missing"
        raise invalid(
            contents[-1] if contents else "text", f"{sentence}: a campaign has one of text, {', '.join(files)}"
        )
    if text is not None:
        return Text(text, body.link_preview is not False)
    if body.link_preview is not None:
        raise invalid("linkPreview", "is for texts only")
    (name,) = contents
    file = files[name]
    assert file is not None
    kind = MessageKind(name)
    if isinstance(file, CampaignAudio):
        kind = MessageKind.VOICE if file.voice else MessageKind.AUDIO
    return File(
        kind=kind,
        url=file.url,
        upload=file.upload,
        mimetype=media_type(f"{name}.mimetype", file.mimetype) if file.mimetype is not None else None,
        file_name=file_name(f"{name}.fileName", file.file_name) if file.file_name is not None else None,
        caption=file.caption if isinstance(file, CampaignFile) else None,
    )


def _hour(field: str, text: str) -> time:
    match = _HOUR.fullmatch(text)
    if match is None:
        raise invalid(field, "is an hour of the day, as 09:30")
    return time(int(match[1]), int(match[2]))
