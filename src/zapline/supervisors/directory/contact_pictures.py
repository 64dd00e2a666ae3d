"""Asks WhatsApp where it has the picture of a contact: when somebody looks, and no faster than a person would."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.domain.outbox.token_bucket import TokenBucket, Wait
from zapline.evolution.client.directory_calls import fetch_picture_url
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.directory.contacts import Contact
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.lookups import LookupsHeld, require_open_line
from zapline.supervisors.inbound.unit_state import Unit

KEPT_SECONDS = 3600.0
MAX_KEPT = 10_000
"""Addresses of pictures that are kept in memory, over all units: a few hundred bytes each."""
BURST, RATE = 30, 1.0
"""Questions of a unit at once, and a second after that."""
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Picture:
    """``url`` None: WhatsApp shows the line none. ``asked_at``: UTC seconds."""

    url: str | None
    asked_at: float


class ContactPictures:
    """One for the process; ``clock`` returns UTC seconds. What is kept is lost with the process, which harms nobody."""

    def __init__(self, client: EvolutionClient, counters: Counters, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._counters = counters
        self._clock = clock
        self._kept: OrderedDict[UUID, tuple[float, Picture]] = OrderedDict()  # contact -> monotonic time, picture
        self._buckets: dict[UnitId, TokenBucket] = {}

    async def find(self, unit: Unit, contact: Contact) -> Picture:
        """Where a contact's picture is, as asked within the hour. Raises LineNotConnected, LookupsHeld,
        EvolutionFailure."""
        kept = self._kept.get(contact.id)
        if kept is not None and trio.current_time() < kept[0] + KEPT_SECONDS:
            self._counters.add("pictures", "known")
            return kept[1]
        require_open_line(unit)
        self._take_token(unit.id)
        at = self._clock()
        number = contact.phone.removeprefix("+") if contact.phone is not None else f"{contact.lid}@lid"
        try:
            url = await fetch_picture_url(unit.evolution(self._client), unit.record.instance, number, _SECONDS)
        except EvolutionFailure as failure:
            self._counters.add("pictures", failure.code)
            raise
        self._counters.add("pictures", "asked")
        picture = Picture(url, at)
        self._kept[contact.id] = (trio.current_time(), picture)
        self._kept.move_to_end(contact.id)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return picture

    def _take_token(self, unit: UnitId) -> None:
        now = trio.current_time()
        bucket = self._buckets.get(unit) or TokenBucket(BURST, RATE, float(BURST), now)
        taken = bucket.take(now)
        if isinstance(taken, Wait):
            raise LookupsHeld("the unit asks WhatsApp for pictures too fast", taken.until - now)
        self._buckets[unit] = taken
