"""Composes what the law asks for: the erasure of people, and what units do not keep any longer."""

from collections.abc import Callable

import trio

from zapline.daemon.composition.outbound import Inbound, Outbound
from zapline.daemon.settings import Settings
from zapline.supervisors.operations.unit_requests import unit_verbs
from zapline.supervisors.privacy.erasure_jobs import Erasures
from zapline.supervisors.privacy.retention import Retention


class PrivacyParts:
    """``erasures`` for who asks; ``run`` works until cancelled."""

    def __init__(
        self, settings: Settings, parts: Inbound, outbound: Outbound, forget_known: Callable[[], None], key: bytes
    ) -> None:
        region = settings.default_region
        may_write, drop = parts.leadership.may_write, outbound.media.drop
        self.erasures = Erasures(
            parts.pool, parts.journal, parts.submit, may_write, parts.counters, drop, forget_known, key, region
        )
        self.verbs = unit_verbs(outbound.changes, self.erasures)
        """What commands may ask of it, and of units."""
        self.retention = Retention(parts.pool, may_write, parts.counters, drop, forget_known)

    async def run(self) -> None:
        """Erase and tidy until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.erasures.run)
            nursery.start_soon(self.retention.run)
