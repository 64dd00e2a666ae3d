"""What needs a person: messages that may have been sent, that failed or that nobody confirmed; and dead letters."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.failure_texts import failure_text
from zapline.http.console.framework.counts import TotalsCache
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import masked
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS, unit_events_path
from zapline.http.console.framework.message_labels import clean_name, message_summary
from zapline.http.console.framework.session_guard import safe_return_path
from zapline.http.console.framework.translation import N_, _
from zapline.sql.conversations import attention
from zapline.sql.conversations.attention import RESEND_PREFIX, WaitingMessage
from zapline.sql.conversations.conversations import SendCall
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.message_composition import SendRequest
from zapline.supervisors.outbound.submission import Decision, Submissions, UnknownMessage
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

_MOST = 50
"""Of each kind on one page: who has more waiting deals with these first."""
PATH = "/console/units/{unit}/attention"
DEAD_LETTER_REASONS: Mapping[str, str] = {
    "refused_by_database": N_("The database refused what it says."),
    "crashed_actor": N_("Zapline crashed over it, twice."),
    "invalid_json": N_("It is no JSON."),
    "not_an_object": N_("It is JSON, but no webhook."),
    "too_deep": N_("It is nested deeper than anything that Evolution sends."),
    "too_large": N_("It is larger than the limit; its body was not kept."),
    "unknown_event": N_("Its event is not known to this version of Zapline."),
    "no_data": N_("It has no data."),
    "no_chat": N_("It does not say which conversation it belongs to."),
    "no_message_id": N_("It does not say which message it is about."),
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


class AttentionPages:
    """``/console/attention`` over all units, ``/console/units/{unit}/attention`` of one, and what is decided there."""

    def __init__(
        self,
        layout: Layout,
        commands: UnitCommands,
        roster: Roster,
        pool: Pool,
        totals: TotalsCache,
        outgoing: Submissions | None,
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool
        self._totals = totals
        self._outgoing = outgoing

    def attach(self) -> None:
        layout, one = self._layout, "/console/units/<uuid:unit>/attention"
        layout.get("/console/attention", "attention_all", self.show_all)
        layout.get("/console/attention/part", "attention_all_part", self.part_all)
        layout.get("/console/attention/count", "attention_count_all", self.count_all)
        layout.add_section(NavigationLink("attention", N_("Needs a person"), "/console/attention", 20, self._count_all))
        layout.get(one, "attention", self.show)
        layout.get(f"{one}/part", "attention_part", self.part)
        layout.get(f"{one}/count", "attention_count", self.count)
        layout.add_tab(NavigationLink("attention", N_("Needs a person"), PATH, 30, self._count))
        if self._outgoing is not None:
            layout.post(f"{one}/messages/<uuid:message>/resend", "attention_resend", self.resend)
            layout.post(f"{one}/messages/<uuid:message>/give-up", "attention_give_up", self.give_up)
            layout.post(f"{one}/messages/<uuid:message>/again", "attention_again", self.send_anew)

    # -- looking ---------------------------------------------------------------------------------------------

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        values = await self._listed(record.id)
        return self._layout.render(
            "attention.html", at="attention", unit=record, events=unit_events_path(record.id), **values
        )

    async def part(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        return self._layout.render("attention_list.html", unit=record, **await self._listed(record.id))

    async def show_all(self) -> Response:
        return self._layout.render(
            "attention.html", at="attention", events=ALL_UNITS_EVENTS, **await self._listed(None)
        )

    async def part_all(self) -> Response:
        return self._layout.render("attention_list.html", **await self._listed(None))

    async def _listed(self, unit: UnitId | None) -> dict[str, Any]:
        found = await attention.list_attention(self._pool, unit, _MOST)
        return {
            "uncertain": [self._entry(one) for one in found.uncertain],
            "failed": [self._entry(one) for one in found.failed],
            "stalled": [self._entry(one) for one in found.stalled],
            "letters": found.letters,
            "names": {one.id: one.record.name for one in self._roster.units()},
            "most": _MOST,
            "reason_word": dead_letter_reason,
            "base": PATH.format(unit=unit) if unit is not None else "/console/attention",
        }

    def _entry(self, one: WaitingMessage) -> dict[str, Any]:
        known = self._roster.get(one.unit)
        return {
            "one": one,
            "path": PATH.format(unit=one.unit),
            "who": clean_name(one.name or "") or masked(one.recipient),
            "phone": masked(one.recipient),
            "said": message_summary(one.kind, one.text),
            "reason": _(failure_text(one.failure)) if one.failure is not None else "",
            "calls": [_attempt_row(call) for call in one.calls],
            "zone": known.record.time_zone if known is not None else "UTC",
        }

    # -- how much of it --------------------------------------------------------------------------------------

    async def count(self, unit: UUID) -> Response:
        """The number beside the tab, as it is now."""
        await self._totals.read()
        return self._layout.render("count.html", waiting=self._count(UnitId(unit)))

    async def count_all(self) -> Response:
        await self._totals.read()
        return self._layout.render("count.html", waiting=self._count_all(None))

    def _count(self, unit: UnitId | None) -> int:
        found = self._totals.latest.get(unit) if unit is not None else None
        return found.uncertain + found.letters if found is not None else 0

    def _count_all(self, unit: UnitId | None) -> int:
        return sum(one.uncertain + one.letters for one in self._totals.latest.values())

    # -- deciding --------------------------------------------------------------------------------------------

    async def resend(self, unit: UUID, message: UUID) -> Response:
        said = _("It is sent again. Watch the conversation for its ticks.")
        return await self._decide(unit, message, Decision.RESEND, said)

    async def give_up(self, unit: UUID, message: UUID) -> Response:
        return await self._decide(unit, message, Decision.GIVE_UP, _("It is left alone."))

    async def _decide(self, unit: UUID, message: UUID, decision: Decision, said: str) -> Response:
        assert self._outgoing is not None
        back, id = await self._back(unit), self._commands.find(UnitId(unit)).id
        try:
            async with self._layout.audited("release_message", id, str(message)) as line:
                line.note(decision=decision.value)
                await self._outgoing.release(id, message, decision)
        except ZaplineError as error:
            return self._layout.redirect(back, Tone.BAD, _(str(error)))
        await self._totals.refresh()
        return self._layout.redirect(back, Tone.GOOD, said)

    async def send_anew(self, unit: UUID, message: UUID) -> Response:
        """Send what failed as a new message; asked twice, it is one."""
        assert self._outgoing is not None
        back, id = await self._back(unit), self._commands.find(UnitId(unit)).id
        try:
            found = await attention.find_failed_content(self._pool, id, message)
            if found is None:
                raise UnknownMessage("the unit has no such message")
            content, conversation = found
            if content.__struct_config__.tag == "reaction":
                raise UnknownMessage("a reaction is not sent anew")
            wanted = SendRequest(f"{RESEND_PREFIX}{message}", content, conversation=conversation)  # type: ignore[arg-type]  # no reaction
            async with self._layout.audited("send_message", id, str(message)):
                await self._outgoing.send(id, wanted)
        except (ZaplineError, msgspec.ValidationError) as error:
            said = _(str(error)) if isinstance(error, ZaplineError) else _("What is stored of it cannot be read.")
            return self._layout.redirect(back, Tone.BAD, said)
        return self._layout.redirect(back, Tone.GOOD, _("It is sent as a new message."))

    async def _back(self, unit: UUID) -> str:
        """Where the form was: the unit's page, or the one over all units."""
        given = safe_return_path((await read_form()).text("back", 300))
        return given if given == "/console/attention" else PATH.format(unit=unit)


def _attempt_row(call: SendCall) -> dict[str, object]:
    return {
        "at": call.started_at,
        "ended": call.ended_at,
        "outcome": _(_OUTCOMES.get(call.outcome, call.outcome)),
        "reason": _(failure_text(call.failure)) if call.failure is not None else "",
        "found": _(_MATCHES[call.matched_by]) if call.matched_by is not None and call.matched_by in _MATCHES else "",
    }


def dead_letter_reason(code: str) -> str:
    """Why a letter is dead, for people."""
    return _(DEAD_LETTER_REASONS.get(code, _UNKNOWN_REASON))
