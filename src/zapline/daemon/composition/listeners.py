"""Builds the HTTP applications and says on which addresses each is served."""

from collections.abc import Sequence
from dataclasses import dataclass

from zapline.daemon.composition.notifications import Notifications
from zapline.daemon.composition.outbound import Outbound
from zapline.daemon.composition.privacy import PrivacyJobs
from zapline.daemon.settings import Settings
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.notifications.live_events import EventStreams
from zapline.http.app import create_app
from zapline.http.dependencies import Dependencies
from zapline.http.webhooks.endpoint import App, IntakePolicy, WebhookApp
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

Listener = tuple[App, Sequence[str]]
"""An application, and the addresses to bind."""


@dataclass(frozen=True, slots=True)
class HttpListeners:
    """``listeners`` builds webhook endpoint, API and console."""

    settings: Settings
    commands: UnitCommands
    roster: Roster
    health: HealthMonitor
    counters: Counters
    api_pool: Pool
    intake: Intake
    notifications: Notifications
    identity: Authentication
    audit: AuditLog

    def listeners(self, outbound: Outbound, privacy: PrivacyJobs) -> list[Listener]:
        settings = self.settings
        auth = AuthPolicy(trusted=settings.trusted_proxies)
        deps = Dependencies(
            commands=self.commands,
            roster=self.roster,
            health=self.health,
            counters=self.counters,
            pool=self.api_pool,
            identity=self.identity,
            audit=self.audit,
            auth=auth,
            outgoing=outbound.outgoing,
            campaigns=outbound.campaigns,
            media=outbound.media,
            receipts=outbound.receipts,
            streams=EventStreams(self.notifications.feed, revocations=self.identity.invalidations),
            feed=self.notifications.feed,
            hooks=self.notifications.hooks,
            base_url=settings.base_url,
            changes=outbound.changes,
            erasures=privacy.erasures,
            region=settings.default_region,
            sending=outbound.unit_status,
            max_upload=int(settings.upload_max_bytes),
        )
        api = create_app(deps)
        policy = IntakePolicy(settings.max_body_bytes, settings.body_budget_bytes)
        # With ZAPLINE_OPS_BIND the public side serves webhooks alone.
        rest = None if settings.ops_bind else api
        front = WebhookApp(self.roster, self.intake, self.counters, policy, rest=rest, trusted=settings.trusted_proxies)
        public: list[Listener] = [(front, settings.bind)]
        return [*public, (api, settings.ops_bind)] if settings.ops_bind else public
