"""Where is my message? Finds one by any of its ids, or by phone and time, and shows each step and what to do."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from quart import Response

from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.ids import UnitId
from zapline.domain.journeys.journey import Finding, Step, StepKind, Verdict, judge, steps_of
from zapline.domain.journeys.journey_texts import EXPLANATIONS, finding_reason, step_reason, step_sentence
from zapline.http.api.units.message_journeys import Sending, line_now
from zapline.http.console.framework.formatting import duration, masked
from zapline.http.console.framework.layout import Layout, NavigationLink, query_text
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import clean_name, message_summary
from zapline.http.console.framework.translation import N_, _
from zapline.sql.conversations import journeys
from zapline.sql.conversations.journeys import FoundMessage, TracedMessage
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

SEARCH_PATH = "/console/where"
_TONES = {
    **dict.fromkeys(
        (
            Verdict.SENT,
            Verdict.DELIVERED,
            Verdict.READ,
            Verdict.RESENT,
            Verdict.STORED,
            Verdict.FROM_HISTORY,
            Verdict.STORED_LATE,
            Verdict.STORED_SLOWLY,
            Verdict.SENT_ELSEWHERE,
        ),
        "good",
    ),
    **dict.fromkeys((Verdict.TWICE, Verdict.REFUSED, Verdict.NOT_SENT, Verdict.EXPIRED), "bad"),
    **dict.fromkeys(
        (
            Verdict.UNCERTAIN,
            Verdict.SEARCHING,
            Verdict.UNCONFIRMED,
            Verdict.PAUSED,
            Verdict.WAITING_FOR_LINE,
            Verdict.HELD,
            Verdict.WAITING_FOR_CAMPAIGN,
        ),
        "warn",
    ),
    **dict.fromkeys((Verdict.CANCELLED, Verdict.GIVEN_UP), "idle"),
}
"""The others wait and leave by themselves."""
_NEEDS_PERSON = frozenset({Verdict.UNCERTAIN, Verdict.SEARCHING, Verdict.REFUSED, Verdict.NOT_SENT})
_BAD_STEPS = frozenset({StepKind.SECOND, StepKind.REFUSED, StepKind.GIVEN_UP, StepKind.EXPIRED, StepKind.HOOK_DEAD})
_UNSURE_STEPS = frozenset(
    {
        StepKind.ANSWER_UNCERTAIN,
        StepKind.ANSWER_REJECTED,
        StepKind.ANSWER_NOT_SENT,
        StepKind.WAITED_FOR_LINE,
        StepKind.UNCONFIRMED,
        StepKind.READ_BACK,
        StepKind.HOOK_QUEUED,
    }
)


class MessageJourneyPages:
    """``/console/where`` and ``/console/units/{unit}/messages/{message}/where``."""

    def __init__(
        self,
        layout: Layout,
        commands: UnitCommands,
        roster: Roster,
        pool: Pool,
        sending: Sending,
        region: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool
        self._sending = sending
        self._region = region
        self._clock = clock

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/messages/<uuid:message>/where"
        self._layout.get(SEARCH_PATH, "where", self.search)
        self._layout.get(path, "where_message", self.show)
        self._layout.get(f"{path}/part", "where_message_part", self.part)
        self._layout.add_section(NavigationLink("where", N_("Where is my message?"), SEARCH_PATH, 30))

    # -- finding ---------------------------------------------------------------------------------------------

    async def search(self) -> Response:
        """One that is found is shown at once; of several, each with its verdict."""
        text, unit, at = query_text("q", 200), query_text("unit", 200), query_text("at", 40)
        units = self._units(unit)
        zone = self._zone(units)
        found = await self._found(text, [each.id for each in units], _moment(at, zone)) if text and units else []
        if len(found) == 1:
            return self._layout.redirect(where_path(found[0].unit, found[0].id))
        return self._layout.render(
            "where.html",
            at="where",
            wanted=text,
            wanted_unit=unit,
            wanted_at=at,
            zone=zone,
            units=sorted(each.record.name for each in self._roster.units())[:500],
            rows=[row for one in found if (row := await self._row(one)) is not None],
        )

    def _units(self, text: str) -> list[Unit]:
        """All units, or the one of this name or id."""
        return [unit for unit in self._roster.units() if text in ("", unit.record.name, str(unit.id))]

    def _zone(self, units: Sequence[Unit]) -> str:
        """The time zone of most of these units."""
        common = Counter(unit.record.time_zone for unit in units).most_common(1)
        return common[0][0] if common else "UTC"

    async def _found(self, text: str, units: Sequence[UnitId], at: float | None) -> list[FoundMessage]:
        try:
            found = await journeys.find_by_id(self._pool, units, UUID(text), admin=True)
        except ValueError:
            found = []
        found = found or await journeys.find_by_name(self._pool, units, text, admin=True)
        if found:
            return found
        try:
            phone = parse_phone(text, self._region)
        except InvalidPhone:
            return []
        return await journeys.find_near(self._pool, units, phone, at or self._clock(), admin=True)

    async def _row(self, found: FoundMessage) -> dict[str, Any] | None:
        unit = self._roster.get(found.unit)
        traced = await journeys.trace_message(self._pool, found.unit, found.id)
        if unit is None or traced is None:
            return None
        return {
            "path": where_path(found.unit, found.id),
            "unit": unit.record.name,
            "zone": unit.record.time_zone,
            **self._heading(unit, traced),
        }

    # -- one message -----------------------------------------------------------------------------------------

    async def show(self, unit: UUID, message: UUID) -> Response:
        owner = self._commands.find(UnitId(unit))
        values = await self._values(owner, message)
        return self._layout.render("where_message.html", events=unit_events_path(owner.id), **values)

    async def part(self, unit: UUID, message: UUID) -> Response:
        return self._layout.render("where_steps.html", **await self._values(self._commands.find(UnitId(unit)), message))

    async def _values(self, unit: Unit, message: UUID) -> dict[str, Any]:
        traced = await journeys.trace_message(self._pool, unit.id, message)
        if traced is None:
            raise UnknownMessage("the unit has no such message")
        return {
            "unit": unit.record,
            "record": unit.record,
            "path": where_path(unit.id, message),
            "steps": [_step_row(step) for step in steps_of(traced.trace, self._clock())],
            **self._heading(unit, traced),
        }

    def _heading(self, unit: Unit, traced: TracedMessage) -> dict[str, Any]:
        finding = judge(traced.trace, line_now(unit, self._sending(unit.id)), self._clock())
        explained = EXPLANATIONS[finding.verdict]
        return {
            "message": traced,
            "name": clean_name(traced.name or "") or masked(traced.canonical),
            "phone": masked(traced.canonical),
            "summary": message_summary(traced.kind, traced.text, deleted=traced.trace.deleted_at is not None),
            "tone": _TONES.get(finding.verdict, "busy"),
            "sentence": _(explained.sentence),
            "advice": _(explained.advice),
            "reason": _reason(finding),
            "goes_on_at": finding.until,
            "needs_person": finding.verdict in _NEEDS_PERSON,
        }


def where_path(unit: UnitId, message: UUID) -> str:
    """The page that tells where a message is."""
    return f"/console/units/{unit}/messages/{message}/where"


def _reason(finding: Finding) -> str:
    reason = finding_reason(finding)
    return _(reason) if reason is not None else ""


def _moment(text: str, zone: str) -> float | None:
    """What a field for date and time sends; None for anything else."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _step_row(step: Step) -> dict[str, Any]:
    tone = "bad" if step.kind in _BAD_STEPS else "warn" if step.kind in _UNSURE_STEPS else "good"
    reason = step_reason(step)
    return {
        "at": step.at,
        "tone": tone,
        "sentence": _(step_sentence(step)),
        "reason": _(reason) if reason is not None else "",
        "lasted": duration(step.until - step.at) if step.until is not None else "",
        "still": step.until is None and step.kind is StepKind.WAITED_FOR_LINE,
        "status": step.status,
        "tries": step.tries or 0,
    }
