"""Builds the daemon's objects in order, runs them, and closes them in reverse order."""

import fcntl
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import structlog
import trio

import zapline
from zapline.daemon.composition.alarms import open_alarms
from zapline.daemon.composition.cluster import Cluster, check_shared_key, goes_to_actor, share_units, take_what_is_left
from zapline.daemon.composition.files import KeptFiles
from zapline.daemon.composition.inbound import actor_context, build_inbound, load_snapshot, start_inbound
from zapline.daemon.composition.listeners import Listener, http_listeners
from zapline.daemon.composition.notifications import open_notifications
from zapline.daemon.composition.outbound import DaemonCore, Outbound
from zapline.daemon.composition.privacy import PrivacyJobs
from zapline.daemon.composition.servers import EvolutionServers
from zapline.daemon.logs.configuration import register_secret
from zapline.daemon.master_key import derive, master_key, webhook_secret
from zapline.daemon.settings import Settings
from zapline.daemon.systemd import SystemdNotifier
from zapline.domain.errors import JournalRefused, MustNotWrite, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.domain.restart_policy import RestartIntensity
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.http.server.serve import serve
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection, ConnectOptions, connect
from zapline.sql.postgres.later_indexes import open_owner
from zapline.sql.postgres.nodes import NodeName
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.clock_watch import ClockWatch
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.health_history import HealthHistory
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.leadership import SILENCE_SECONDS, Leadership, LeadershipStatus, WriterStanding
from zapline.supervisors.lines.line_settings import LineSettingsKeeper
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.operations.control_requests import ControlRequests
from zapline.supervisors.operations.housekeeping import Housekeeping, JournalLimits
from zapline.supervisors.operations.server_requests import server_verbs
from zapline.supervisors.units.group_subjects import GroupSubjects
from zapline.supervisors.units.line_calls import LineCalls, WebhookAddress
from zapline.supervisors.units.roster import Roster, RosterPolicy
from zapline.supervisors.units.unit_commands import UnitCommands, UnitPolicy

FIRST_STATUS_SECONDS = 6.0
"""Seconds for the first answer of the database; without one, the daemon begins with what the journal knows."""
_NOTE_SECONDS = 1.0
_SILENCE_MS = int(SILENCE_SECONDS * 1000)
_GC_THRESHOLDS = (20_000, 20, 50)
"""Thresholds of the garbage collector: requests create thousands of short-lived objects and hardly any cycles."""
_LOG = structlog.get_logger(scope="Daemon")


async def run_daemon(settings: Settings, listening: Callable[[list[str]], None] = lambda _: None) -> None:
    """Run until SIGTERM or SIGINT, then drain. ``listening`` is called with the bound addresses.

    Where another daemon leads on the database, this one stands by until the lock is free: it refuses webhooks, so that
    they come again.
    Raises MustNotWrite if another daemon holds the state directory.
    """
    check_shared_key(settings)
    _register_secrets(settings)
    notifier = SystemdNotifier.from_environment()
    gc.set_threshold(*_GC_THRESHOLDS)
    with state_lock(settings.state_dir):
        async with daemon(settings) as running:
            addresses = await running.nursery.start(running.serve, settings.drain_seconds / 2)
            listening(addresses)
            gc.collect()
            gc.freeze()  # objects alive now stay alive: the collector can skip them
            notifier.ready()
            notifier.status(f"serving {len(running.core.roster.units())} units")
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
class RunningDaemon:
    """What serving and draining need of a running daemon."""

    nursery: trio.Nursery
    core: DaemonCore
    recorder: Recorder
    dispatcher: Dispatcher
    health: HealthMonitor
    outbound: Outbound
    listeners: Sequence[Listener]
    cluster: Cluster | None = None
    """None: this process does not share the units with others."""
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
        """Stop listening, end current calls, then store accepted webhooks; the journal keeps the rest.

        Takes at most ``seconds``, and one more for a disk that hangs.
        """
        leadership, cluster, deadline = self.core.leadership, self.cluster, trio.current_time() + seconds
        if cluster is not None and leadership.status is LeadershipStatus.LEADING:
            await cluster.leave(seconds / 2)
        with trio.move_on_at(deadline):
            self.core.feed.close()
            self.stop_serving.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbound.senders.drain, seconds)
                await self.served.wait()
            if cluster is not None:
                cluster.end_intake()
            while leadership.status is LeadershipStatus.LEADING and not self._idle():  # noqa: ASYNC110 - three objects
                await trio.sleep(0.02)
        if not self.health.stuck_units():  # else what is in hand may be why the process had to be ended
            with trio.move_on_after(_NOTE_SECONDS), suppress(JournalRefused):
                await self.core.journal.note_orderly_stop()
        if leadership.status is LeadershipStatus.LEADING:
            with trio.move_on_after(_NOTE_SECONDS), suppress(RemoteError):
                await leadership.leave(self.core.pool)
        if depth := self.core.journal.statistics().depth:
            _LOG.warning("Stopping with webhooks not stored yet; the journal keeps them", count=depth)

    def _idle(self) -> bool:
        if self.cluster is not None and not self.cluster.is_idle:
            return False
        mailboxes_empty = all(unit.mailbox.statistics().entries == 0 for unit in self.core.roster.units())
        return mailboxes_empty and self.dispatcher.lagging == 0 and self.recorder.statistics().waiting == 0


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Lock the state directory for this process. Raises MustNotWrite if another daemon has it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MustNotWrite(
                f"another Zapline daemon uses the state directory {directory}; stop it first, "
                "or give this one its own ZAPLINE_STATE_DIR and DATABASE_URL"
            ) from None
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def daemon(settings: Settings, clock: Callable[[], float] = time.time) -> AsyncIterator[RunningDaemon]:
    """The running objects, ready to serve. ``clock`` returns UTC seconds."""
    secrets = _DerivedSecrets(master_key(settings.master_key, settings.state_dir), settings.base_url.rstrip("/"))
    counters, feed = Counters(trio.current_time), LiveFeed(wall=clock)
    database = _DatabaseConnections(settings)
    dispatcher = Dispatcher(lambda unit: roster.get(unit), goes_to_actor(settings.cluster))
    servers = EvolutionServers(settings, secrets.master, counters, clock)
    crashed = partial(counters.add, "actor_crashes")
    roster = Roster(dispatcher, _roster_policy(settings), crashed, clock, servers.registry.standing, unasked=True)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        journal = await enter(Journal.open(settings.state_dir / "journal", on_committed=dispatcher.dispatch))
        await journal.note_use(shared=settings.cluster)
        client = _evolution_client(settings, await enter(open_http_client(settings.evolution_connections)))
        pool = await enter(Pool.open(database.url, size=4, **database.engine))
        api_pool = await enter(Pool.open(database.url, size=4, **database.reader))
        nursery = await enter(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        inbound = build_inbound(journal, roster, dispatcher, counters, lambda: leadership.check_again(), clock)
        unit_policy = UnitPolicy(settings.instance_prefix, settings.webhook_secret_grace_minutes, secrets.erasure_key)
        parts = (pool, journal, roster, dispatcher, inbound.intake, secrets.webhook_secret, unit_policy)
        standing, watch = _standing(settings, database), ClockWatch(clock)
        parts_of_comparison = (inbound.comparison, inbound.unrouted.units_loaded)
        commands = UnitCommands(*parts, *parts_of_comparison, servers=servers.registry, standing=standing)
        identity, audit = Authentication(pool), AuditLog(pool)

        async def lead() -> None:
            recorder.forget_contacts()
            await commands.reload(leadership.standing)
            await control.notify()
            outbound.on_leadership_regained()

        leadership = Leadership(database.open_direct, lead, lambda payload: control.notify(payload), standing, watch)
        client_of, server_commands = servers.client_of(roster, client), servers.commands(pool, roster, commands, client)
        keeper = LineSettingsKeeper(pool, client, secrets.proxy_sealer, counters, commands.reload, clock)
        shared = (roster, leadership, counters, commands, feed, clock, server_commands, keeper)
        core = DaemonCore(pool, client, inbound.intake, journal, *shared)
        outbound = Outbound(settings, core, secrets.erasure_key)
        telling = (secrets.master, settings.hook_private_hosts, pool, commands, leadership, counters, feed, api_pool)
        notifications = await enter(open_notifications(*telling))
        recorder = _recorder(settings, database, leadership, counters, outbound, secrets.sealer, clock)
        files = KeptFiles(settings, core, outbound.media, api_pool, derive(secrets.master, "file links"))
        privacy = PrivacyJobs(settings, core, outbound, files, recorder.forget_contacts, secrets.erasure_key)
        reports = (outbound.report, notifications.report, inbound.report, servers.report(roster), files.report)
        health = HealthMonitor(counters, roster, journal, recorder, dispatcher, leadership, pool, *reports)
        alarms = await enter(open_alarms(settings, secrets.master, core, outbound, health))
        heard = alarms.reloading(notifications.on_access_change(identity.invalidate_cache))
        verbs = {**privacy.verbs, **server_verbs(server_commands), **alarms.verbs}
        control = ControlRequests(commands, pool, outbound.reconciler, audit, heard, verbs, lambda: leadership.is_first)
        history = HealthHistory(pool, health, leadership, clock)
        kept = (JournalLimits(settings.journal_keep_hours, settings.journal_budget_bytes), feed, secrets.sealer)
        about = (pool, journal, leadership, commands, roster, counters)
        housekeeping = Housekeeping(*about, *kept, inbound.losses, clock, database.open_owner)
        calls = LineCalls(client, secrets.webhook_address, counters, roster.server_of)
        context = actor_context(settings, journal, recorder, calls, counters, dispatcher, inbound, outbound, feed)
        sharing = (core, database.open_engine, inbound, recorder, outbound, control.look)
        cluster = share_units(nursery, *sharing) if settings.cluster else take_what_is_left(nursery, *sharing)
        nursery.start_soon(recorder.run)
        nursery.start_soon(dispatcher.run)
        await nursery.start(roster.run, context)
        load_snapshot(journal, roster)
        nursery.start_soon(leadership.run)
        start_inbound(nursery, inbound, outbound)
        nursery.start_soon(servers.registry.run, roster, outbound.senders.scan_soon)
        await leadership.first_status(FIRST_STATUS_SECONDS)
        jobs = (housekeeping, health, history, control, identity, outbound, notifications, privacy, files, alarms)
        for job in (*jobs, GroupSubjects(pool, client, leadership.may_write_alone, counters, clock, client_of)):
            nursery.start_soon(job.run)
        parts_of_api = (outbound, files, privacy, notifications, health, api_pool, identity, audit, alarms)
        listeners = http_listeners(settings, core, *parts_of_api, inbound.unrouted, cluster, secrets.master)
        yield RunningDaemon(nursery, core, recorder, dispatcher, health, outbound, listeners, cluster)


@dataclass(frozen=True, slots=True)
class _DerivedSecrets:
    """Secrets derived from the master key, and the webhook addresses that contain them; all are masked in logs."""

    master: bytes
    base_url: str

    def webhook_secret(self, unit: UnitId, generation: int) -> str:
        secret = webhook_secret(self.master, unit, generation)
        register_secret(secret)
        return secret

    @property
    def sealer(self) -> SecretSealer:
        """Encrypts the secrets of messages for the database."""
        return SecretSealer(derive(self.master, "message secrets"))

    @property
    def proxy_sealer(self) -> SecretSealer:
        """Encrypts the proxies of lines for the database."""
        return SecretSealer(derive(self.master, "line proxies"))

    @property
    def erasure_key(self) -> bytes:
        """The key of the digests of erased people."""
        return derive(self.master, "erasure")

    def webhook_address(self, unit: bytes, generation: int) -> WebhookAddress:
        secret = self.webhook_secret(UnitId(UUID(bytes=unit)), generation)
        return WebhookAddress(f"{self.base_url}/webhooks/whatsapp/evolution/{secret}")


@dataclass(frozen=True, slots=True)
class _DatabaseConnections:
    """Opens connections with their role."""

    settings: Settings
    process: UUID = field(default_factory=uuid4)

    @property
    def application(self) -> str:
        """The name of all its sessions, where other nodes may have to end them; empty: they have the usual ones."""
        return f"zapline-{self.process.hex[:12]}" if self.settings.cluster else ""

    @property
    def _named(self) -> ConnectOptions:
        return {"application_name": self.application} if self.application else {}

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    @property
    def engine(self) -> ConnectOptions:
        options: ConnectOptions = {"role": "zapline_engine", "prepare": self.settings.database_prepare}
        # What it holds in a transaction is let go of as soon as its lock: another process may lead by then.
        return {**options, **self._named, "idle_in_transaction_timeout_ms": _SILENCE_MS}

    @property
    def reader(self) -> ConnectOptions:
        return {"role": "zapline_api", "prepare": self.settings.database_prepare, **self._named}

    async def open_engine(self) -> Connection:
        return await connect(self.url, **self.engine)

    @property
    def _direct_url(self) -> str:
        direct = self.settings.database_direct_url
        return direct.get_secret_value() if direct is not None else self.url

    async def open_owner(self) -> Connection:
        """Without pooler, role and limits of time: for what takes long and holds up nobody."""
        return await open_owner(self._direct_url)

    async def open_direct(self) -> Connection:
        """Without pooler and without a role: the lock is taken before the roles are known to exist."""
        return await connect(
            self._direct_url,
            application_name=self.application or "zapline-lock",
            idle_timeout_ms=_SILENCE_MS,
            idle_in_transaction_timeout_ms=_SILENCE_MS,
        )


def _standing(settings: Settings, database: _DatabaseConnections) -> WriterStanding:
    called = NodeName(socket.gethostname(), zapline.__version__, database.application)
    return WriterStanding(called=called, shares=settings.cluster)


def _recorder(
    settings: Settings,
    database: _DatabaseConnections,
    leadership: Leadership,
    counters: Counters,
    outbound: Outbound,
    sealer: SecretSealer,
    clock: Callable[[], float],
) -> Recorder:
    lanes, campaigning = settings.recorder_lanes, lambda: outbound.feeder.campaigning
    connect_engine, may_write = database.open_engine, leadership.may_write
    standing = leadership.standing
    return Recorder(
        *(connect_engine, may_write, counters, lanes),
        campaigning=campaigning,
        sealer=sealer,
        standing=standing,
        clock=clock,
    )


def _roster_policy(settings: Settings) -> RosterPolicy:
    intensity = RestartIntensity(settings.restart_limit, settings.restart_period_seconds)
    return RosterPolicy(intensity, settings.quarantine_seconds, settings.line_probe_seconds)


def _evolution_client(settings: Settings, http: httpx2.AsyncClient) -> EvolutionClient:
    policy = CallPolicy(call=settings.evolution_timeout_seconds)
    return EvolutionClient(http, settings.evolution_api_url, settings.evolution_api_key.get_secret_value(), policy)


def _register_secrets(settings: Settings) -> None:
    """Keep every configured secret out of the logs."""
    for secret in (settings.evolution_api_key, settings.master_key, settings.smtp_password):
        if secret is not None:
            register_secret(secret.get_secret_value())
    for url in (settings.database_url, settings.database_direct_url):
        if url is not None:
            register_secret(url.get_secret_value())
            register_secret(urlsplit(url.get_secret_value()).password or "")


async def feed_watchdog(notifier: SystemdNotifier, stuck_units: Callable[[], list[str]], interval: float) -> None:
    """Notify the watchdog every ``interval`` seconds, unless an actor is stuck; a blocked event loop does not
    either."""
    while True:
        units = stuck_units()
        if units:
            _LOG.critical("An actor is stuck; the watchdog is not fed", units=units)
        else:
            notifier.watchdog()
        await trio.sleep(interval)
