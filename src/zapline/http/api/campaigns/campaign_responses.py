"""Response bodies of campaigns, their recipients, and forecasts and loads of recipient lists."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from zapline.domain.campaigns.recipient_checks import RecipientCounts
from zapline.domain.campaigns.states import CampaignState
from zapline.domain.outbox.contents import File, Text
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, body_from, one_of
from zapline.http.api.framework.paging import Page
from zapline.sql.campaigns.campaigns import Campaign, Recipient
from zapline.supervisors.campaigns.campaign_commands import Forecast

STATES = (
    *("pending", "queued", "sending", "sent", "delivered", "read", "undelivered", "uncertain", "failed"),
    *("skipped", "cancelled"),
)
"""States of a recipient, as in ``zapline.recipient_state`` of the schema."""
_ContentType = Annotated[str, one_of(["text", "image", "video", "audio", "voice", "document"])]
_Skipped = Annotated[Mapping[str, int], Meta(description="How many are not written to, by reason.")]


class CampaignContentBody(ResponseBody, frozen=True):
    """What is sent. The URL of a file stays out of it: a signed one opens the file to whoever reads it."""

    type: _ContentType
    text: str | UnsetType = UNSET
    link_preview: bool | UnsetType = UNSET
    upload: UUID | UnsetType | None = UNSET
    caption: str | UnsetType | None = UNSET
    file_name: str | UnsetType | None = UNSET
    mimetype: str | UnsetType | None = UNSET


class WindowBody(ResponseBody, frozen=True, rename={"from_": "from"}):
    """Hours of the unit's time zone between which it sends."""

    from_: str
    until: str


class CampaignBody(ResponseBody, frozen=True, kw_only=True):
    """A campaign, with how many of its recipients stand where."""

    id: UUID
    name: str
    state: CampaignState
    content: CampaignContentBody | None
    wordings: Annotated[Sequence[str], Meta(description="Those that recipients get in turn; empty: there is one.")]
    pace: Annotated[float | None, Meta(description="Seconds between two messages; null: as the unit's pace says.")]
    window: WindowBody | None
    start_at: Timestamp | None
    started_at: Timestamp | None
    ended_at: Timestamp | None
    created_at: Timestamp | None
    client_campaign_id: str | None
    held_reason: Annotated[
        str | None,
        Meta(
            description="Why nothing of it is sent until a person calls `.../release-campaigns` of the unit, as a "
            "failure's code: WhatsApp refused too much, or confirmed nothing."
        ),
    ]
    held_detail: Annotated[str | None, Meta(description="The same for people.")]
    recipients: Annotated[int, Meta(description="All of them, also those skipped.")]
    counts: Annotated[Mapping[str, int], Meta(description="How many stand where, for every state.")]
    skipped: _Skipped


class SteeredCampaignBody(CampaignBody, frozen=True, kw_only=True):
    """A campaign after it was steered."""

    retried: Annotated[int | UnsetType, Meta(description="Of retry-failed: how many are tried again.")] = UNSET


class CampaignPage(Page[CampaignBody], frozen=True):
    """Campaigns, newest first."""


class RecipientBody(ResponseBody, frozen=True):
    """How a recipient stands."""

    number: Annotated[int, Meta(description="Its place in the list, from 1.")]
    to: str
    variables: Mapping[str, str]
    state: Annotated[str, one_of(STATES)]
    reason: Annotated[str | None, Meta(description="Why it was not written to, for programs.")]
    detail: Annotated[str | None, Meta(description="The same for people.")]
    message_id: UUID | None
    sent_at: Timestamp | None


class RecipientPage(Page[RecipientBody], frozen=True):
    """Recipients in the order of the list."""


class SkippedBody(ResponseBody, frozen=True):
    """A line of a list that is not written to, and why."""

    number: int
    to: str
    reason: str
    detail: str | None


class TallyBody(ResponseBody, frozen=True, kw_only=True):
    """What a list comes to."""

    received: int
    accepted: int
    skipped: _Skipped
    unchecked: Annotated[
        int | None,
        Meta(description="With `checkNumbers`: of how many numbers WhatsApp has said nothing yet. Null: without it."),
    ]
    skipped_examples: Sequence[SkippedBody]


class PreviewBody(ResponseBody, frozen=True):
    """A message as a recipient would see it."""

    to: str
    text: str


class ForecastBody(TallyBody, frozen=True, kw_only=True):
    """What would become of a campaign; nothing is stored."""

    previews: Sequence[PreviewBody]
    starts_at: Timestamp | None
    ends_at: Annotated[Timestamp | None, Meta(description="Null: under these limits not within three years.")]


class LoadedBody(ResponseBody, frozen=True):
    """What a list came to, and the campaign with it."""

    list: TallyBody
    campaign: CampaignBody


def campaign_body(campaign: Campaign) -> CampaignBody:
    """A campaign as lists show it."""
    return body_from(CampaignBody, campaign, **_campaign_values(campaign))


def steered_body(campaign: Campaign, retried: int | UnsetType = UNSET) -> SteeredCampaignBody:
    """A campaign after a command."""
    return body_from(SteeredCampaignBody, campaign, **_campaign_values(campaign), retried=retried)


def _campaign_values(campaign: Campaign) -> dict[str, Any]:
    timing, content = campaign.timing, campaign.outgoing.content
    window = None
    if timing.window_from is not None and timing.window_until is not None:
        window = WindowBody(f"{timing.window_from:%H:%M}", f"{timing.window_until:%H:%M}")
    return {
        "content": _content_body(content) if isinstance(content, Text | File) else None,
        "pace": timing.seconds,
        "window": window,
        "client_campaign_id": campaign.client_id,
        "held_reason": campaign.held,
        "held_detail": failure_text(campaign.held) if campaign.held is not None else None,
        "recipients": campaign.counts.total(),
        "counts": {state: campaign.counts[state] for state in STATES},
        "skipped": dict(campaign.skipped),
    }


def _content_body(content: Text | File) -> CampaignContentBody:
    if isinstance(content, Text):
        return CampaignContentBody("text", text=content.text, link_preview=content.link_preview)
    return body_from(CampaignContentBody, content, type=content.kind, text=UNSET, link_preview=UNSET)


def recipient_body(recipient: Recipient) -> RecipientBody:
    """A recipient as lists show it."""
    to, variables = recipient.recipient, recipient.values
    return body_from(RecipientBody, recipient, to=to, variables=variables, message_id=recipient.message)


def tally_body(tally: RecipientCounts) -> TallyBody:
    """The counts of a list."""
    return body_from(TallyBody, tally, skipped_examples=_skipped_examples(tally))


def _skipped_examples(tally: RecipientCounts) -> list[SkippedBody]:
    return [body_from(SkippedBody, recipient, to=recipient.recipient) for recipient in tally.examples]


def forecast_body(forecast: Forecast) -> ForecastBody:
    """The forecast of a campaign or list."""
    return body_from(
        ForecastBody,
        forecast.counts,
        skipped_examples=_skipped_examples(forecast.counts),
        previews=[PreviewBody(to, text) for to, text in forecast.counts.previews],
        starts_at=iso(forecast.starts_at),
        ends_at=iso(forecast.ends_at),
    )
