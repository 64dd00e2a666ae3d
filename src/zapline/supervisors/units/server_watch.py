"""Watches an Evolution server: whether it answers, and its version.

One harmless call (``GET /``, without a key) every few seconds for all its lines together. Each line shows from it that
its server is away (``ServerStanding.shown``); when the server returns, each of its lines is observed at once.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
import trio

from zapline.domain.line.events import ServerReturned
from zapline.evolution.client.failures import EvolutionFailure, GatewayFailed, NoAnswer, ServerNotReady, Unreachable
from zapline.evolution.client.response_parser import ServerInfo
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import ServerStanding
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

WATCH_EVERY = 2.5
"""Seconds between two calls."""
WATCH_DEADLINE = 2.5
"""Seconds for one call. With two calls that must fail, a server that hangs is told after 8 seconds at most."""
_AGAIN_AFTER = 0.3
"""Seconds after a failed call until the one that decides."""
_UNITS_AT_ONCE = 200
"""Units that are told between two checkpoints."""
_AWAY = (Unreachable, NoAnswer, ServerNotReady, GatewayFailed)
"""Failures that no server in working order answers with."""
_LOG = structlog.get_logger(scope="Evolution")


class ServerWatch:
    """One for each server. ``read_info`` makes one call, without repetitions, within ``WATCH_DEADLINE``."""

    def __init__(
        self,
        read_info: Callable[[], Awaitable[ServerInfo]],
        standing: ServerStanding,
        roster: Roster,
        counters: Counters,
        on_return: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_info = read_info
        self._standing = standing
        self._roster = roster
        self._counters = counters
        self._on_return = on_return
        self._clock = clock
        self._named = {"server": standing.name} if standing.name is not None else {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            answers = await self._answers()
            if not answers and self._standing.away_since is None:
                await trio.sleep(_AGAIN_AFTER)
                answers = await self._answers()
            await self.note(answers)
            await trio.sleep(WATCH_EVERY)

    async def note(self, answers: bool) -> None:
        """Take in whether the server answers; tell all lines if that has changed."""
        standing = self._standing
        first, standing.unknown = standing.unknown, False
        if answers == (standing.away_since is None):
            if first:
                for unit in self._own_units():
                    unit.mailbox.rouse()  # what it shows is known from now on
            return
        if answers:
            away = self._clock() - (standing.away_since or 0.0)
            standing.away_since = None
            _LOG.info("Evolution answers again", seconds=round(away, 1), **self._named)
            await self._tell_units(returned=True)
            self._on_return()
        else:
            standing.away_since = self._clock()
            self._counters.add("server_absences")
            _LOG.warning("Evolution does not answer; its lines wait for it", **self._named)
            await self._tell_units(returned=False)

    async def _tell_units(self, returned: bool) -> None:
        for number, unit in enumerate(self._own_units()):
            if returned and unit.state is not None and unit.state.stored.wanted:
                self._roster.send_event(unit, ServerReturned())
            self._roster.publish_status(unit)
            unit.mailbox.rouse()  # what it shows now belongs to its line's history
            if number % _UNITS_AT_ONCE == _UNITS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()

    def _own_units(self) -> list[Unit]:
        return [unit for unit in self._roster.units() if unit.server is self._standing]

    async def _answers(self) -> bool:
        """Whether the server answers; an answer that is not Evolution's own says nothing about it being away."""
        try:
            with trio.fail_after(WATCH_DEADLINE):
                info = await self._read_info()
        except (trio.TooSlowError, *_AWAY):
            return False
        except EvolutionFailure:
            return True
        if info.version is not None and info.version != self._standing.version:
            _LOG.info("Evolution is version {version}", version=info.version[:40], **self._named)
            self._standing.version = info.version
        return True
