"""What the API and the console stand on, handed to both in one piece by whoever composes them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from zapline.domain.ids import UnitId
from zapline.http.events import Streams
from zapline.http.sign_in import AuthPolicy
from zapline.http.unit_bodies import OutboundBody
from zapline.http.uploads import MAX_UPLOAD
from zapline.sql.pool import Pool
from zapline.supervisors.audit import AuditLog
from zapline.supervisors.campaigns import Campaigns
from zapline.supervisors.counters import Counters
from zapline.supervisors.erasures import Erasures
from zapline.supervisors.feed import Feed
from zapline.supervisors.health import Health
from zapline.supervisors.hooks import Hooks
from zapline.supervisors.identity import Identity
from zapline.supervisors.media import Media
from zapline.supervisors.outgoing import Outgoing
from zapline.supervisors.receipts import Receipts
from zapline.supervisors.roster import Roster
from zapline.supervisors.submit import Submit
from zapline.supervisors.unit_changes import UnitChanges


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
