"""The sending stack below the API: journal, recorder, senders, a simulated Evolution, messages in the outbox."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import PROVIDER, UnitId, contact_id, conversation_id
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import Content, OutgoingMessage, Text, kind_of_content, text_of_content
from zapline.domain.outbox.work_states import Lane
from zapline.domain.restart_policy import RestartIntensity
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.http.server.serve import serve
from zapline.http.webhooks.endpoint import IntakePolicy, WebhookApp
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.units.units import insert_unit, load_units
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_losses import JournalLosses
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.sender_pool import SenderPool
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.database_comparison import DatabaseComparison
from zapline.supervisors.units.line_calls import WEBHOOK_EVENTS, LineCalls, WebhookAddress
from zapline.supervisors.units.roster import Roster, RosterPolicy
from zapline.supervisors.units.webhook_authentication import digest_secret

PHONE = "+5511999990001"
QUICK = Behaviour(
    first_qr=0.01, statuses=("DELIVERY_ACK",), status_gap=0.01, retry=WebhookRetryPolicy(initial=0.1, cap=0.5)
)
FAST = {"per_minute": 6000.0, "burst": 100, "gap_seconds": 0.0, "campaign_seconds": 0.001}
"""Limits that delay no test."""


async def set_pace(conn: Connection, unit: UnitId, **limits: object) -> None:
    """Set the unit's limits: columns of ``unit_paces``, else those of ``FAST``."""
    row = FAST | limits
    columns = ", ".join(row)
    await conn.execute("delete from zapline.unit_paces where unit_id = %s", (unit,))
    await conn.execute(
        f"insert into zapline.unit_paces (unit_id, {columns}) values (%s, {', '.join(['%s'] * len(row))})",
        (unit, *row.values()),
    )


async def queue_message(
    conn: Connection,
    unit: UnitId,
    content: Content | str = "oi",
    *,
    phone: str = PHONE,
    lane: Lane = Lane.REPLY,
    due_in: float = 0.0,
    expires_in: float | None = None,
    campaign: UUID | None = None,
    id: UUID | None = None,
) -> UUID:
    """Insert a message to a phone as the API does, and return its id. No sender is woken."""
    message, now = id or uuid4(), time.time()
    outgoing = OutgoingMessage(Text(content) if isinstance(content, str) else content)
    contact, conversation = contact_id(unit, phone), conversation_id(unit, phone)
    await conn.execute(
        "insert into zapline.contacts (id, unit_id, kind, canonical, phone) values (%s, %s, 'person', %s, %s)"
        " on conflict do nothing",
        (contact, unit, phone, phone),
    )
    await conn.execute(
        "insert into zapline.conversations (id, unit_id, contact_id) values (%s, %s, %s) on conflict do nothing",
        (conversation, unit, contact),
    )
    await conn.execute(
        "insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind,"
        " kind_rank, body, origin, delivery, sent_at, received_at) values (%s, %s, %s, %s, %s, true, %s, 2, %s,"
        " 'sent', 'queued', to_timestamp(%s), to_timestamp(%s))",
        (
            message,
            unit,
            conversation,
            PROVIDER,
            str(message),
            kind_of_content(outgoing.content),
            text_of_content(outgoing.content),
            now + due_in,
            now,
        ),
    )
    await conn.execute(
        "insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint,"
        " content, request_digest, due_at, expires_at, campaign_id)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, '', to_timestamp(%s), to_timestamp(%s), %s)",
        (
            message,
            unit,
            conversation,
            lane.value,
            phone,
            phone[1:],
            fingerprint_content(outgoing.content),
            Json(msgspec.json.encode(outgoing)),
            now + due_in,
            now + expires_in if expires_in is not None else None,
            campaign,
        ),
    )
    return message


async def always_may_write() -> None:
    """For processes that always lead."""


@dataclass
class OutboundStack:
    """The running stack, with access to what it stored and to what the phones received."""

    url: str
    evolution: SimulatedEvolution
    client: EvolutionClient
    pool: Pool
    journal: Journal
    recorder: Recorder
    roster: Roster
    intake: Intake
    counters: Counters
    senders: SenderPool
    base_url: str
    process: UUID
    feed: LiveFeed
    comparison: DatabaseComparison
    standing: WriterStanding
    patient_client: EvolutionClient
    """The same with the usual timeouts: for what is no part of a test."""
    uploads: dict[UUID, bytes] = field(default_factory=dict)
    failing_loads: int = 0
    """How many loads of uploads are to fail by an injected bug."""

    async def add_unit(self, instance: str = "loja", **limits: object) -> Unit:
        """Create a unit with an open line."""
        unit = UnitId(uuid4())
        async with await connect(self.url, role="zapline_engine") as conn:
            await insert_unit(
                conn,
                id=unit,
                name=instance,
                instance=instance,
                secret_digest=digest_secret(str(unit)),
                time_zone="America/Sao_Paulo",
            )
            await set_pace(conn, unit, **limits)
        await self.reload()
        hook = WebhookRegistration(self.address(unit).url, WEBHOOK_EVENTS)
        await self.patient_client.create_instance(instance, hook)
        self.evolution.scan(instance)
        added = self.roster.get(unit)
        assert added is not None
        await self.wait_until_open(added)
        return added

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    def address(self, unit: UUID) -> WebhookAddress:
        return WebhookAddress(f"{self.base_url}/webhooks/whatsapp/evolution/{unit}")

    async def wait_until_open(self, unit: Unit) -> None:
        await self.wait_until(lambda: unit.state is not None and unit.state.stored.phase is Phase.OPEN)

    async def reload(self) -> None:
        """Load the units as the daemon does when it begins to lead."""
        async with await connect(self.url, role="zapline_engine") as conn:
            records, view = await load_units(conn), await self.comparison.look(conn, leads=True)
        set_back = await self.comparison.prepare(records, view, moved=False)
        self.roster.apply(records, self.journal.journal_id)
        self.comparison.resume(set_back)

    async def enqueue(self, unit: Unit, *contents: Content | str, **options: Any) -> list[UUID]:
        """Queue messages and wake their sender, as the API does."""
        async with self.pool.connection() as conn, conn.transaction():
            messages = [await queue_message(conn, unit.id, content, **options) for content in contents]
        self.senders.wake(unit.id)
        return messages

    async def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.005)

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return [tuple(row) for row in await conn.fetch(query, values)]

    async def wait_for_rows(self, query: str, *expected: tuple[object, ...], seconds: float = 60) -> None:
        """Wait until the query returns these rows; retry while the database is away."""
        seen: list[tuple[Any, ...]] = []
        with trio.move_on_after(seconds):
            while True:
                with suppress(DatabaseUnavailable):
                    seen = await self.rows(query)
                    if seen == list(expected):
                        return
                await trio.sleep(0.01)
        raise AssertionError(f"{query}: {seen}, not {list(expected)}, after {seconds} s")

    async def wait_until_idle(
        self, states: Sequence[str] = ("queued", "leased", "uncertain"), seconds: float = 60
    ) -> None:
        """Wait until no message is in any of these states, and all accepted webhooks are stored."""
        listed = "', '".join(states)
        await self.wait_for_rows(f"select from zapline.outbox where state in ('{listed}')", seconds=seconds)
        with trio.fail_after(seconds):
            await self.evolution.wait_until_idle()
            await self.journal.flush()
            while self.journal.statistics().depth:
                await trio.sleep(0.005)
                await self.journal.flush()

    async def outbox_rows(self) -> list[tuple[Any, ...]]:
        """(state, tries, failure) of all messages, in the order of their requests."""
        return await self.rows("select state, tries, failure from zapline.outbox order by seq")

    async def make_due(self) -> None:
        """Make due the messages that are to be retried later."""
        async with self.pool.connection() as conn:
            found = await conn.fetch(
                "update zapline.outbox set due_at = now() where state = 'queued' and due_at > now() returning unit_id"
            )
        for row in found:
            self.senders.wake(row.unit_id)

    def received_texts(self, instance: str = "loja") -> list[str]:
        """The texts that the phones of this instance's contacts received, in order."""
        return [each.text for each in self.evolution.ledger.messages if each.instance == instance]


@asynccontextmanager
async def outbound_stack_on(
    url: str,
    directory: Path,
    evolution: SimulatedEvolution,
    *,
    call: float = 1.0,
    attempts: int = 1,
    port: int = 0,
    may_record: Callable[[], Awaitable[None]] = always_may_write,
    intensity: RestartIntensity | None = None,
    patience: float = 5.0,
) -> AsyncIterator[OutboundStack]:
    """Run the stack as the daemon does; leaving the block is a kill, unless ``senders.drain`` came before.

    ``call``: timeout of a call to Evolution in seconds. A second stack in the same directory, on the same ``port``,
    is a restart. ``may_record`` blocks the recorder only.
    """
    counters = Counters(trio.current_time)

    async def open_engine() -> Connection:
        return await connect(url, role="zapline_engine")

    async def load_upload(id: UUID) -> bytes | None:
        if stack.failing_loads:
            stack.failing_loads -= 1
            raise LookupError("planted")
        return stack.uploads.get(id)

    policy = CallPolicy(call=call, send_file=call, overall=2 * call, attempts=attempts, first_wait=0.01)
    dispatcher = Dispatcher(lambda unit: roster.get(unit))
    roster = Roster(
        dispatcher, RosterPolicy(RestartIntensity(5, 60.0), 60.0, 300.0), lambda: counters.add("actor_crashes")
    )
    stop = trio.Event()
    async with (
        Journal.open(directory, on_committed=dispatcher.dispatch) as journal,
        open_http_client() as http,
        Pool.open(url, size=4, role="zapline_engine") as pool,
        trio.open_nursery() as nursery,
    ):
        dispatcher.journal = journal
        intake = Intake(journal, counters)
        standing = WriterStanding(check_again=lambda: counters.add("standing_checks"))
        recorder = Recorder(open_engine, may_record, counters, 2, 0.2, standing=standing)
        comparison = DatabaseComparison(
            *(journal, roster, dispatcher, JournalLosses(journal, roster.units, counters), counters)
        )
        client = EvolutionClient(http, evolution.url, evolution.api_key, policy)
        webhook_app = WebhookApp(roster, intake, counters, IntakePolicy(2**24, 2**26), rest=None)
        (base_url,) = await nursery.start(partial(serve, webhook_app, [f"127.0.0.1:{port}"], stop, 0.1))
        process = uuid4()
        allowed, feed = intensity or RestartIntensity(5, 60.0), LiveFeed()
        senders = SenderPool(
            *(pool, intake, roster, always_may_write, client, counters, allowed, load_upload, process),
            feed=feed,
            patience=patience,
            standing=standing,
        )
        senders.set_bring_back(comparison.bring_back_message)
        nursery.start_soon(comparison.run, senders.wake)
        components = (pool, journal, recorder, roster, intake, counters, senders)
        patient = EvolutionClient(http, evolution.url, evolution.api_key)
        stack = OutboundStack(
            url, evolution, client, *components, str(base_url), process, feed, comparison, standing, patient
        )
        calls = LineCalls(client, lambda unit, _: stack.address(UUID(bytes=unit)), counters)
        context = ActorContext(
            journal,
            recorder,
            calls,
            counters,
            dispatcher.refill,
            dispatcher.rewind,
            feed=feed,
            on_send_answered=senders.answer_stored,
            on_message_refused=senders.message_refused,
            on_line_opened=senders.line_opened,
        )
        nursery.start_soon(recorder.run)
        nursery.start_soon(dispatcher.run)
        await nursery.start(roster.run, context)
        await stack.reload()
        await nursery.start(senders.run)
        yield stack
        stop.set()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def outbound_stack(url: str, directory: Path, **options: Any) -> AsyncIterator[OutboundStack]:
    """Run a stack with an Evolution of its own."""
    async with (
        SimulatedEvolution.running(behaviour=QUICK) as evolution,
        outbound_stack_on(url, directory, evolution, **options) as stack,
    ):
        yield stack
