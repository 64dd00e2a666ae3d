"""The alarms: to whom they go, whether they arrive, a test, and the incidents that were told."""

import time
from typing import Any
from uuid import UUID

from quart import Response, request

from zapline.domain.alarms.destinations import MAX_TARGET, DestinationKind
from zapline.domain.alarms.incidents import Incident
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.paging import BIGINT
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import duration, error_text
from zapline.http.console.framework.forms import Form, read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import LANGUAGES, N_, _, language
from zapline.http.console.health.alarm_texts import incident_names
from zapline.sql.health.alarms import Destination, PastIncident
from zapline.supervisors.alarms.alarm_commands import AlarmCommands, AskedDestination
from zapline.supervisors.units.roster import Roster

_PATH = "/console/alarms"
_PAGE = 20
KINDS = {
    DestinationKind.EMAIL: N_("E-mail"),
    DestinationKind.WEBHOOK: N_("Webhook"),
    DestinationKind.LINE: N_("WhatsApp by a unit's line"),
}
FAILURES = {
    "address_unreadable": N_("its address was stored under another master key: remove it and add it again"),
    "no_mail_server": N_("no SMTP server is set"),
    "no_line_open": N_("no line of its units is open"),
    "message_refused": N_("the message cannot be sent to this number"),
    "database_unavailable": N_("the database cannot be reached just now"),
    "login_refused": N_("the SMTP server refuses user or password"),
    "address_refused": N_("the address is refused"),
    "not_supported": N_("the SMTP server does not offer what the settings ask for"),
    "tls_failed": N_("its certificate is not trusted"),
    "unreachable": N_("no answer: nothing listens there, or no way leads there"),
    "timeout": N_("no answer within the time"),
    "broken_connection": N_("the connection broke"),
    "unforeseen": N_("an error of Zapline itself; it is in the log"),
}
"""Why a destination was not reached, by its code."""


def failure_words(code: str) -> str:
    """Why a destination was not reached."""
    kind, _underline, number = code.rpartition("_")
    if kind in ("status", "refused") and number.isdigit():
        return _("it answered {code}", code=number)
    return _(FAILURES[code]) if code in FAILURES else code


class AlarmsPage:
    """``/console/alarms``."""

    def __init__(self, layout: Layout, alarms: AlarmCommands, roster: Roster) -> None:
        self._layout = layout
        self._alarms = alarms
        self._roster = roster

    def attach(self) -> None:
        one = f"{_PATH}/<uuid:destination>"
        self._layout.get(_PATH, "alarms", self.show)
        self._layout.post(_PATH, "add_alarm_destination", self.add)
        self._layout.post(f"{one}/test", "test_alarm_destination", self.test)
        self._layout.post(f"{one}/remove", "remove_alarm_destination", self.remove)

    async def show(self) -> Response:
        return await self._page({"language": language().tag})

    async def add(self) -> Response:
        """Add a destination. Of a webhook only the answer to this form shows the secret."""
        form = await read_form()
        try:
            asked = _asked(form)
            async with self._layout.audited("add_alarm_destination") as line:
                made, secret = await self._alarms.add(asked)
                line.note(kind=made.kind.value, to=made.shown)
        except (LocalError, Problem) as refused:
            text = _(refused.detail) if isinstance(refused, Problem) else error_text(refused)
            return await self._page({**form.typed(), "units": form.fields.getlist("units")}, error=text)
        if secret is not None:
            return await self._page({"language": asked.language}, secret=secret)
        return self._layout.redirect(_PATH, Tone.GOOD, _("Alarms go there, too. Send a test to see one arrive."))

    async def test(self, destination: UUID) -> Response:
        try:
            async with self._layout.audited("test_alarm_destination", target=str(destination)):
                (result,) = await self._alarms.test(destination)
        except LocalError as refused:
            return self._layout.redirect(_PATH, Tone.BAD, error_text(refused))
        if result.error is None:
            return self._layout.redirect(_PATH, Tone.GOOD, _("The test was taken; look whether it arrives."))
        text = _("The test did not arrive: {why}.", why=failure_words(result.error))
        return self._layout.redirect(_PATH, Tone.BAD, text)

    async def remove(self, destination: UUID) -> Response:
        try:
            async with self._layout.audited("remove_alarm_destination", target=str(destination)):
                await self._alarms.remove(destination)
        except LocalError as refused:
            return self._layout.redirect(_PATH, Tone.BAD, error_text(refused))
        return self._layout.redirect(_PATH, Tone.GOOD, _("No more alarms go there."))

    async def _page(self, typed: dict[str, Any], error: str = "", secret: str = "") -> Response:
        text = request.args.get("before", "")
        before = int(text) if text.isascii() and text.isdigit() and int(text) <= BIGINT else None
        rows = await self._alarms.incidents(before, _PAGE + 1)
        page, now = rows[:_PAGE], time.time()
        return self._layout.render(
            "alarms.html",
            422 if error else 200,
            at="health",
            destinations=[self._view(each) for each in await self._alarms.destinations()],
            incidents=[_incident(past, now) for past in page],
            older=f"{_PATH}?before={page[-1].number}" if len(rows) > _PAGE else None,
            newer=_PATH if before is not None else None,
            kinds=[(kind.value, _(words)) for kind, words in KINDS.items() if self._can_be(kind)],
            languages=[(each.tag, each.name) for each in LANGUAGES.values()],
            units=[(str(unit.id), unit.record.name) for unit in self._roster.units()],
            typed=typed,
            error=error,
            secret=secret,
            has_mail=self._alarms.has_mail,
            most=MAX_TARGET,
            own_path=_PATH,
        )

    def _can_be(self, kind: DestinationKind) -> bool:
        return kind is not DestinationKind.EMAIL or self._alarms.has_mail

    def _view(self, to: Destination) -> dict[str, Any]:
        names = [unit.record.name for id in to.units if (unit := self._roster.get(id)) is not None]
        return {
            "id": to.id,
            "kind": _(KINDS[to.kind]),
            "to": to.shown,
            "units": ", ".join(names),
            "language": LANGUAGES[to.language].name if to.language in LANGUAGES else to.language,
            "tried_at": to.tried_at,
            "error": failure_words(to.error) if to.error is not None else "",
        }


def _asked(form: Form) -> AskedDestination:
    """What a form asks for. Raises Problem for what no page sends."""
    kind = form.text("kind", 20)
    if kind not in tuple(DestinationKind):
        raise Problem(422, "invalid_request", "this choice is not known")
    units = form.fields.getlist("units") if kind == DestinationKind.LINE else []
    try:
        chosen = tuple(UnitId(UUID(each)) for each in units)
    except ValueError:
        raise Problem(422, "invalid_request", "this choice is not known") from None
    return AskedDestination(DestinationKind(kind), form.text("to", MAX_TARGET), form.text("language", 10), chosen)


def _incident(past: PastIncident, now: float) -> dict[str, Any]:
    incident: Incident = past.incident
    end = incident.closed_at if incident.closed_at is not None else now
    return {
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
        "lasted": duration(max(0.0, end - incident.opened_at)),
        "names": incident_names(incident),
        "wrong": len(incident.wrong),
        "notices": incident.said,
        "failed": past.failed,
    }
