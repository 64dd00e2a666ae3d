"""Decides how a campaign stands: its states and who may change them, when it may send, when it will have ended."""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from zapline.domain.errors import LocalError


class WrongCampaignState(LocalError):
    """What is asked of the campaign cannot be done as it stands; the text says how it stands."""


class CampaignState(StrEnum):
    READY = "ready"
    """Made, and not started. Recipients may be added."""
    LOADING = "loading"
    """A list of recipients is being read in. A crash takes back what was read of it."""
    SCHEDULED = "scheduled"
    """Started, and waits for its time."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"
    """Nothing is left to be sent. What is uncertain may be, and is shown."""


class CampaignCommand(StrEnum):
    """What a person may ask of a campaign."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY_FAILED = "retry-failed"


_AT_WORK = frozenset({CampaignState.SCHEDULED, CampaignState.RUNNING})
COMMAND_STATES: Mapping[CampaignCommand, frozenset[CampaignState]] = {
    CampaignCommand.START: frozenset({CampaignState.READY}),
    CampaignCommand.PAUSE: _AT_WORK,
    CampaignCommand.RESUME: frozenset({CampaignState.PAUSED}),
    CampaignCommand.CANCEL: frozenset({CampaignState.READY, CampaignState.PAUSED}) | _AT_WORK,
    CampaignCommand.RETRY_FAILED: frozenset({CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.DONE}),
}
"""In which states it may be asked."""
_SO_ALREADY: Mapping[CampaignCommand, frozenset[CampaignState]] = {
    CampaignCommand.START: _AT_WORK,
    CampaignCommand.PAUSE: frozenset({CampaignState.PAUSED}),
    CampaignCommand.RESUME: _AT_WORK,
    CampaignCommand.CANCEL: frozenset({CampaignState.CANCELLED}),
}


def next_state(ask: CampaignCommand, state: CampaignState, start_at: float | None, now: float) -> CampaignState | None:
    """The state that follows; None where it is as asked already, so that an ask may be repeated.

    Raises :class:`WrongCampaignState`.
    """
    if state in _SO_ALREADY.get(ask, ()):
        return None
    if state not in COMMAND_STATES[ask]:
        raise WrongCampaignState(f"the campaign is {state.value}: {ask.value} is not possible")
    match ask:
        case CampaignCommand.PAUSE:
            return CampaignState.PAUSED
        case CampaignCommand.CANCEL:
            return CampaignState.CANCELLED
        case CampaignCommand.RETRY_FAILED:
            return CampaignState.PAUSED if state is CampaignState.PAUSED else CampaignState.RUNNING
        case _:
            waits = start_at is not None and start_at > now
            return CampaignState.SCHEDULED if waits else CampaignState.RUNNING


def campaign_client_id(campaign: UUID, number: int, generation: int) -> str:
    """Under which a recipient's message is queued: once, whatever is killed when."""
    return f"campaign:{campaign}:{number}:{generation}"
