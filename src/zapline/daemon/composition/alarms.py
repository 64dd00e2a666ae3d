"""Builds the alarms: what watches, what delivers, and the commands on destinations."""

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog
import trio

from zapline.crm.webhook_client import open_crm_client
from zapline.daemon.composition.outbound import DaemonCore, Outbound
from zapline.daemon.logs.configuration import register_secret
from zapline.daemon.master_key import alarm_key, seal_alarm_target, unseal_alarm_target
from zapline.daemon.settings import Settings
from zapline.domain.alarms.incidents import AlarmPolicy, Incident, NoticeKind, Seen
from zapline.domain.crm_webhook_signature import format_secret
from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.line.state import StoredLineState
from zapline.sql.units.units import load_lines
from zapline.supervisors.alarms.alarm_commands import AlarmCommands, AlarmKeys, TargetPolicy
from zapline.supervisors.alarms.alarm_delivery import AlarmDelivery
from zapline.supervisors.alarms.alarm_keeper import AlarmKeeper
from zapline.supervisors.alarms.alarm_requests import alarm_verbs
from zapline.supervisors.alarms.channels import AlarmText, Channels, SiblingLines
from zapline.supervisors.alarms.smtp_mail import MailClient, MailSecurity, MailServer
from zapline.supervisors.alarms.troubles import see
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.operations.control_requests import VerbHandler
from zapline.supervisors.outbound.media_url_check import resolve_host

_LOOKUPS = 8
_LOG = structlog.get_logger(scope="Alarms")


@dataclass(frozen=True, slots=True)
class Alarms:
    """What tells people that something is wrong. The caller starts ``run``."""

    keeper: AlarmKeeper
    delivery: AlarmDelivery
    commands: AlarmCommands

    async def run(self) -> None:
        """Watch and deliver until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run)
            nursery.start_soon(self.delivery.run)

    @property
    def verbs(self) -> dict[str, VerbHandler]:
        """What the command line may ask for."""
        return alarm_verbs(self.commands)

    def reloading(self, also: Callable[[], None]) -> Callable[[], None]:
        """What to do once a command may have changed something in the database itself."""

        def changed() -> None:
            also()
            self.keeper.reload()

        return changed


@asynccontextmanager
async def open_alarms(
    settings: Settings, master: bytes, core: DaemonCore, outbound: Outbound, health: HealthMonitor
) -> AsyncIterator[Alarms]:
    """The alarms; their deliveries become a part of ``health``."""
    clock, first_seen = core.leadership.clock.now, dict[str, float]()

    async def look(now: float) -> Seen:
        elsewhere = await _lines_elsewhere(core)
        report = health.report(now)
        return see(core.roster.units(), elsewhere, (*report.rates, *report.checks), first_seen, now)

    keys = alarm_keys(master)
    resolver = partial(resolve_host, limiter=trio.CapacityLimiter(_LOOKUPS))
    async with open_crm_client(clock, resolver, private=settings.hook_private_hosts) as http:
        server = mail_server(settings)
        lines = SiblingLines(core.roster.get, outbound.outgoing)
        mail = MailClient(server) if server is not None else None
        channels = Channels(_words, mail, http, keys.signing, lines, clock, settings.base_url.rstrip("/"))
        keeper = AlarmKeeper(core.pool, core.leadership, look, alarm_policy(settings), clock)
        parts = (core.pool, keeper, channels, lambda to: keys.unseal(to.id, to.sealed), core.counters, clock)
        delivery = AlarmDelivery(*parts, core.leadership.clock.agrees)
        health.set_alarms(delivery.report)
        policy = TargetPolicy(settings.default_region, settings.hook_private_hosts)
        commands = AlarmCommands(core.pool, keys, channels, core.commands.find, policy, keeper.reload, clock)
        yield Alarms(keeper, delivery, commands)


async def _lines_elsewhere(core: DaemonCore) -> Mapping[UnitId, StoredLineState]:
    """How the lines of other nodes stand; nothing is known of them while the database is away."""
    units = core.roster.elsewhere()
    if not units:
        return {}
    try:
        async with core.pool.connection() as conn:
            return await load_lines(conn, units)
    except RemoteError as away:
        _LOG.debug("The lines of other nodes could not be read", error=str(away))
        return {}


def alarm_keys(master: bytes) -> AlarmKeys:
    """What seals addresses and signs webhooks; what is opened is masked in logs."""

    def unseal(id: UUID, sealed: bytes) -> str | None:
        target = unseal_alarm_target(master, id, sealed)
        if target is not None:
            register_secret(target)
        return target

    def signing(id: UUID, generation: int) -> bytes:
        key = alarm_key(master, id, generation)
        register_secret(format_secret(key))
        return key

    return AlarmKeys(partial(seal_alarm_target, master), unseal, signing)


def mail_server(settings: Settings) -> MailServer | None:
    """The SMTP server of the settings; None: there is none."""
    if not settings.smtp_host:
        return None
    password = settings.smtp_password.get_secret_value() if settings.smtp_password is not None else None
    security = MailSecurity(settings.smtp_security)
    who = (settings.smtp_user or None, password)
    return MailServer(settings.smtp_host, settings.smtp_port, settings.smtp_from, security, *who)


def alarm_policy(settings: Settings) -> AlarmPolicy:
    """When something is worth an alarm."""
    return AlarmPolicy(
        after=settings.alarm_after_seconds,
        gather=settings.alarm_gather_seconds,
        calm=settings.alarm_calm_seconds,
        gap=settings.alarm_gap_seconds,
        update=max(AlarmPolicy().update, settings.alarm_gap_seconds),
        remind=settings.alarm_reminder_hours * 3600 or math.inf,
    )


def _words(kind: NoticeKind | None, incident: Incident | None, language: str, at: float) -> AlarmText:
    """The console's texts, which are loaded once something is to be said."""
    from zapline.http.console.health.alarm_texts import alarm_text

    return alarm_text(kind, incident, language, at)
