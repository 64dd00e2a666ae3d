"""Examines an installation: each thing that newcomers get wrong gets a verdict and a next step. Changes nothing."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zapline.daemon.doctor.database_checks import DATABASE, look_at_database
from zapline.daemon.doctor.evolution_checks import SERVER, Server, look_at_evolution
from zapline.daemon.doctor.finding import Finding, Probe, Tell, Verdict, fail, ok, warn, within
from zapline.daemon.doctor.host_checks import STATE, look_at_place
from zapline.daemon.doctor.listener_checks import FRONT, look_at_front
from zapline.daemon.master_key import FILE, master_key, webhook_secret
from zapline.daemon.settings import DatabaseSettings, Settings, load
from zapline.domain.errors import ConfigurationError
from zapline.evolution.client.rest_client import open_http
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.units.roster import digest

__all__ = ["Finding", "Verdict", "examine"]

SETTINGS, KEY = "settings", "master key"
DISK_SECONDS, DATABASE_SECONDS, NETWORK_SECONDS = 10.0, 45.0, 60.0
"""Deadlines of whole groups of probes; each call inside has a shorter one of its own."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What could be read of the settings; None where they are too broken for it."""

    all: Settings | None
    database: DatabaseSettings | None


async def examine(tell: Tell = lambda _: None) -> list[Finding]:
    """Every finding, each told as soon as it is known. Whatever is broken, the rest is still looked at.

    Takes at most about two minutes. Cancelling it leaves nothing behind.
    """
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    known = _settings(note)
    units: list[UnitRecord] = []
    if known.all is not None:
        await within(STATE, DISK_SECONDS, partial(look_at_place, known.all.state_dir), note)
    if known.database is not None:
        await within(DATABASE, DATABASE_SECONDS, _database(known.database, units), note)
    if known.all is not None:
        _key(known.all, units, note)
        await _network(known.all, units, note)
    return findings


def _settings(tell: Tell) -> _Known:
    try:
        settings = load(Settings)
    except ConfigurationError as error:
        step = "Correct them in the environment or in the env file; `zapline settings` explains each."
        for line in str(error).splitlines()[1:] or [str(error)]:
            tell(fail(SETTINGS, line.removeprefix("  - "), step))
    else:
        tell(ok(SETTINGS, "complete"))
        return _Known(settings, settings)
    try:
        return _Known(None, load(DatabaseSettings))
    except ConfigurationError:
        return _Known(None, None)


def _database(settings: DatabaseSettings, units: list[UnitRecord]) -> Probe:
    url = settings.database_url.get_secret_value()
    direct = settings.database_direct_url
    return partial(look_at_database, url, direct.get_secret_value() if direct is not None else url, units)


def _key(settings: Settings, units: list[UnitRecord], tell: Tell) -> None:
    """Whether the webhook secrets that the database expects come from this key."""
    path: Path = settings.state_dir / FILE
    try:
        if settings.master_key is None and not path.exists():
            if units:
                step = "Point ZAPLINE_STATE_DIR to the directory that has it, restore it, or set ZAPLINE_MASTER_KEY."
                tell(fail(KEY, f"{path} is missing, and {len(units)} units were made with it", step))
            else:
                tell(ok(KEY, "none yet; the daemon makes one when it starts first"))
            return
        master = master_key(settings.master_key, settings.state_dir)
    except ConfigurationError as error:
        tell(fail(KEY, str(error), "Mend the file as it says; it must not be replaced."))
        return
    except OSError as error:
        tell(warn(KEY, f"{path}: {error.strerror}", "Run the doctor as the daemon's user or as root."))
        return
    other = [
        unit for unit in units if digest(webhook_secret(master, unit.id, unit.secret_generation)) != unit.secret_digest
    ]
    if other:
        step = (
            "The daemon must use the key that the units were made with. If it is lost, give each a new secret: "
            "zapline units rotate-secret UNIT"
        )
        tell(fail(KEY, f"{len(other)} of {len(units)} units have webhook secrets of another key", step))
    else:
        tell(ok(KEY, f"the secrets of {len(units)} units come from it" if units else "it is there"))


async def _network(settings: Settings, units: list[UnitRecord], tell: Tell) -> None:
    async with open_http(20) as http:
        key = settings.evolution_api_key.get_secret_value()
        server = Server(http, settings.evolution_api_url, key, settings.base_url)
        await within(SERVER, NETWORK_SECONDS, partial(look_at_evolution, server, units), tell)
        binds = settings.ops_bind or settings.bind
        front = partial(look_at_front, http, settings.base_url, settings.evolution_api_url, binds)
        await within(FRONT, NETWORK_SECONDS, front, tell)
