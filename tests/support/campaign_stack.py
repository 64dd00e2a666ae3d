"""The campaign stack: a real database, units whose line is open, the feeder, and a sender that sends nothing."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import StoredLineState
from zapline.domain.outbox.contents import Text
from zapline.domain.outbox.work_states import Lane
from zapline.sql.outbound.send_claims import ClaimedSend, claim
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord, insert_unit
from zapline.supervisors.campaigns.campaign_commands import CampaignPlan, Campaigns
from zapline.supervisors.campaigns.outbox_feeder import OutboxFeeder
from zapline.supervisors.inbound.unit_state import Unit, unit_from_record
from zapline.supervisors.units.unit_commands import UnknownUnit


@dataclass
class CampaignStack:
    """``now`` is the wall clock of the whole stack."""

    url: str
    pool: Pool
    now: float
    feeder: OutboxFeeder = field(init=False)
    campaigns: Campaigns = field(init=False)
    units: dict[UnitId, Unit] = field(default_factory=dict)
    woken: list[UnitId] = field(default_factory=list)

    async def add_unit(self, zone: str = "America/Sao_Paulo", pace: str | None = None) -> UnitId:
        """``pace``: columns and values of the unit's own limits, as ``campaign_seconds = 0.01``."""
        id = UnitId(uuid4())
        async with self.pool.connection() as conn:
            await insert_unit(conn, id=id, name="u", instance=str(id), secret_digest=id.bytes, time_zone=zone)
        await self.sql(
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds)"
            f" values ('{id}', 60, 10, 1, 2)"
        )
        if pace is not None:
            await self.sql(f"update zapline.unit_paces set {pace} where unit_id = '{id}'")
        self.set_phase(id, Phase.OPEN)
        return id

    def set_phase(self, unit: UnitId, phase: Phase) -> None:
        self.units[unit] = unit_from_record(
            UnitRecord(unit, "u", str(unit), 1, unit.bytes, stored=StoredLineState(phase=phase))
        )

    def find(self, unit: UnitId) -> Unit:
        if unit not in self.units:
            raise UnknownUnit("there is no such unit")
        return self.units[unit]

    async def create_campaign(
        self, unit: UnitId, count: int = 3, timing: CampaignTiming | None = None, start: bool = True, first: int = 0
    ) -> UUID:
        """Create a campaign to so many phones."""
        recipients = [{"to": phone(number), "nome": f"N{number}"} for number in range(first, first + count)]
        id, _ = await self.campaigns.create(
            unit, CampaignPlan("c", Text("Oi {{nome}}"), recipients, timing or CampaignTiming(), start=start)
        )
        return id

    async def claim(self, unit: UnitId) -> ClaimedSend | None:
        async with self.pool.connection() as conn:
            return await claim(
                conn, unit, process=uuid4(), attempt=uuid4(), now=self.now, lease=60, lanes=list(Lane), blocked=[]
            )

    async def end_message(self, message: UUID, state: str = "settled") -> None:
        """Store the end of a message, as the recorder would."""
        await self.sql(
            f"update zapline.outbox set state = '{state}', settled_at = now(), ended_at = now()"
            f" where message_id = '{message}'"
        )
        outcome = {"settled": "sent", "uncertain": "uncertain"}.get(state, "not_sent")
        await self.sql(f"update zapline.attempts set outcome = '{outcome}' where message_id = '{message}'")

    async def sql(self, query: str) -> list[Any]:
        async with await connect(self.url) as conn:
            if query.startswith("select"):
                return [tuple(row) for row in await conn.fetch(query)]
            await conn.execute(query)
            return []

    async def column(self, query: str) -> list[Any]:
        return [row[0] for row in await self.sql(query)]

    async def queued_messages(self, campaign: UUID) -> Sequence[tuple[Any, ...]]:
        """(phone, work state, seconds until due) of the campaign's messages, in order."""
        rows = await self.sql(
            "select recipient, state, extract(epoch from due_at)::float8 from zapline.outbox"
            f" where campaign_id = '{campaign}' order by seq"
        )
        return [(phone_, state, round(due - self.now, 3)) for phone_, state, due in rows]

    async def state(self, campaign: UUID) -> str:
        (state,) = await self.column(f"select state from zapline.campaigns where id = '{campaign}'")
        return str(state)


def phone(number: int) -> str:
    return f"+55119{90_000_000 + number:08d}"


@asynccontextmanager
async def campaign_stack(
    url: str, now: float = 1_795_446_000.0, chance: Callable[[], float] | None = None
) -> AsyncIterator[CampaignStack]:
    """``now`` is noon of November 23, 2026, in Sao Paulo."""

    async def may_write() -> None:
        pass

    async with Pool.open(url, size=4, role="zapline_engine") as pool:
        stack = CampaignStack(url, pool, now)
        stack.feeder = OutboxFeeder(
            pool, stack.units.get, may_write, stack.woken.append, lambda: stack.now, chance or random.Random(1).random
        )
        stack.campaigns = Campaigns(pool, stack.feeder, stack.find, clock=lambda: stack.now)
        yield stack
