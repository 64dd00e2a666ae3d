"""Routes of how a unit's line behaves at WhatsApp, and of its proxy."""

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.line.line_settings import LineProxy, LineSettings, MarkRead, ProxyProtocol
from zapline.domain.text import clean_text
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, Timestamp, json_response, read_body
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.supervisors.lines.line_settings import LineSettingsKeeper, ShownLineSettings
from zapline.supervisors.units.unit_commands import UnitCommands

MAX_CALL_TEXT = 1000
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_REJECT = Meta(description="Reject every call.")
_CALL_TEXT = Meta(description="What is written to whoever calls and is rejected; empty: nothing.")
_IGNORE = Meta(description="Messages of groups are not told, and stored nowhere.")
_ONLINE = Meta(description="The line is shown as online all the time. From its next connection on.")
_MARK_READ = Meta(
    description="When senders are told that they were read: `asked` (by `.../read` alone), `on_reply` (also once a "
    "reply has left), `on_arrival` (at once, whoever has looked)."
)
_HISTORY = Meta(description="A phone that is linked hands over its whole history. From the next pairing on.")


class NewLineSettings(RequestBody, frozen=True):
    """How the line shall behave; what is left out gets its default, which is Evolution's own."""

    reject_calls: Annotated[bool, _REJECT] = False
    call_text: Annotated[Annotated[str, Meta(max_length=MAX_CALL_TEXT)], _CALL_TEXT] = ""
    ignore_groups: Annotated[bool, _IGNORE] = False
    always_online: Annotated[bool, _ONLINE] = False
    mark_read: Annotated[MarkRead, _MARK_READ] = MarkRead.ASKED
    sync_history: Annotated[bool, _HISTORY] = False


class NewProxy(RequestBody, frozen=True):
    """The proxy by which Evolution reaches WhatsApp for this line."""

    protocol: ProxyProtocol
    host: Annotated[str, Meta(min_length=1, max_length=253, description="A name or an address.")]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    username: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    password: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class ProxyBody(ResponseBody, frozen=True):
    """A line's proxy. Its credentials are never shown."""

    protocol: ProxyProtocol
    host: str
    port: int
    has_credentials: bool


class AppliedBody(ResponseBody, frozen=True):
    """Whether Evolution has what is wanted, and what the last check has found."""

    complete: Annotated[
        bool,
        Meta(
            description="Whether all of it was set on Evolution since it was last changed; false: it is still to come."
        ),
    ]
    checked_at: Annotated[
        Timestamp | None, Meta(description="Null: not yet since the last change, or since the start.")
    ]
    differences: Annotated[
        Sequence[str], Meta(description="What is not as wanted, by Evolution's names of settings, and `proxy`.")
    ]
    restored_at: Annotated[
        Timestamp | None, Meta(description="When somebody's change was last set back to what is wanted.")
    ]
    error: Annotated[
        str | None, Meta(description="`proxy_refused`: Evolution has tried the proxy, and it does not work.")
    ]


class LineSettingsBody(ResponseBody, frozen=True):
    """How a line behaves, as its unit wants it."""

    managed: Annotated[
        bool, Meta(description="False: the unit has said nothing, and Evolution's settings are left as they are.")
    ]
    reject_calls: Annotated[bool, _REJECT]
    call_text: Annotated[str, _CALL_TEXT]
    ignore_groups: Annotated[bool, _IGNORE]
    always_online: Annotated[bool, _ONLINE]
    mark_read: Annotated[MarkRead, _MARK_READ]
    sync_history: Annotated[bool, _HISTORY]
    proxy_managed: Annotated[bool, Meta(description="The same of the proxy.")]
    proxy: ProxyBody | None
    applied: AppliedBody


_GET = RouteDoc("How a line behaves at WhatsApp", {200: LineSettingsBody})
_PUT = RouteDoc(
    "Replace how a line behaves at WhatsApp",
    {200: LineSettingsBody},
    body=NewLineSettings,
    example={"rejectCalls": True, "callText": "Não atendemos ligações; escreva, por favor.", "markRead": "on_reply"},
    detail="""\
Evolution is told at once; where it is away, with the line's next check, and `applied` says what is still to come. Each
check reads back what Evolution has. What somebody has changed there is set again, unless the unit's
`webhookRegistration` is `observe`, and told in the log.""",
)
_PROXY_DETAIL = "It holds from the line's next connection on. Evolution tries a proxy before it takes it."
_PUT_PROXY = RouteDoc(
    "Have a line reach WhatsApp by a proxy",
    {200: LineSettingsBody},
    body=NewProxy,
    example={"protocol": "http", "host": "proxy.example.com", "port": 8080},
    detail=f"{_PROXY_DETAIL} The credentials are stored encrypted and are never shown.",
)
_DELETE_PROXY = RouteDoc(
    "Have a line reach WhatsApp without a proxy",
    {200: LineSettingsBody},
    detail="It holds from its next connection on.",
)


class LineSettingsRoutes:
    """``/units/{id}/whatsapp/settings`` and ``.../proxy``."""

    def __init__(self, commands: UnitCommands, keeper: LineSettingsKeeper) -> None:
        self._commands = commands
        self._keeper = keeper

    def attach(self, routes: RouteTable) -> None:
        line = "/units/<uuid:unit>/whatsapp"
        routes.add("GET", f"{line}/settings", "get_line_settings", self.get, Access.INSPECT, _GET)
        routes.add("PUT", f"{line}/settings", "put_line_settings", self.put, Access.CONTROL, _PUT)
        routes.add("PUT", f"{line}/proxy", "put_proxy", self.put_proxy, Access.ADMIN, _PUT_PROXY)
        routes.add("DELETE", f"{line}/proxy", "delete_proxy", self.delete_proxy, Access.ADMIN, _DELETE_PROXY)

    async def get(self, unit: UUID) -> Response:
        return json_response(_body(await self._keeper.show(self._commands.find(UnitId(unit)))))

    async def put(self, unit: UUID) -> Response:
        settings = line_settings_of(await read_body(NewLineSettings))
        found = self._commands.find(UnitId(unit))
        add_audit_detail(rejectCalls=settings.reject_calls, markRead=settings.mark_read.value)
        return json_response(_body(await self._keeper.change(found, settings)))

    async def put_proxy(self, unit: UUID) -> Response:
        proxy = proxy_of(await read_body(NewProxy))
        found = self._commands.find(UnitId(unit))
        add_audit_detail(host=proxy.host, port=proxy.port)
        return json_response(_body(await self._keeper.change_proxy(found, proxy)))

    async def delete_proxy(self, unit: UUID) -> Response:
        return json_response(_body(await self._keeper.change_proxy(self._commands.find(UnitId(unit)), None)))


def line_settings_of(body: NewLineSettings) -> LineSettings:
    """The settings of a request. Raises Problem 422 for what the types do not check."""
    text = clean_text(body.call_text).strip()
    if text and not body.reject_calls:
        raise invalid("callText", "is for calls that are rejected; set rejectCalls too")
    return LineSettings(
        body.reject_calls, text, body.ignore_groups, body.always_online, body.mark_read, body.sync_history
    )


def proxy_of(body: NewProxy) -> LineProxy:
    """The proxy of a request. Raises Problem 422."""
    if _HOST.fullmatch(body.host) is None:
        raise invalid("host", "is a name or an address, as proxy.example.com")
    if (body.username is None) is not (body.password is None):
        raise invalid("password" if body.password is None else "username", "is missing: credentials are two")
    return LineProxy(body.protocol, body.host, body.port, body.username, body.password)


def _body(shown: ShownLineSettings) -> LineSettingsBody:
    wanted, report, proxy = shown.stored, shown.report, shown.proxy
    settings = wanted.settings if wanted is not None else LineSettings()
    return LineSettingsBody(
        managed=wanted is not None and wanted.settings_managed,
        reject_calls=settings.reject_calls,
        call_text=settings.call_text,
        ignore_groups=settings.ignore_groups,
        always_online=settings.always_online,
        mark_read=settings.mark_read,
        sync_history=settings.sync_history,
        proxy_managed=wanted is not None and wanted.proxy_managed,
        proxy=ProxyBody(proxy.protocol, proxy.host, proxy.port, proxy.username is not None) if proxy else None,
        applied=AppliedBody(
            shown.applied,
            iso(report.checked_at) if report is not None else None,
            report.differences if report is not None else (),
            iso(report.restored_at) if report is not None else None,
            report.error if report is not None else None,
        ),
    )
