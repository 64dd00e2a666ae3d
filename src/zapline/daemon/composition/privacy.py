"""Builds the jobs of data protection: the erasure of people, and the retention of messages."""

from collections.abc import Callable

import trio

from zapline.daemon.composition.outbound import Outbound, OutboundDependencies
from zapline.daemon.settings import Settings
from zapline.supervisors.operations.unit_requests import unit_verbs
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.privacy.retention import Retention


class PrivacyJobs:
    """``run`` erases people and deletes what is past its retention."""

    def __init__(
        self,
        settings: Settings,
        deps: OutboundDependencies,
        outbound: Outbound,
        forget_contacts: Callable[[], None],
        erasure_key: bytes,
    ) -> None:
        region = settings.default_region
        may_write, drop = deps.leadership.may_write, outbound.media.drop
        self.erasures = ErasureJobs(
            deps.pool, deps.journal, deps.commands, may_write, deps.counters, drop, forget_contacts, erasure_key, region
        )
        self.verbs = unit_verbs(outbound.changes, self.erasures)
        """Control requests about units and erasures."""
        self.retention = Retention(deps.pool, may_write, deps.counters, drop, forget_contacts)

    async def run(self) -> None:
        """Run both jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.erasures.run)
            nursery.start_soon(self.retention.run)
