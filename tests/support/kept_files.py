"""What keeps files of messages, for tests that run the API without the daemon around it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from zapline.domain.ids import ExternalId, UnitId
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.files.disk import FileDisk
from zapline.supervisors.files.file_keeper import FileKeeper
from zapline.supervisors.files.file_removal import FileRemoval
from zapline.supervisors.files.policies import FilePolicies
from zapline.supervisors.files.reading import FileReader
from zapline.supervisors.inbound.media_cache import MediaFetcher
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.units.roster import Roster

LINK_KEY = bytes(32)
QUOTA_CEILING = 2**33


def shortest() -> float:
    """As a spread: the shortest pause."""
    return 1.0


class FileParts:
    """The keeper and its companions; ``keeper.run`` and ``removal.run`` are the caller's to start."""

    def __init__(
        self,
        engine: Pool,
        readers: Pool,
        client: EvolutionClient,
        directory: Path,
        roster: Roster,
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        fetcher: MediaFetcher,
        feed: LiveFeed,
    ) -> None:
        self.disk = FileDisk(directory, reserve=0)
        self.passed = 0.0
        """Seconds by which it is later than by the machine's clock."""
        parts = (self.disk, roster.get, may_write, counters)
        self.keeper = FileKeeper(engine, client, *parts, self.now, shortest)
        self.removal = FileRemoval(engine, self.disk, may_write, counters, self.now)
        self.reader = FileReader(fetcher, self.disk, readers, counters, LINK_KEY, self.now)
        self.policies = FilePolicies(engine, QUOTA_CEILING, self.keeper.policy_changed)
        self._fetcher, self._told = fetcher, feed.on_event
        feed.on_event = self._tell

    def now(self) -> float:
        return time.time() + self.passed

    def pass_time(self, unit: UnitId, seconds: float) -> None:
        """Let so much time go by: what was to be tried again until then is tried at once."""
        self.passed += seconds
        self.keeper.policy_changed(unit)
        self.removal.wake()

    def on_disk(self) -> list[Path]:
        """The files that lie on disk, whole or half written."""
        return sorted(path for path in self.disk.root.rglob("*") if path.is_file())

    async def drop(self, unit: UnitId, external_ids: Sequence[ExternalId]) -> None:
        """As the daemon has it when messages are deleted."""
        await self._fetcher.drop(unit, external_ids)
        self.removal.wake()

    def _tell(self, unit: UnitId) -> None:
        self._told(unit)
        self.keeper.wake(unit)
