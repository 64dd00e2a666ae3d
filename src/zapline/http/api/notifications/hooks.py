"""Routes of hooks: the URLs to which a unit's events are delivered, their signing keys, and their deliveries."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.crm_webhook_signature import webhook_id
from zapline.domain.crm_webhooks import CrmWebhookEvent
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import MAX_URL_LENGTH
from zapline.domain.principals import Scope
from zapline.domain.timestamps import iso
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import (
    AwareDatetime,
    RequestBody,
    ResponseBody,
    Timestamp,
    json_response,
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, page_query, split_page
from zapline.http.api.framework.problems import Problem, ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.notifications import crm_webhooks as reading
from zapline.sql.notifications.crm_webhooks import Hook, HookDelivery
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.crm_webhook_commands import (
    CrmWebhooks,
    DeliveryPending,
    HookDisabled,
    InvalidHookUrl,
    TooManyHooks,
    UnknownDelivery,
    UnknownHook,
)
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    UnknownHook: ProblemType(404, "hook_not_found"),
    UnknownDelivery: ProblemType(404, "delivery_not_found"),
    InvalidHookUrl: ProblemType(422, "invalid_hook_url", field="url"),
    TooManyHooks: ProblemType(409, "too_many_hooks"),
    HookDisabled: ProblemType(409, "hook_disabled"),
    DeliveryPending: ProblemType(409, "delivery_waits"),
}
STATES = ("queued", "delivered", "dead")


class _InDeliveries(Position, frozen=True, tag="h"):
    seq: Seq


class NewHook(RequestBody, frozen=True):
    """Body of ``POST .../hooks``. Without ``events`` it is told all of them."""

    url: Annotated[str, Meta(min_length=8, max_length=MAX_URL_LENGTH)]
    events: Annotated[tuple[CrmWebhookEvent, ...], Meta(min_length=1, max_length=20)] = tuple(CrmWebhookEvent)


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
        Annotated[str, one_of(["gone", "failing", "unit_archived"], "`gone`: it answered 410. `failing`: for days.")]
        | None
    )
    failing_since: Annotated[Timestamp | None, Meta(description="The first failure since the last success.")]
    key_generation: int
    previous_key_until: Annotated[Timestamp | None, Meta(description="Until then the old secret signs too.")]
    waiting: Annotated[int, Meta(description="Deliveries that are still to be made.")]
    oldest_waiting_at: Timestamp | None
    dead: Annotated[int, Meta(description="Deliveries that were given up, kept for two weeks.")]
    created_at: Timestamp | None


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


_EXAMPLE = {"url": "https://crm.example.com/zapline", "events": ["message.received", "message.delivery"]}
_STATE = QueryParameter("state", Annotated[str, one_of(STATES)], "Only those that stand there.")
_NOT_FOUND = {"hook_not_found": 404}
_DISABLED = {**_NOT_FOUND, "hook_disabled": 409}
_CREATE = RouteDoc(
    "Tell the CRM of what happens to a unit; the secret is shown this once",
    {201: SecretHookBody},
    body=NewHook,
    errors={"invalid_hook_url": 422, "too_many_hooks": 409},
    example=_EXAMPLE,
)
_LIST = RouteDoc("The hooks of a unit", {200: HooksBody})
_GET = RouteDoc("One hook", {200: HookBody}, errors=_NOT_FOUND)
_DELETE = RouteDoc("Delete a hook, and all that waits for it", {204: None}, errors=_NOT_FOUND)
_ROTATE = RouteDoc(
    "Give a hook a new secret; for a day deliveries are signed with the old one too",
    {200: SecretHookBody},
    body=RequestBody,
    errors=_NOT_FOUND,
)
_ENABLE = RouteDoc("Serve a hook again that was disabled", {200: HookBody}, body=RequestBody, errors=_NOT_FOUND)
_TEST = RouteDoc("Deliver a `hook.test`", {202: QueuedBody}, body=RequestBody, errors=_DISABLED)
_DELIVERIES = RouteDoc("Deliveries of a hook", {200: DeliveryPage}, query=(_STATE, *PAGED), errors=_NOT_FOUND)
_REPLAY = RouteDoc(
    "Make a delivery that has ended once more, under the same id",
    {202: QueuedBody},
    body=RequestBody,
    errors={**_DISABLED, "delivery_not_found": 404, "delivery_waits": 409},
)
_REPLAY_DEAD = RouteDoc(
    "Make all deliveries once more that died since a time",
    {202: RevivedBody},
    body=ReplayDead,
    errors=_DISABLED,
    example={"since": "2026-01-31T12:00:00Z"},
)


class HookRoutes:
    """``/units/{unit}/hooks``."""

    def __init__(self, commands: UnitCommands, hooks: CrmWebhooks, pool: Pool) -> None:
        self._commands = commands
        self._hooks = hooks
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        hooks = "/units/<uuid:unit>/hooks"
        hook = f"{hooks}/<uuid:hook>"
        replay = f"{hook}/deliveries/<uuid:delivery>/replay"
        routes.add("POST", hooks, "create_hook", self.create, Access.CONTROL, _CREATE)
        routes.add("GET", hooks, "list_hooks", self.list, Access.READ, _LIST)
        routes.add("GET", hook, "get_hook", self.get, Access.READ, _GET)
        routes.add("DELETE", hook, "delete_hook", self.delete, Access.CONTROL, _DELETE)
        routes.add("POST", f"{hook}/rotate-key", "rotate_hook_key", self.rotate, Access.CONTROL, _ROTATE)
        routes.add("POST", f"{hook}/enable", "enable_hook", self.enable, Access.CONTROL, _ENABLE)
        routes.add("POST", f"{hook}/test", "test_hook", self.test, Access.CONTROL, _TEST)
        routes.add("GET", f"{hook}/deliveries", "list_deliveries", self.deliveries, Access.READ, _DELIVERIES)
        routes.add("POST", replay, "replay_delivery", self.replay, Access.CONTROL, _REPLAY)
        routes.add("POST", f"{hook}/replay", "replay_dead_deliveries", self.replay_dead, Access.CONTROL, _REPLAY_DEAD)

    async def create(self, unit: UUID) -> Response:
        body = await read_body(NewHook)
        created, secret = await self._hooks.create(UnitId(unit), body.url, body.events)
        response = json_response(_hook_body_with_secret(created, secret), 201)
        response.headers["Location"] = f"/units/{unit}/hooks/{created.id}"
        return response

    async def list(self, unit: UUID) -> Response:
        hooks = await reading.list_hooks(self._pool, self._commands.find(UnitId(unit)).id)
        return json_response(HooksBody([_hook_body(hook) for hook in hooks]))

    async def get(self, unit: UUID, hook: UUID) -> Response:
        return json_response(_hook_body(await self._hook(unit, hook)))

    async def delete(self, unit: UUID, hook: UUID) -> Response:
        await self._hooks.delete(UnitId(unit), hook)
        return Response(b"", 204)

    async def rotate(self, unit: UUID, hook: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(_hook_body_with_secret(*await self._hooks.rotate_key(UnitId(unit), hook)))

    async def enable(self, unit: UUID, hook: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(_hook_body(await self._hooks.enable(UnitId(unit), hook)))

    async def test(self, unit: UUID, hook: UUID) -> Response:
        await read_body(RequestBody)
        delivery = await self._hooks.send_test(UnitId(unit), hook)
        return json_response(QueuedBody(delivery, webhook_id(delivery)), 202)

    async def deliveries(self, unit: UUID, hook: UUID) -> Response:
        """Latest first."""
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        limit, after = page_query(_InDeliveries)
        await self._hook(unit, hook)
        before = after.seq if after is not None else None
        rows = await reading.list_deliveries(self._pool, UnitId(unit), hook, state, before, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InDeliveries(row.seq))
        return json_response(DeliveryPage([_delivery_body(row) for row in page], next_cursor))

    async def replay(self, unit: UUID, hook: UUID, delivery: UUID) -> Response:
        await read_body(RequestBody)
        await self._hooks.replay(UnitId(unit), hook, delivery)
        return json_response(QueuedBody(delivery, webhook_id(delivery)), 202)

    async def replay_dead(self, unit: UUID, hook: UUID) -> Response:
        body = await read_body(ReplayDead)
        return json_response(
            RevivedBody(await self._hooks.replay_dead(UnitId(unit), hook, body.since.timestamp())), 202
        )

    async def _hook(self, unit: UUID, hook: UUID) -> Hook:
        stored = await reading.load_hook(self._pool, self._commands.find(UnitId(unit)).id, hook)
        if stored is None:
            raise Problem(404, "hook_not_found", "the unit has no such hook")
        return stored


def _hook_fields(hook: Hook) -> dict[str, object]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "active": hook.disabled_at is None,
        "disabled_at": iso(hook.disabled_at),
        "disabled_reason": hook.disabled_reason,
        "failing_since": iso(hook.failing_since),
        "key_generation": hook.key_generation,
        "previous_key_until": iso(hook.previous_until),
        "waiting": hook.waiting,
        "oldest_waiting_at": iso(hook.oldest),
        "dead": hook.dead,
        "created_at": iso(hook.created_at),
    }


def _hook_body(hook: Hook) -> HookBody:
    fields = _hook_fields(hook)
    if not current_principal().may(Scope.CONTROL):
        fields["url"] = f"{hook.origin}/..."
    return HookBody(**fields)  # type: ignore[arg-type]


def _hook_body_with_secret(hook: Hook, secret: str) -> SecretHookBody:
    return SecretHookBody(**_hook_fields(hook), secret=secret)  # type: ignore[arg-type]


def _delivery_body(delivery: HookDelivery) -> DeliveryBody:
    return DeliveryBody(
        id=delivery.id,
        webhook_id=webhook_id(delivery.id),
        event=delivery.event,
        subject=delivery.subject,
        state=delivery.state,
        tries=delivery.tries,
        due_at=iso(delivery.due_at) if delivery.ended_at is None else None,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        created_at=iso(delivery.created_at),
        ended_at=iso(delivery.ended_at),
    )
