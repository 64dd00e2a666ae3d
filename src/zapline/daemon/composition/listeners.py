"""Builds the HTTP applications and says on which addresses each is served."""

from collections.abc import Sequence

from zapline.daemon.composition.alarms import Alarms
from zapline.daemon.composition.cluster import Cluster
from zapline.daemon.composition.files import KeptFiles
from zapline.daemon.composition.notifications import Notifications
from zapline.daemon.composition.outbound import DaemonCore, Outbound
from zapline.daemon.composition.privacy import PrivacyJobs
from zapline.daemon.master_key import derive
from zapline.daemon.settings import Settings
from zapline.domain.privacy.sealed_credentials import CredentialSealer
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.notifications.live_events import EventStreams
from zapline.http.app import create_app
from zapline.http.dependencies import Dependencies
from zapline.http.server.asgi import App
from zapline.http.webhooks.endpoint import IntakePolicy, WebhookApp
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.organizations import Organizations
from zapline.supervisors.accounts.people import People
from zapline.supervisors.accounts.second_factors import SecondFactors
from zapline.supervisors.accounts.tenant_ceilings import TenantCeilings
from zapline.supervisors.conversations.quick_replies import QuickReplies
from zapline.supervisors.directory.contact_pictures import ContactPictures
from zapline.supervisors.directory.group_members import GroupMembers
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.unrouted import UnroutedWebhooks

Listener = tuple[App, Sequence[str]]
"""An application, and the addresses to bind."""


def http_listeners(
    settings: Settings,
    core: DaemonCore,
    outbound: Outbound,
    files: KeptFiles,
    privacy: PrivacyJobs,
    notifications: Notifications,
    health: HealthMonitor,
    api_pool: Pool,
    identity: Authentication,
    audit: AuditLog,
    alarms: Alarms,
    unrouted: UnroutedWebhooks,
    cluster: Cluster | None,
    master: bytes,
) -> list[Listener]:
    """The webhook endpoint, and API with console; ``api_pool`` has a role that only reads."""
    access_changed = notifications.on_access_change(identity.invalidate_cache)
    deps = Dependencies(
        commands=core.commands,
        roster=core.roster,
        health=health,
        counters=core.counters,
        pool=api_pool,
        identity=identity,
        audit=audit,
        people=People(core.pool, identity),
        factors=SecondFactors(core.pool, CredentialSealer(derive(master, "second factors")), identity),
        organizations=Organizations(core.pool, core.commands.find, access_changed),
        ceilings=TenantCeilings(core.pool, identity.invalidate_cache),
        auth=AuthPolicy(trusted=settings.trusted_proxies),
        outgoing=outbound.outgoing,
        campaigns=outbound.campaigns,
        media=files.reader,
        file_policies=files.policies,
        receipts=outbound.receipts,
        edits=outbound.edits,
        replies=QuickReplies(core.pool, core.commands.find),
        streams=EventStreams(notifications.feed, revocations=identity.invalidations),
        feed=notifications.feed,
        hooks=notifications.hooks,
        events=notifications.events,
        base_url=settings.base_url,
        changes=outbound.changes,
        servers=core.servers,
        alarms=alarms.commands,
        erasures=privacy.erasures,
        checks=outbound.checks,
        line_settings=core.line_settings,
        pictures=ContactPictures(core.client, core.counters, core.clock),
        groups=GroupMembers(core.pool, api_pool, core.client, core.counters, core.clock),
        region=settings.default_region,
        sending=outbound.unit_status,
        max_upload=int(settings.upload_max_bytes),
    )
    api = create_app(deps)
    policy = IntakePolicy(settings.max_body_bytes, settings.body_budget_bytes)
    # With ZAPLINE_OPS_BIND the public side serves webhooks alone.
    rest = None if settings.ops_bind else api
    trusted = settings.trusted_proxies
    read_units = cluster.placement.read_anew if cluster is not None else None
    standing_by = (lambda: core.leadership.stands_by, read_units)
    front = WebhookApp(core.roster, core.intake, core.counters, policy, rest, trusted, unrouted, *standing_by)
    public: list[Listener] = [(front, settings.bind)]
    return [*public, (api, settings.ops_bind)] if settings.ops_bind else public
