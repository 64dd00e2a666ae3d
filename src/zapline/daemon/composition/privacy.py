"""Builds the jobs of data protection: the erasure of people, and the retention of messages."""

from collections.abc import Callable

import trio

from zapline.daemon.composition.files import KeptFiles
from zapline.daemon.composition.outbound import DaemonCore, Outbound
from zapline.daemon.settings import Settings
from zapline.supervisors.operations.unit_requests import unit_verbs
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.privacy.retention import Retention


class PrivacyJobs:
    """``run`` erases people and deletes what is past its retention."""

    def __init__(
        self,
        settings: Settings,
        core: DaemonCore,
        outbound: Outbound,
        files: KeptFiles,
        forget_contacts: Callable[[], None],
        erasure_key: bytes,
    ) -> None:
        region = settings.default_region
        may_write, drop = core.leadership.may_write_alone, files.drop
        self.erasures = ErasureJobs(
            core.pool,
            core.journal,
            core.commands,
            may_write,
            core.counters,
            drop,
            forget_contacts,
            erasure_key,
            region,
            core.clock,
        )
        self.verbs = unit_verbs(outbound.changes, self.erasures)
        """Control requests about units and erasures."""
        parts = (core.pool, may_write, core.counters, drop, forget_contacts, core.clock)
        self.retention = Retention(*parts, _clocks_agree=core.leadership.clock.agrees)

    async def run(self) -> None:
        """Run both jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.erasures.run)
            nursery.start_soon(self.retention.run)
