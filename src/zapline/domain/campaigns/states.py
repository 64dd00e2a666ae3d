"""Defines the states of a campaign, and which command leads from which state to which."""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from zapline.domain.errors import LocalError
from zapline.domain.text import Sentence


class WrongCampaignState(LocalError):
    """A command is not possible in the campaign's state; the message names the state."""


class CampaignState(StrEnum):
    READY = "ready"
    """Created but not started. Recipients may be added."""
    LOADING = "loading"
    """A list of recipients is being loaded. A crash undoes the load."""
    SCHEDULED = "scheduled"
    """Started, and waiting for its start time."""
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"
    """Nothing is left to send, except uncertain messages, which are shown."""


class CampaignCommand(StrEnum):
    """A request of a person to change a campaign's state."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY_FAILED = "retry-failed"


_ACTIVE = frozenset({CampaignState.SCHEDULED, CampaignState.RUNNING})
COMMAND_STATES: Mapping[CampaignCommand, frozenset[CampaignState]] = {
    CampaignCommand.START: frozenset({CampaignState.READY}),
    CampaignCommand.PAUSE: _ACTIVE,
    CampaignCommand.RESUME: frozenset({CampaignState.PAUSED}),
    CampaignCommand.CANCEL: frozenset({CampaignState.READY, CampaignState.PAUSED}) | _ACTIVE,
    CampaignCommand.RETRY_FAILED: frozenset({CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.DONE}),
}
"""The states in which each command is possible."""
_ALREADY_DONE: Mapping[CampaignCommand, frozenset[CampaignState]] = {
    CampaignCommand.START: _ACTIVE,
    CampaignCommand.PAUSE: frozenset({CampaignState.PAUSED}),
    CampaignCommand.RESUME: _ACTIVE,
    CampaignCommand.CANCEL: frozenset({CampaignState.CANCELLED}),
}

STATE_WORDS: Mapping[CampaignState, Sentence] = {
    CampaignState.READY: Sentence("ready"),
    CampaignState.LOADING: Sentence("loading"),
    CampaignState.SCHEDULED: Sentence("scheduled"),
    CampaignState.RUNNING: Sentence("running"),
    CampaignState.PAUSED: Sentence("paused"),
    CampaignState.CANCELLED: Sentence("cancelled"),
    CampaignState.DONE: Sentence("done"),
}
_COMMAND_WORDS: Mapping[CampaignCommand, Sentence] = {
    CampaignCommand.START: Sentence("start"),
    CampaignCommand.PAUSE: Sentence("pause"),
    CampaignCommand.RESUME: Sentence("resume"),
    CampaignCommand.CANCEL: Sentence("cancel"),
    CampaignCommand.RETRY_FAILED: Sentence("retry-failed"),
}


def next_state(
    command: CampaignCommand, state: CampaignState, start_at: float | None, now: float
) -> CampaignState | None:
    """The state after a command; None where the command has no effect, so that it may be repeated.

    Raises :class:`WrongCampaignState`.
    """
    if state in _ALREADY_DONE.get(command, ()):
        return None
    if state not in COMMAND_STATES[command]:
        words = {"state": STATE_WORDS[state], "command": _COMMAND_WORDS[command]}
        raise WrongCampaignState(Sentence("the campaign is {state}: {command} is not possible", **words))
    match command:
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
    """The client message id of a recipient's message, by which it is queued once, even after a crash."""
    return f"campaign:{campaign}:{number}:{generation}"
