"""Serves the event streams that update the console's pages, authorised by the session's cookie."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import UUID

from quart import Response, g

from zapline.domain.ids import UnitId
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.notifications.live_events import AccessCheck, EventStreams, watch_unit
from zapline.http.console.framework.layout import Layout
from zapline.supervisors.units.unit_commands import UnitCommands

ALL_UNITS_EVENTS = "/console/events"
"""The stream of all units: ``status``, ``qr``, ``campaign``, ``traffic``."""


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
        return self._streams.response(None, dict, self._access_check())

    async def one_unit(self, unit: UUID) -> Response:
        presence = self._presence_of(UnitId(unit)) if self._presence_of is not None else None
        return watch_unit(self._streams, self._commands, UnitId(unit), self._access_check(), presence)

    def _access_check(self) -> AccessCheck:
        """Checks whether the session is still open; watching does not extend it."""
        token: str = g.session

        async def is_open() -> bool:
            return await self._sessions.session(token, use=False) is not None

        return is_open


def unit_events_path(unit: UnitId) -> str:
    """The stream of one unit, for ``render(..., events=...)``."""
    return f"/console/units/{unit}/events"
