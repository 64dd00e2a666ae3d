"""Runs the inbound stack beside a simulated Evolution, with the reconciler and the search for uncertain sends."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import trio
from support.inbound_stack import InboundStack, inbound_stack, until

from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.retry_policy import Backoff
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.outbound.uncertain_send_lookup import LookupPolicy, UncertainSendLookup
from zapline.supervisors.reconciliation.line_schedule import ReconcilePolicy
from zapline.supervisors.reconciliation.scheduler import Reconciler

QUICK = ReconcilePolicy(
    interval=3600.0,
    settle_delay=0.0,
    rest=0.02,
    check_every=0.02,
    backoff=Backoff(base=0.02, factor=1.5, cap=0.2, jitter=0.0),
)
LOOKS = LookupPolicy(delays=(0.0, 0.05, 0.05), retry_delay=0.1, min_age=0.0, poll_every=0.02)
HOUR = 3600.0


@dataclass
class ReconciliationStack:
    """The inbound stack, the simulated Evolution, and the tasks that compare them."""

    inbound: InboundStack
    evolution: SimulatedEvolution
    client: EvolutionClient
    pool: Pool
    leadership: Leadership
    reconciler: Reconciler
    uncertain: UncertainSendLookup
    nursery: trio.Nursery
    woken: list[UnitId] = field(default_factory=list)

    async def open_unit(self, instance: str = "loja", connected: float = 10 * HOUR) -> Unit:
        """Add a unit with an open line that was first connected ``connected`` seconds ago."""
        unit = await self.inbound.add_unit(instance)
        await self.client.create_instance(instance, WebhookRegistration("http://127.0.0.1:9/", ("MESSAGES_UPSERT",)))
        self.evolution.scan(instance)
        await self.set_line_state(unit, "open")
        await self.write(
            "update zapline.unit_whatsapp_connections set first_connected_at = to_timestamp(%s) where unit_id = %s",
            time.time() - connected,
            unit.id,
        )
        return unit

    async def set_line_state(self, unit: Unit, state: str, ago: float = 0.0) -> None:
        """Report the line as ``open`` or logged out (``close``), by a webhook received ``ago`` seconds ago."""
        self.inbound.calls.state = state
        data = {"instance": unit.record.instance, "state": state, "statusReason": 200 if state == "open" else 401}
        data |= {"wuid": "5511999990000@s.whatsapp.net"}
        body = {"event": "connection.update", "instance": unit.record.instance, "data": data}
        assert await self.inbound.intake.accept(unit, "connection.update", msgspec.json.encode(body), time.time() - ago)
        await until(lambda: unit.state is not None and (unit.state.stored.phase is Phase.OPEN) == (state == "open"))

    def start(self) -> None:
        self.nursery.start_soon(self.reconciler.run)

    async def wait_until_reconciled(self, unit: Unit, seconds: float = 60) -> None:
        """Request a run, and wait until one more run has completed."""
        before = self.inbound.counters.totals["reconciliations", "done"]
        self.reconciler.schedule(unit.id, "test")
        await until(lambda: self.inbound.counters.totals["reconciliations", "done"] > before, seconds)

    async def write(self, statement: str, *values: object) -> None:
        async with await connect(self.inbound.url) as conn:
            await conn.execute(statement, values)

    async def watermark(self, unit: Unit) -> float | None:
        [[value]] = await self.inbound.rows(
            "select extract(epoch from reconciled_until)::float8 from zapline.unit_whatsapp_connections"
            f" where unit_id = '{unit.id}'"
        )
        assert value is None or isinstance(value, float)
        return value


@asynccontextmanager
async def reconciliation_stack(
    url: str, directory: Path, policy: ReconcilePolicy = QUICK, looks: LookupPolicy = LOOKS, **behaviour: object
) -> AsyncIterator[ReconciliationStack]:
    """Run everything but the reconciler, which waits for ``start``; Evolution's webhooks are off."""

    async def direct() -> Connection:
        return await connect(url)

    async def lead() -> None:
        pass

    async def heard(_: str) -> None:
        pass

    calls = CallPolicy(call=2.0, overall=3.0, attempts=1)
    async with (
        SimulatedEvolution.running(behaviour=replace(Behaviour(statuses=()), **behaviour)) as evolution,  # type: ignore[arg-type]
        inbound_stack(url, directory) as inbound,
        open_http_client() as http,
        Pool.open(url, size=3, role="zapline_engine") as pool,
        trio.open_nursery() as nursery,
    ):
        evolution.inject_fault("webhooks_off")
        client = EvolutionClient(http, evolution.url, evolution.api_key, calls)
        leadership = Leadership(direct, lead, heard)
        parts = (pool, client, inbound.intake, inbound.journal, inbound.roster, leadership, inbound.counters)
        woken: list[UnitId] = []
        nursery.start_soon(leadership.run)
        yield ReconciliationStack(
            inbound,
            evolution,
            client,
            pool,
            leadership,
            Reconciler(*parts, policy),
            UncertainSendLookup(*parts, woken.append, looks),
            nursery,
            woken,
        )
        nursery.cancel_scope.cancel()
