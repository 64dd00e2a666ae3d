"""Commands on Evolution servers, for the API, the console and the command line: add, change, remove, move a unit."""

from collections.abc import Callable

import structlog
import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import (
    DEFAULT_WEIGHT,
    ENVIRONMENT,
    InvalidServer,
    check_key,
    check_name,
    check_url,
    check_weight,
)
from zapline.domain.line.state import StoredLineState
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import EvolutionFailure, InstanceUnknown
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import evolution_servers
from zapline.sql.units.evolution_servers import ServerChange
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.servers.server_registry import ServerRegistry, ServerReport
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

LOGOUT_SECONDS = 10.0
"""Seconds for the old server to end the session of a unit that moves."""
_LOG = structlog.get_logger(scope="Servers")


class MoveRefused(LocalError):
    """The unit cannot move as it is asked to; the text says why, and what to do."""


class ServerCommands:
    """One for the process. ``seal`` encrypts the key of the server of a name; ``client`` is the environment's."""

    def __init__(
        self,
        pool: Pool,
        registry: ServerRegistry,
        roster: Roster,
        commands: UnitCommands,
        seal: Callable[[str, str], bytes],
        client: EvolutionClient,
        environment_url: str,
        hide: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``hide`` keeps a key out of the logs."""
        self._pool = pool
        self._registry = registry
        self._roster = roster
        self._commands = commands
        self._seal = seal
        self._client = client
        self._environment_url = environment_url.rstrip("/")
        self._hide = hide
        self._moving: set[UnitId] = set()

    @property
    def are_several(self) -> bool:
        """Whether there is any server beside the environment's."""
        return self._registry.is_used

    def list(self) -> list[ServerReport]:
        """All servers, the environment's first, as they are now: from memory."""
        return self._registry.report(self._roster)

    def find(self, name: str) -> ServerReport:
        """One of them. Raises UnknownServer."""
        return self._registry.find(self._roster, name)

    async def add(self, name: str, url: str, key: str, weight: int = DEFAULT_WEIGHT) -> ServerReport:
        """Add a server. Raises InvalidServer, ServerExists, TooManyServers."""
        name, url, key, weight = check_name(name), check_url(url), check_key(key), check_weight(weight)
        self._hide(key)
        self._refuse_environment(url)
        async with self._pool.connection() as conn, conn.transaction():
            await evolution_servers.insert_server(conn, name, url, self._seal(name, key), weight)
        await self._commands.reload()
        _LOG.info("An Evolution server is added", server=name)
        return self.find(name)

    async def change(
        self,
        name: str,
        url: str | None = None,
        key: str | None = None,
        weight: int | None = None,
        paused: bool | None = None,
    ) -> ServerReport:
        """Change a server; None leaves. Raises InvalidServer, UnknownServer, ServerExists."""
        if name == ENVIRONMENT and (url is not None or key is not None):
            raise InvalidServer("address and key of this server are the daemon's settings", "url" if url else "key")
        if url is not None:
            self._refuse_environment(url := check_url(url))
        if key is not None:
            self._hide(check_key(key))
        sealed = self._seal(name, key) if key is not None else None
        change = ServerChange(url, sealed, check_weight(weight) if weight is not None else None, paused)
        async with self._pool.connection() as conn, conn.transaction():
            await evolution_servers.change_server(conn, name, change)
        await self._commands.reload()
        return self.find(name)

    async def remove(self, name: str) -> None:
        """Remove a server on which no unit lives. Raises UnknownServer, ServerInUse."""
        if name == ENVIRONMENT:
            raise InvalidServer("this server is the daemon's setting; pause it instead", "name")
        async with self._pool.connection() as conn, conn.transaction():
            await evolution_servers.remove_server(conn, name)
        await self._commands.reload()
        _LOG.info("An Evolution server is removed", server=name)

    def _refuse_environment(self, url: str) -> None:
        if url == self._environment_url:
            raise InvalidServer("this is the address of the environment's server", "url")

    async def move(self, unit: UnitId, target: str, leave_behind: bool = False) -> StoredLineState:
        """Move a unit: log out and delete its instance on the old server, create it on the other, begin to pair.

        ``leave_behind``: though the old server does not do its part; what it posts is not believed for ever. What waits
        to be sent stays; what is uncertain is for a person. Each step may be repeated, after whatever has ended an
        earlier call. Raises UnknownUnit, UnknownServer, ServerPaused, MoveRefused, UnitNotReady, DatabaseUnavailable.
        """
        to = None if self.find(target).name == ENVIRONMENT else target
        self._commands.find(unit)
        if unit in self._moving:
            raise MoveRefused("the unit is being moved already")
        self._moving.add(unit)
        try:
            await self._commands.reload()  # an earlier call may have ended between its commit and its own
            active = self._commands.find(unit)
            if active.record.evolution_server != to:
                await self._move(active, target, to, leave_behind)
            elif active.state is not None and active.state.stored.wanted:
                raise MoveRefused(Sentence("the unit lives on {name} already", name=target))
            return await self._commands.connect(unit)
        finally:
            self._moving.discard(unit)

    async def _move(self, active: Unit, target: str, to: str | None, leave_behind: bool) -> None:
        """Have a unit leave its server and live on another one."""
        self._registry.place(self._roster, target)
        # As of now: by the end of the call somebody else may have moved the unit.
        unit, origin = active.id, active.record.evolution_server
        await self._leave(active, active.evolution(self._client), leave_behind)
        async with self._pool.connection() as conn, conn.transaction():
            moved = await evolution_servers.move_unit(conn, unit, origin, to)
            # What is left there must not be believed for ever.
            if not moved or (leave_behind and await self._commands.store_new_secret(conn, active) is None):
                raise MoveRefused("somebody else has moved or closed the unit meanwhile; look, and ask again")
        await self._commands.reload()
        _LOG.info("A unit lives on another Evolution server", unit=str(unit), server=target)

    async def _leave(self, unit: Unit, server: EvolutionClient, leave_behind: bool) -> None:
        """End the unit's session on ``server``, and delete its instance there. Raises MoveRefused, UnitNotReady."""
        if unit.state is not None and unit.state.stored.wanted:
            await self._commands.disconnect(unit.id)
        try:
            with trio.fail_after(LOGOUT_SECONDS):
                while unit.state is not None and unit.state.stored.logout_pending and not leave_behind:
                    await unit.state_changed.wait()
                await server.delete(unit.record.instance)
        except InstanceUnknown:
            return
        except (EvolutionFailure, trio.TooSlowError) as failure:
            if leave_behind:
                _LOG.warning("A unit leaves its session behind on its old server", unit=str(unit.id))
                return
            raise MoveRefused(
                "the old server does not end the unit's session, so it would go on there. Try again when it answers, "
                "or leave it behind, and unlink that device on the phone"
            ) from failure
