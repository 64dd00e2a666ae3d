"""Knows the Evolution servers beside the environment's: each has connections, a watch and a standing of its own."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog
import trio

from zapline.domain.errors import LocalError
from zapline.domain.line.evolution_servers import DEFAULT_WEIGHT, ENVIRONMENT, ServerLoad, choose_server
from zapline.domain.line.reasons import Phase
from zapline.domain.text import Sentence
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.connection import Connection
from zapline.sql.units import evolution_servers
from zapline.sql.units.evolution_servers import ServerRecord, unknown
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import ServerStanding
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.server_watch import ServerWatch

RETIRE_AFTER = 180.0
"""Seconds for which the connections to a server stay open that has another address now: no call takes longer."""
_CLOSE_SECONDS = 2.0
_LOG = structlog.get_logger(scope="Servers")


class ServerPaused(LocalError):
    """The server, or each of them, gets no new units."""


@dataclass(frozen=True, slots=True)
class ServerClients:
    """Clients of one server: for all calls, and for its watch, over connections of their own. ``close`` ends both."""

    calls: EvolutionClient
    watch: EvolutionClient
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServerReport:
    """A server as it is now. Times in UTC seconds. ``url``: None for the environment's."""

    name: str
    url: str | None
    weight: int
    paused_at: float | None
    created_at: float | None
    version: str | None
    away_since: float | None
    key_lost: bool
    """Its key cannot be read: it was stored under another master key."""
    units: int
    connected: int
    """Of these, the units whose line is open as far as is known."""

    @property
    def load(self) -> ServerLoad:
        return ServerLoad(self.name, self.units, self.weight, self.paused_at is not None, self.away_since is None)


@dataclass(slots=True)
class _Server:
    record: ServerRecord
    standing: ServerStanding
    clients: ServerClients
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class ServerRegistry:
    """One for the process; ``apply`` updates it to what the database says, ``run`` watches the servers.

    ``connect`` makes the clients of an address and a key; ``unseal`` opens a stored key.
    """

    def __init__(
        self,
        connect: Callable[[str, str], ServerClients],
        unseal: Callable[[str, bytes], str | None],
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._unseal = unseal
        self._counters = counters
        self._clock = clock
        self._servers: dict[str, _Server] = {}
        self._environment: ServerRecord | None = None
        self._nursery: trio.Nursery | None = None
        self._roster: Roster | None = None
        self._on_return: Callable[[], None] = lambda: None

    def standing(self, name: str) -> ServerStanding | None:
        """What is known of a server, with its client; None where there is none of this name."""
        server = self._servers.get(name)
        return server.standing if server is not None else None

    @property
    def is_used(self) -> bool:
        """Whether there is any server beside the environment's."""
        return bool(self._servers)

    def knows(self, name: str) -> bool:
        return name in self._servers

    def find(self, roster: Roster, name: str) -> ServerReport:
        """One server. Raises UnknownServer."""
        for server in self.report(roster):
            if server.name == name:
                return server
        raise unknown()

    def place(self, roster: Roster, wanted: str | None) -> str | None:
        """Where a new unit is to live; None is the environment's server. ``wanted``: the one that somebody has chosen.

        Raises UnknownServer, ServerPaused.
        """
        if wanted is not None and self.find(roster, wanted).paused_at is not None:
            raise ServerPaused(Sentence("{name} takes no units: it is paused", name=wanted))
        chosen = wanted if wanted is not None else choose_server(each.load for each in self.report(roster))
        if chosen is None:
            raise ServerPaused("all Evolution servers are paused for new units")
        return None if chosen == ENVIRONMENT else chosen

    def report(self, roster: Roster) -> list[ServerReport]:
        """All servers, the environment's first, with the units that live on them."""
        units: dict[str | None, int] = {}
        connected: dict[str | None, int] = {}
        for unit in roster.units():
            name = unit.record.evolution_server
            units[name] = units.get(name, 0) + 1
            connected[name] = connected.get(name, 0) + _is_connected(unit)
        record = self._environment
        rows: list[tuple[str | None, ServerRecord | None, ServerStanding]] = [(None, record, roster.server)]
        rows += [(name, server.record, server.standing) for name, server in sorted(self._servers.items())]
        return [
            ServerReport(
                name or ENVIRONMENT,
                known.url if known is not None else None,
                known.weight if known is not None else DEFAULT_WEIGHT,
                known.paused_at if known is not None else None,
                known.created_at if known is not None and name is not None else None,
                standing.version,
                standing.away_since,
                standing.key_lost,
                units.get(name, 0),
                connected.get(name, 0),
            )
            for name, known, standing in rows
        ]

    async def load(self, conn: Connection) -> None:
        """Read the servers. Raises DatabaseUnavailable."""
        self.apply(await evolution_servers.load_servers(conn))

    def apply(self, records: Iterable[ServerRecord]) -> None:
        """Begin with new servers, and go on with changed ones at their new address; those that are gone end."""
        listed = {record.name: record for record in records}
        self._environment = listed.pop(ENVIRONMENT, None)
        for gone in self._servers.keys() - listed.keys():
            self._servers.pop(gone).scope.cancel()
        for name, record in listed.items():
            known = self._servers.get(name)
            if known is not None and _address(known.record) == _address(record):
                known.record = record
                continue
            standing = known.standing if known is not None else ServerStanding(name=name, unknown=True)
            if known is not None:
                known.scope.cancel()
            self._servers[name] = self._begin(record, standing)

    def _begin(self, record: ServerRecord, standing: ServerStanding) -> _Server:
        key = self._unseal(record.name, record.sealed_key or b"")
        standing.key_lost = key is None
        if key is None:
            _LOG.error("The key of an Evolution server cannot be read; store it again", server=record.name)
        clients = self._connect(record.url or "", key or "")
        # Whether it is away its watch says, of the new address as of the old one: lines are told of each change.
        standing.client, standing.version = clients.calls, None
        server = _Server(record, standing, clients)
        if self._nursery is not None:
            self._nursery.start_soon(self._watch, server, name=f"server {record.name}")
        return server

    async def run(self, roster: Roster, on_return: Callable[[], None]) -> None:
        """Watch all servers until cancelled. ``on_return`` is called when one answers again."""
        self._roster, self._on_return = roster, on_return
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for server in self._servers.values():
                nursery.start_soon(self._watch, server, name=f"server {server.record.name}")
            await trio.sleep_forever()

    async def _watch(self, server: _Server) -> None:
        """Watch a server until it is gone or has another address; then let calls under way end, and close."""
        assert self._roster is not None
        try:
            with server.scope:
                read_info, standing = server.clients.watch.server_info, server.standing
                parts = (read_info, standing, self._roster, self._counters, self._on_return, self._clock)
                await ServerWatch(*parts).run()
            await trio.sleep(RETIRE_AFTER)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_SECONDS):
                await server.clients.close()


def _address(record: ServerRecord) -> tuple[str | None, bytes | None]:
    return record.url, record.sealed_key


def _is_connected(unit: Unit) -> bool:
    shown = unit.shown
    return shown is not None and shown.phase is Phase.OPEN
