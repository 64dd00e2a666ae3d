"""Looks at Evolution: reachable, really Evolution, licensed, the key, each webhook, and whether it stores messages."""

import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from zapline.daemon.doctor.finding import Finding, Tell, fail, ok, warn
from zapline.domain.line.reasons import Phase
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    InstanceUnknown,
    RouteUnknown,
    ServerNotReady,
    Unauthorized,
)
from zapline.evolution.client.response_parser import RegisteredWebhook
from zapline.evolution.client.rest_client import CallPolicy, EvolutionClient
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.units.line_calls import WEBHOOK_EVENTS
from zapline.supervisors.units.roster import digest

SERVER, KEY, STORES, HOOKS = "Evolution", "Evolution's key", "Evolution's storage", "webhooks"
PATH = "/webhooks/whatsapp/evolution/"
MOST_UNITS = 200
"""Webhooks that are compared: a fault of the set-up shows in all of them."""
AT_ONCE = 8
POLICY = CallPolicy(connect=3.0, call=8.0, overall=8.0, attempts=1)
"""A person waits; what does not answer at once is worth telling."""
_STORES_READ = 5
"""Lines whose store is read: it is one setting for all."""
_SENT_ENOUGH = 5
"""Messages without a status by chance: phones that are off, readers who are away."""
_STATUS_AFTER, _STORED_SINCE = 300.0, 7 * 86_400.0
"""Seconds: a status has come by then, if one comes; and how far back is looked."""
_NEEDED = frozenset({"CONNECTION_UPDATE", "MESSAGES_UPSERT", "MESSAGES_UPDATE", "QRCODE_UPDATED"})


@dataclass(frozen=True, slots=True)
class Server:
    """The Evolution server as the settings name it."""

    http: httpx2.AsyncClient
    url: str
    key: str
    base_url: str

    @property
    def client(self) -> EvolutionClient:
        return EvolutionClient(self.http, self.url, self.key, POLICY)


async def look_at_evolution(server: Server, units: list[UnitRecord], tell: Tell) -> None:
    """Stops at the first thing that makes the following meaningless."""
    if not await _is_evolution(server, tell):
        return
    rows = await _instances(server, tell)
    if rows is None:
        return
    await _storage(server, rows, units, tell)
    await _webhooks(server, units, tell)


async def _is_evolution(server: Server, tell: Tell) -> bool:
    try:
        info = await server.client.server_info()
    except (BadAnswer, RouteUnknown) as other:
        step = "EVOLUTION_API_URL must name Evolution itself: not its manager page, not Zapline, not a proxy's default."
        tell(fail(SERVER, f"something answers at {server.url}, but it is not Evolution ({other})", step))
    except ServerNotReady as unready:
        tell(_not_licensed(unready))
    except EvolutionFailure as failure:
        step = "Check that Evolution runs and that EVOLUTION_API_URL has the right scheme, host and port."
        tell(fail(SERVER, f"{server.url} does not answer: {failure}", step))
    else:
        if info.version is None:
            step = "EVOLUTION_API_URL must name Evolution itself; its / answers with its version."
            tell(fail(SERVER, f"something answers at {server.url}, but it tells no version of Evolution", step))
        else:
            tell(ok(SERVER, f"version {info.version} at {server.url}"))
            return True
    return False


def _not_licensed(unready: EvolutionFailure) -> Finding:
    step = "From version 2.4 on open Evolution's manager page and activate its licence; else wait until it has started."
    return fail(SERVER, f"it answers, but is not ready: {unready}", step)


async def _instances(server: Server, tell: Tell) -> list[dict[str, Any]] | None:
    """The rows of fetchInstances with their counts, which tell whether Evolution stores anything."""
    try:
        await server.client.fetch_instances()
        rows = await _raw_instances(server)
    except Unauthorized:
        step = "EVOLUTION_API_KEY must be the server's AUTHENTICATION_API_KEY, not the token of one instance."
        tell(fail(KEY, "it is refused", step))
    except ServerNotReady as unready:
        tell(_not_licensed(unready))
    except EvolutionFailure as failure:
        tell(fail(KEY, f"fetchInstances fails: {failure}", "Look at Evolution's log; its own database may be away."))
    else:
        tell(ok(KEY, f"it is accepted; {len(rows)} instances"))
        return rows
    return None


async def _raw_instances(server: Server) -> list[dict[str, Any]]:
    try:
        with trio.fail_after(POLICY.call):
            url = f"{server.url.rstrip('/')}/instance/fetchInstances"
            answer = await server.http.get(url, headers={"apikey": server.key})
        rows = msgspec.json.decode(answer.content)
    except (httpx2.HTTPError, msgspec.DecodeError, trio.TooSlowError) as error:
        raise BadAnswer(f"fetchInstances: {type(error).__name__}") from error
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


async def _storage(server: Server, rows: Iterable[dict[str, Any]], units: Sequence[UnitRecord], tell: Tell) -> None:
    """Whether messages and their statuses are kept: what webhooks miss is read back from there."""
    counts = [row["_count"] for row in rows if row.get("connectionStatus") == "open" and row.get("_count")]
    counts = [count for count in counts if isinstance(count, dict)]
    busy = [count for count in counts if count.get("Chat") or count.get("Contact") or count.get("Message")]
    if not busy:
        tell(ok(STORES, "no open line has had traffic yet: look again when one has"))
        return
    if not any(count.get("Message") for count in busy):
        step = (
            "Set DATABASE_SAVE_DATA_NEW_MESSAGE=true (and DATABASE_SAVE_MESSAGE_UPDATE=true) on the Evolution server: "
            "without them nothing that was missed can be fetched afterwards."
        )
        tell(warn(STORES, f"{len(busy)} open lines have chats or contacts, but not one stored message", step))
        return
    try:
        records = [record for unit in _open(units)[:_STORES_READ] for record in await _lately_stored(server, unit)]
    except EvolutionFailure as failure:
        step = "Look at Evolution's log: what webhooks miss is read back with findMessages, as was tried here."
        tell(warn(STORES, f"messages are stored, but cannot be read: {failure}", step))
        return
    sent = [record for record in records if _sent_by_us(record)]
    if len(sent) >= _SENT_ENOUGH and not any(record.get("MessageUpdate") for record in sent):
        step = "Set DATABASE_SAVE_MESSAGE_UPDATE=true on the Evolution server: without it statuses cannot be read back."
        tell(warn(STORES, f"messages are stored, but none of {len(sent)} that were sent has a status", step))
    else:
        tell(ok(STORES, "messages are stored"))


def _open(units: Sequence[UnitRecord]) -> list[UnitRecord]:
    return [unit for unit in units if unit.stored is not None and unit.stored.phase is Phase.OPEN]


async def _lately_stored(server: Server, unit: UnitRecord) -> Sequence[Mapping[str, Any]]:
    """The newest records of a line; those of the last minutes may not have a status yet."""
    until = time.time() - _STATUS_AFTER
    return (await server.client.find_messages(unit.instance, until - _STORED_SINCE, until)).records


def _sent_by_us(record: Mapping[str, Any]) -> bool:
    """To a person: groups and broadcasts report no status."""
    key = record.get("key")
    if not isinstance(key, dict) or key.get("fromMe") is not True:
        return False
    return str(key.get("remoteJid")).endswith(("@s.whatsapp.net", "@lid"))


async def _webhooks(server: Server, units: list[UnitRecord], tell: Tell) -> None:
    chosen = units[:MOST_UNITS]
    wrong: list[Finding] = []
    right = unconnected = 0
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def look(unit: UnitRecord) -> None:
        nonlocal right, unconnected
        if unit.stored is not None and unit.stored.phase is Phase.IDLE and not unit.stored.wanted:
            unconnected += 1  # registered when somebody asks to connect it
            return
        async with limiter:
            finding = await _webhook(server, unit)
        if finding is None:
            right += 1
        else:
            wrong.append(finding)

    async with trio.open_nursery() as nursery:
        for unit in chosen:
            nursery.start_soon(look, unit)
    for finding in wrong[:10]:
        tell(finding)
    if len(wrong) > 10:
        tell(warn(HOOKS, f"{len(wrong) - 10} more units have such findings", "Mend the first ones, then look again."))
    if not units:
        tell(ok(HOOKS, "there is no unit yet; add one: zapline units add NAME"))
    elif not wrong:
        first = f" of the first {MOST_UNITS}" if len(units) > MOST_UNITS else ""
        tell(ok(HOOKS, f"{right} units{first} are registered as they should be, {unconnected} are not connected"))


async def _webhook(server: Server, unit: UnitRecord) -> Finding | None:
    """None where all is well."""
    what = f"webhook of {unit.instance}"
    try:
        registered = await server.client.find_webhook(unit.instance)
    except InstanceUnknown:
        return warn(what, "Evolution does not know the instance", f"Connect unit {unit.id} again: it is made anew.")
    except EvolutionFailure as failure:
        return warn(what, str(failure), "Look at Evolution's log.")
    return _judged(what, server.base_url, unit, registered)


def _judged(what: str, base_url: str, unit: UnitRecord, registered: RegisteredWebhook | None) -> Finding | None:
    again = "Restart the daemon, which registers it again; or run: zapline units rotate-secret " + str(unit.id)
    if registered is None or not registered.enabled:
        return fail(what, "none is registered" if registered is None else "it is switched off", again)
    expected = base_url.rstrip("/") + PATH
    if not registered.url.startswith(expected.rstrip("/")):
        parts = urlsplit(registered.url)
        return fail(
            what,
            f"it leads to {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}, "
            f"and BASE_URL is {base_url}",
            "If BASE_URL is right: " + again + ". If another system uses this instance, give it one of its own.",
        )
    if not _secret_fits(unit, registered, expected):
        return fail(what, "it carries a secret that is not this unit's", again)
    if registered.base64:
        return warn(what, "media comes inside webhooks (base64 is on)", again)
    missing = _NEEDED - set(registered.events)
    if missing:
        return fail(what, f"it leaves out {', '.join(sorted(missing))} of {len(WEBHOOK_EVENTS)} events", again)
    return None


def _secret_fits(unit: UnitRecord, registered: RegisteredWebhook, expected: str) -> bool:
    """The secret stands in the URL or in a header; what the database holds is its digest."""
    in_url = registered.url.removeprefix(expected).split("/")[0].split("?")[0]
    valid = [unit.secret_digest]
    if unit.previous_digest is not None and (unit.previous_until or 0) > time.time():
        valid.append(unit.previous_digest)
    shown = [in_url, *(value.removeprefix("Bearer ") for value in registered.headers.values())]
    return any(hmac.compare_digest(digest(secret), known) for secret in shown for known in valid)
