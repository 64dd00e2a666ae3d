"""What the API and the console are built from; ``daemon.composition`` fills it in."""

from collections.abc import Callable
from dataclasses import dataclass, field

from zapline.domain.ids import UnitId
from zapline.http.api.framework.password_sign_in import AuthPolicy
from zapline.http.api.messages.uploads import MAX_UPLOAD
from zapline.http.api.notifications.live_events import EventStreams
from zapline.http.api.units.unit_responses import OutboundBody
from zapline.sql.conversations.search_places import SearchPlaces
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.organizations import Organizations
from zapline.supervisors.accounts.people import People
from zapline.supervisors.accounts.request_limits import RequestLimits
from zapline.supervisors.accounts.second_factors import SecondFactors
from zapline.supervisors.accounts.tenant_ceilings import TenantCeilings
from zapline.supervisors.alarms.alarm_commands import AlarmCommands
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.conversations.quick_replies import QuickReplies
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.contact_pictures import ContactPictures
from zapline.supervisors.directory.group_members import GroupMembers
from zapline.supervisors.directory.number_checks import NumberChecks
from zapline.supervisors.files.policies import FilePolicies
from zapline.supervisors.files.reading import FileReader
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.lines.line_settings import LineSettingsKeeper
from zapline.supervisors.notifications.crm_webhook_commands import CrmWebhooks
from zapline.supervisors.notifications.event_log import EventLog
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.changes.message_changes import MessageChanges
from zapline.supervisors.outbound.read_receipts import ReadReceipts
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.servers.server_commands import ServerCommands
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Optional ones that are None have no routes."""

    commands: UnitCommands
    roster: Roster
    health: HealthMonitor
    counters: Counters
    pool: Pool
    """Connections with the read-only role ``zapline_api``."""
    identity: Authentication
    audit: AuditLog
    organizations: Organizations
    people: People
    factors: SecondFactors
    ceilings: TenantCeilings | None = None
    """What tenants' tokens may set at most."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    """How many requests each token makes."""
    searches: SearchPlaces = field(default_factory=SearchPlaces)
    """Shared by the API and the console, which search by the same pool."""
    auth: AuthPolicy = field(default_factory=AuthPolicy)
    outgoing: Submissions | None = None
    campaigns: Campaigns | None = None
    media: FileReader | None = None
    file_policies: FilePolicies | None = None
    receipts: ReadReceipts | None = None
    edits: MessageChanges | None = None
    """Edits and deletions of what was sent."""
    replies: QuickReplies | None = None
    streams: EventStreams | None = None
    """Live events, of one unit and of all."""
    hooks: CrmWebhooks | None = None
    events: EventLog | None = None
    """The log of events, which organizations read."""
    changes: UnitLifecycle | None = None
    servers: ServerCommands | None = None
    alarms: AlarmCommands | None = None
    erasures: ErasureJobs | None = None
    line_settings: LineSettingsKeeper | None = None
    checks: NumberChecks | None = None
    pictures: ContactPictures | None = None
    groups: GroupMembers | None = None
    region: str = "BR"
    """Country of phone numbers without a country code."""
    max_upload: int = MAX_UPLOAD
    feed: LiveFeed | None = None
    """Live events, of which the console shows the latest."""
    base_url: str = ""
    """The address under which people and Evolution reach Zapline."""
    sending: Callable[[UnitId], OutboundBody | None] = lambda unit: None
    """A unit's sender and reconciliation state, as part of its status."""
