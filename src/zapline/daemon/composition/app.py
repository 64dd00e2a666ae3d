"""Opens everything in order and closes it in reverse; the only place that constructs things."""

import fcntl
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx2
import msgspec
import structlog
import trio

from zapline.daemon.composition.notifications import Told, open_told
from zapline.daemon.composition.outbound import Inbound, Outbound, opt_outs
from zapline.daemon.composition.privacy import PrivacyParts
from zapline.daemon.logs.setup import register_secret
from zapline.daemon.master_key import derive, master_key, webhook_secret
from zapline.daemon.settings import Settings
from zapline.daemon.systemd import Notifier
from zapline.domain.errors import StandstillError
from zapline.domain.ids import UnitId
from zapline.domain.restart_policy import Intensity
from zapline.evolution.client.rest_client import CallPolicy, EvolutionClient, open_http
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.notifications.live_events import Streams
from zapline.http.app import create_app
from zapline.http.dependencies import Parts
from zapline.http.server.serve import serve
from zapline.http.webhooks.endpoint import App, IntakePolicy, WebhookApp
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection, ConnectOptions, connect
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Identity
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.health_history import HealthHistory
from zapline.supervisors.health.health_report import Health
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.leadership import Leadership, Standing
from zapline.supervisors.notifications.live_feed import Feed
from zapline.supervisors.operations.control_requests import Control
from zapline.supervisors.operations.housekeeping import Janitor, JournalLimits
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.line_calls import LineCalls, WebhookAddress
from zapline.supervisors.units.roster import Roster, RosterPolicy, from_snapshot
from zapline.supervisors.units.unit_commands import House, Submit

FIRST_JUDGEMENT = 6.0
"""Seconds in which the lock of a daemon that has just been killed is given back by the database."""
_COLLECT_EVERY = (20_000, 20, 50)
"""Thresholds of the collector: requests make thousands of short-lived objects and hardly a cycle."""
_LOG = structlog.get_logger(scope="Daemon")


async def run_daemon(settings: Settings, listening: Callable[[list[str]], None] = lambda _: None) -> None:
    """Run until SIGTERM or SIGINT, then drain. ``listening`` is told the bound addresses.

    Raises StandstillError where another daemon holds the state directory or the database.
    """
    notifier = Notifier.from_environment()
    gc.set_threshold(*_COLLECT_EVERY)
    with state_lock(settings.state_dir):
        async with daemon(settings, notifier) as running:
            addresses = await running.nursery.start(running.serve, settings.drain_seconds / 2)
            listening(addresses)
            gc.collect()
            gc.freeze()  # what is alive now stays alive: the collector need not look at it again
            notifier.ready()
            notifier.status(f"serving {len(running.roster.units())} units")
            _LOG.info(f"Ready: {', '.join(addresses)}")
            if notifier.watchdog_interval is not None:
                running.nursery.start_soon(
                    feed_watchdog, notifier, running.health.stuck_units, notifier.watchdog_interval
                )
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    _LOG.info(f"Stopping: {signal.Signals(number).name}")
                    break
            notifier.stopping()
            await running.drain(settings.drain_seconds)
    _LOG.info("Stopped")


@dataclass(slots=True)
class Running:
    """The parts of a running daemon that its end needs."""

    nursery: trio.Nursery
    roster: Roster
    journal: Journal
    recorder: Recorder
    dispatcher: Dispatcher
    leadership: Leadership
    health: Health
    outbound: Outbound
    feed: Feed
    listeners: Sequence[tuple[App, Sequence[str]]]
    stop_serving: trio.Event = field(default_factory=trio.Event)
    served: trio.Event = field(default_factory=trio.Event)

    async def serve(self, grace: float, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until ``stop_serving``; ``task_status`` gets the bound addresses."""
        bound: list[str] = []
        async with trio.open_nursery() as serving:
            for app, binds in self.listeners:
                bound += await serving.start(partial(serve, app, binds, self.stop_serving, grace))
            task_status.started(bound)
        self.served.set()

    async def drain(self, seconds: float) -> None:
        """Stop listening, end the calls under way, then store what is accepted; the journal keeps the rest.

        All that for at most ``seconds``.
        """
        with trio.move_on_after(seconds):
            self.feed.end()
            self.stop_serving.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbound.drain, seconds)
                await self.served.wait()
            while self.leadership.standing is Standing.LEADING and not self._idle():  # noqa: ASYNC110 - spread over three rooms
                await trio.sleep(0.02)
        left = self.journal.statistics().depth
        if left:
            _LOG.warning("Stopping with webhooks not stored yet; the journal keeps them", count=left)

    def _idle(self) -> bool:
        mailboxes = all(unit.mailbox.statistics().entries == 0 for unit in self.roster.units())
        return mailboxes and self.dispatcher.lagging == 0 and self.recorder.statistics().waiting == 0


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Hold the state directory for this process. Raises StandstillError where another daemon has it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StandstillError(
                f"another Zapline daemon uses the state directory {directory}; stop it first, "
                "or give this one its own ZAPLINE_STATE_DIR and DATABASE_URL"
            ) from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def daemon(settings: Settings, notifier: Notifier) -> AsyncIterator[Running]:
    """Everything that runs, ready to serve."""
    addresses = _Addresses(master_key(settings.master_key, settings.state_dir), settings.base_url.rstrip("/"))
    _keep_out_of_logs(settings)
    counters = Counters(trio.current_time)
    feed = Feed()
    database = _Database(settings)
    dispatcher = Dispatcher(lambda unit: roster.get(unit))
    roster = Roster(dispatcher, _roster_policy(settings), lambda: counters.add("actor_crashes"))
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            Journal.open(settings.state_dir / "journal", on_committed=dispatcher.committed)
        )
        dispatcher.journal = journal
        http = await stack.enter_async_context(open_http(settings.evolution_connections))
        pool = await stack.enter_async_context(Pool.open(database.url, size=4, **database.engine))
        api_pool = await stack.enter_async_context(Pool.open(database.url, size=4, **database.reader))
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)

        intake = Intake(journal, counters)
        house = House(settings.instance_prefix, settings.webhook_secret_grace_minutes, addresses.erasure_key)
        submit = Submit(pool, journal, roster, dispatcher, intake, addresses.secret, house)
        identity, audit = Identity(pool), AuditLog(pool)

        async def lead() -> None:
            recorder.forget_known()
            await submit.reload()
            await control.ring()
            outbound.led_anew()

        leadership = Leadership(database.open_direct, lead, lambda payload: control.ring(payload))
        client = _evolution(settings, http)
        inbound = Inbound(pool, client, intake, journal, roster, leadership, counters, submit, feed)
        outbound = Outbound(settings, inbound, addresses.erasure_key)
        open_hooks = open_told(addresses.master, settings.hook_private_hosts, pool, submit, leadership, counters, feed)
        told = await stack.enter_async_context(open_hooks)
        lanes, campaigning = settings.recorder_lanes, outbound.campaigning
        recorder = Recorder(database.open_engine, leadership.may_write, counters, lanes, campaigning=campaigning)
        privacy = PrivacyParts(settings, inbound, outbound, recorder.forget_known, addresses.erasure_key)
        health = Health(counters, roster, journal, recorder, dispatcher, leadership, pool, outbound.report, told.report)
        control = Control(submit, pool, outbound.reconciler, audit, identity.doubt, privacy.verbs)
        history = HealthHistory(pool, health, leadership)
        limits = JournalLimits(settings.journal_keep_hours, settings.journal_budget_bytes)
        janitor = Janitor(pool, journal, leadership, submit, roster, counters, limits, feed)
        around = ActorContext(
            journal,
            recorder,
            LineCalls(client, addresses.address, counters),
            counters,
            dispatcher.refill,
            dispatcher.read_again,
            opt_outs=opt_outs(settings),
            feed=feed,
            answered=outbound.answered,
            opened=outbound.opened,
            queued=outbound.queued,
        )
        nursery.start_soon(recorder.run)
        nursery.start_soon(dispatcher.run)
        await nursery.start(roster.run, around)
        _know_units_from_snapshot(journal, roster)
        nursery.start_soon(leadership.run)
        await _stand_alone(leadership)
        for part in (janitor, health, history, control, identity, outbound, told.courier, privacy):
            nursery.start_soon(part.run)
        front = _Front(settings, submit, roster, health, counters, api_pool, intake, told, identity, audit)
        listeners = front.listeners(outbound, privacy)
        yield Running(nursery, roster, journal, recorder, dispatcher, leadership, health, outbound, feed, listeners)


_Listener = tuple[App, Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where Evolution is to deliver each unit's webhooks; the secrets are derived and kept out of every log."""

    master: bytes
    base_url: str

    def secret(self, unit: UnitId, generation: int) -> str:
        secret = webhook_secret(self.master, unit, generation)
        register_secret(secret)
        return secret

    @property
    def erasure_key(self) -> bytes:
        """What the digests of erased people are made with."""
        return derive(self.master, "erasure")

    def address(self, unit: bytes, generation: int) -> WebhookAddress:
        secret = self.secret(UnitId(UUID(bytes=unit)), generation)
        return WebhookAddress(f"{self.base_url}/webhooks/whatsapp/evolution/{secret}")


@dataclass(frozen=True, slots=True)
class _Database:
    """How connections are opened, and for whom."""

    settings: Settings

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    @property
    def engine(self) -> ConnectOptions:
        return {"role": "zapline_engine", "prepare": self.settings.database_prepare}

    @property
    def reader(self) -> ConnectOptions:
        return {"role": "zapline_api", "prepare": self.settings.database_prepare}

    async def open_engine(self) -> Connection:
        return await connect(self.url, **self.engine)

    async def open_direct(self) -> Connection:
        """Past a pooler, and without a role: the lock comes before the roles are known to exist."""
        direct = self.settings.database_direct_url
        address = direct.get_secret_value() if direct is not None else self.url
        return await connect(address, application_name="zapline-lock")


@dataclass(frozen=True, slots=True)
class _Front:
    """What is served, and where."""

    settings: Settings
    submit: Submit
    roster: Roster
    health: Health
    counters: Counters
    api_pool: Pool
    intake: Intake
    told: Told
    identity: Identity
    audit: AuditLog

    def listeners(self, outbound: Outbound, privacy: PrivacyParts) -> list[_Listener]:
        settings = self.settings
        auth = AuthPolicy(trusted=settings.trusted_proxies)
        parts = Parts(
            submit=self.submit,
            roster=self.roster,
            health=self.health,
            counters=self.counters,
            pool=self.api_pool,
            identity=self.identity,
            audit=self.audit,
            auth=auth,
            outgoing=outbound.outgoing,
            campaigns=outbound.campaigns,
            media=outbound.media,
            receipts=outbound.receipts,
            streams=Streams(self.told.feed, ended=self.identity.ended),
            feed=self.told.feed,
            hooks=self.told.hooks,
            base_url=settings.base_url,
            changes=outbound.changes,
            erasures=privacy.erasures,
            region=settings.default_region,
            sending=outbound.told,
            max_upload=int(settings.upload_max_bytes),
        )
        api = create_app(parts)
        policy = IntakePolicy(settings.max_body_bytes, settings.body_budget_bytes)
        # With ZAPLINE_OPS_BIND the public side knows webhooks alone.
        rest = None if settings.ops_bind else api
        front = WebhookApp(self.roster, self.intake, self.counters, policy, rest=rest, trusted=settings.trusted_proxies)
        public: list[_Listener] = [(front, settings.bind)]
        return [*public, (api, settings.ops_bind)] if settings.ops_bind else public


async def _stand_alone(leadership: Leadership) -> None:
    if await leadership.first_judgement(FIRST_JUDGEMENT) is Standing.ANOTHER_DAEMON:
        raise StandstillError(
            "another Zapline daemon works on this database; stop it first (systemctl stop zapline), "
            "or give this one its own DATABASE_URL"
        )


def _roster_policy(settings: Settings) -> RosterPolicy:
    intensity = Intensity(settings.restart_limit, settings.restart_period_seconds)
    return RosterPolicy(intensity, settings.quarantine_seconds, settings.line_probe_seconds)


def _evolution(settings: Settings, http: httpx2.AsyncClient) -> EvolutionClient:
    policy = CallPolicy(call=settings.evolution_timeout_seconds)
    return EvolutionClient(http, settings.evolution_api_url, settings.evolution_api_key.get_secret_value(), policy)


def _keep_out_of_logs(settings: Settings) -> None:
    secrets = [settings.evolution_api_key, settings.master_key, settings.database_url, settings.database_direct_url]
    for secret in secrets:
        if secret is not None:
            register_secret(secret.get_secret_value())


def _know_units_from_snapshot(journal: Journal, roster: Roster) -> None:
    saved = journal.load_snapshot()
    if saved is None:
        return
    try:
        roster.apply(from_snapshot(saved), journal.journal_id)
    except msgspec.DecodeError:
        _LOG.error("The journal's snapshot of the units cannot be read; webhooks wait for the database")


async def feed_watchdog(notifier: Notifier, stuck: Callable[[], list[str]], every: float) -> None:
    """Send a beat every so many seconds, unless an actor is stuck. A loop that does not turn sends none anyhow."""
    while True:
        units = stuck()
        if units:
            _LOG.critical("An actor is stuck; the watchdog is not fed", units=units)
        else:
            notifier.watchdog()
        await trio.sleep(every)
