"""Routes that tell where a message is: each step with its time, a verdict in plain words, and what to do."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.ids import UnitId
from zapline.domain.journeys.journey import Finding, LineNow, Step, StepKind, Verdict, judge, steps_of
from zapline.domain.journeys.journey_texts import EXPLANATIONS, finding_reason, step_reason, step_sentence
from zapline.domain.line.reasons import Phase
from zapline.domain.messages.facts import MessageKind
from zapline.domain.privacy.masking import mask_phone
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, json_response, one_of
from zapline.http.api.framework.paging import query_datetime
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.units.unit_responses import OutboundBody
from zapline.sql.conversations import journeys
from zapline.sql.conversations.journeys import FoundMessage, TracedMessage
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands

Sending = Callable[[UnitId], OutboundBody | None]
_MAX_NAME = 200


class StepBody(ResponseBody, frozen=True, kw_only=True):
    """One step on the way of a message."""

    step: Annotated[str, one_of(StepKind)]
    at: Timestamp | None
    until: Annotated[Timestamp | None, Meta(description="When it ended, of what lasted.")]
    sentence: Annotated[str, Meta(description="The step in words.")]
    reason: Annotated[str | None, Meta(description="Why, as a code.")]
    reason_sentence: Annotated[str | None, Meta(description="Why, in words.")]
    call: Annotated[int | None, Meta(description="Which call to Evolution it belongs to.")]
    event: Annotated[str | None, Meta(description="Of a webhook to the CRM.")]
    tries: Annotated[int | None, Meta(description="Of a webhook to the CRM.")]
    status: Annotated[int | None, Meta(description="HTTP status of the CRM's last answer.")]


class JourneyBody(ResponseBody, frozen=True, kw_only=True):
    """Where a message is, and how it came there. Whom it is from or to is masked."""

    id: UUID
    conversation_id: UUID
    from_me: bool
    kind: Annotated[str, one_of([*MessageKind, "reaction"])]
    contact: Annotated[str, Meta(description="Masked.")]
    external_id: str | None
    client_message_id: str | None
    verdict: Annotated[str, one_of(Verdict, "Where it is, for programs.")]
    sentence: Annotated[str, Meta(description="Where it is, for people.")]
    advice: Annotated[str, Meta(description="What to do about it.")]
    reason: Annotated[str | None, Meta(description="Why, as a code.")]
    reason_sentence: str | None
    goes_on_at: Annotated[Timestamp | None, Meta(description="When it goes on by itself, where that is known.")]
    steps: Annotated[Sequence[StepBody], Meta(description="In the order of their times.")]


class JourneysBody(ResponseBody, frozen=True):
    """The messages that were found, at most ten."""

    items: Sequence[JourneyBody]


_DETAIL = """\
Each step comes from a row, with its time: accepted, waiting for the line, each call and its answer, what proved it,
what WhatsApp reported, what the CRM was told; of what comes in the webhook, or that it was read back, and when it was
stored."""
_GET = RouteDoc(
    "Where is my message? Each step with its time, and what to do",
    {200: JourneyBody},
    errors={"message_not_found": 404},
    detail=_DETAIL,
)
_NAMES = ("id", "clientMessageId", "externalId", "phone")
_NAME = Annotated[str, Meta(min_length=1, max_length=_MAX_NAME)]
_FIND = RouteDoc(
    "Find a message by any of its ids, or by phone and time, and tell where it is",
    {200: JourneysBody},
    query=(
        QueryParameter("id", UUID, "Ours."),
        QueryParameter("clientMessageId", _NAME, "Yours."),
        QueryParameter("externalId", _NAME, "WhatsApp's, also that of a second delivery."),
        QueryParameter("phone", _NAME, "Whom it is from or to; the messages nearest to `at` are told."),
        QueryParameter(
            "at", Annotated[str, Meta(extra_json_schema={"format": "date-time"})], "With `phone`; now unless told."
        ),
    ),
    errors={"invalid_phone": 422},
    detail="Name exactly one of `id`, `clientMessageId`, `externalId` and `phone`. What is not found is an empty list.",
)


class MessageJourneyRoutes:
    """``/units/{unit}/messages/{message}/journey`` and ``/units/{unit}/journeys``."""

    def __init__(
        self,
        commands: UnitCommands,
        pool: Pool,
        sending: Sending,
        region: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._commands = commands
        self._pool = pool
        self._sending = sending
        self._region = region
        self._clock = clock

    def attach(self, routes: RouteTable) -> None:
        unit = "/units/<uuid:unit>"
        path = f"{unit}/messages/<uuid:message>/journey"
        routes.add("GET", path, "get_journey", self.get, Access.READ, _GET)
        routes.add("GET", f"{unit}/journeys", "find_journeys", self.find, Access.READ, _FIND)

    async def get(self, unit: UUID, message: UUID) -> Response:
        found = self._commands.find(UnitId(unit))
        return json_response(await self._told(found, message))

    async def find(self, unit: UUID) -> Response:
        owner = self._commands.find(UnitId(unit))
        found = await self._found(owner.id)
        return json_response(JourneysBody([await self._told(owner, one.id) for one in found]))

    async def _told(self, unit: Unit, message: UUID) -> JourneyBody:
        traced = await journeys.trace_message(self._pool, unit.id, message)
        if traced is None:
            raise UnknownMessage("the unit has no such message")
        now = self._clock()
        finding = judge(traced.trace, line_now(unit, self._sending(unit.id)), now)
        return journey_body(traced, finding, steps_of(traced.trace, now))

    async def _found(self, unit: UnitId) -> list[FoundMessage]:
        asked = {name: request.args[name] for name in _NAMES if name in request.args}
        if len(asked) != 1:
            raise invalid("query", "names exactly one of id, clientMessageId, externalId and phone")
        (name, text), at = next(iter(asked.items())), query_datetime("at")
        if name == "phone":
            moment = at.timestamp() if at is not None else self._clock()
            return await journeys.find_near(self._pool, [unit], phone_of(text, self._region), moment, admin=False)
        if name == "id":
            return await journeys.find_by_id(self._pool, [unit], _uuid(text), admin=False)
        return await journeys.find_by_name(self._pool, [unit], text, admin=False)


def phone_of(text: str, region: str) -> str:
    """The canonical name of whoever has this phone. Raises Problem 422."""
    try:
        return parse_phone(text, region)
    except InvalidPhone as refused:
        raise invalid("phone", refused.sentence) from refused


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid("id", "is a message's id") from None


def line_now(unit: Unit, outbound: OutboundBody | None) -> LineNow:
    """How the unit's line and sender are now."""
    shown, record = unit.shown, unit.record
    sending = outbound.sending if outbound is not None else None
    waits = sending is not None and sending.state in ("pacing", "paused") and sending.reason is not None
    return LineNow(
        open=shown is not None and shown.phase is Phase.OPEN and unit.can_act,
        reason=shown.reason.value if shown is not None else "disconnected",
        paused=record.paused_at is not None,
        held=record.campaigns_held_reason if record.campaigns_held_at is not None else None,
        waits=waits,
        pace=sending.reason if sending is not None and waits else None,
        pace_until=_seconds(sending.paused_until) if sending is not None and waits else None,
    )


def _seconds(at: str | None) -> float | None:
    return datetime.fromisoformat(at).timestamp() if at is not None else None


def journey_body(traced: TracedMessage, finding: Finding, steps: Sequence[Step]) -> JourneyBody:
    """Where a message is, as the API tells it."""
    explained = EXPLANATIONS[finding.verdict]
    return JourneyBody(
        id=traced.id,
        conversation_id=traced.conversation,
        from_me=traced.trace.from_me,
        kind=traced.kind,
        contact=mask_phone(traced.canonical),
        external_id=traced.external_id,
        client_message_id=traced.client_message_id,
        verdict=finding.verdict.value,
        sentence=explained.sentence,
        advice=explained.advice,
        reason=finding.reason,
        reason_sentence=finding_reason(finding),
        goes_on_at=iso(finding.until),
        steps=[_step_body(step) for step in steps],
    )


def _step_body(step: Step) -> StepBody:
    return StepBody(
        step=step.kind.value,
        at=iso(step.at),
        until=iso(step.until),
        sentence=str(step_sentence(step)),
        reason=step.reason,
        reason_sentence=step_reason(step),
        call=step.number,
        event=step.event,
        tries=step.tries,
        status=step.status,
    )
