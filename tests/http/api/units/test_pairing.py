"""Pairings that end badly, in the whole daemon: API and console say what happened, and what helps does help."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from support.daemon_in_process import OWN, WholeDaemon, daemon_in_process

from zapline.domain.line import signals, state_machine
from zapline.domain.line.reasons import EXPLANATIONS, Reason
from zapline.domain.retry_policy import Backoff


class Line:
    """One unit's line."""

    def __init__(self, whole: WholeDaemon, unit: str, name: str) -> None:
        self.whole, self.unit, self.name = whole, unit, name

    async def until(self, wanted: Callable[[Any], Any]) -> Any:
        """Poll the status, as a page does on which somebody waits for the code."""
        return await self.whole.until(f"/units/{self.unit}/whatsapp/status", wanted)

    async def until_told(self, reason: Reason) -> None:
        """Wait until API and console give this reason and its advice."""
        shown = await self.until(lambda shown: shown["reason"] == reason.value)
        explained = EXPLANATIONS[reason]
        assert (shown["sentence"], shown["advice"]) == (explained.sentence, explained.advice)
        page = await self.whole.operator.get(f"/console/units/{self.unit}")
        assert explained.sentence in page.visible_text

    async def phone(self, command: str, **arguments: Any) -> None:
        await self.whole.control(command, instance=self.name, **arguments)

    async def scan(self) -> None:
        """Scan the code that is shown; the line opens."""
        await self.until(lambda shown: shown["qrExpiresAt"])
        await self.phone("scan")
        await self.until(lambda shown: shown["status"] == "connected")


async def pairing(whole: WholeDaemon, name: str) -> Line:
    line = Line(whole, await whole.add_unit(name, connected=False), name)
    await whole.post(f"/units/{line.unit}/whatsapp/connect", {})
    await line.until(lambda shown: shown["reason"] == "waiting_scan")
    return line


async def passkey(whole: WholeDaemon) -> None:
    """A build of Evolution that tells of passkeys; the scan itself has no effect."""
    line = await pairing(whole, "passkey")
    await line.phone("scan", outcome="nothing")
    hook = whole.evolution.instance(line.name).webhook
    assert hook is not None
    data = {"instance": line.name, "state": "passkey_required", "statusReason": 200}
    body = {"event": "connection.update", "instance": line.name, "data": data, "sender": OWN}
    await whole.client.post(hook.url, content=msgspec.json.encode(body))
    await line.until_told(Reason.PASSKEY_ASKED)
    await line.scan()


async def cannot_link(whole: WholeDaemon) -> None:
    """The phone says that it cannot link the device; codes go on."""
    line = await pairing(whole, "refused")
    await trio.sleep(0.3)  # a code's own connecting comes with it; this one comes later
    await line.phone("scan", outcome="refused")
    await line.until_told(Reason.LINK_NOT_COMPLETED)
    await line.scan()


async def unfinished(whole: WholeDaemon) -> None:
    """515 is not followed by the reconnect: another connect finishes the link."""
    line = await pairing(whole, "unfinished")
    await line.phone("scan", outcome="unfinished")
    await line.until(lambda shown: shown["status"] == "connected")


async def stuck(whole: WholeDaemon) -> None:
    """Sockets that never open: told so, and renewed by a person; what was queued leaves afterwards."""
    line = Line(whole, await whole.add_unit("stuck"), "stuck")
    await line.phone("close", code=428)
    await line.phone("stick")
    await line.until(lambda shown: shown["status"] != "connected")
    message = {"clientMessageId": "espera", "to": "+5511999990001", "text": "espera"}
    await whole.post(f"/units/{line.unit}/messages", message, 202)
    await line.until_told(Reason.SESSION_STUCK)
    await whole.post(f"/units/{line.unit}/whatsapp/renew", {})
    await line.scan()
    await line.until(lambda _: "espera" in [each.text for each in whole.evolution.ledger.messages])


async def never_taken(whole: WholeDaemon) -> None:
    """Codes that run out under somebody's eyes. All lines of the server have short ones meanwhile."""
    await whole.control("habits", qr_lifetime=0.3)
    line = await pairing(whole, "untaken")
    await line.until_told(Reason.CODES_NOT_TAKEN)
    await line.scan()


@pytest.mark.heavy
async def test_a_pairing_that_ends_badly_says_why_and_how_to_go_on(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A line that never opens is asked for minutes, at growing distances.
    monkeypatch.setattr(state_machine, "RECONNECT_BACKOFF", Backoff(base=0.1, factor=1.0, cap=0.1, jitter=0.3))
    monkeypatch.setattr(state_machine, "_LAST_OBSERVE_GAP", 0.5)
    monkeypatch.setattr(signals, "NOT_OPEN_FOR", 0.5)
    async with daemon_in_process(database, tmp_path / "state") as whole:
        await never_taken(whole)
        await whole.control("habits", qr_lifetime=45)
        # What is in the middle of a code's life comes some seconds after it.
        monkeypatch.setattr(state_machine, "_MIDDLE", (0.2, 40.0))
        async with trio.open_nursery() as nursery:
            for play in (passkey, cannot_link, unfinished, stuck):
                nursery.start_soon(play, whole)
        assert whole.running.core.counters.total("actor_crashes") == 0
