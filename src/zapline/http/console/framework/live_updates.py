"""Serves the event streams that update the console's pages, authorised by the session's cookie."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import UUID

from quart import Response, g

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Scope
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.notifications.live_events import AccessCheck, EventStreams, watch_unit
from zapline.http.console.framework.layout import Layout
from zapline.supervisors.units.unit_commands import UnitCommands

ALL_UNITS_EVENTS = "/console/events"
"""The stream of all units that the person sees: ``status``, ``qr``, ``campaign``, ``traffic``."""


class LiveEvents:
    """``/console/events`` and ``/console/units/{unit}/events``."""

    def __init__(
        self,
        layout: Layout,
        sessions: PasswordSignIn,
        streams: EventStreams,
        commands: UnitCommands,
        presence_of: Callable[[UnitId], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._presence_of = presence_of
        self._layout = layout
        self._sessions = sessions
        self._streams = streams
        self._commands = commands

    def attach(self) -> None:
        self._layout.get(ALL_UNITS_EVENTS, "watch_all", self.all_units)
        self._layout.get("/console/units/<uuid:unit>/events", "watch_unit", self.one_unit)

    async def all_units(self) -> Response:
        me = current_principal()
        seen = me.seen_units
        return self._streams.response_of_all(me.id, self._access_check(lambda caller: caller.seen_units == seen), seen)

    async def one_unit(self, unit: UUID) -> Response:
        id = UnitId(unit)
        allowed = self._access_check(lambda caller: caller.sees(id) and caller.may(Scope.READ, id))
        presence = self._presence_of(id) if self._presence_of is not None else None
        return watch_unit(self._streams, self._commands, id, allowed, presence)

    def _access_check(self, still_sees: Callable[[Principal], bool]) -> AccessCheck:
        """Whether the session is open, and its person still sees what is watched; watching does not extend it."""
        token: str = g.session

        async def is_open() -> bool:
            caller = await self._sessions.session(token, use=False)
            return caller is not None and not caller.must_enroll and still_sees(caller)

        return is_open


def unit_events_path(unit: UnitId) -> str:
    """The stream of one unit, for ``render(..., events=...)``."""
    return f"/console/units/{unit}/events"
