"""Learns from answers whether the Evolution server honours the ids that Zapline chooses for messages; remembers it."""

from weakref import WeakKeyDictionary

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.outbound import message_id_support
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.server_standing import ServerStanding

VERSION_FRESH = 600.0
"""Seconds for which the server's version is taken for granted while answers agree with what is known."""
_ASK_TIMEOUT = 3.0
"""Seconds that a sender waits to be told the server's version."""
_LOG = structlog.get_logger(scope="Sender")


class MessageIdSupport:
    """One for each server. What is known is of it, by version and route; see ``send_requests.send_route``."""

    def __init__(self, pool: Pool, client: EvolutionClient) -> None:
        self._pool = pool
        self._client = client
        self._known: dict[tuple[str, str], bool] | None = None
        """By (version, route). None: not read yet."""
        self._version: str | None = None
        self._version_until = float("-inf")
        self._others: WeakKeyDictionary[ServerStanding, MessageIdSupport] = WeakKeyDictionary()

    def of(self, server: ServerStanding) -> "MessageIdSupport":
        """The one of another server; another one once that has another address or key."""
        if server.client is None or server.client is self._client:
            return self
        found = self._others.get(server)
        if found is None or found._client is not server.client:
            found = self._others[server] = MessageIdSupport(self._pool, server.client)
        return found

    async def learn(self, route: str, honoured: bool) -> None:
        """Note that the server has answered a send with the chosen id, or with one of its own. Never raises."""
        version = await self.version()
        if version is not None and self._recall(version, route) is not honoured:
            version = await self.version(at_most=0.0)  # it may have changed since
        if version is None or self._recall(version, route) is honoured:
            return
        try:
            known = await self._load()
            if known.get((version, route)) is honoured:  # another answer has told it meanwhile
                return
            known[version, route] = honoured
            async with self._pool.connection() as conn:
                await message_id_support.store(conn, self._client.server, version, route, honoured)
        except RemoteError as away:
            self._known = None
            _LOG.debug("What a server does with ids waits to be remembered", error=str(away))
            return
        fields = {"version": version, "route": route, "honoured": honoured}
        _LOG.info("Evolution {version} honours chosen ids at {route}: {honoured}", **fields)

    async def is_honoured(self, route: str) -> bool:
        """Whether the server as it is now is known to honour ids at this route. Raises DatabaseUnavailable."""
        await self._load()
        version = await self.version(at_most=0.0)
        return version is not None and self._recall(version, route) is True

    async def version(self, at_most: float = VERSION_FRESH) -> str | None:
        """The server's version, heard ``at_most`` seconds ago; None if it does not tell it within three seconds."""
        now = trio.current_time()
        if at_most > 0 and now < self._version_until:
            return self._version
        self._version = None
        with trio.move_on_after(_ASK_TIMEOUT):
            try:
                self._version = (await self._client.server_info()).version
            except RemoteError as failure:
                _LOG.debug("Evolution does not tell its version", error=str(failure))
        self._version_until = trio.current_time() + (VERSION_FRESH if self._version is not None else _ASK_TIMEOUT)
        return self._version

    def _recall(self, version: str, route: str) -> bool | None:
        return self._known.get((version, route)) if self._known is not None else None

    async def _load(self) -> dict[tuple[str, str], bool]:
        if self._known is None:
            async with self._pool.connection() as conn:
                rows = await message_id_support.list_known(conn, self._client.server)
            self._known = {(row.version, row.route): row.honoured for row in rows}
        return self._known
