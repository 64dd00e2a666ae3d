"""The log says truly whose crash it was, and what follows from too many."""

import io
import json

import trio.testing

from zapline.daemon.logs import configuration
from zapline.domain.restart_policy import GiveUp, RestartIntensity
from zapline.supervisors.restart_keeper import Child, keep_running


async def test_a_crash_is_told_by_role_and_unit(autojump_clock: trio.testing.MockClock) -> None:
    async def crash() -> None:
        raise LookupError("planted")

    crashes: list[float] = []
    log = io.BytesIO()
    undo = configuration.configure("json", "info", log)
    try:
        child = Child("unit-1", "sender", "it rests", crash, trio.lowlevel.checkpoint)
        gave_up = await keep_running(
            child, RestartIntensity(1, 60.0), lambda: crashes.append(autojump_clock.current_time())
        )
    finally:
        undo()
    assert isinstance(gave_up, GiveUp)
    assert len(crashes) == 2
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["level"], line["event"], line["unit"]) for line in lines] == [
        ("error", "A unit's sender crashed", "unit-1"),
        ("error", "A unit's sender crashed", "unit-1"),
        ("critical", "A unit's sender crashed too often: it rests", "unit-1"),
    ]
