"""How a unit's line behaves at WhatsApp: calls, groups, presence, receipts, history, proxy."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.line.line_settings import LineSettings, MarkRead, ProxyProtocol
from zapline.domain.text import Sentence
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.units.line_settings import (
    MAX_CALL_TEXT,
    NewLineSettings,
    NewProxy,
    line_settings_of,
    proxy_of,
)
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import Form, field_of, read_form, refusal_text
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.unit_page import PATH
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.lines.line_settings import PROXY, LineSettingsKeeper, ShownLineSettings
from zapline.supervisors.units.unit_commands import UnitCommands

_MARK_READ = {
    MarkRead.ASKED: N_("When somebody marks a conversation as read"),
    MarkRead.ON_REPLY: N_("Also once a reply has left"),
    MarkRead.ON_ARRIVAL: N_("At once, whoever has looked"),
}


_DIFFERENCES = {
    "rejectCall": N_("Reject calls"),
    "msgCall": N_("Text to whoever calls"),
    "groupsIgnore": N_("Ignore groups: what is written in them is not stored"),
    "alwaysOnline": N_("Always online, from the next connection on"),
    "readMessages": N_("Senders see that they were read"),
    "syncFullHistory": N_("Take over the phone's whole history at the next pairing"),
    PROXY: N_("Proxy"),
}
"""What may differ on Evolution, by its own names, as the page calls it."""
_CHECKBOXES = ("reject_calls", "ignore_groups", "always_online", "sync_history")


@dataclass(eq=False, repr=False)
class LineSettingsPage:
    """``/console/units/{unit}/line-settings``."""

    _layout: Layout
    _commands: UnitCommands
    _keeper: LineSettingsKeeper

    def attach(self) -> None:
        self._layout.get(f"{PATH}/line-settings", "line_settings", self.show)
        self._layout.post(f"{PATH}/line-settings", "put_line_settings", self.change)
        self._layout.post(f"{PATH}/line-settings/proxy", "put_proxy", self.change_proxy)

    async def show(self, unit: UUID) -> Response:
        return await self._page(self._commands.find(UnitId(unit)))

    async def change(self, unit: UUID) -> Response:
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            settings = line_settings_of(_settings(form))
            async with self._layout.audited("put_line_settings", owner.id) as line:
                line.note(rejectCalls=settings.reject_calls, markRead=settings.mark_read.value)
                shown = await self._keeper.change(owner, settings)
        except (LocalError, Problem) as refused:
            return await self._page(owner, refusal_text(refused), form.typed(*_CHECKBOXES), field_of(refused))
        return self._saved(unit, shown)

    async def change_proxy(self, unit: UUID) -> Response:
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            proxy = proxy_of(_proxy(form)) if form.text("host", 253) else None
            async with self._layout.audited("put_proxy" if proxy is not None else "delete_proxy", owner.id) as line:
                if proxy is not None:
                    line.note(host=proxy.host, port=proxy.port)
                shown = await self._keeper.change_proxy(owner, proxy)
        except (LocalError, Problem) as refused:
            return await self._page(owner, refusal_text(refused), form.typed(), field_of(refused))
        return self._saved(unit, shown)

    def _saved(self, unit: UUID, shown: ShownLineSettings) -> Response:
        tone, text = Tone.GOOD, _("Saved. It is set on Evolution as soon as that can be reached.")
        if shown.applied:
            text = _("Saved, and set on Evolution.")
        elif shown.report is not None and shown.report.error is not None:
            tone, text = Tone.BAD, _("Saved; but Evolution has tried the proxy, and it does not work.")
        return self._layout.redirect(f"/console/units/{unit}/line-settings", tone, text)

    async def _page(
        self, unit: Unit, error: str = "", typed: dict[str, str | bool] | None = None, field: str = ""
    ) -> Response:
        shown = await self._keeper.show(unit)
        settings = shown.stored.settings if shown.stored is not None else LineSettings()
        proxy = shown.proxy
        values: dict[str, Any] = {
            "reject_calls": settings.reject_calls,
            "call_text": settings.call_text,
            "ignore_groups": settings.ignore_groups,
            "always_online": settings.always_online,
            "mark_read": settings.mark_read.value,
            "sync_history": settings.sync_history,
            "protocol": proxy.protocol.value if proxy is not None else ProxyProtocol.HTTP.value,
            "host": proxy.host if proxy is not None else "",
            "port": proxy.port if proxy is not None else "",
            "username": "",
        }
        return self._layout.render(
            "line_settings.html",
            422 if error else 200,
            at="settings",
            unit=unit.record,
            values={**values, **(typed or {})},
            choices=[(choice.value, label) for choice, label in _MARK_READ.items()],
            protocols=[protocol.value for protocol in ProxyProtocol],
            has_credentials=proxy is not None and proxy.username is not None,
            managed=shown.stored is not None and shown.stored.settings_managed,
            report=shown.report,
            differences=[
                _(_DIFFERENCES.get(name, name)) for name in (shown.report.differences if shown.report else ())
            ],
            max_text=MAX_CALL_TEXT,
            error=error,
            wrong=field,
        )


def _settings(form: Form) -> NewLineSettings:
    """Raises Problem 422."""
    try:
        mark_read = MarkRead(form.text("mark_read", 20) or MarkRead.ASKED.value)
    except ValueError:
        raise invalid("mark_read", Sentence("is one of {values}", values=", ".join(MarkRead))) from None
    return NewLineSettings(
        reject_calls=form.checked("reject_calls"),
        call_text=form.text("call_text", MAX_CALL_TEXT),
        ignore_groups=form.checked("ignore_groups"),
        always_online=form.checked("always_online"),
        mark_read=mark_read,
        sync_history=form.checked("sync_history"),
    )


def _proxy(form: Form) -> NewProxy:
    """Raises Problem 422."""
    try:
        protocol = ProxyProtocol(form.text("protocol", 20))
    except ValueError:
        raise invalid("protocol", Sentence("is one of {values}", values=", ".join(ProxyProtocol))) from None
    port = form.integer("port", 1, 65_535)
    if port is None:
        raise invalid("port", "is missing")
    username, password = form.text("username", 200) or None, form.secret("password", 200) or None
    return NewProxy(protocol, form.text("host", 253), port, username, password)
