"""The CRM that is told by webhooks: it takes them, fails, or takes them and is not heard; and what it should know."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import trio

from zapline.crm.webhook_client import CrmResponse, NotDelivered

from .world import World

URL = "http://crm.simulated/hooks"
EVENTS = ("message.received", "message.delivery", "message.edited", "message.deleted")
TRIES, LONGEST_WAIT = 10, 6 * 3600.0 + 60.0
"""What docs/webhooks.md tells of the tries."""
FAILURES = ("status", "unreachable", "timeout", "broken_connection")


@dataclass(eq=False)
class Crm:
    """Stands in the place of the client that posts to CRMs. ``fails``: the chance that it does not take a webhook."""

    world: World
    fails: float = 0.0
    down: bool = False
    taken: Counter[str] = field(default_factory=Counter)
    """Ids of the webhooks that it has taken with a 2xx."""

    def __post_init__(self) -> None:
        self._chance: random.Random = self.world.stream("crm's server")

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have the daemon post here."""

        @asynccontextmanager
        async def client(*arguments: Any, **options: Any) -> AsyncIterator[Crm]:
            yield self

        patch.setattr("zapline.daemon.composition.notifications.open_crm_client", client)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> CrmResponse:
        """Take one webhook, or fail in one of the ways in which CRMs fail."""
        await trio.sleep(self._chance.uniform(0.001, 0.05))
        if self.down:
            raise NotDelivered("unreachable")
        if self._chance.random() < self.fails:
            kind = self._chance.choice(FAILURES)
            self.world.strike(f"crm: {kind}")
            if kind == "status":
                status = self._chance.choice((500, 502, 429, 503))
                return CrmResponse(status, self._chance.choice((None, 2.0)) if status in (429, 503) else None)
            if kind in ("timeout", "broken_connection") and self._chance.random() < 0.5:
                self.taken[headers["webhook-id"]] += 1  # and the answer is lost
            await trio.sleep(self._chance.uniform(0.1, 5.0))
            raise NotDelivered(kind)
        self.taken[headers["webhook-id"]] += 1
        return CrmResponse(200, None)


def make_hooks(conn: Any, units: Iterable[UUID], ids: random.Random) -> None:
    """Have the CRM told of each unit, as if it had asked for it."""
    for unit in units:
        given = (UUID(bytes=ids.randbytes(16)), unit, URL, list(EVENTS))
        conn.execute("insert into zapline.hooks (id, unit_id, url, events) values (%s, %s, %s, %s)", given)


def untold(conn: Any, taken: Counter[str]) -> list[str]:
    """What the CRM should have been told and was not, or waits for longer than any failure makes it wait.

    What was written before its webhook was made, by the clock that has dated that, is history where it was read back.
    """
    found = [
        f"hooks: of a message that came in the CRM is not told: {unit} {id}"
        for unit, id in conn.execute(
            "select m.unit_id::text, m.id::text from zapline.messages m where not m.from_me"
            " and not exists (select from zapline.hook_deliveries d"
            " where d.subject = m.id and d.event = 'message.received')"
            " and exists (select from zapline.hooks h where h.unit_id = m.unit_id"
            " and h.created_at <= m.sent_at + interval '1 second') limit 3"
        ).fetchall()
    ]
    rows = conn.execute(
        "select id::text, state, tries, extract(epoch from due_at - now())::float8 from zapline.hook_deliveries"
        " where last_error is distinct from 'subject_gone'"  # another message took its place, and that is told
    ).fetchall()
    for id, state, tries, wait in rows:
        if state == "delivered" and not taken[f"msg_{id}"]:
            found.append(f"hooks: {id} was never taken, and counts as delivered")
        if state == "dead" and tries < TRIES:
            found.append(f"hooks: {id} is dead after {tries} tries")
        if state == "queued" and not -60.0 < wait < LONGEST_WAIT:
            found.append(f"hooks: {id} is due in {wait:.0f} s, after {tries} tries")
    found += [
        f"hooks: disabled: {why}"
        for (why,) in conn.execute("select disabled_reason from zapline.hooks where disabled_at is not null").fetchall()
    ]
    return found[:3]
