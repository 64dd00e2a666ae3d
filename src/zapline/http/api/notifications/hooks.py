"""Routes of hooks: the URLs to which events of a unit or an organization are delivered, and their deliveries."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from quart import Response, request

from zapline.domain.crm_webhook_signature import webhook_id
from zapline.domain.crm_webhooks import InvalidHeader
from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import (
    RequestBody,
    json_response,
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Position, Seq, page_query, split_page
from zapline.http.api.framework.problems import Problem, ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, Handler, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.notifications.hook_bodies import (
    STATES,
    DeliveryBody,
    DeliveryPage,
    HookBody,
    HooksBody,
    NewHook,
    NewOrganizationHook,
    QueuedBody,
    ReplayDead,
    ReplayedEventsBody,
    ReplayRange,
    RevivedBody,
    SecretHookBody,
)
from zapline.sql.accounts.organizations import load_organization
from zapline.sql.notifications import crm_webhooks as reading
from zapline.sql.notifications.crm_webhooks import Hook, HookDelivery, HookOwner, OrganizationOwner
from zapline.sql.notifications.event_replay import EventRange
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.organizations import UnknownOrganization
from zapline.supervisors.notifications.crm_webhook_commands import (
    MAX_REPLAYED_EVENTS,
    AskedHook,
    CrmWebhooks,
    DeliveryPending,
    HookDisabled,
    HookOwnerGone,
    HooksAboveCeiling,
    HookUnitElsewhere,
    HookWithoutUnits,
    InvalidHookUrl,
    TooManyHooks,
    UnknownDelivery,
    UnknownHook,
)
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    UnknownHook: ProblemType(404, "hook_not_found"),
    HookOwnerGone: ProblemType(404, "hook_owner_gone"),
    UnknownDelivery: ProblemType(404, "delivery_not_found"),
    InvalidHookUrl: ProblemType(422, "invalid_hook_url", field="url"),
    TooManyHooks: ProblemType(409, "too_many_hooks"),
    HooksAboveCeiling: ProblemType(409, "above_ceiling"),
    HookDisabled: ProblemType(409, "hook_disabled"),
    DeliveryPending: ProblemType(409, "delivery_waits"),
    HookWithoutUnits: ProblemType(409, "hook_without_units"),
    HookUnitElsewhere: ProblemType(422, "invalid_request"),
    InvalidHeader: ProblemType(422, "invalid_request"),
}


class _InDeliveries(Position, frozen=True, tag="h"):
    seq: Seq


_EXAMPLE = {"url": "https://crm.example.com/zapline", "events": ["message.received", "message.delivery"]}
_STATE = QueryParameter("state", Annotated[str, one_of(STATES)], "Only those that stand there.")
_NOT_FOUND = {"hook_not_found": 404}
_DISABLED = {**_NOT_FOUND, "hook_disabled": 409}
_TESTED = {**_DISABLED, "hook_without_units": 409}
_CREATE = RouteDoc(
    "Tell the CRM of what happens to a unit; the secret is shown this once",
    {201: SecretHookBody},
    body=NewHook,
    errors={"invalid_hook_url": 422, "too_many_hooks": 409, "above_ceiling": 409, "hook_owner_gone": 404},
    example=_EXAMPLE,
)
_CREATE_FOR_ORGANIZATION = RouteDoc(
    "Tell a CRM of what happens to the units of an organization; the secret is shown this once",
    {201: SecretHookBody},
    body=NewOrganizationHook,
    errors={"invalid_hook_url": 422, "too_many_hooks": 409, "above_ceiling": 409, "hook_owner_gone": 404},
    example=_EXAMPLE,
    detail="Also of units that are added later. What is told names its unit (`data.unitId`).",
)
_LIST = RouteDoc("All hooks", {200: HooksBody})
_GET = RouteDoc("One hook", {200: HookBody}, errors=_NOT_FOUND)
_DELETE = RouteDoc("Delete a hook, and all that waits for it", {204: None}, errors=_NOT_FOUND)
_ROTATE = RouteDoc(
    "Give a hook a new secret; for a day deliveries are signed with the old one too",
    {200: SecretHookBody},
    body=RequestBody,
    errors=_NOT_FOUND,
)
_ENABLE = RouteDoc("Serve a hook again that was disabled", {200: HookBody}, body=RequestBody, errors=_DISABLED)
_TEST = RouteDoc("Deliver a `hook.test`", {202: QueuedBody}, body=RequestBody, errors=_TESTED)
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
_REPLAY_EVENTS = RouteDoc(
    "Deliver the events of a time once more, whether they were delivered or not",
    {202: ReplayedEventsBody},
    body=ReplayRange,
    errors=_DISABLED,
    example={"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"},
    detail="At most 5,000 in one call, ten a second; `nextSeq` says where the next call goes on (`afterSeq`, with the "
    "same range). What happens meanwhile is delivered between them. An event "
    "has the `webhook-id` of its first delivery. Events can be delivered again for three days.",
)


class HookRoutes:
    """``/units/{unit}/hooks`` and ``/organizations/{organization}/hooks``."""

    def __init__(self, commands: UnitCommands, hooks: CrmWebhooks, pool: Pool) -> None:
        self._commands = commands
        self._hooks = hooks
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        self._attach(routes, "/units/<uuid:unit>/hooks", "", self.create, _CREATE)
        of = "/organizations/<uuid:organization>/hooks"
        self._attach(routes, of, "organization_", self.create_for_organization, _CREATE_FOR_ORGANIZATION)

    def _attach(self, routes: RouteTable, hooks: str, of: str, create: Handler, doc: RouteDoc) -> None:
        hook = f"{hooks}/<uuid:hook>"
        replay = f"{hook}/deliveries/<uuid:delivery>/replay"
        events, dead = f"{hook}/replay-events", f"{hook}/replay"
        routes.add("POST", hooks, f"create_{of}hook", create, Access.CONTROL, doc)
        routes.add("GET", hooks, f"list_{of}hooks", self.list, Access.INSPECT, _LIST)
        routes.add("GET", hook, f"get_{of}hook", self.get, Access.INSPECT, _GET)
        routes.add("DELETE", hook, f"delete_{of}hook", self.delete, Access.CONTROL, _DELETE)
        routes.add("POST", f"{hook}/rotate-key", f"rotate_{of}hook_key", self.rotate, Access.CONTROL, _ROTATE)
        routes.add("POST", f"{hook}/enable", f"enable_{of}hook", self.enable, Access.CONTROL, _ENABLE)
        routes.add("POST", f"{hook}/test", f"test_{of}hook", self.test, Access.CONTROL, _TEST)
        routes.add("GET", f"{hook}/deliveries", f"list_{of}deliveries", self.deliveries, Access.INSPECT, _DELIVERIES)
        routes.add("POST", replay, f"replay_{of}delivery", self.replay, Access.CONTROL, _REPLAY)
        routes.add("POST", dead, f"replay_dead_{of}deliveries", self.replay_dead, Access.CONTROL, _REPLAY_DEAD)
        routes.add("POST", events, f"replay_{of}events", self.replay_events, Access.CONTROL, _REPLAY_EVENTS)

    async def create(self, unit: UUID) -> Response:
        body = await read_body(NewHook)
        grant = current_principal().grant
        made_by = grant.organization if grant is not None else None
        asked = AskedHook(
            body.url, body.events, headers=body.headers, made_by=made_by, for_tenant=not current_principal().is_person
        )
        return await self._create(UnitId(unit), asked, f"/units/{unit}/hooks")

    async def create_for_organization(self, organization: UUID) -> Response:
        body = await read_body(NewOrganizationHook)
        owner = await self._owner(organization=organization)
        units = list(map(UnitId, body.unit_ids)) if body.unit_ids is not None else None
        asked = AskedHook(body.url, body.events, units, body.headers, for_tenant=not current_principal().is_person)
        return await self._create(owner, asked, f"/organizations/{organization}/hooks")

    async def _create(self, owner: HookOwner, asked: AskedHook, where: str) -> Response:
        created, secret = await self._hooks.create(owner, asked)
        add_audit_detail(id=str(created.id), events=list(created.events))
        response = json_response(self._with_secret(created, secret), 201)
        response.headers["Location"] = f"{where}/{created.id}"
        return response

    async def list(self, **named: UUID) -> Response:
        hooks = await reading.list_hooks(self._pool, await self._owner(**named))
        return json_response(HooksBody([self._body(hook) for hook in hooks]))

    async def get(self, hook: UUID, **named: UUID) -> Response:
        return json_response(self._body(await self._hook(await self._owner(**named), hook)))

    async def delete(self, hook: UUID, **named: UUID) -> Response:
        await self._hooks.delete(await self._owner(**named), hook)
        return Response(b"", 204)

    async def rotate(self, hook: UUID, **named: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(self._with_secret(*await self._hooks.rotate_key(await self._owner(**named), hook)))

    async def enable(self, hook: UUID, **named: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(self._body(await self._hooks.enable(await self._owner(**named), hook)))

    async def test(self, hook: UUID, **named: UUID) -> Response:
        await read_body(RequestBody)
        delivery = await self._hooks.send_test(await self._owner(**named), hook)
        return json_response(QueuedBody(delivery, webhook_id(delivery)), 202)

    async def deliveries(self, hook: UUID, **named: UUID) -> Response:
        """Latest first."""
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        limit, after = page_query(_InDeliveries)
        owner = await self._owner(**named)
        await self._hook(owner, hook)
        before = after.seq if after is not None else None
        rows = await reading.list_deliveries(self._pool, owner, hook, state, before, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InDeliveries(row.seq))
        return json_response(DeliveryPage([_delivery_body(row) for row in page], next_cursor))

    async def replay(self, hook: UUID, delivery: UUID, **named: UUID) -> Response:
        await read_body(RequestBody)
        await self._hooks.replay(await self._owner(**named), hook, delivery)
        return json_response(QueuedBody(delivery, webhook_id(delivery)), 202)

    async def replay_dead(self, hook: UUID, **named: UUID) -> Response:
        body = await read_body(ReplayDead)
        since = body.since.timestamp()
        return json_response(RevivedBody(await self._hooks.replay_dead(await self._owner(**named), hook, since)), 202)

    async def replay_events(self, hook: UUID, **named: UUID) -> Response:
        body = await read_body(ReplayRange)
        until = body.until if body.until is not None else datetime.max.replace(tzinfo=UTC)
        if until <= body.since:
            raise invalid("until", "is not after `since`")
        units = list(map(UnitId, body.unit_ids)) if body.unit_ids is not None else None
        wanted = EventRange(body.since.timestamp(), until.timestamp(), body.events, units, body.after_seq)
        result = await self._hooks.replay_events(await self._owner(**named), hook, wanted)
        more = result.last if result.found >= MAX_REPLAYED_EVENTS else None
        return json_response(ReplayedEventsBody(result.replayed, more), 202)

    async def _owner(self, unit: UUID | None = None, organization: UUID | None = None) -> HookOwner:
        """Whose hooks the path names. Raises UnknownUnit, UnknownOrganization."""
        if unit is not None:
            return self._commands.find(UnitId(unit)).id
        assert organization is not None
        grant = current_principal().grant
        if await load_organization(self._pool, organization, grant) is None:
            raise UnknownOrganization("there is no such organization")
        return OrganizationOwner(organization, grant)

    async def _hook(self, owner: HookOwner, hook: UUID) -> Hook:
        stored = await reading.load_hook(self._pool, owner, hook)
        if stored is None:
            raise Problem(404, "hook_not_found", "there is no such hook here")
        return stored

    def _body(self, hook: Hook) -> HookBody:
        return HookBody(**self._fields(hook))  # type: ignore[arg-type]

    def _with_secret(self, hook: Hook, secret: str) -> SecretHookBody:
        return SecretHookBody(**self._fields(hook), secret=secret)  # type: ignore[arg-type]

    def _fields(self, hook: Hook) -> dict[str, object]:
        fields, caller = _hook_fields(hook, self._hooks.header_names(hook)), current_principal()
        formerly = hook.disabled_reason == "unit_left" and not caller.is_admin  # of who has no say in the unit any more
        if formerly or not caller.may(Scope.CONTROL):
            fields["url"] = f"{hook.origin}/..."
        return fields


def _hook_fields(hook: Hook, header_names: Sequence[str]) -> dict[str, object]:
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
        "organization_id": hook.organization_id,
        "unit_ids": hook.units,
        "header_names": header_names,
    }


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
