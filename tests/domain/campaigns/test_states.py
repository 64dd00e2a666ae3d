from uuid import uuid4

import pytest

from zapline.domain.campaigns.states import (
    CampaignCommand,
    CampaignState,
    WrongCampaignState,
    campaign_client_id,
    next_state,
)


def test_commands_follow_the_table_and_may_be_repeated() -> None:
    s = CampaignState
    allowed = {
        CampaignCommand.START: {s.READY: s.RUNNING, s.RUNNING: None, s.SCHEDULED: None},
        CampaignCommand.PAUSE: {s.RUNNING: s.PAUSED, s.SCHEDULED: s.PAUSED, s.PAUSED: None},
        CampaignCommand.RESUME: {s.PAUSED: s.RUNNING, s.RUNNING: None, s.SCHEDULED: None},
        CampaignCommand.CANCEL: {
            s.READY: s.CANCELLED,
            s.RUNNING: s.CANCELLED,
            s.SCHEDULED: s.CANCELLED,
            s.PAUSED: s.CANCELLED,
        }
        | {s.CANCELLED: None},
        CampaignCommand.RETRY_FAILED: {s.RUNNING: s.RUNNING, s.PAUSED: s.PAUSED, s.DONE: s.RUNNING},
    }
    for command in CampaignCommand:
        for state in s:
            if state in allowed[command]:
                assert next_state(command, state, None, 100.0) == allowed[command][state]
            else:
                with pytest.raises(WrongCampaignState, match=state.value):
                    next_state(command, state, None, 100.0)
    assert next_state(CampaignCommand.START, s.READY, 101.0, 100.0) is s.SCHEDULED
    assert next_state(CampaignCommand.RESUME, s.PAUSED, 99.0, 100.0) is s.RUNNING


def test_a_client_id_holds_campaign_number_and_generation() -> None:
    campaign = uuid4()
    assert campaign_client_id(campaign, 7, 2) == f"campaign:{campaign}:7:2"
