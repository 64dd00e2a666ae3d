"""Runs several daemons that share the units, as real processes: one PostgreSQL, a simulated Evolution, a proxy."""

import json
import random
import secrets
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
from support.prepared_processes import DAEMON
from support.running_system import READY_SECONDS, RunningSystem, running_system, wait_until

HISTORY = """
create table public.owned (
    number bigserial, at timestamptz default clock_timestamp(), unit_id uuid, owner uuid, epoch bigint);
create table public.wrote (
    number bigserial, unit_id uuid, owner uuid, epoch bigint, application text, shared text);
grant insert, select on public.owned, public.wrote to zapline_engine;
grant usage on all sequences in schema public to zapline_engine;
create function public.note() returns trigger language plpgsql security definer as $$ begin
    if tg_op = 'INSERT' or (new.owner, new.epoch) is distinct from (old.owner, old.epoch) then
        insert into public.owned (unit_id, owner, epoch) values (new.unit_id, new.owner, new.epoch);
    else
        insert into public.wrote (unit_id, owner, epoch, application, shared)
        values (new.unit_id, new.owner, new.epoch, current_setting('application_name'),
                (select n.sessions from zapline.nodes n where n.id = new.owner));
    end if;
    return null;
end $$;
create trigger note after insert or update on zapline.unit_whatsapp_connections
   for each row execute function public.note();
"""
"""Notes in the database itself who owned a unit, and who has written of it: the reference knows nothing of Zapline."""


_CALL_SECONDS = 3.0
"""From the last look at the clock before a call until it has reached the simulator, on a machine under load."""


class Proxy:
    """Forwards each connection to the next node that takes it, one after the other."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports, self._next = list(ports), 0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client:
            for _ in self._ports:
                self._next += 1
                try:
                    address = ("127.0.0.1", self._ports[self._next % len(self._ports)])
                    node = socket.create_connection(address, timeout=2)
                except OSError:
                    continue
                with node, suppress(OSError):
                    _copy_both(client, node)
                return


def _copy_both(client: socket.socket, node: socket.socket) -> None:
    ends = {client: node, node: client}
    while True:
        readable, _, _ = select.select(list(ends), [], [], 40)
        if not readable:
            return
        for end in readable:
            data = end.recv(65536)
            if not data:
                return
            ends[end].sendall(data)


@dataclass(eq=False)
class Node(RunningSystem):
    """One of the daemons."""

    base_url: str = ""
    key: str = ""
    shares: bool = True

    def _environment(self) -> dict[str, str]:
        own = {"ZAPLINE_CLUSTER": str(self.shares).lower(), "ZAPLINE_MASTER_KEY": self.key, "BASE_URL": self.base_url}
        return super()._environment() | own

    def start(self) -> None:
        self.daemon = self._start_process(DAEMON, ["run"], self.log)

    @property
    def id(self) -> str | None:
        """As which it owns units; None: it does not answer, or is no node."""
        try:
            health = httpx2.get(f"{self.url}/health", timeout=5, trust_env=False).json()
        except httpx2.TransportError:
            return None
        node = health["database"]["node"]
        return str(node) if node is not None else None

    def answers_readyz(self, code: str) -> bool:
        """Whether ``/readyz`` refuses with this code."""
        try:
            return str(httpx2.get(f"{self.url}/readyz", timeout=5, trust_env=False).json().get("code")) == code
        except httpx2.TransportError:
            return False

    @property
    def is_alive(self) -> bool:
        return self.daemon is not None and self.daemon.poll() is None

    def signal(self, number: int) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)


@dataclass(eq=False)
class RunningCluster:
    """The nodes, and the tables in which they are told of by the database."""

    nodes: list[Node]
    key: str
    units: list[str] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)

    @property
    def first(self) -> Node:
        return self.nodes[0]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.first.rows(query, *parameters)

    def add_units(self, count: int, log_in: httpx2.Headers) -> None:
        """Create units whose lines are open; each is made at another node, which owns it from the first moment."""
        for number in range(count):
            node = self.nodes[number % len(self.nodes)]
            node.http.headers = log_in
            unit = node.new_unit(f"loja {number}", f"loja_{number}")
            node.allow_fast_sending(unit)
            self.units.append(unit)
            self.instances.append(f"loja_{number}")

    def owners(self) -> dict[str, int]:
        """How many units each living node owns, by its id."""
        query = (
            "select n.id::text, count(c.unit_id) from zapline.nodes n "
            "left join zapline.unit_whatsapp_connections c on c.owner = n.id "
            "where n.expires_at > clock_timestamp() group by n.id"
        )
        return dict(self.rows(query))

    def is_settled(self, *without: "Node") -> bool:
        """Whether those that run are nodes, nobody else is one any more, and every unit belongs to one of them."""
        owners = self.owners()
        running = [node.id for node in self.nodes if node not in without]
        return None not in running and owners.keys() == set(running) and sum(owners.values()) == len(self.units)

    def wait_until_settled(self, seconds: float, *without: "Node") -> None:
        wait_until(
            lambda: self.is_settled(*without), seconds, f"{len(self.nodes) - len(without)} nodes that own all units"
        )

    def put_into_inbox(self, unit: str, body: str) -> None:
        """Leave a webhook in the inbox, as a node does that dies right after."""
        query = (
            "insert into zapline.inbox (copy, unit_id, event, received_at, body) "
            "values (gen_random_uuid(), %s, 'messages.upsert', %s, %s) returning id"
        )
        assert self.rows(query, unit, time.time(), body.encode())

    def webhook_url(self, unit: str) -> str:
        """The path at which Evolution posts for a unit."""
        from uuid import UUID

        from zapline.daemon.master_key import webhook_secret
        from zapline.domain.ids import UnitId

        secret = webhook_secret(self.key.encode(), UnitId(UUID(unit)), 1)
        return f"/webhooks/whatsapp/evolution/{secret}"


@contextmanager
def running_cluster(count: int = 3, units: int = 6) -> Iterator[RunningCluster]:
    """Run so many nodes and units until the block ends."""
    with ExitStack() as stack:
        system = stack.enter_context(running_system())
        assert system.daemon is not None
        system.daemon.terminate()
        system.daemon.wait(30)
        key = secrets.token_urlsafe(32)
        nodes = list[Node]()
        for number in range(count):
            directory = system.directory / f"node{number}"
            directory.mkdir(mode=0o700)
            nodes.append(Node(directory, system.postgres, system.password, evolution_url=system.evolution_url, key=key))
        proxy = Proxy([node.port for node in nodes])
        stack.callback(proxy.close)
        with psycopg.connect(system.postgres.url, autocommit=True) as conn:
            conn.execute(HISTORY)
        cluster = RunningCluster(nodes, key)
        for node in nodes:
            node.base_url = proxy.url
            node.start()
            stack.callback(node.close)
            stack.callback(node.signal, signal.SIGCONT)
            node.http = httpx2.Client(base_url=node.url, timeout=15, trust_env=False)
        for node in nodes:
            wait_until(node._is_ready, READY_SECONDS, "a node's start")
        cluster.add_units(units, system.http.headers)
        for node in nodes:
            node.http.headers = system.http.headers
        yield cluster


@dataclass
class Ledger:
    """What was acknowledged: the reference. External ids of webhooks by unit, and client ids of messages."""

    webhooks: dict[str, set[str]] = field(default_factory=dict)
    messages: dict[str, set[str]] = field(default_factory=dict)
    refused: int = 0
    slowest: float = 0.0


class Traffic:
    """Posts webhooks one node after the other and messages at any, until ``stop``; what is refused is posted again."""

    def __init__(self, cluster: RunningCluster, seed: int, webhooks: float = 50.0, sends: float = 2.0) -> None:
        self.ledger = Ledger()
        self._cluster, self._rng = cluster, random.Random(seed)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        posting = [(self._post_webhooks, webhooks / 4)] * 4 + [(self._send_messages, sends)]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, rate, number), daemon=True)
            for number, (work, rate) in enumerate(posting)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End once what is under way was acknowledged."""
        self._ended.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a request was never acknowledged"

    def _repeat(self, work: Callable[[httpx2.Client, int], None], rate: float, turn: int) -> None:
        with httpx2.Client(timeout=3, trust_env=False) as http:
            while not self._ended.is_set():
                began = time.monotonic()
                with self._lock:
                    self._number += 1
                    number = self._number
                work(http, number + turn)
                time.sleep(max(0.0, 1 / rate - (time.monotonic() - began)))

    def _post(self, http: httpx2.Client, turn: int, path: str, expected: int, **request: Any) -> bool:
        """Post to one node after the other until one takes it."""
        began = time.monotonic()
        for tries in range(600):
            node = self._cluster.nodes[(turn + tries) % len(self._cluster.nodes)]
            try:
                code = http.post(f"{node.url}{path}", **request).status_code
            except httpx2.TransportError:
                code = 0
            if code == expected:
                self.ledger.slowest = max(self.ledger.slowest, time.monotonic() - began)
                return True
            with self._lock:
                self.ledger.refused += 1
            time.sleep(0.1)
        return False

    def _post_webhooks(self, http: httpx2.Client, number: int) -> None:
        with self._lock:
            place = self._rng.randrange(len(self._cluster.units))
            external = f"3EB0{self._rng.randrange(16**16):016X}"
        unit, instance = self._cluster.units[place], self._cluster.instances[place]
        phone = f"55119{10_000_000 + number % 50}"
        data = {
            "key": {"remoteJid": f"{phone}@s.whatsapp.net", "fromMe": False, "id": external},
            "pushName": "Maria",
            "message": {"conversation": f"oi {external}"},
            "messageType": "conversation",
            "messageTimestamp": int(time.time()),
        }
        body = {"event": "messages.upsert", "instance": instance, "data": data}
        path = self._cluster.webhook_url(unit)
        if self._post(http, number, path, 200, content=json.dumps(body)):
            with self._lock:
                self.ledger.webhooks.setdefault(unit, set()).add(external)

    def _send_messages(self, http: httpx2.Client, number: int) -> None:
        unit = self._cluster.units[number % len(self._cluster.units)]
        client = f"m{number}-{secrets.token_hex(4)}"
        message = {"to": f"55119{20_000_000 + number % 50}", "clientMessageId": client, "text": f"texto {client}"}
        headers = dict(self._cluster.first.http.headers)
        if self._post(http, number, f"/units/{unit}/messages", 202, json=message, headers=headers):
            with self._lock:
                self.ledger.messages.setdefault(unit, set()).add(client)


@dataclass
class Findings:
    """What the reference found wrong; each must be empty."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    sent_twice: list[str] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    stale_calls: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        return [line for lines in vars(self).values() for line in lines]


def inspect(cluster: RunningCluster, ledger: Ledger, seconds: float = 120.0) -> Findings:
    """Wait until nothing waits any more, for ``seconds`` at most, and compare everything."""
    waiting = (
        "select (select count(*) from zapline.inbox) + (select count(*) from zapline.outbox "
        "where state in ('queued', 'leased') or (state = 'uncertain' and look_at is not null))"
    )
    deadline = time.monotonic() + seconds
    while cluster.rows(waiting)[0][0] and time.monotonic() < deadline:
        time.sleep(0.2)
    found = Findings()
    found.left += [f"{count} still wait" for (count,) in cluster.rows(waiting) if count]
    stored: dict[tuple[str, str], int] = {}
    for unit, external in cluster.rows("select unit_id::text, external_id from zapline.messages"):
        stored[unit, external] = stored.get((unit, external), 0) + 1
    for unit, externals in ledger.webhooks.items():
        found.lost += [f"{unit} {external}" for external in externals if (unit, external) not in stored]
        found.twice += [f"{unit} {external}" for external in externals if stored.get((unit, external), 0) > 1]
    _inspect_sends(cluster, ledger, found)
    _inspect_owners(cluster, found)
    return found


def _inspect_sends(cluster: RunningCluster, ledger: Ledger, found: Findings) -> None:
    delivered: dict[str, int] = {}
    rows = cluster.first.control("deliveries", "GET")["rows"]
    for row in rows:
        text = str(row[3])
        delivered[text] = delivered.get(text, 0) + 1
    _inspect_calls(cluster, {str(row[3]): float(row[4]) for row in rows}, found)
    states = dict(
        cluster.rows(
            "select m.client_message_id, o.state from zapline.messages m "
            "left join zapline.outbox o on o.message_id = m.id where m.client_message_id is not null"
        )
    )
    for clients in ledger.messages.values():
        for client in clients:
            count = delivered.get(f"texto {client}", 0)
            if count > 1:
                found.sent_twice.append(client)
            if count == 0 and states.get(client) != "uncertain":
                found.unsent.append(f"{client} {states.get(client)}")


def _inspect_calls(cluster: RunningCluster, reached: dict[str, float], found: Findings) -> None:
    """No call reaches Evolution after another owner than the one that made it has had the unit for a while."""
    owned: dict[str, list[tuple[int, float]]] = {}
    history = "select unit_id::text, epoch, extract(epoch from at)::float8 from public.owned where owner is not null"
    for unit, epoch, at in cluster.rows(history):
        owned.setdefault(unit, []).append((epoch, at))
    claims: dict[str, list[tuple[str, int]]] = {}
    attempts = (
        "select m.client_message_id, a.unit_id::text, a.epoch from zapline.attempts a "
        "join zapline.messages m on m.id = a.message_id where m.client_message_id is not null"
    )
    for client, unit, epoch in cluster.rows(attempts):
        claims.setdefault(f"texto {client}", []).append((unit, epoch))
    for text, at in reached.items():
        until = [
            min((since for later, since in owned[unit] if later > epoch), default=float("inf"))
            for unit, epoch in claims.get(text, [])
        ]
        if until and at > max(until) + _CALL_SECONDS:
            found.stale_calls.append(f"{text}: {at - max(until):.1f} s after its owner's time")


def _inspect_owners(cluster: RunningCluster, found: Findings) -> None:
    """Epochs only rise, each is one node's, and nobody writes of a unit but the sessions of its owner."""
    last: dict[str, int] = {}
    node_of: dict[tuple[str, int], str] = {}
    for unit, owner, epoch in cluster.rows(
        "select unit_id::text, owner::text, epoch from public.owned order by number"
    ):
        if epoch < last.get(unit, 0):
            found.epochs.append(f"{unit}: {epoch} after {last[unit]}")
        last[unit] = epoch
        if owner is not None and node_of.setdefault((unit, epoch), owner) != owner:
            found.epochs.append(f"{unit}: two nodes in {epoch}")
    query = (
        "select unit_id::text, application, shared from public.wrote "
        "where application like 'zapline-%%' and application is distinct from shared and shared is not null"
    )
    found.strangers += [f"{unit}: {application} for {shared}" for unit, application, shared in cluster.rows(query)]


def gaps(cluster: RunningCluster, since: float) -> list[float]:
    """For how many seconds from ``since`` (UTC) on units went without a new owner, of those that got one."""
    query = (
        "select extract(epoch from min(at))::float8 from public.owned "
        "where at > to_timestamp(%s) and owner is not null group by unit_id"
    )
    return sorted(at - since for (at,) in cluster.rows(query, since))
