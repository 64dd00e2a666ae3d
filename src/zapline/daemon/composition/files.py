"""Builds what keeps files of messages: on which disk, who fetches them, hands them out, and removes them."""

from collections.abc import Sequence

import trio

from zapline.daemon.composition.outbound import DaemonCore
from zapline.daemon.settings import Settings
from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.files.disk import FileDisk
from zapline.supervisors.files.file_keeper import FileKeeper
from zapline.supervisors.files.file_removal import FileRemoval
from zapline.supervisors.files.policies import FilePolicies
from zapline.supervisors.files.reading import FileReader
from zapline.supervisors.health.file_checks import FilesReport
from zapline.supervisors.inbound.media_cache import MediaFetcher
from zapline.supervisors.notifications.live_feed import LiveFeed


class KeptFiles:
    """``readers``: of the API's role; ``link_key`` signs links to files. ``run`` fetches and removes."""

    def __init__(
        self, settings: Settings, core: DaemonCore, fetcher: MediaFetcher, readers: Pool, link_key: bytes
    ) -> None:
        disk = FileDisk(settings.state_dir / "files", settings.files_reserve_bytes)
        may_write, clock = core.leadership.may_write_alone, core.leadership.clock
        self._fetcher, self._clock = fetcher, core.clock
        self.keeper = FileKeeper(core.pool, core.client, disk, core.roster.get, may_write, core.counters, core.clock)
        self.removal = FileRemoval(core.pool, disk, may_write, core.counters, core.clock, clock.agrees)
        self.reader = FileReader(fetcher, disk, readers, core.counters, link_key, core.clock)
        self.policies = FilePolicies(core.pool, settings.files_quota_bytes, self._policy_changed)
        self._follow(core.feed)

    async def run(self) -> None:
        """Fetch and remove until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run)
            nursery.start_soon(self.removal.run)

    def _follow(self, feed: LiveFeed) -> None:
        """Look for files to be fetched whenever something is stored of a unit that keeps any, after others are told."""
        told = feed.on_event

        def tell(unit: UnitId) -> None:
            told(unit)
            self.keeper.wake(unit)

        feed.on_event = tell

    def report(self) -> FilesReport:
        """State of the files, for the health report."""
        return FilesReport(self.removal.totals, self.keeper.disk_full, self._clock())

    async def drop(self, unit: UnitId, external_ids: Sequence[ExternalId]) -> None:
        """Messages are deleted: take their files from the cache, and look soon for those that were kept."""
        await self._fetcher.drop(unit, external_ids)
        self.removal.wake()

    def _policy_changed(self, unit: UnitId) -> None:
        self.keeper.policy_changed(unit)
        self.removal.wake()
