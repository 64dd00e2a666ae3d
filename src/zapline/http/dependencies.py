"""What the API and the console stand on, handed to both in one piece by whoever composes them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from zapline.domain.ids import UnitId
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.messages.uploads import MAX_UPLOAD
from zapline.http.api.notifications.live_events import Streams
from zapline.http.api.units.unit_schemas import OutboundBody
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Identity
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.health_report import Health
from zapline.supervisors.inbound.media_cache import Media
from zapline.supervisors.notifications.crm_webhook_commands import Hooks
from zapline.supervisors.notifications.live_feed import Feed
from zapline.supervisors.outbound.read_receipts import Receipts
from zapline.supervisors.outbound.submission import Outgoing
from zapline.supervisors.privacy.erasure_jobs import Erasures
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import Submit
from zapline.supervisors.units.unit_lifecycle import UnitChanges


@dataclass(frozen=True, slots=True)
class Parts:
    """A part that is None has no routes."""

    submit: Submit
    roster: Roster
    health: Health
    counters: Counters
    pool: Pool
    """Lends connections of the role ``zapline_api``, which only reads."""
    identity: Identity
    audit: AuditLog
    auth: AuthPolicy = field(default_factory=AuthPolicy)
    outgoing: Outgoing | None = None
    campaigns: Campaigns | None = None
    media: Media | None = None
    receipts: Receipts | None = None
    streams: Streams | None = None
    """Live events, of one unit and of all."""
    hooks: Hooks | None = None
    changes: UnitChanges | None = None
    erasures: Erasures | None = None
    region: str = "BR"
    """Of phones that are given without a country."""
    max_upload: int = MAX_UPLOAD
    feed: Feed | None = None
    """What the console shows of the last events."""
    base_url: str = ""
    """The address that people and Evolution are given."""
    sending: Callable[[UnitId], OutboundBody | None] = lambda unit: None
    """Tells how a unit's sending stands, as part of its status."""
