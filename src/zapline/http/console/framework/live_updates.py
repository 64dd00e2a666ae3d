"""Gives the console's pages their live events, by the session's cookie."""

from uuid import UUID

from quart import Response, g

from zapline.domain.ids import UnitId
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.notifications.live_events import AccessCheck, EventStreams, watch_unit
from zapline.http.console.framework.layout import Layout
from zapline.supervisors.units.unit_commands import UnitCommands

ALL_UNITS_EVENTS = "/console/events"
"""The stream over all units: ``status``, ``qr``, ``campaign``, ``traffic``."""


class LiveEvents:
    """``/console/events`` and ``/console/units/{unit}/events``."""

    def __init__(self, layout: Layout, sessions: PasswordSignIn, streams: EventStreams, commands: UnitCommands) -> None:
        self._layout = layout
        self._sessions = sessions
        self._streams = streams
        self._commands = commands

    def attach(self) -> None:
        self._layout.get(ALL_UNITS_EVENTS, "watch_all", self.all)
        self._layout.get("/console/units/<uuid:unit>/events", "watch_unit", self.one)

    async def all(self) -> Response:
        return self._streams.response(None, dict, self._welcome())

    async def one(self, unit: UUID) -> Response:
        return watch_unit(self._streams, self._commands, UnitId(unit), self._welcome())

    def _welcome(self) -> AccessCheck:
        """Whether the session is still open; to look on is no use of it."""
        token: str = g.session

        async def still() -> bool:
            return await self._sessions.session(token, use=False) is not None

        return still


def unit_events_path(unit: UnitId) -> str:
    """The stream of one unit, for ``render(..., events=of_unit(unit))``."""
    return f"/console/units/{unit}/events"
