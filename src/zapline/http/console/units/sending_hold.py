"""Explains why a unit, or a running campaign, sends nothing now, and what to do about it."""

from zoneinfo import ZoneInfo

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.pacing import PaceLimits
from zapline.http.console.framework.formatting import date_time
from zapline.http.console.framework.translation import _
from zapline.http.console.units.line_status import line_status
from zapline.sql.campaigns.campaigns import Campaign
from zapline.sql.outbound.unit_pace import StoredPace
from zapline.supervisors.inbound.unit_state import Unit


def unit_hold_reason(unit: Unit) -> str:
    """Why the unit sends nothing, with advice; empty if its line is open and sending is not paused."""
    unpaused = unit.quarantined_at is None and unit.state is not None and unit.record.paused_at is None
    if unpaused and unit.state is not None and unit.state.stored.phase is Phase.OPEN:
        return ""
    status = line_status(unit)
    if unit.record.paused_at is None:
        return _("The line is not open: {sentence} {advice}", sentence=status.sentence, advice=status.advice)
    return _("The unit's sending is paused. What waits leaves once it is resumed, on the page of the line.")


def campaign_hold_reason(unit: Unit, campaign: Campaign, pace: StoredPace | None, now: float) -> str:
    """Why a running campaign sends nothing at ``now`` (UTC seconds); empty if nothing holds it or nobody is left."""
    if campaign.state is not CampaignState.RUNNING or not (campaign.counts["pending"] or campaign.counts["queued"]):
        return ""
    if hold := unit_hold_reason(unit):
        return hold
    if unit.record.campaigns_held_reason is not None:
        why = _(failure_text(unit.record.campaigns_held_reason))
        return _("The unit's campaigns wait for you, on the page of the line: {why}", why=why)
    zone = unit.record.time_zone
    quiet = (pace.quiet_from, pace.quiet_until) if pace is not None else (None, None)
    limits = PaceLimits.from_stored(ZoneInfo(zone), quiet_from=quiet[0], quiet_until=quiet[1])
    opens = campaign.timing.opens_at(limits, now)
    if opens is None:
        return _("Its hours and the unit's quiet hours leave no time to send. Change the quiet hours in the settings.")
    if opens <= now:
        return ""
    at = date_time(opens, zone)
    if limits.quiet is not None and limits.quiet.end_after(now) is not None:
        return _("The unit has its quiet hours: it goes on by itself at {at}. The settings change them.", at=at)
    return _("It is outside of its hours: it goes on by itself at {at}.", at=at)
