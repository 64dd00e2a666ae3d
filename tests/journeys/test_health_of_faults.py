"""Whatever keeps a webhook that was answered 200 from being stored: health says so, and what to do; then it drains."""

import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import psycopg
import pytest
import trio
from support.database_copies import database_copies
from support.database_proxy import DatabaseProxy, database_proxy

from zapline.daemon.composition.app import RunningDaemon, daemon
from zapline.daemon.master_key import webhook_secret
from zapline.daemon.settings import Settings, load
from zapline.domain.ids import UnitId
from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.journal import writer
from zapline.sql.journal.schema import PAGE_BYTES
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.units.units import insert_unit
from zapline.supervisors.units.webhook_authentication import digest_secret

KEY = "k" * 40
ACTION = re.compile(r"\b(start|mend|free|set|run|look|see|wait|restart)\b")
LARGE = "x" * 100_000
"""Finds no room in what SQLite has already."""
NOT_OF_THE_FAULT = {"loopLagSeconds", "serversAway"}
"""Checks that depend on the machine, or on the Evolution server that these tests do not have."""
NOTICED = 60.0
"""Seconds within which everything must be noticed, and be over: the longest deadline of a connection is 15."""


@dataclass
class Place:
    """A database behind a proxy, a unit, and how many webhooks were answered 200."""

    database: str
    proxy: DatabaseProxy
    unit: UnitId = field(default_factory=lambda: UnitId(uuid4()))
    accepted: int = 0

    @property
    def secret(self) -> str:
        return webhook_secret(KEY.encode(), self.unit, 1)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as conn:
            cursor = conn.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def stored(self) -> int:
        return int(self.execute("select count(*) from zapline.messages")[0][0])


@dataclass
class Daemon:
    """A daemon of that place."""

    place: Place
    running: RunningDaemon
    client: httpx2.AsyncClient

    async def receive(self, count: int = 3, text: str = "oi") -> None:
        """Webhooks arrive, and each gets its 200 in time."""
        for _ in range(count):
            key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": f"W{self.place.accepted}"}
            data = {"key": key, "message": {"conversation": text}, "messageType": "conversation"}
            event = {"event": "messages.upsert", "instance": "loja", "data": data | {"messageTimestamp": 1_795_364_451}}
            path = f"/webhooks/whatsapp/evolution/{self.place.secret}"
            with trio.fail_after(10):
                answer = await self.client.post(path, content=msgspec.json.encode(event))
            assert answer.status_code == 200
            self.place.accepted += 1

    async def shows(self, *names: str) -> None:
        """Wait until health finds these checks wanting: then it is no pass, and each says what to do."""
        wanting: dict[str, Any] = {}
        with trio.move_on_after(NOTICED):
            while not wanting.keys() >= set(names):
                report = (await self.client.get("/health")).json()
                wanting = {name: check for name, check in report["checks"].items() if check["verdict"] != "pass"}
                await trio.sleep(0.05)
            assert report["status"] != "pass"
            for name in names:
                assert ACTION.search(wanting[name]["explanation"]), wanting[name]
            return
        raise AssertionError((names, wanting))

    async def drains(self, *still: str) -> None:
        """Wait until all that was answered 200 is stored, and nothing but ``still`` is wanting."""
        wanting: set[str] = set()
        with trio.move_on_after(NOTICED):
            while True:
                checks = (await self.client.get("/health")).json()["checks"]
                wanting = {name for name, check in checks.items() if check["verdict"] != "pass"}
                if self.place.stored == self.place.accepted and wanting - NOT_OF_THE_FAULT <= set(still):
                    return
                await trio.sleep(0.05)
        raise AssertionError(
            (wanting, self.place.accepted - self.place.stored, self.place.stored - self.place.accepted)
        )

    def limit_disk(self, pages: int) -> None:
        """SQLite answers that the disk is full above this many pages."""
        connection: Any = self.running.core.journal._file._connection
        connection.execute(f"pragma max_page_count = {pages}").fetchall()


@asynccontextmanager
async def started(place: Place, directory: Path) -> AsyncIterator[Daemon]:
    """A daemon, until the block ends; that is a kill."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = load(
        Settings,
        database_url=place.proxy.url,
        evolution_api_url="http://127.0.0.1:9",
        evolution_api_key="nobody-listens-there",
        base_url=url,
        bind=f"127.0.0.1:{port}",
        state_dir=directory,
        master_key=KEY,
    )
    async with daemon(settings) as running:
        await running.nursery.start(running.serve, 0.1)
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            yield Daemon(place, running, client)
        running.stop_serving.set()


@asynccontextmanager
async def place_on(database: str) -> AsyncIterator[Place]:
    """A unit in this database, which is migrated, and a proxy before it."""
    async with database_proxy(database) as proxy:
        opened = Place(database, proxy)
        async with await connect(database, role="zapline_engine") as conn:
            names = {"name": "loja", "instance": "loja", "time_zone": "UTC"}
            await insert_unit(conn, id=opened.unit, secret_digest=digest_secret(opened.secret), **names)
        yield opened


@pytest.fixture
async def place(database: str) -> AsyncIterator[Place]:
    async with place_on(database) as opened:
        yield opened


async def a_host_that_vanishes(one: Daemon) -> None:
    """Connections hang and are never closed, as where a cable is cut."""
    one.place.proxy.vanish()
    await one.receive()
    await one.shows("database")
    assert (await one.client.get("/readyz")).status_code == 200
    await one.receive()
    await one.place.proxy.come_back()
    await one.drains()


async def a_server_that_refuses(one: Daemon) -> None:
    await one.place.proxy.refuse()
    await one.receive()
    await one.shows("database")
    await one.place.proxy.come_back()
    await one.drains()


async def a_lane_that_stops(one: Daemon) -> None:
    one.place.execute("revoke insert on zapline.messages from zapline_engine")
    await one.receive()
    await one.shows("recorderLanesStopped")
    one.place.execute("grant insert on zapline.messages to zapline_engine")
    await one.drains()


async def a_full_disk(one: Daemon) -> None:
    one.limit_disk(1)
    await one.receive(text=LARGE)
    await one.shows("journalClosed")
    one.limit_disk(10**6)
    await one.receive()
    await one.drains()


async def a_wrong_clock(one: Daemon) -> None:
    watch = one.running.core.leadership.clock
    for off in (40 * 86_400.0, -3600.0):
        watch.wall = lambda off=off: time.time() + off
        await one.receive()
        await one.shows("clockSkewSeconds")
        watch.wall = time.time
        await one.drains()


async def a_database_that_is_set_back(one: Daemon) -> None:
    with database_copies(one.place.database) as copies:
        earlier = copies.copy()
        await one.receive(10)
        await one.drains()
        copies.set_back(earlier)
        one.place.execute("revoke insert on zapline.messages from zapline_engine")  # so that it can be seen at leisure
        await one.receive(1)
        await one.shows("unitsCatchingUp")
        one.place.execute("grant insert on zapline.messages to zapline_engine")
        await one.drains()


async def a_unit_in_quarantine(one: Daemon) -> None:
    [unit] = one.running.core.roster.units()
    unit.quarantined_at = trio.current_time()
    await one.shows("quarantinedUnits")
    unit.quarantined_at = None
    await one.drains()


async def a_full_disk_without_a_database(one: Daemon) -> None:
    """The one case in which a 200 is lost: it is counted."""
    one.running.core.intake._database_timeout = 0.5
    one.limit_disk(1)
    await one.place.proxy.refuse()
    before = one.place.accepted
    await one.receive(1, LARGE)
    await one.shows("lostWebhooks", "journalClosed", "database")
    one.place.accepted = before
    one.limit_disk(10**6)
    await one.place.proxy.come_back()
    await one.receive()
    await one.drains("lostWebhooks")


WAYS: list[Callable[[Daemon], Awaitable[None]]] = [
    *(a_host_that_vanishes, a_server_that_refuses, a_lane_that_stops, a_full_disk, a_wrong_clock),
    *(a_database_that_is_set_back, a_unit_in_quarantine, a_full_disk_without_a_database),
]


@pytest.mark.long
async def test_while_it_runs_health_tells_of_each_way_and_everything_drains_afterwards(
    place: Place, tmp_path: Path
) -> None:
    async with started(place, tmp_path) as one:
        for lane in one.running.recorder._lanes:
            lane._stopped_pause = 0.2
        await one.receive()
        await one.drains()
        for way in WAYS:
            with trio.fail_after(3 * NOTICED):
                await way(one)


def spoil(journal: Path) -> None:
    """Overwrite the first page."""
    with journal.open("r+b") as file:
        file.write(bytes(range(256)) * (PAGE_BYTES // 256))


@pytest.mark.long
async def test_at_a_start_health_tells_of_each_way(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.05)
    state, older = tmp_path / "state", tmp_path / "older"
    async with started(place, state) as one:
        await one.receive(20)
        await one.drains()
    shutil.copytree(state, older)
    async with started(place, state) as one:
        await one.receive(20)
        await one.drains()
    spoil(state / "journal" / "journal.db")
    for directory in (older, state):
        async with started(place, directory) as one:
            await one.receive()
            await one.shows("journalLosses")
            await one.drains("journalLosses")
    closed = tmp_path / "closed"
    (closed / "journal" / "journal.db").mkdir(parents=True)
    async with started(place, closed) as one:
        await one.receive()
        await one.shows("journalClosed")
        (closed / "journal" / "journal.db").rmdir()
        await one.drains()
    await place.proxy.refuse()
    async with started(place, tmp_path / "new host") as one:
        await one.receive()
        await one.shows("unroutedWebhooks", "database")
        await place.proxy.come_back()
        await one.drains()


# -- a standby takes over ------------------------------------------------------------------------------------------


@contextmanager
def standby_of(primary: PostgresServer, directory: Path) -> Iterator[PostgresServer]:
    """A server that follows the primary, which is stopped for a moment to be copied; it has begun to stream."""
    primary.stop()
    data = directory / "standby"
    subprocess.run(["cp", "-a", primary.data_dir, data], check=True)
    subprocess.run(["cp", "-a", directory / "pg.password", directory / "standby.password"], check=True)
    primary.start()
    follows = primary.url.removesuffix("/zapline").replace("'", "''")
    for name, text in (("standby.signal", ""), ("postgresql.auto.conf", f"primary_conninfo = '{follows}'\n")):
        (data / name).write_text(text)
        shutil.chown(data / name, data.owner(), data.group())
    standby = PostgresServer(data, durable=False)
    standby.open()
    try:
        standby.start()
        yield standby
    finally:
        standby.stop()
        standby.close()


def query(server: PostgresServer, statement: str) -> Any:
    with psycopg.connect(server.url, autocommit=True, connect_timeout=5) as conn:
        cursor = conn.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


async def has_caught_up(standby: PostgresServer, primary: PostgresServer) -> None:
    """Wait until the standby shows what the primary has written until now."""
    reached = query(primary, "select pg_current_wal_lsn()::text")
    with trio.fail_after(NOTICED):
        while not query(standby, f"select pg_last_wal_replay_lsn() >= '{reached}'"):  # noqa: ASYNC110
            await trio.sleep(0.05)


@pytest.mark.long
async def test_what_a_promoted_standby_lacks_is_stored_again(cluster_directory: Path, tmp_path: Path) -> None:
    """Asynchronous replication: the primary's last commits have not left it when it dies."""
    primary = PostgresServer(cluster_directory / "pg", durable=False)
    primary.open()
    try:
        primary.start()
        with standby_of(primary, cluster_directory) as standby:
            async with await connect(primary.url, statement_timeout_ms=0) as conn:
                await migrate(conn, lambda line: None)
            async with place_on(primary.url) as place, started(place, tmp_path) as one:
                await one.receive(5)
                await one.drains()
                await has_caught_up(standby, primary)
                query(standby, "alter system set primary_conninfo = ''")
                query(standby, "select pg_reload_conf()")
                with trio.fail_after(NOTICED):
                    while query(primary, "select count(*) from pg_stat_replication"):  # noqa: ASYNC110
                        await trio.sleep(0.05)
                await one.receive(20)
                await one.drains()
                primary.kill()
                await one.receive(5)
                await one.shows("database")
                query(standby, "select pg_promote()")
                place.database = standby.url
                assert place.stored == 5
                place.proxy.target = ("127.0.0.1", int(standby.url.rpartition(":")[2].partition("/")[0]))
                await place.proxy.come_back()
                await one.drains()
                assert place.stored == 30
                assert one.running.core.counters.total("units_set_back") == 1
    finally:
        primary.stop()
        primary.close()
