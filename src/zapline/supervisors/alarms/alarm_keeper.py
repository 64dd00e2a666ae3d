"""Watches what is wrong, keeps the incidents in memory and in the database, and hands on what is to be said."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4, uuid5

import structlog
import trio

from zapline.domain.alarms.incidents import AlarmPolicy, Incident, Saying, Seen, step
from zapline.domain.errors import RemoteError
from zapline.sql.health import alarms
from zapline.sql.health.alarms import Destination, Notice
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.leadership import Leadership, LeadershipStatus

LOOK_EVERY = 5.0
"""Seconds between two looks."""
_LOG = structlog.get_logger(scope="Alarms")


def notice_id(saying: Saying, destination: UUID) -> UUID:
    """The id of a notice follows from what is said to whom: said again it is the same."""
    return uuid5(saying.incident.id, f"{saying.incident.said}:{destination}")


@dataclass(eq=False)
class Unsaved:
    """What was said and the database does not hold yet. ``told``: notices that arrived all the same."""

    saying: Saying
    notices: Sequence[Notice]
    told: set[UUID] = field(default_factory=set)


class AlarmKeeper:
    """One for the process; only the leading one says anything, or the one that led last while the database is away.

    ``look`` returns what is seen, ``on_said`` is called when there is something to deliver.
    """

    def __init__(
        self,
        pool: Pool,
        leadership: Leadership,
        look: Callable[[float], Awaitable[Seen]],
        policy: AlarmPolicy,
        clock: Callable[[], float],
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._leadership = leadership
        self._look = look
        self._policy = policy
        self._clock = clock
        self._new_id = new_id
        self._loaded: tuple[int | None, int] | None = None
        """The epoch and the wish under which incidents and destinations were read; None: they are to be read."""
        self._wishes = 0
        """How often it was wished that the destinations be read again."""
        self._has_loaded = False
        self._on_said: Callable[[], None] = lambda: None
        self.destinations: tuple[Destination, ...] = ()
        self.incidents: tuple[Incident, ...] = ()
        self.unsaved: list[Unsaved] = []

    def set_on_said(self, on_said: Callable[[], None]) -> None:
        self._on_said = on_said

    def reload(self) -> None:
        """Read the destinations again at the next look: somebody may have changed them."""
        self._wishes += 1

    @property
    def acts(self) -> bool:
        """Whether this process says what is to be said, also while the database is away."""
        return self._has_loaded and not self._leadership.stands_by and self._leadership.is_first

    @property
    def leads(self) -> bool:
        return self._leadership.status is LeadershipStatus.LEADING and self._leadership.standing.is_proven

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            try:
                await self.look_once()
            except RemoteError as away:
                _LOG.debug("Alarms are not stored", error=str(away))
            await trio.sleep(LOOK_EVERY)

    async def look_once(self) -> None:
        """Read what is to be read, take up what is wrong now, and store what is said. Raises RemoteError."""
        if not self._leadership.is_first:
            self._loaded = None  # another node says what there is to say: it is read once this one is the first
            return
        if self.leads and self._loaded != (self._leadership.standing.epoch, self._wishes):
            await self._load()
        if not self.acts or not self.destinations:
            return
        now = self._clock()
        self._take_up(await self._look(now), now)
        if self.unsaved and self.leads:
            await self._save()

    def _take_up(self, seen: Seen, now: float) -> None:
        """Say what there is to say, unless that has become another node's while this one looked."""
        if not self.acts:
            return
        done = step(self.incidents, seen, now, self._policy, self._new_id)
        self.incidents = done.incidents
        if done.saying is not None:
            self._say(done.saying, now)

    def _say(self, saying: Saying, now: float) -> None:
        incident = saying.incident
        _LOG.warning(
            "An incident is told: {kind}", kind=saying.kind.value, incident=str(incident.id), wrong=len(incident.wrong)
        )
        notices = [Notice(notice_id(saying, to.id), to.id, saying.kind, incident, now) for to in self.destinations]
        self.unsaved.append(Unsaved(saying, notices))
        if not self.leads:
            self._on_said()

    async def _save(self) -> None:
        """Raises RemoteError; what is not stored then is stored later."""
        while self.unsaved:
            first = self.unsaved[0]
            told = [
                Notice(each.id, each.destination_id, each.kind, each.incident, each.created_at, delivered=True)
                if each.id in first.told
                else each
                for each in first.notices
            ]
            async with self._pool.connection() as conn, conn.transaction():
                await alarms.store_saying(conn, first.saying, told)
            self.unsaved.remove(first)
        self._on_said()

    async def _load(self) -> None:
        """Read destinations and incidents; what another process has said counts. Raises RemoteError."""
        if self.unsaved:
            await self._save()
        loading = (self._leadership.standing.epoch, self._wishes)  # what is wished from now on is not in it
        async with self._pool.connection() as conn:
            self.destinations = tuple(await alarms.load_destinations(conn))
            stored = await alarms.load_incidents(conn, self._clock() - self._policy.join)
        held = {member.key for each in stored if each.closed_at is None for member in each.members}
        fresh = (
            each for each in self.incidents if not each.said and held.isdisjoint(member.key for member in each.members)
        )
        known = {each.id: each for each in self.incidents}
        self.incidents = (*(_later(each, known.get(each.id)) for each in stored), *fresh)
        self._loaded, self._has_loaded = loading, True
        self._on_said()


def _later(stored: Incident, known: Incident | None) -> Incident:
    """What memory knows of an incident counts, unless more was said of it since."""
    return known if known is not None and known.said == stored.said else stored
