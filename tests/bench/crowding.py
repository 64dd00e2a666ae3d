"""Measures how long a unit's neighbours wait while it is fed the worst webhooks that were found, and how long a known
webhook waits among strangers who hold all connections."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psycopg

from .environment import HERE, Environment, ServerProcess, check, log, run_load
from .load_generator import Target, webhook_request

NEIGHBOURS, RATE = 8, 50.0
"""Other units, and webhooks a second for all of them together."""
MAX_P99 = 1.0
"""Seconds from the POST to the answer, and to the committed row."""
LARGE_BYTES, CONTACTS = 17_000_000, 330_000
SLOW_BODIES, SLOW_BYTES, SLOW_CHUNK, SLOW_PAUSE = 64, 5_000_000, 65_536, 0.25
"""Bodies that never end, and how they come: together more than may be in flight."""
STRANGERS, KNOWN = 4200, 300
STORED_WITHIN = 900.0

Feed = Callable[[ServerProcess, Target, Event], str]
"""Feeds one unit until the event is set at the latest; tells what became of it."""


@dataclass(frozen=True, slots=True)
class _Waits:
    """Sorted seconds."""

    seconds: Sequence[float]

    def at(self, share: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * share))]

    def __str__(self) -> str:
        p50, p99 = (f"{self.at(share) * 1e3:.0f}" for share in (0.5, 0.99))
        return f"p50 {p50}, p99 {p99}, worst {self.seconds[-1] * 1e3:.0f} ms"


def crowding(environment: Environment, seconds: float, whole: bool) -> bool:
    """Feed one of nine units while the others get webhooks at a steady rate for ``seconds``; then hold connections.

    ``whole``: also wait until all of what was fed is stored.
    """
    log(f"\nNeighbours: {NEIGHBOURS} units at {RATE:g} webhooks a second while another one is fed, {seconds:g} s each")
    feeds: dict[str, Feed | None] = {
        "nobody is fed": None,
        "17 MB of contacts": _large(LARGE_BYTES),
        "330,000 contacts": _many(CONTACTS),
        "64 slow bodies": _slow,
    }
    passed = True
    for name, feed in feeds.items():
        targets = environment.prepare(NEIGHBOURS + 1)
        with environment.daemon(targets) as (daemon, _):
            passed = _neighbours(environment, daemon, targets, name, feed, seconds) and passed
            if whole and "contacts" in name:
                log(f"    {_wait_for_contacts(environment)} contacts in the end")
        environment.drop()
    return _among_strangers(environment) and passed


def _neighbours(
    environment: Environment, daemon: ServerProcess, targets: Path, name: str, feed: Feed | None, seconds: float
) -> bool:
    fed, *others = [Target(*values) for values in json.loads(targets.read_text())]
    theirs = targets.with_name("neighbours.json")
    theirs.write_text(json.dumps([(target.path, target.instance) for target in others]))
    daemon.wait_until_quiet(20)
    run_load(daemon, theirs, connections=8, seconds=1.0, rate=RATE)
    before, ended, told = os.getloadavg()[0], Event(), list[str]()
    feeding = Thread(target=lambda: told.append(feed(daemon, fed, ended)) if feed else None)
    feeding.start()
    result = run_load(daemon, theirs, connections=32, seconds=seconds, rate=RATE, remember=True)
    ended.set()
    feeding.join()
    stored = _contacts(environment)
    environment.wait_until_stored(result["requests"], 120)
    rows = _rows(environment, result["sent"])
    log(
        f"  {name}, load average {before:.1f} to {os.getloadavg()[0]:.1f}: rows {rows}"
        + "".join(f"; {t}" for t in told)
    )
    if stored:
        log(f"    {stored} contacts stored by then")
    missing = len(result["sent"]) - len(rows.seconds)
    check(
        f"p99 of the answers of neighbours ({result['requests']})",
        result["p99"],
        f"< {MAX_P99}",
        result["p99"] < MAX_P99,
    )
    check("p99 of their rows", rows.at(0.99), f"< {MAX_P99}", rows.at(0.99) < MAX_P99)
    return result["p99"] < MAX_P99 and rows.at(0.99) < MAX_P99 and not missing and not result["errors"]


def _rows(environment: Environment, sent: dict[str, float]) -> _Waits:
    """Seconds from the POST of each webhook to the commit of its row."""
    with psycopg.connect(environment.url) as conn:
        rows = conn.execute(
            "select external_id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 from zapline.messages"
        ).fetchall()
    return _Waits(sorted(committed - sent[external] for external, committed in rows if external in sent))


def _contacts(environment: Environment) -> int:
    """Contacts with the names that only the fed unit's address book has."""
    with psycopg.connect(environment.url) as conn:
        row = conn.execute("select count(*) from zapline.contacts where name like 'Agenda %'").fetchone()
    assert row is not None
    return int(row[0])


def _wait_for_contacts(environment: Environment) -> int:
    """Wait until no more contacts come; how many there are."""
    deadline, found, calm = time.perf_counter() + STORED_WITHIN, -1, 0
    while calm < 3 and time.perf_counter() < deadline:
        before, found = found, _contacts(environment)
        calm = calm + 1 if found == before else 0
        time.sleep(2)
    return found


# -- what a unit is fed -------------------------------------------------------------------------------------------


def _phone(number: int) -> str:
    return f"55118{number:08}@s.whatsapp.net"


def _large(size: int) -> Feed:
    """One webhook of an address book with pictures, of so many bytes, as Evolution sends it."""
    picture = "https://pps.whatsapp.net/v/t61.24694-24/" + "0123456789abcdef" * 6
    one = {"profilePicUrl": picture, "instanceId": "3e1c68da-ca8d-49c1-908c-83864ab85c19"}
    number = size // len(json.dumps({"remoteJid": _phone(0), "pushName": "Agenda 00000", **one}))
    return _posting([{"remoteJid": _phone(each), "pushName": f"Agenda {each}", **one} for each in range(number)])


def _many(number: int) -> Feed:
    """One webhook of so many contacts, each as short as can be."""
    return _posting([{"id": _phone(each), "pushName": f"Agenda {each}"} for each in range(number)])


def _posting(contacts: Sequence[object]) -> Feed:
    data = json.dumps(contacts, separators=(",", ":"))

    def feed(daemon: ServerProcess, target: Target, ended: Event) -> str:
        body = f'{{"event":"contacts.upsert","instance":"{target.instance}","data":{data}}}'.encode()
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=STORED_WITHIN) as sock:
            sock.sendall(_head(target, len(body)) + body)
            answer = sock.recv(4096)
        took = time.perf_counter() - began
        status = answer.split(None, 2)[1].decode() if answer else "nothing"
        return f"{len(contacts)} contacts in {len(body) / 1e6:.1f} MB, answered {status} after {took:.1f} s"

    return feed


def _slow(daemon: ServerProcess, target: Target, ended: Event) -> str:
    """Bodies that come slowly and never to their end."""
    socks = [socket.create_connection(("127.0.0.1", daemon.port), timeout=30) for _ in range(SLOW_BODIES)]
    begin = f'{{"event":"messages.set","instance":"{target.instance}","data":["'.encode()
    left = {sock: SLOW_BYTES - len(begin) - 1 for sock in socks}
    for sock in socks:
        sock.sendall(_head(target, SLOW_BYTES) + begin)
        sock.setblocking(False)
    while not ended.is_set():
        for sock in socks:
            with suppress(BlockingIOError):  # the daemon has no room for more of it just now
                left[sock] -= sock.send(b"x" * min(SLOW_CHUNK, left[sock])) if left[sock] else 0
        ended.wait(SLOW_PAUSE)
    for sock in socks:
        sock.close()
    sent = SLOW_BODIES * SLOW_BYTES - sum(left.values())
    return f"{sent / 1e6:.0f} MB of {SLOW_BODIES * SLOW_BYTES / 1e6:.0f} were sent"


def _head(target: Target, length: int) -> bytes:
    head = f"POST {target.path} HTTP/1.1\r\nHost: zapline\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


# -- strangers ------------------------------------------------------------------------------------------------------


def _among_strangers(environment: Environment) -> bool:
    """Post known webhooks, each on a connection of its own, while strangers of the same address hold all there are."""
    targets = environment.prepare(1)
    [target] = [Target(*values) for values in json.loads(targets.read_text())]
    with environment.daemon(targets) as (daemon, _):
        daemon.wait_until_quiet(20)
        alone = _known_webhooks(daemon, target, "alone")
        with _strangers(daemon) as told:
            waits = _known_webhooks(daemon, target, "known")
        environment.wait_until_stored(2 * KNOWN, 120)
    log(f"  a known webhook alone {alone}; {STRANGERS} strangers ({told}): {waits}; load {os.getloadavg()[0]:.1f}")
    worst = waits.seconds[-1]
    return check("worst answer to a known webhook among strangers", worst, f"< {MAX_P99}", worst < MAX_P99)


@contextmanager
def _strangers(daemon: ServerProcess) -> Iterator[str]:
    given = json.dumps({"port": daemon.port, "number": STRANGERS})
    command = [sys.executable, str(HERE / "strangers.py"), given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
            assert process.poll() is None, "the strangers have gone"
        finally:
            process.stdin.close()


def _known_webhooks(daemon: ServerProcess, target: Target, name: str) -> _Waits:
    return _Waits(sorted(_post(daemon, target, f"{name}-{number}") for number in range(KNOWN)))


def _post(daemon: ServerProcess, target: Target, external_id: str) -> float:
    """Seconds from the attempt to connect to the answer of one webhook."""
    request = webhook_request(target, external_id, "zapline")
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as sock:
        sock.sendall(request)
        answer = sock.recv(4096)
    took = time.perf_counter() - began
    assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
    time.sleep(0.02)
    return took
