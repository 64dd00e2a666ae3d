"""Checks Evolution: reachable, really Evolution, licensed, the key, its message storage, and the registered
webhooks."""

import hmac
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from zapline.daemon.doctor.finding import Finding, Report, fail, ok, warn
from zapline.domain.line.reasons import Phase
from zapline.domain.line.server_versions import VersionNote, version_notes
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    InstanceUnknown,
    NotLicensed,
    RouteUnknown,
    ServerNotReady,
    Unauthorized,
)
from zapline.evolution.client.response_parser import RegisteredWebhook
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.units.registration import WEBHOOK_EVENTS
from zapline.supervisors.units.webhook_authentication import digest_secret

SERVER, KEY, STORAGE, HOOKS = "Evolution", "Evolution's key", "Evolution's storage", "webhooks"
WEBHOOK_PATH = "/webhooks/whatsapp/evolution/"
MAX_UNITS = 200
"""Webhooks that are checked: a set-up error shows in all of them."""
MAX_CONCURRENT = 8
POLICY = CallPolicy(connect=3.0, call=8.0, overall=8.0, attempts=1)
"""A person waits, so slow answers are reported."""
_LINES_SAMPLED = 5
"""Lines whose store is read: storing is one setting for all."""
_MIN_SENT = 5
"""Fewer messages may lack a status by chance: phones that are off, readers who are away."""
_STATUS_SECONDS, _SAMPLE_SECONDS = 300.0, 7 * 86_400.0
"""After the first a status has arrived if statuses are stored; the second is how far back is read."""
_REQUIRED_EVENTS = frozenset({"CONNECTION_UPDATE", "MESSAGES_UPSERT", "MESSAGES_UPDATE", "QRCODE_UPDATED"})


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


async def check_evolution(server: Server, units: list[UnitRecord], report: Report) -> None:
    """Stop at the first failure that makes later checks meaningless."""
    if not await _check_server(server, report):
        return
    rows = await _check_key(server, report)
    if rows is None:
        return
    await _check_storage(server, rows, units, report)
    await _check_webhooks(server, units, report)


async def _check_server(server: Server, report: Report) -> bool:
    try:
        info = await server.client.server_info()
    except (BadAnswer, RouteUnknown) as error:
        step = "EVOLUTION_API_URL must name Evolution itself: not its manager page, not Zapline, not a proxy's default."
        report(fail(SERVER, f"something answers at {server.url}, but it is not Evolution ({error})", step))
    except ServerNotReady as unready:
        report(_not_ready(unready))
    except EvolutionFailure as failure:
        step = "Check that Evolution runs and that EVOLUTION_API_URL has the right scheme, host and port."
        report(fail(SERVER, f"{server.url} does not answer: {failure}", step))
    else:
        if info.version is None:
            step = "EVOLUTION_API_URL must name Evolution itself; its / answers with its version."
            report(fail(SERVER, f"something answers at {server.url}, but it tells no version of Evolution", step))
        else:
            report(ok(SERVER, f"version {info.version} at {server.url}"))
            for note in version_notes(info.version):
                report(warn(SERVER, note.sentence, note.advice) if note.severe else ok(SERVER, _told(note)))
            return True
    return False


def _told(note: VersionNote) -> str:
    return f"{note.sentence} {note.advice}"


def _not_ready(unready: EvolutionFailure) -> Finding:
    if isinstance(unready, NotLicensed):
        return fail(
            SERVER, "it runs, but its licence is not active", "Open Evolution's manager page and activate the licence."
        )
    step = "From version 2.4 on open Evolution's manager page and activate its licence; else wait until it has started."
    return fail(SERVER, f"it answers, but is not ready: {unready}", step)


async def _check_key(server: Server, report: Report) -> list[dict[str, Any]] | None:
    """The rows of fetchInstances with their counts, which show whether Evolution stores messages."""
    try:
        await server.client.fetch_instances()
        rows = await _raw_instances(server)
    except Unauthorized:
        step = "EVOLUTION_API_KEY must be the server's AUTHENTICATION_API_KEY, not the token of one instance."
        report(fail(KEY, "it is refused", step))
    except ServerNotReady as unready:
        report(_not_ready(unready))
    except EvolutionFailure as failure:
        report(fail(KEY, f"fetchInstances fails: {failure}", "Look at Evolution's log; its own database may be away."))
    else:
        report(ok(KEY, f"it is accepted; {len(rows)} instances"))
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


async def _check_storage(
    server: Server, rows: Iterable[dict[str, Any]], units: Sequence[UnitRecord], report: Report
) -> None:
    """Whether messages and statuses are stored: what webhooks miss is read back from there."""
    counts = [row["_count"] for row in rows if row.get("connectionStatus") == "open" and row.get("_count")]
    counts = [count for count in counts if isinstance(count, dict)]
    busy = [count for count in counts if count.get("Chat") or count.get("Contact") or count.get("Message")]
    if not busy:
        report(ok(STORAGE, "no open line has had traffic yet: look again when one has"))
        return
    if not any(count.get("Message") for count in busy):
        step = (
            "Set DATABASE_SAVE_DATA_NEW_MESSAGE=true (and DATABASE_SAVE_MESSAGE_UPDATE=true) on the Evolution server: "
            "without them nothing that was missed can be fetched afterwards."
        )
        report(warn(STORAGE, f"{len(busy)} open lines have chats or contacts, but not one stored message", step))
        return
    lines = [unit for unit in units if unit.stored is not None and unit.stored.phase is Phase.OPEN]
    try:
        records = [record for unit in lines[:_LINES_SAMPLED] for record in await _recent_records(server, unit)]
    except EvolutionFailure as failure:
        step = "Look at Evolution's log: what webhooks miss is read back with findMessages, as was tried here."
        report(warn(STORAGE, f"messages are stored, but cannot be read: {failure}", step))
        return
    sent = [record for record in records if _sent_by_us(record)]
    if len(sent) >= _MIN_SENT and not any(record.get("MessageUpdate") for record in sent):
        step = "Set DATABASE_SAVE_MESSAGE_UPDATE=true on the Evolution server: without it statuses cannot be read back."
        report(warn(STORAGE, f"messages are stored, but none of {len(sent)} that were sent has a status", step))
    else:
        report(ok(STORAGE, "messages are stored"))


async def _recent_records(server: Server, unit: UnitRecord) -> Sequence[Mapping[str, Any]]:
    """The newest records of a line, without the last minutes, which may not have a status yet."""
    until = time.time() - _STATUS_SECONDS
    return (await server.client.find_messages(unit.instance, until - _SAMPLE_SECONDS, until)).records


def _sent_by_us(record: Mapping[str, Any]) -> bool:
    """Sent to a person: groups and broadcasts report no status."""
    key = record.get("key")
    if not isinstance(key, dict) or key.get("fromMe") is not True:
        return False
    return str(key.get("remoteJid")).endswith(("@s.whatsapp.net", "@lid"))


async def _check_webhooks(server: Server, units: list[UnitRecord], report: Report) -> None:
    checked = units[:MAX_UNITS]
    findings: list[Finding] = []
    registered = unconnected = 0
    limiter = trio.CapacityLimiter(MAX_CONCURRENT)

    async def check(unit: UnitRecord) -> None:
        nonlocal registered, unconnected
        if unit.stored is not None and unit.stored.phase is Phase.IDLE and not unit.stored.wanted:
            unconnected += 1  # registered when it is first connected
            return
        async with limiter:
            finding = await _check_webhook(server, unit)
        if finding is None:
            registered += 1
        else:
            findings.append(finding)

    async with trio.open_nursery() as nursery:
        for unit in checked:
            nursery.start_soon(check, unit)
    for finding in findings[:10]:
        report(finding)
    if len(findings) > 10:
        report(
            warn(HOOKS, f"{len(findings) - 10} more units have such findings", "Mend the first ones, then look again.")
        )
    if not units:
        report(ok(HOOKS, "there is no unit yet; add one: zapline units add NAME"))
    elif not findings:
        first = f" of the first {MAX_UNITS}" if len(units) > MAX_UNITS else ""
        report(
            ok(HOOKS, f"{registered} units{first} are registered as they should be, {unconnected} are not connected")
        )


async def _check_webhook(server: Server, unit: UnitRecord) -> Finding | None:
    """None if it is registered correctly."""
    what = f"webhook of {unit.instance}"
    try:
        registered = await server.client.find_webhook(unit.instance)
    except InstanceUnknown:
        return warn(what, "Evolution does not know the instance", f"Connect unit {unit.id} again: it is made anew.")
    except EvolutionFailure as failure:
        return warn(what, str(failure), "Look at Evolution's log.")
    return _compare_webhook(what, server.base_url, unit, registered)


def _compare_webhook(
    what: str, base_url: str, unit: UnitRecord, registered: RegisteredWebhook | None
) -> Finding | None:
    step = "Restart the daemon, which registers it again; or run: zapline units rotate-secret " + str(unit.id)
    if registered is None or not registered.enabled:
        return fail(what, "none is registered" if registered is None else "it is switched off", step)
    expected = base_url.rstrip("/") + WEBHOOK_PATH
    if not registered.url.startswith(expected.rstrip("/")):
        target = urlsplit(registered.url)
        return fail(
            what,
            f"it leads to {target.scheme}://{target.hostname}{f':{target.port}' if target.port else ''}, "
            f"and BASE_URL is {base_url}",
            "If BASE_URL is right: " + step + ". If another system uses this instance, give it one of its own.",
        )
    if not _secret_fits(unit, registered, expected):
        return fail(what, "it carries a secret that is not this unit's", step)
    if registered.base64:
        return warn(what, "media comes inside webhooks (base64 is on)", step)
    missing = _REQUIRED_EVENTS - set(registered.events)
    if missing:
        return fail(what, f"it leaves out {', '.join(sorted(missing))} of {len(WEBHOOK_EVENTS)} events", step)
    return None


def _secret_fits(unit: UnitRecord, registered: RegisteredWebhook, expected: str) -> bool:
    """The secret is in the URL or in a header; the database has its digest."""
    in_url = registered.url.removeprefix(expected).split("/")[0].split("?")[0]
    valid_digests = [unit.secret_digest]
    if unit.previous_digest is not None and (unit.previous_until or 0) > time.time():
        valid_digests.append(unit.previous_digest)
    presented = [in_url, *(value.removeprefix("Bearer ") for value in registered.headers.values())]
    return any(
        hmac.compare_digest(digest_secret(secret), valid_digest)
        for secret in presented
        for valid_digest in valid_digests
    )
