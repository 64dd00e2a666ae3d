"""The API as the daemon builds it: real sockets, PostgreSQL and journal, and a simulated Evolution."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any
from uuid import UUID

import argon2
import httpx2
import msgspec
import pytest
import trio
from support.console_operator import Operator
from support.kept_connection import KeptConnection, kept_connection
from support.kept_files import FileParts
from support.people import CODES_AT
from werkzeug.routing import Rule

from zapline.crm.webhook_client import open_crm_client
from zapline.daemon.composition.alarms import alarm_keys
from zapline.daemon.composition.notifications import open_notifications
from zapline.domain.ids import UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.domain.principals import ActorKind, Principal
from zapline.domain.privacy.sealed_credentials import CredentialSealer
from zapline.domain.restart_policy import RestartIntensity
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.notifications.live_events import EventStreams
from zapline.http.app import create_app
from zapline.http.console.health.alarm_texts import alarm_text
from zapline.http.dependencies import Dependencies
from zapline.http.server.serve import serve
from zapline.http.webhooks.endpoint import IntakePolicy, WebhookApp
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.conversations.search_places import SearchPlaces
from zapline.sql.journal.journal import Journal
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.organizations import Organizations
from zapline.supervisors.accounts.people import People
from zapline.supervisors.accounts.second_factors import SecondFactors
from zapline.supervisors.accounts.tenant_ceilings import TenantCeilings
from zapline.supervisors.alarms.alarm_commands import AlarmCommands, TargetPolicy
from zapline.supervisors.alarms.channels import Channels, SiblingLines
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.campaigns.outbox_feeder import OutboxFeeder
from zapline.supervisors.conversations.quick_replies import QuickReplies
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.contact_pictures import ContactPictures
from zapline.supervisors.directory.group_members import GroupMembers
from zapline.supervisors.directory.number_checks import NumberChecks
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.media_cache import MediaFetcher
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.lines.line_settings import LineSettingsKeeper
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.changes.message_changes import MessageChanges
from zapline.supervisors.outbound.media_url_check import resolve_host
from zapline.supervisors.outbound.read_receipts import ReadReceipts
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.servers.server_commands import ServerCommands
from zapline.supervisors.servers.server_registry import ServerClients, ServerRegistry
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.line_calls import LineCalls, WebhookAddress
from zapline.supervisors.units.roster import Roster, RosterPolicy
from zapline.supervisors.units.unit_commands import UnitCommands, UnitPolicy
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle

PASSWORD = "correct horse battery"
EMAIL = "ana@example.com"
HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
HASH = HASHER.hash(PASSWORD)
ERASURE_KEY = bytes(range(32))
MEDIA_BUDGET = 2048
"""Bytes: a cache that a test can fill."""


@dataclass
class Api:
    """The running API, a signed-in client, and the objects behind it."""

    url: str
    client: httpx2.AsyncClient
    database: str
    token: str
    identity: Authentication
    commands: UnitCommands
    roster: Roster
    journal: Journal
    health: HealthMonitor
    counters: Counters
    intake: Intake
    evolution: SimulatedEvolution
    engine_pool: Pool
    api_pool: Pool
    front: WebhookApp
    outgoing: Submissions
    media_cache: Path
    feed: LiveFeed
    streams: EventStreams
    woken: list[UnitId]
    """Units whose sender was woken, in order."""
    repaced: list[UnitId]
    """Units whose sender was told to reload its pace."""
    questions: KeptConnection
    pictures: ContactPictures
    groups: GroupMembers
    line_settings: LineSettingsKeeper
    receipts: ReadReceipts
    leadership: Leadership
    searches: SearchPlaces
    files: FileParts

    async def get(self, path: str, expect: int = 200, **query: object) -> Any:
        return await self._ask("GET", path, expect, params={name: str(value) for name, value in query.items()})

    async def post(self, path: str, body: object = None, expect: int = 200) -> Any:
        return await self._ask("POST", path, expect, content=msgspec.json.encode(body) if body is not None else b"")

    async def put(self, path: str, body: object, expect: int = 200) -> Any:
        return await self._ask("PUT", path, expect, content=msgspec.json.encode(body))

    async def _ask(self, method: str, path: str, expect: int, **request: Any) -> Any:
        """Ask, and ask again where the answer is that the database is busy, which it is on a busy machine."""
        with trio.fail_after(60):
            while (answer := await self.client.request(method, path, **request)).status_code == 503 != expect:
                assert answer.json()["retryable"], answer.text
                await trio.sleep(0.1)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    async def add_unit(self, name: str = "Loja") -> Unit:
        made = await self.post("/units", {"name": name}, 201)
        found = self.roster.get(UnitId(UUID(made["id"])))
        assert found is not None
        return found

    async def connect_line(self, unit: Unit) -> None:
        """Pair the unit's line with a phone."""
        path = f"/units/{unit.id}/whatsapp"
        await self.post(f"{path}/connect", {}, 202)
        await self.until(f"{path}/status", lambda status: status["qrCode"])
        self.evolution.scan(unit.record.instance)
        await self.until(f"{path}/status", lambda status: status["status"] == "connected")

    async def send(self, unit: Unit, event: str, data: object, **envelope: object) -> None:
        """Accept one webhook and wait until it is stored."""
        body = envelope | {
            "event": event,
            "instance": unit.record.instance,
            "data": data,
            "sender": "5511999990000@s.whatsapp.net",
        }
        assert await self.intake.accept(unit, event, msgspec.json.encode(body))
        await self.stored()

    async def stored(self) -> None:
        """Wait until everything that was accepted is stored."""
        with trio.fail_after(120):
            await self.journal.flush()
            while self.journal.statistics().depth:
                await trio.sleep(0.005)
                await self.journal.flush()

    async def until(self, path: str, wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
        """Poll until the response satisfies ``wanted``."""
        with trio.fail_after(seconds):
            while not wanted(answer := await self.get(path)):  # noqa: ASYNC110 - it asks as a caller would
                await trio.sleep(0.02)
        return answer

    async def sql(self, query: str) -> list[Any]:
        return await self.questions.fetch(query)


def connect_server(url: str, key: str) -> ServerClients:
    """The clients of a server beside the environment's."""
    http = open_http_client()
    client = EvolutionClient(http, url, key)
    return ServerClients(client, client, http.aclose)


@asynccontextmanager
async def alarm_commands(
    pool: Pool, roster: Roster, commands: UnitCommands, outgoing: Submissions
) -> AsyncIterator[AlarmCommands]:
    """Commands on alarms, without a mail server; webhooks may lead to this machine."""
    keys = alarm_keys(b"k" * 32)
    async with open_crm_client(time.time, resolve_host, private=True) as client:
        lines = SiblingLines(roster.get, outgoing)
        channels = Channels(alarm_text, None, client, keys.signing, lines, time.time, "http://zapline.example")
        policy = TargetPolicy(private=True)
        yield AlarmCommands(pool, keys, channels, commands.find, policy, lambda: None, time.time)


@asynccontextmanager
async def running_api(database: str, directory: Path) -> AsyncIterator[Api]:
    """The running API with an administrator and a client that has a token."""
    counters = Counters(trio.current_time)

    async def open_engine() -> Connection:
        return await connect(database, role="zapline_engine")

    async def open_direct() -> Connection:
        return await connect(database)

    async def lead() -> None:
        await commands.reload()

    async def ignore(_: str) -> None:
        pass

    dispatcher = Dispatcher(lambda unit: roster.get(unit))
    roster = Roster(
        dispatcher,
        RosterPolicy(RestartIntensity(5, 60.0), 60.0, 300.0),
        lambda: counters.add("actor_crashes"),
        standing_of=lambda name: servers.standing(name),
    )
    servers = ServerRegistry(connect_server, lambda name, sealed: sealed.decode(), counters, time.time)
    listening, stop = None, trio.Event()
    async with (
        kept_connection(database) as questions,
        SimulatedEvolution.running() as evolution,
        Journal.open(directory, on_committed=dispatcher.dispatch) as journal,
        open_http_client() as http,
        Pool.open(database, size=3, patience=15.0, role="zapline_engine") as engine_pool,
        Pool.open(database, size=3, patience=15.0, role="zapline_api") as api_pool,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        dispatcher.journal = journal
        intake = Intake(journal, counters)
        commands = UnitCommands(
            engine_pool,
            journal,
            roster,
            dispatcher,
            intake,
            lambda unit, generation: f"{unit}{generation}",
            UnitPolicy("unit_", 30.0, ERASURE_KEY),
            servers=servers,
        )
        identity = Authentication(engine_pool)
        leadership = Leadership(open_direct, lead, ignore)
        recorder = Recorder(open_engine, leadership.may_write, counters, lanes=2, sealer=SecretSealer(bytes(32)))
        monitored = (counters, roster, journal, recorder, dispatcher, leadership, engine_pool)
        health = HealthMonitor(*monitored, _servers=lambda: servers.report(roster))

        def address_of(unit: bytes, generation: int) -> WebhookAddress:
            secret = f"{UUID(bytes=unit)}{generation}"
            return WebhookAddress(f"{listening}/webhooks/whatsapp/evolution/{secret}")

        client_of_evolution = EvolutionClient(http, evolution.url, evolution.api_key)

        calls = LineCalls(client_of_evolution, address_of, counters, roster.server_of)
        feed = LiveFeed()
        streams = EventStreams(feed, revocations=identity.invalidations)
        opening = open_notifications(b"k" * 32, True, engine_pool, commands, leadership, counters, feed, api_pool)
        notifications = await stack.enter_async_context(opening)
        sealer = SecretSealer(bytes(32))
        keeper = LineSettingsKeeper(engine_pool, client_of_evolution, sealer, counters, commands.reload)
        parts = (journal, recorder, calls, counters, dispatcher.refill, dispatcher.rewind)
        context = ActorContext(*parts, feed=feed, check_line_settings=keeper.check)
        nursery.start_soon(recorder.run)
        nursery.start_soon(dispatcher.run)
        await nursery.start(roster.run, context)
        nursery.start_soon(leadership.run)
        nursery.start_soon(health.run)
        nursery.start_soon(servers.run, roster, lambda: None)
        nursery.start_soon(notifications.run)
        woken: list[UnitId] = []
        repaced: list[UnitId] = []
        outgoing = Submissions(engine_pool, time.time, woken.append, repaced.append, feed=feed)
        media_cache = directory.parent / "media"
        feeder = OutboxFeeder(engine_pool, roster.get, leadership.may_write, woken.append, feed=feed)
        nursery.start_soon(feeder.run)
        media = MediaFetcher(client_of_evolution, media_cache, MEDIA_BUDGET, counters)
        may_write, forget = leadership.may_write, recorder.forget_contacts
        kept_in = (directory.parent / "files", roster, may_write, counters, media, feed)
        files = FileParts(engine_pool, api_pool, client_of_evolution, *kept_in)
        nursery.start_soon(files.keeper.run)
        nursery.start_soon(files.removal.run)
        erasures = ErasureJobs(engine_pool, journal, commands, may_write, counters, files.drop, forget, ERASURE_KEY)
        nursery.start_soon(erasures.run)
        access_changed = notifications.on_access_change(identity.invalidate_cache)
        checks = NumberChecks(engine_pool, client_of_evolution, counters)
        dependencies = Dependencies(
            commands=commands,
            searches=SearchPlaces(patience=0.2),
            roster=roster,
            health=health,
            counters=counters,
            pool=api_pool,
            identity=identity,
            audit=AuditLog(engine_pool),
            people=People(engine_pool, identity),
            factors=SecondFactors(engine_pool, CredentialSealer(bytes(32)), identity, lambda: CODES_AT),
            organizations=Organizations(engine_pool, commands.find, access_changed),
            ceilings=TenantCeilings(engine_pool, identity.invalidate_cache),
            auth=AuthPolicy(hasher=HASHER),
            outgoing=outgoing,
            campaigns=Campaigns(engine_pool, feeder, commands.find, erasure_key=ERASURE_KEY, checks=checks),
            media=files.reader,
            file_policies=files.policies,
            receipts=ReadReceipts(engine_pool, client_of_evolution),
            replies=QuickReplies(engine_pool, commands.find),
            edits=MessageChanges(engine_pool, client_of_evolution, intake, time.time, feed=feed),
            streams=streams,
            hooks=notifications.hooks,
            events=notifications.events,
            feed=feed,
            changes=UnitLifecycle(commands, engine_pool, repaced.append),
            erasures=erasures,
            line_settings=keeper,
            checks=checks,
            pictures=ContactPictures(client_of_evolution, counters),
            groups=GroupMembers(engine_pool, api_pool, client_of_evolution, counters),
            alarms=await stack.enter_async_context(alarm_commands(engine_pool, roster, commands, outgoing)),
            servers=ServerCommands(
                *(engine_pool, servers, roster, commands),
                *(lambda name, key: key.encode(), client_of_evolution, evolution.url),
            ),
        )
        app = create_app(dependencies)
        front = WebhookApp(roster, intake, counters, IntakePolicy(2**24, 2**26), rest=app)
        (listening,) = await nursery.start(partial(serve, front, ["127.0.0.1:0"], stop, 2.0))
        with trio.fail_after(120):
            await leadership.may_write()
        async with engine_pool.connection() as conn:
            admin = await add_admin(conn, EMAIL, HASH)
        assert admin is not None
        token, _ = await identity.open_login(Principal(ActorKind.ADMIN, admin, EMAIL))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=listening, headers=headers, timeout=60, trust_env=False) as client:
            yield Api(
                listening,
                client,
                database,
                token,
                identity,
                commands,
                roster,
                journal,
                health,
                counters,
                intake,
                evolution,
                engine_pool,
                api_pool,
                front,
                outgoing,
                media_cache,
                feed,
                streams,
                woken,
                repaced,
                questions,
                dependencies.pictures,
                dependencies.groups,
                keeper,
                dependencies.receipts,
                leadership,
                dependencies.searches,
                files,
            )
        stop.set()
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session", autouse=True)
def shared_url_rules() -> Iterator[None]:
    """Compile the rule of a route once: all apps have the same routes, and theirs take a tenth of a second."""
    compile_rule, compiled = Rule.compile, {}
    made = ("_parts", "_trace", "_converters", "arguments")

    def compile_once(rule: Rule) -> None:
        assert rule.map is not None
        assert not rule.subdomain
        key = (rule.rule, rule.merge_slashes, repr(rule.defaults))
        if key not in compiled:
            compile_rule(rule)
            compiled[key] = [getattr(rule, name) for name in made], rule._build.__func__, rule._build_unknown.__func__
        values, build, build_unknown = compiled[key]
        for name, value in zip(made, values, strict=True):
            setattr(rule, name, value)
        rule._build, rule._build_unknown = MethodType(build, rule), MethodType(build_unknown, rule)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "compile", compile_once)
        yield


@pytest.fixture
async def api(database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(database, tmp_path / "journal") as running:
        yield running


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[Operator]:
    """An administrator at the console, without a browser."""
    one = Operator(api.url)
    await one.sign_in(EMAIL, PASSWORD)
    yield one
    await one.close()
