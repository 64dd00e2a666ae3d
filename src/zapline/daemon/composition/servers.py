"""Builds what knows several Evolution servers: a client for each, who lives where, and the commands on them."""

from collections.abc import Callable
from functools import partial

from zapline.daemon.logs.configuration import register_secret
from zapline.daemon.master_key import seal_server_key, unseal_server_key
from zapline.daemon.settings import Settings
from zapline.domain.ids import UnitId
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.servers.server_commands import ServerCommands
from zapline.supervisors.servers.server_registry import ServerClients, ServerRegistry, ServerReport
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.server_watch import WATCH_DEADLINE
from zapline.supervisors.units.unit_commands import UnitCommands

WATCH_POLICY = CallPolicy(connect=WATCH_DEADLINE, call=WATCH_DEADLINE, overall=WATCH_DEADLINE, attempts=1)
"""A watch's calls are not repeated."""


class EvolutionServers:
    """The servers beside the one that the settings name."""

    def __init__(self, settings: Settings, master: bytes, counters: Counters, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._master = master
        self.registry = ServerRegistry(self._connect, self._unseal, counters, clock)

    def commands(self, pool: Pool, roster: Roster, commands: UnitCommands, client: EvolutionClient) -> ServerCommands:
        """``client`` is the one of the environment's server."""
        seal, url = partial(seal_server_key, self._master), self._settings.evolution_api_url
        return ServerCommands(pool, self.registry, roster, commands, seal, client, url, register_secret)

    def client_of(self, roster: Roster, client: EvolutionClient) -> Callable[[UnitId], EvolutionClient]:
        """Tells the client of a unit's server; ``client`` is the one of the environment's."""

        return lambda unit: roster.server_of(unit).client or client

    def report(self, roster: Roster) -> Callable[[], list[ServerReport]]:
        """How the servers are, for the health report."""
        return lambda: self.registry.report(roster)

    def _connect(self, url: str, key: str) -> ServerClients:
        calls, watch = open_http_client(self._settings.evolution_connections), open_http_client(2)

        async def close() -> None:
            await calls.aclose()
            await watch.aclose()

        policy = CallPolicy(call=self._settings.evolution_timeout_seconds)
        return ServerClients(
            EvolutionClient(calls, url, key, policy), EvolutionClient(watch, url, key, WATCH_POLICY), close
        )

    def _unseal(self, name: str, sealed: bytes) -> str | None:
        key = unseal_server_key(self._master, name, sealed)
        if key is not None:
            register_secret(key)
        return key
