"""Hooks: where a unit's CRM is told of what happens, the keys that sign it, and what became of each delivery."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.crm_webhooks import HookEvent, webhook_id
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import LONGEST_URL
from zapline.domain.principals import Scope
from zapline.domain.timestamps import iso
from zapline.http.api.framework.current_principal import principal
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, one_of, read_body, reply
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, cursor, encode, limit
from zapline.http.api.framework.problems import Known, Problem, Register, invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.sql.notifications import crm_webhooks as reading
from zapline.sql.notifications.crm_webhooks import Delivery, Hook
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.crm_webhook_commands import (
    DeliveryWaits,
    HookDisabled,
    Hooks,
    InvalidHookUrl,
    TooManyHooks,
    UnknownDelivery,
    UnknownHook,
)
from zapline.supervisors.units.unit_commands import Submit

PROBLEMS: Register = {
    UnknownHook: Known(404, "hook_not_found"),
    UnknownDelivery: Known(404, "delivery_not_found"),
    InvalidHookUrl: Known(422, "invalid_hook_url", field="url"),
    TooManyHooks: Known(409, "too_many_hooks"),
    HookDisabled: Known(409, "hook_disabled"),
    DeliveryWaits: Known(409, "delivery_waits"),
}
STATES = ("queued", "delivered", "dead")


class _InDeliveries(Position, frozen=True, tag="h"):
    seq: Seq


class NewHook(Body, frozen=True):
    """Body of ``POST .../hooks``. Without ``events`` it is told all of them."""

    url: Annotated[str, Meta(min_length=8, max_length=LONGEST_URL)]
    events: Annotated[tuple[HookEvent, ...], Meta(min_length=1, max_length=20)] = tuple(HookEvent)


class ReplayDead(Body, frozen=True):
    """Body of ``POST .../replay``: all that died since then."""

    since: Annotated[datetime, Meta(tz=True)]


class HookBody(Answer, frozen=True, kw_only=True):
    """A hook, and how it stands. Its secret is shown by the answers that make one, and never again."""

    id: UUID
    url: Annotated[str, Meta(description="Who may not control the unit sees its host alone: a path may hold a secret.")]
    events: Sequence[str]
    active: bool
    disabled_at: Moment | None
    disabled_reason: (
        Annotated[str, one_of(["gone", "failing", "unit_archived"], "`gone`: it answered 410. `failing`: for days.")]
        | None
    )
    failing_since: Annotated[Moment | None, Meta(description="The first failure since the last success.")]
    key_generation: int
    previous_key_until: Annotated[Moment | None, Meta(description="Until then the old secret signs too.")]
    waiting: Annotated[int, Meta(description="Deliveries that are still to be made.")]
    oldest_waiting_at: Moment | None
    dead: Annotated[int, Meta(description="Deliveries that were given up, kept for two weeks.")]
    created_at: Moment | None


class SecretHookBody(HookBody, frozen=True, kw_only=True):
    """A hook with its secret, shown this once."""

    secret: Annotated[str, Meta(description="`whsec_` and the key in base64.")]


class HooksBody(Answer, frozen=True):
    """The hooks of a unit, the first made first."""

    items: Sequence[HookBody]


class DeliveryBody(Answer, frozen=True, kw_only=True):
    """One delivery."""

    id: UUID
    webhook_id: Annotated[str, Meta(description="The header `webhook-id`, the same at every try.")]
    event: str
    subject: Annotated[UUID | None, Meta(description="The message or campaign that it is about.")]
    state: Annotated[str, one_of(STATES)]
    tries: int
    due_at: Annotated[Moment | None, Meta(description="When it is tried next; null once it has ended.")]
    last_status: Annotated[int | None, Meta(description="HTTP status of the last answer.")]
    last_error: Annotated[str | None, Meta(description="Why it failed, in a word.")]
    created_at: Moment | None
    ended_at: Moment | None


class DeliveryPage(Page[DeliveryBody], frozen=True):
    """Deliveries, latest first."""


class QueuedBody(Answer, frozen=True):
    """A delivery that is to be made now."""

    id: UUID
    webhook_id: str


class RevivedBody(Answer, frozen=True):
    """How many are to be made once more; ask again where it is as many as can be at one time."""

    replayed: int


_EXAMPLE = {"url": "https://crm.example.com/zapline", "events": ["message.received", "message.delivery"]}
_STATE = Query("state", Annotated[str, one_of(STATES)], "Only those that stand there.")


class HookPages:
    """``/units/{unit}/hooks``."""

    def __init__(self, submit: Submit, hooks: Hooks, pool: Pool) -> None:
        self._submit = submit
        self._hooks = hooks
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        every = "/units/<uuid:unit>/hooks"
        one, known = f"{every}/<uuid:hook>", {"hook_not_found": 404}
        read, control = Access.READ, Access.CONTROL
        made = Doc(
            "Tell the CRM of what happens to a unit; the secret is shown this once",
            {201: SecretHookBody},
            body=NewHook,
            errors={"invalid_hook_url": 422, "too_many_hooks": 409},
            example=_EXAMPLE,
        )
        routes.add("POST", every, "create_hook", self.create, control, made)
        routes.add("GET", every, "list_hooks", self.list, read, Doc("The hooks of a unit", {200: HooksBody}))
        routes.add("GET", one, "get_hook", self.get, read, Doc("One hook", {200: HookBody}, errors=known))
        gone = Doc("Delete a hook, and all that waits for it", {204: None}, errors=known)
        routes.add("DELETE", one, "delete_hook", self.delete, control, gone)
        rotate = Doc(
            "Give a hook a new secret; for a day deliveries are signed with the old one too",
            {200: SecretHookBody},
            body=Body,
            errors=known,
        )
        routes.add("POST", f"{one}/rotate-key", "rotate_hook_key", self.rotate, control, rotate)
        enable = Doc("Serve a hook again that was disabled", {200: HookBody}, body=Body, errors=known)
        routes.add("POST", f"{one}/enable", "enable_hook", self.enable, control, enable)
        off = {**known, "hook_disabled": 409}
        test = Doc("Deliver a `hook.test`", {202: QueuedBody}, body=Body, errors=off)
        routes.add("POST", f"{one}/test", "test_hook", self.test, control, test)
        listed = Doc("Deliveries of a hook", {200: DeliveryPage}, query=(_STATE, *PAGED), errors=known)
        routes.add("GET", f"{one}/deliveries", "list_deliveries", self.deliveries, read, listed)
        again = Doc(
            "Make a delivery that has ended once more, under the same id",
            {202: QueuedBody},
            body=Body,
            errors={**off, "delivery_not_found": 404, "delivery_waits": 409},
        )
        path = f"{one}/deliveries/<uuid:delivery>/replay"
        routes.add("POST", path, "replay_delivery", self.replay, control, again)
        dead = Doc(
            "Make all deliveries once more that died since a time",
            {202: RevivedBody},
            body=ReplayDead,
            errors=off,
            example={"since": "2026-01-31T12:00:00Z"},
        )
        routes.add("POST", f"{one}/replay", "replay_dead_deliveries", self.replay_dead, control, dead)

    async def create(self, unit: UUID) -> Response:
        asked = await read_body(NewHook)
        made, secret = await self._hooks.create(UnitId(unit), asked.url, asked.events)
        answer = reply(_with_secret(made, secret), 201)
        answer.headers["Location"] = f"/units/{unit}/hooks/{made.id}"
        return answer

    async def list(self, unit: UUID) -> Response:
        found = await reading.hooks(self._pool, self._submit.find(UnitId(unit)).id)
        return reply(HooksBody([_hook(one) for one in found]))

    async def get(self, unit: UUID, hook: UUID) -> Response:
        return reply(_hook(await self._found(unit, hook)))

    async def delete(self, unit: UUID, hook: UUID) -> Response:
        await self._hooks.delete(UnitId(unit), hook)
        return Response(b"", 204)

    async def rotate(self, unit: UUID, hook: UUID) -> Response:
        await read_body(Body)
        return reply(_with_secret(*await self._hooks.rotate_key(UnitId(unit), hook)))

    async def enable(self, unit: UUID, hook: UUID) -> Response:
        await read_body(Body)
        return reply(_hook(await self._hooks.enable(UnitId(unit), hook)))

    async def test(self, unit: UUID, hook: UUID) -> Response:
        await read_body(Body)
        made = await self._hooks.test(UnitId(unit), hook)
        return reply(QueuedBody(made, webhook_id(made)), 202)

    async def deliveries(self, unit: UUID, hook: UUID) -> Response:
        """Latest first."""
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        most, after = limit(), cursor(_InDeliveries)
        await self._found(unit, hook)
        before = after.seq if after is not None else None
        found = await reading.deliveries(self._pool, UnitId(unit), hook, state, before, most + 1)
        page = found[:most]
        more = encode(_InDeliveries(page[-1].seq)) if len(found) > most else None
        return reply(DeliveryPage([_delivery(one) for one in page], more))

    async def replay(self, unit: UUID, hook: UUID, delivery: UUID) -> Response:
        await read_body(Body)
        await self._hooks.replay(UnitId(unit), hook, delivery)
        return reply(QueuedBody(delivery, webhook_id(delivery)), 202)

    async def replay_dead(self, unit: UUID, hook: UUID) -> Response:
        asked = await read_body(ReplayDead)
        return reply(RevivedBody(await self._hooks.replay_dead(UnitId(unit), hook, asked.since.timestamp())), 202)

    async def _found(self, unit: UUID, hook: UUID) -> Hook:
        found = await reading.hook(self._pool, self._submit.find(UnitId(unit)).id, hook)
        if found is None:
            raise Problem(404, "hook_not_found", "the unit has no such hook")
        return found


def _shown(one: Hook) -> dict[str, object]:
    return {
        "id": one.id,
        "url": one.url,
        "events": one.events,
        "active": one.disabled_at is None,
        "disabled_at": iso(one.disabled_at),
        "disabled_reason": one.disabled_reason,
        "failing_since": iso(one.failing_since),
        "key_generation": one.key_generation,
        "previous_key_until": iso(one.previous_until),
        "waiting": one.waiting,
        "oldest_waiting_at": iso(one.oldest),
        "dead": one.dead,
        "created_at": iso(one.created_at),
    }


def _hook(one: Hook) -> HookBody:
    shown = _shown(one)
    if not principal().may(Scope.CONTROL):
        shown["url"] = f"{one.origin}/..."
    return HookBody(**shown)  # type: ignore[arg-type]


def _with_secret(one: Hook, secret: str) -> SecretHookBody:
    return SecretHookBody(**_shown(one), secret=secret)  # type: ignore[arg-type]


def _delivery(one: Delivery) -> DeliveryBody:
    return DeliveryBody(
        id=one.id,
        webhook_id=webhook_id(one.id),
        event=one.event,
        subject=one.subject,
        state=one.state,
        tries=one.tries,
        due_at=iso(one.due_at) if one.ended_at is None else None,
        last_status=one.last_status,
        last_error=one.last_error,
        created_at=iso(one.created_at),
        ended_at=iso(one.ended_at),
    )
