"""Measures every list, page and search of API and console over HTTP, on a database with millions of messages.

The API's addresses come from its own OpenAPI document, the console's from its own links, so that a new one is measured
without anybody thinking of it.
"""

import itertools
import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from http.client import HTTPConnection
from urllib.parse import quote, urlencode

import trio

from zapline.domain.principals import TokenKind
from zapline.sql.accounts.access_tokens import NewToken, insert_token
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.webhook_authentication import digest_secret

from .environment import Environment, ServerProcess, check, log
from .large_tables import LargeHouse, Sizes, build, require_space

MAX_P99 = 0.050
"""Goal, in seconds, for each address."""
_LEFT_OUT = re.compile(r"/events$|/qr|/media|/raw$|/export|/file$|/shown$|\.csv$|sign-|/session$|/about$|/static/")
"""Streams, files and exports, which take as long as they are large."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/)\d+(?=/|$)|(?<==)[^&]+")
_LINK = re.compile(r'(?:href|data-[a-z-]+)="(/console/[^"#]*)')
_SESSION, _TOKEN = "zl_" + "s" * 43, "zl_" + "t" * 43
_MOST_SECONDS = 4.0
_SEARCHES = ("ana silva", "joao", "rocha 77", "9000777", "zzz", "Iris Prado 9", "0001", "bru")


class Reader:
    """A client of one daemon: the answers of an address, and how long they took."""

    def __init__(self, server: ServerProcess) -> None:
        self.times: dict[str, list[float]] = {}
        self.refused: dict[str, int] = {}
        """Addresses that were not answered as they should be, and how."""
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)

    def get(self, path: str) -> tuple[int, bytes]:
        headers = {"Cookie": f"zapline={_SESSION}"} if path.startswith("/console") else {}
        headers |= {} if headers else {"Authorization": f"Bearer {_TOKEN}"}
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def measure(self, name: str, paths: Sequence[str], most: int) -> None:
        """Ask for the paths by turns, ``most`` times or for some seconds; the first answer of each does not count."""
        for path in paths[:8]:
            status, body = self.get(path)
            if status >= 400:
                raise SystemExit(f"{path}: {status} {body[:300]!r}")
        taken = self.times.setdefault(name, [])
        ends = time.perf_counter() + _MOST_SECONDS
        for path in itertools.islice(itertools.cycle(paths), most):
            started = time.perf_counter()
            self.get(path)
            taken.append(time.perf_counter() - started)
            if time.perf_counter() > ends and len(taken) >= 10:
                return


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values is not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def reading(environment: Environment, messages: int, most: int) -> tuple[bool, dict[str, float]]:
    """Build the database and measure each address ``most`` times.

    Returns whether each p99 is in time, and the medians by the name of the address.
    """
    log(f"\nLists, pages and searches over {messages} messages: 1,000 units, 100,000 conversations in one of them")
    require_space(environment.directory, messages)
    targets = environment.prepare(0)
    known = build(environment.url, messages, Sizes(), log)
    trio.run(_let_in, environment.url)
    with environment.daemon(targets) as (daemon, _):
        daemon.wait_until_quiet(60)
        reader = Reader(daemon)
        for name, paths in _addresses(reader, known, messages):
            reader.measure(name, paths, most)
    environment.drop()
    passed = not reader.refused
    for path, status in reader.refused.items():
        log(f"  FAIL {path}: {status}")
    p99 = {name: percentile(values, 0.99) for name, values in reader.times.items()}
    for name, worst in sorted(p99.items(), key=lambda item: -item[1]):
        label = f"{name}: p50 {percentile(reader.times[name], 0.5) * 1e3:.1f} ms; p99 in ms"
        passed = check(label, worst * 1e3, f"< {MAX_P99 * 1e3:g}", worst < MAX_P99) and passed
    return passed, {name: percentile(values, 0.5) for name, values in reader.times.items()}


async def _let_in(url: str) -> None:
    """A token and a session of an administrator."""
    async with await connect(url, role="zapline_engine") as conn:
        admin = await add_admin(conn, "reader@example.com", "-")
        for token, kind in ((_TOKEN, TokenKind.ADMIN), (_SESSION, TokenKind.SESSION)):
            idle = 86400 if kind is TokenKind.SESSION else None
            new = NewToken(kind, "bench", "bench", admin=admin, lasts=86400.0, idle=idle)
            await insert_token(conn, digest_secret(token), new)


def _addresses(reader: Reader, known: LargeHouse, messages: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Names of addresses, each with the paths that are asked for by turns."""
    unit = f"/units/{known.unit}"
    yield from _of_the_api(reader, known)
    for address in (f"{unit}/conversations", f"{unit}/conversations/{known.conversation}/messages"):
        yield f"GET {_kind(address)}, deep pages", list(_pages(reader, address))
    arrived = [f"{unit}/messages?afterSeq={seq}" for seq in range(0, messages, max(1, messages // 20))]
    yield "GET /units/*/messages?afterSeq=*", arrived
    yield from _of_the_console(reader, known)
    search = f"/console{unit}/conversations?q="
    yield "/console/units/*/conversations?q=*", [search + quote(text) for text in _SEARCHES]


def _of_the_api(reader: Reader, known: LargeHouse) -> Iterator[tuple[str, Sequence[str]]]:
    document = json.loads(reader.get("/openapi.json")[1])
    with_message = json.loads(reader.get(f"/units/{known.unit}/outbox?state=settled&limit=1")[1])
    items = next((value for value in with_message.values() if isinstance(value, list)), [])
    ids: Mapping[str, str] = {
        "unit": str(known.unit),
        "conversation": str(known.conversation),
        "campaign": str(known.campaign),
        "message": str(items[0]["id"]) if items else "",
    }
    for path, operations in sorted(document["paths"].items()):
        wanted = re.findall(r"{(\w+)}", path)
        if "get" not in operations or _LEFT_OUT.search(path) or not all(ids.get(name) for name in wanted):
            continue
        needed = {
            parameter["name"]: "0"
            for parameter in operations["get"].get("parameters", ())
            if parameter["in"] == "query" and parameter.get("required")
        }
        if needed:
            continue
        address = re.sub(r"{(\w+)}", lambda match: ids[match[1]], path)
        status = reader.get(address)[0]
        if status >= 500:
            reader.refused[address] = status
        elif status < 400:
            yield f"GET {path}", [address]


def _of_the_console(reader: Reader, known: LargeHouse) -> Iterator[tuple[str, Sequence[str]]]:
    """One page of each kind that a link of another leads to, of the large unit where there is a choice."""
    start = [
        "/console/",
        f"/console/units/{known.unit}",
        f"/console/units/{known.unit}/conversations/{known.conversation}",
    ]
    waiting, seen = deque(start), set[str]()
    while waiting:
        path = waiting.popleft()
        if _kind(path) in seen or _LEFT_OUT.search(path):
            continue
        seen.add(_kind(path))
        status, body = reader.get(path)
        if status != 200:
            reader.refused[path] = status
            continue
        yield _kind(path), [path]
        found = [unescape(link) for link in _LINK.findall(body.decode())]
        waiting.extend(sorted(found, key=lambda link: str(known.unit) not in link))


def _pages(reader: Reader, address: str) -> Iterator[str]:
    """The first pages of a list, each by the cursor of the one before."""
    path = address
    for _ in range(20):
        yield path
        cursor = json.loads(reader.get(path)[1]).get("nextCursor")
        if cursor is None:
            return
        path = f"{address}?{urlencode({'cursor': cursor})}"


def _kind(path: str) -> str:
    return _ID.sub("*", path)
