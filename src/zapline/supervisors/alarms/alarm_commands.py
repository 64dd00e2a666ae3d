"""Commands on alarms, for the API, the console and the command line: destinations, tests, past incidents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog

from zapline.domain.alarms.destinations import (
    MAX_DESTINATIONS,
    MAX_TARGET,
    DestinationKind,
    InvalidDestination,
    checked_email,
    checked_language,
    shown_target,
)
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.crm_webhook_signature import format_secret
from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.network_addresses import InvalidMediaUrl, parse_media_url, refusal_reason
from zapline.domain.text import Sentence
from zapline.sql.health import alarms
from zapline.sql.health.alarms import Destination, PastIncident
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.alarms.channels import Channels, NotTold, Telling
from zapline.supervisors.leadership import CONTROL_CHANNEL

MAX_UNITS = 20
"""Units whose lines may tell an alarm to one phone."""
_LOG = structlog.get_logger(scope="Alarms")


class UnknownDestination(LocalError):
    """There is no such destination."""


class TooManyDestinations(LocalError):
    """There are as many destinations as there may be."""


@dataclass(frozen=True, slots=True)
class AskedDestination:
    """A destination as somebody asks for it. ``to``: an address, a URL or a phone; ``units``: of a line."""

    kind: DestinationKind
    to: str
    language: str = "en"
    units: tuple[UnitId, ...] = ()


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a test ended: ``error`` None: the destination took it."""

    __test__ = False
    destination: Destination
    error: str | None


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """``region``: country of phones without one. ``private``: webhooks may go into private networks, without TLS."""

    region: str = "BR"
    private: bool = False


def checked_target(asked: AskedDestination, policy: TargetPolicy) -> str:
    """The address in its normal form. Raises InvalidDestination."""
    checked_language(asked.language)
    if len(asked.to) > MAX_TARGET:
        raise InvalidDestination(Sentence("has at most {limit} letters", limit=MAX_TARGET), "to")
    if (asked.kind is DestinationKind.LINE) != bool(asked.units):
        raise InvalidDestination("names the units whose lines tell it, and only for a line", "units")
    if len(asked.units) > MAX_UNITS:
        raise InvalidDestination(Sentence("holds at most {limit} units", limit=MAX_UNITS), "units")
    match asked.kind:
        case DestinationKind.EMAIL:
            return checked_email(asked.to)
        case DestinationKind.LINE:
            try:
                return parse_phone(asked.to, policy.region)
            except InvalidPhone as invalid:
                raise InvalidDestination(invalid.sentence, "to") from None
        case DestinationKind.WEBHOOK:
            return _checked_url(asked.to, policy.private)


def _checked_url(text: str, private: bool) -> str:
    try:
        parsed = parse_media_url(text, local=private)
    except InvalidMediaUrl as invalid:
        raise InvalidDestination(invalid.sentence, "to") from None
    if not private and not parsed.url.startswith("https://"):
        raise InvalidDestination("The URL must begin with https://: what is told is private.", "to")
    if not private and parsed.is_address and refusal_reason(parsed.host) is not None:
        raise InvalidDestination("The URL leads into a private or reserved network.", "to")
    return parsed.url


async def store_destination(
    conn: Connection, id: UUID, asked: AskedDestination, target: str, seal: Callable[[UUID, str], bytes], now: float
) -> Destination:
    """Store a destination whose ``target`` is checked. Raises TooManyDestinations. In the caller's transaction."""
    kind, units = asked.kind, tuple(dict.fromkeys(asked.units))
    new = Destination(id, kind, seal(id, target), shown_target(kind, target), units, asked.language, 1, now)
    if not await alarms.insert_destination(conn, new, MAX_DESTINATIONS):
        raise TooManyDestinations(Sentence("there are {limit} destinations already", limit=MAX_DESTINATIONS))
    return new


async def _tell_daemons(conn: Connection) -> None:
    """Have the daemon that tells, which may be another one, read the destinations again after the commit."""
    await conn.execute("select pg_notify(%s, '')", (CONTROL_CHANNEL,))


@dataclass(frozen=True, slots=True)
class AlarmKeys:
    """What only the master key opens: ``seal`` and ``unseal`` an address by the destination's id, sign webhooks."""

    seal: Callable[[UUID, str], bytes]
    unseal: Callable[[UUID, bytes], str | None]
    signing: Callable[[UUID, int], bytes]


class AlarmCommands:
    """One for the process; ``pool`` is the engine's. ``on_change``: the destinations have changed.

    ``find`` returns an active unit or raises UnknownUnit.
    """

    def __init__(
        self,
        pool: Pool,
        keys: AlarmKeys,
        channels: Channels,
        find: Callable[[UnitId], object],
        policy: TargetPolicy,
        on_change: Callable[[], None],
        clock: Callable[[], float],
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._channels = channels
        self._find = find
        self._policy = policy
        self._on_change = on_change
        self._clock = clock
        self._new_id = new_id

    @property
    def has_mail(self) -> bool:
        """Whether e-mails can be sent: an SMTP server is set."""
        return self._channels.has_mail

    async def destinations(self) -> Sequence[Destination]:
        """All destinations, the oldest first. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            return await alarms.load_destinations(conn)

    async def add(self, asked: AskedDestination) -> tuple[Destination, str | None]:
        """Add a destination; it, and of a webhook the secret that signs.

        Raises InvalidDestination, TooManyDestinations, UnknownUnit.
        """
        target = checked_target(asked, self._policy)
        for unit in asked.units:
            self._find(unit)
        if asked.kind is DestinationKind.EMAIL and not self.has_mail:
            raise InvalidDestination("needs an SMTP server: set ZAPLINE_SMTP_HOST and ZAPLINE_SMTP_FROM", "kind")
        id = self._new_id()
        async with self._pool.connection() as conn, conn.transaction():
            new = await store_destination(conn, id, asked, target, self._keys.seal, self._clock())
            await _tell_daemons(conn)
        _LOG.info("Alarms go to one more destination", destination=str(id), kind=asked.kind.value)
        self._on_change()
        secret = format_secret(self._keys.signing(id, 1)) if asked.kind is DestinationKind.WEBHOOK else None
        return new, secret

    async def remove(self, id: UUID) -> None:
        """Remove a destination with what waits for it. Raises UnknownDestination."""
        async with self._pool.connection() as conn, conn.transaction():
            if not await alarms.delete_destination(conn, id):
                raise UnknownDestination("there is no such destination of alarms")
            await _tell_daemons(conn)
        self._on_change()

    async def test(self, id: UUID | None = None) -> list[TestResult]:
        """Tell a test to one destination, or to all, now; how each ended. Raises UnknownDestination."""
        chosen = [each for each in await self.destinations() if id in (None, each.id)]
        if id is not None and not chosen:
            raise UnknownDestination("there is no such destination of alarms")
        results = [TestResult(to, await self._test(to)) for to in chosen]
        async with self._pool.connection() as conn:
            for result in results:
                await alarms.note_try(conn, result.destination.id, self._clock(), result.error)
        return results

    async def _test(self, to: Destination) -> str | None:
        target = self._keys.unseal(to.id, to.sealed)
        if target is None:
            return "address_unreadable"
        try:
            await self._channels.tell(to, target, Telling(self._new_id(), None, None, self._clock()))
        except NotTold as failure:
            return failure.code
        except RemoteError:
            return "database_unavailable"
        return None

    async def incidents(self, before: int | None, limit: int) -> list[PastIncident]:
        """A page of incidents, the latest first, below a number. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            return await alarms.list_incidents(conn, before, limit)
