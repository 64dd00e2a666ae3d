"""Shows what needs a person (uncertain, failed and unconfirmed messages, dead letters) and takes the decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.work_states import RESEND_PREFIX
from zapline.domain.principals import Scope
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.console.access.page_access import Needs, shown_units
from zapline.http.console.framework.counts import TotalsCache
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text, masked
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS, unit_events_path
from zapline.http.console.framework.message_labels import clean_name, message_summary
from zapline.http.console.framework.session_guard import safe_return_path
from zapline.http.console.framework.translation import N_, _
from zapline.sql.conversations import attention
from zapline.sql.conversations.attention import WaitingMessage
from zapline.sql.conversations.conversations import SendCall
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import limited
from zapline.supervisors.outbound.message_composition import SendRequest
from zapline.supervisors.outbound.submission import Decision, Submissions, UnknownMessage
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

_LIMIT = 50
"""Messages of each kind on a page; with more of them, these are to be decided first."""
PATH, ALL_PATH = "/console/units/{unit}/attention", "/console/attention"
DEAD_LETTER_REASONS: Mapping[str, str] = {
    "refused_by_database": N_("The database refused what it says."),
    "crashed_actor": N_("Zapline crashed over it, twice."),
    "damaged_on_disk": N_("The disk did not give back what was written. What it told is read back from Evolution."),
    "invalid_json": N_("It is no JSON."),
    "not_an_object": N_("It is JSON, but no webhook."),
    "too_deep": N_("It is nested deeper than anything that Evolution sends."),
    "too_large": N_("It is larger than the limit; its body was not kept."),
    "unknown_event": N_("Its event is not known to this version of Zapline."),
    "no_data": N_("It has no data."),
    "no_chat": N_("It does not say which conversation it belongs to."),
    "no_message_id": N_("It does not say which message it is about."),
    "foreign_author": N_("It uses the id of a message that somebody else wrote; nothing was changed."),
    "unproven_author": N_("It is about a message whose author it does not prove to come from; nothing was changed."),
    "id_too_long": N_("Its message id is longer than anything that WhatsApp gives."),
}
_UNKNOWN_REASON = N_("It could not be understood.")
_OUTCOMES: Mapping[str, str] = {
    "calling": N_("no answer yet"),
    "sent": N_("sent"),
    "not_sent": N_("certainly not sent"),
    "rejected": N_("refused"),
    "uncertain": N_("no certain answer"),
}
_MATCHES: Mapping[str, str] = {
    "reply": N_("found by Evolution's answer"),
    "echo": N_("found by its echo"),
    "store": N_("found in Evolution's store"),
}


@dataclass(eq=False, repr=False)
class AttentionPages:
    """``/console/attention`` for all units, ``/console/units/{unit}/attention`` for one, and their forms."""

    _layout: Layout
    _commands: UnitCommands
    _roster: Roster
    _pool: Pool
    _totals: TotalsCache
    _submissions: Submissions | None

    def attach(self) -> None:
        layout, unit_path = self._layout, "/console/units/<uuid:unit>/attention"
        for path, name in ((ALL_PATH, "_all"), (unit_path, "")):
            layout.get(path, f"attention{name}", self.show)
            layout.get(f"{path}/part", f"attention{name}_part", self.part)
            layout.get(f"{path}/count", f"attention{name}_count", self.count)
        layout.add_section(NavigationLink("attention", N_("Needs a person"), ALL_PATH, 20, self._count))
        layout.add_tab(NavigationLink("attention", N_("Needs a person"), PATH, 30, self._count))
        if self._submissions is not None:
            layout.post(f"{unit_path}/messages/<uuid:message>/resend", "attention_resend", self.resend)
            layout.post(f"{unit_path}/messages/<uuid:message>/give-up", "attention_give_up", self.give_up)
            layout.post(f"{unit_path}/messages/<uuid:message>/again", "attention_again", self.send_anew)
            layout.post(f"{unit_path}/messages/<uuid:message>/dismiss", "attention_dismiss", self.dismiss)

    # -- pages, of one unit or of all ------------------------------------------------------------------------

    async def show(self, unit: UUID | None = None) -> Response:
        values = await self._values(unit)
        events = unit_events_path(UnitId(unit)) if unit is not None else ALL_UNITS_EVENTS
        return self._layout.render("attention.html", at="attention", events=events, **values)

    async def part(self, unit: UUID | None = None) -> Response:
        return self._layout.render("attention_list.html", **await self._values(unit))

    async def count(self, unit: UUID | None = None) -> Response:
        """The number beside the link, up to date."""
        await self._totals.read()
        return self._layout.render("count.html", waiting=self._count(UnitId(unit) if unit is not None else None))

    async def _values(self, unit: UUID | None) -> dict[str, Any]:
        record = self._commands.find(UnitId(unit)).record if unit is not None else None
        id = record.id if record is not None else None
        waiting = await attention.list_attention(self._pool, id, _LIMIT)
        with limited(shown_units(current_principal(), Needs.OPERATOR)):  # the page is an attendant's, too
            letters = await attention.list_open_letters(self._pool, id, _LIMIT)
        return {
            "unit": record,
            "uncertain": [self._row(message) for message in waiting.uncertain],
            "failed": [self._row(message) for message in waiting.failed],
            "stalled": [self._row(message) for message in waiting.stalled],
            "dead_letters": letters,
            "unit_names": {unit.id: unit.record.name for unit in self._roster.units()},
            "limit": _LIMIT,
            "dead_letter_reason": dead_letter_reason,
            "base": PATH.format(unit=unit) if unit is not None else ALL_PATH,
        }

    def _row(self, message: WaitingMessage) -> dict[str, Any]:
        unit = self._roster.get(message.unit)
        return {
            "message": message,
            "path": PATH.format(unit=message.unit),
            "name": clean_name(message.name or "") or masked(message.recipient),
            "phone": masked(message.recipient),
            "summary": message_summary(message.kind, message.text),
            "reason": _(failure_text(message.failure)) if message.failure is not None else "",
            "attempts": [_attempt_row(call) for call in message.calls],
            "zone": unit.record.time_zone if unit is not None else "UTC",
        }

    def _count(self, unit: UnitId | None) -> int:
        totals = self._totals.latest
        sees, may = current_principal().sees, current_principal().may
        return sum(
            each.uncertain + each.failed + (each.letters if may(Scope.CONTROL, id) else 0)
            for id, each in totals.items()
            if (sees(id) if unit is None else id == unit)
        )

    # -- decisions -------------------------------------------------------------------------------------------

    async def resend(self, unit: UUID, message: UUID) -> Response:
        done = _("It is sent again. Watch the conversation for its ticks.")
        return await self._decide(unit, message, Decision.RESEND, done)

    async def give_up(self, unit: UUID, message: UUID) -> Response:
        return await self._decide(unit, message, Decision.GIVE_UP, _("It is left alone."))

    async def _decide(self, unit: UUID, message: UUID, decision: Decision, done: str) -> Response:
        assert self._submissions is not None
        back, id = await return_path(unit), self._commands.find(UnitId(unit)).id
        try:
            async with self._layout.audited("release_message", id, str(message)) as line:
                line.note(decision=decision.value)
                await self._submissions.release(id, message, decision)
        except ZaplineError as error:
            return self._layout.redirect(back, Tone.BAD, error_text(error))
        await self._totals.refresh()
        return self._layout.redirect(back, Tone.GOOD, done)

    async def send_anew(self, unit: UUID, message: UUID) -> Response:
        """Send a failed message as a new one; a repeated request sends no second one."""
        assert self._submissions is not None
        back, id = await return_path(unit), self._commands.find(UnitId(unit)).id
        try:
            failed = await attention.find_failed_content(self._pool, id, message)
            if failed is None:
                raise UnknownMessage("the unit has no such message")
            content, conversation = failed
            if content.__struct_config__.tag == "reaction":
                raise UnknownMessage("a reaction is not sent anew")
            again = SendRequest(f"{RESEND_PREFIX}{message}", content, conversation=conversation)  # type: ignore[arg-type]  # no reaction
            async with self._layout.audited("send_message", id, str(message)):
                await self._submissions.send(id, again)
        except (ZaplineError, msgspec.ValidationError) as error:
            reason = error_text(error) if isinstance(error, ZaplineError) else _("What is stored of it cannot be read.")
            return self._layout.redirect(back, Tone.BAD, reason)
        await self._totals.refresh()
        return self._layout.redirect(back, Tone.GOOD, _("It is sent as a new message."))

    async def dismiss(self, unit: UUID, message: UUID) -> Response:
        """Leave a failed message alone: it stays in its conversation, and needs nobody any more."""
        assert self._submissions is not None
        back, id = await return_path(unit), self._commands.find(UnitId(unit)).id
        try:
            async with self._layout.audited("dismiss_message", id, str(message)):
                await self._submissions.dismiss(id, message)
        except ZaplineError as error:
            return self._layout.redirect(back, Tone.BAD, error_text(error))
        await self._totals.refresh()
        return self._layout.redirect(back, Tone.GOOD, _("It is left alone."))


async def return_path(unit: UUID) -> str:
    """The page that the form came from: the unit's, or that of all units."""
    back = safe_return_path((await read_form()).text("back", 300))
    return back if back == ALL_PATH else PATH.format(unit=unit)


def _attempt_row(call: SendCall) -> dict[str, object]:
    return {
        "at": call.started_at,
        "ended": call.ended_at,
        "outcome": _(_OUTCOMES.get(call.outcome, call.outcome)),
        "reason": _(failure_text(call.failure)) if call.failure is not None else "",
        "match": _(_MATCHES[call.matched_by]) if call.matched_by is not None and call.matched_by in _MATCHES else "",
    }


def dead_letter_reason(code: str) -> str:
    """Why a webhook became a dead letter, in the operator's language."""
    return _(DEAD_LETTER_REASONS.get(code, _UNKNOWN_REASON))
