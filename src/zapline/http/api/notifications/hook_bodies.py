"""Bodies of requests about hooks, and of their answers."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from zapline.domain.crm_webhooks import MAX_HEADERS, CrmWebhookEvent
from zapline.domain.network_addresses import MAX_URL_LENGTH
from zapline.http.api.framework.json_bodies import AwareDatetime, RequestBody, ResponseBody, Timestamp, one_of
from zapline.http.api.framework.paging import Page, Seq

STATES = ("queued", "delivered", "dead")


_Url = Annotated[str, Meta(min_length=8, max_length=MAX_URL_LENGTH)]
_Events = Annotated[tuple[CrmWebhookEvent, ...], Meta(min_length=1, max_length=20)]
_Headers = Annotated[
    dict[str, str],
    Meta(max_length=MAX_HEADERS, description="Headers that go with each delivery; kept encrypted, and never shown."),
]


class NewHook(RequestBody, frozen=True):
    """Body of ``POST .../hooks``. Without ``events`` it is told all of them."""

    url: _Url
    events: _Events = tuple(CrmWebhookEvent)
    headers: _Headers = msgspec.field(default_factory=dict)


class NewOrganizationHook(RequestBody, frozen=True):
    """The same for an organization; without ``unitIds`` it is told of all units that your token opens."""

    url: _Url
    events: _Events = tuple(CrmWebhookEvent)
    headers: _Headers = msgspec.field(default_factory=dict)
    unit_ids: Annotated[list[UUID], Meta(min_length=1, max_length=1000)] | None = None


class ReplayRange(RequestBody, frozen=True):
    """Body of ``POST .../replay-events``. Without ``until``: up to now. ``events`` and ``unitIds`` narrow it down."""

    since: AwareDatetime
    until: AwareDatetime | None = None
    after_seq: Annotated[Seq, Meta(description="Go on behind this place: `nextSeq` of the answer before.")] = 0
    events: _Events | None = None
    unit_ids: Annotated[list[UUID], Meta(min_length=1, max_length=1000)] | None = None


class ReplayedEventsBody(ResponseBody, frozen=True):
    """What of a range is delivered once more. Events that wait to be delivered anyway are not counted."""

    replayed: int
    next_seq: Annotated[
        int | None,
        Meta(description="There are more: ask for the same again, with this as `afterSeq`. Null: that was all."),
    ]


class ReplayDead(RequestBody, frozen=True):
    """Body of ``POST .../replay``: all that died since then."""

    since: AwareDatetime


class HookBody(ResponseBody, frozen=True, kw_only=True):
    """A hook, and how it stands. Its secret is shown by the answers that make one, and never again."""

    id: UUID
    url: Annotated[str, Meta(description="Who may not control the unit sees its host alone: a path may hold a secret.")]
    events: Sequence[str]
    active: bool
    disabled_at: Timestamp | None
    disabled_reason: (
        Annotated[
            str,
            one_of(
                ["gone", "failing", "unit_archived", "unit_left"],
                "`gone`: it answered 410. `failing`: for days. `unit_left`: the organization that made it.",
            ),
        ]
        | None
    )
    failing_since: Annotated[Timestamp | None, Meta(description="The first failure since the last success.")]
    key_generation: int
    previous_key_until: Annotated[Timestamp | None, Meta(description="Until then the old secret signs too.")]
    waiting: Annotated[int, Meta(description="Deliveries that are still to be made.")]
    oldest_waiting_at: Timestamp | None
    dead: Annotated[int, Meta(description="Deliveries that were given up, kept for two weeks.")]
    created_at: Timestamp | None
    organization_id: Annotated[UUID | None, Meta(description="Of an organization's hook.")]
    unit_ids: Annotated[
        Sequence[UUID] | None,
        Meta(description="Of an organization's hook: the units that it is told of; null: all, also later ones."),
    ]
    header_names: Annotated[Sequence[str], Meta(description="Headers of your own that go with each delivery.")]


class SecretHookBody(HookBody, frozen=True, kw_only=True):
    """A hook with its secret, shown this once."""

    secret: Annotated[str, Meta(description="`whsec_` and the key in base64.")]


class HooksBody(ResponseBody, frozen=True):
    """The hooks of a unit, the first made first."""

    items: Sequence[HookBody]


class DeliveryBody(ResponseBody, frozen=True, kw_only=True):
    """One delivery."""

    id: UUID
    webhook_id: Annotated[str, Meta(description="The header `webhook-id`, the same at every try.")]
    event: str
    subject: Annotated[UUID | None, Meta(description="The message or campaign that it is about.")]
    state: Annotated[str, one_of(STATES)]
    tries: int
    due_at: Annotated[Timestamp | None, Meta(description="When it is tried next; null once it has ended.")]
    last_status: Annotated[int | None, Meta(description="HTTP status of the last answer.")]
    last_error: Annotated[str | None, Meta(description="Why it failed, in a word.")]
    created_at: Timestamp | None
    ended_at: Timestamp | None


class DeliveryPage(Page[DeliveryBody], frozen=True):
    """Deliveries, latest first."""


class QueuedBody(ResponseBody, frozen=True):
    """A delivery that is to be made now."""

    id: UUID
    webhook_id: str


class RevivedBody(ResponseBody, frozen=True):
    """How many are to be made once more; ask again where it is as many as can be at one time."""

    replayed: int
