"""Examines an installation: checks common set-up errors, each with a verdict and a next step. Changes nothing."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from zapline.daemon.doctor.database_checks import DATABASE, LOCK, check_database
from zapline.daemon.doctor.evolution_checks import SERVER, Server, check_evolution
from zapline.daemon.doctor.finding import Finding, Probe, Report, Verdict, fail, ok, run_probe, warn
from zapline.daemon.doctor.host_checks import STATE, check_host
from zapline.daemon.doctor.listener_checks import BASE_URL, check_listeners
from zapline.daemon.master_key import FILE, master_key, unseal_server_key, webhook_secret
from zapline.daemon.settings import DatabaseSettings, Settings, load, retired_names_in_use, use_sandbox
from zapline.domain.errors import ConfigurationError
from zapline.evolution.client.rest_client import open_http_client
from zapline.sql.units.evolution_servers import ServerRecord
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.units.webhook_authentication import digest_secret

SETTINGS, KEY = "settings", "master key"
DISK_SECONDS, DATABASE_SECONDS, NETWORK_SECONDS = 10.0, 45.0, 60.0
"""Deadlines of groups of checks; each call inside has a shorter one of its own."""


@dataclass(slots=True)
class Stored:
    """What the database knows of units and Evolution servers, as far as it could be read."""

    units: list[UnitRecord] = field(default_factory=list)
    servers: list[ServerRecord] = field(default_factory=list)


async def examine(report: Report = lambda _: None) -> list[Finding]:
    """All findings, each reported as soon as it is known. Later checks run whatever failed before.

    Takes at most about two minutes. Cancellation leaves nothing behind.
    """
    findings: list[Finding] = []

    def record(finding: Finding) -> None:
        findings.append(finding)
        report(finding)

    settings, database_settings = _check_settings(record)
    stored = Stored()
    units = stored.units
    if settings is not None:
        await run_probe(STATE, DISK_SECONDS, partial(check_host, settings.state_dir), record)
    if database_settings is not None:
        await run_probe(DATABASE, DATABASE_SECONDS, _database_probe(database_settings, stored), record)
    if settings is not None:
        _check_key(settings, units, record)
        await _check_network(settings, stored, _lock_is_held(findings), record)
    return findings


def _lock_is_held(findings: list[Finding]) -> bool | None:
    """Whether some daemon works on the database; None where it could not be asked."""
    held = [finding.verdict is Verdict.OK for finding in findings if finding.what == LOCK]
    return held[0] if held else None


def _check_settings(report: Report) -> tuple[Settings | None, DatabaseSettings | None]:
    """All settings and those of the database, each None if it cannot be read."""
    sandbox = use_sandbox()
    if sandbox is not None:
        report(ok(SETTINGS, f"none are given: this directory's sandbox is examined ({sandbox})"))
    try:
        settings = load(Settings)
    except ConfigurationError as error:
        step = "Correct them in the environment or in the env file; `zapline settings` explains each."
        for line in str(error).splitlines()[1:] or [str(error)]:
            report(fail(SETTINGS, line.removeprefix("  - "), step))
    else:
        report(ok(SETTINGS, "complete"))
        for name in retired_names_in_use():
            report(warn(SETTINGS, f"{name} has no effect", "Remove it; it is no setting any more."))
        return settings, settings
    try:
        return None, load(DatabaseSettings)
    except ConfigurationError:
        return None, None


def _database_probe(settings: DatabaseSettings, stored: Stored) -> Probe:
    url = settings.database_url.get_secret_value()
    direct = settings.database_direct_url
    return partial(
        check_database, url, direct.get_secret_value() if direct is not None else url, stored.units, stored.servers
    )


def _check_key(settings: Settings, units: list[UnitRecord], report: Report) -> None:
    """Check that the webhook secrets in the database were derived from this key."""
    path: Path = settings.state_dir / FILE
    try:
        if settings.master_key is None and not path.exists():
            if units:
                step = "Point ZAPLINE_STATE_DIR to the directory that has it, restore it, or set ZAPLINE_MASTER_KEY."
                report(fail(KEY, f"{path} is missing, and {len(units)} units were made with it", step))
            else:
                report(ok(KEY, "none yet; the daemon makes one when it starts first"))
            return
        master = master_key(settings.master_key, settings.state_dir)
    except ConfigurationError as error:
        report(fail(KEY, str(error), "Mend the file as it says; it must not be replaced."))
        return
    except OSError as error:
        report(warn(KEY, f"{path}: {error.strerror}", "Run the doctor as the daemon's user or as root."))
        return
    mismatched = [
        unit
        for unit in units
        if digest_secret(webhook_secret(master, unit.id, unit.secret_generation)) != unit.secret_digest
    ]
    if mismatched:
        step = (
            "The daemon must use the key that the units were made with. If it is lost, give each a new secret: "
            "zapline units rotate-secret UNIT"
        )
        report(fail(KEY, f"{len(mismatched)} of {len(units)} units have webhook secrets of another key", step))
    else:
        report(ok(KEY, f"the secrets of {len(units)} units come from it" if units else "it is there"))


async def _check_network(settings: Settings, stored: Stored, lock_held: bool | None, report: Report) -> None:
    async with open_http_client(20) as http:
        key = settings.evolution_api_key.get_secret_value()
        server = Server(http, settings.evolution_api_url, key, settings.base_url)
        own = [unit for unit in stored.units if unit.evolution_server is None]
        await run_probe(SERVER, NETWORK_SECONDS, partial(check_evolution, server, own), report)
        for record in stored.servers:
            if record.url is not None:
                await _check_server(settings, server, record, stored.units, report)
        binds = settings.ops_bind or settings.bind
        listeners = partial(check_listeners, http, settings.base_url, settings.evolution_api_url, binds, lock_held)
        await run_probe(BASE_URL, NETWORK_SECONDS, listeners, report)


async def _check_server(
    settings: Settings, environment: Server, record: ServerRecord, units: list[UnitRecord], report: Report
) -> None:
    """The checks of Evolution for one of the servers that are stored; each finding names it."""
    what = f"{SERVER} {record.name}"

    def named(finding: Finding) -> None:
        step = finding.next_step.replace("EVOLUTION_API_URL", "its address").replace("EVOLUTION_API_KEY", "its key")
        report(replace(finding, what=f"{finding.what} of {record.name}", next_step=step))

    try:
        master = master_key(settings.master_key, settings.state_dir)
    except (ConfigurationError, OSError):
        report(warn(what, "its key cannot be read without the master key", "Run the doctor as the daemon's user."))
        return
    key = unseal_server_key(master, record.name, record.sealed_key or b"")
    if key is None:
        step = f"Store it again: zapline servers change {record.name} --key-file FILE"
        report(fail(what, "its key was stored under another master key", step))
        return
    server = replace(environment, url=record.url or "", key=key)
    own = [unit for unit in units if unit.evolution_server == record.name]
    await run_probe(what, NETWORK_SECONDS, partial(check_evolution, server, own), named)
