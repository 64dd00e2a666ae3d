"""The first run, as a newcomer sees it: one command, two units that talk, and nothing left behind."""

import re
import time
from collections.abc import Iterator

import pytest
from support.sandboxes import Sandbox, new_place, sandbox

from zapline.sandbox.embedded_postgres.host import processes


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """One sandbox for whoever only plays in it."""
    with new_place() as place, sandbox(place) as opened:
        yield opened


def test_one_command_shows_recorded_traffic_as_conversations(box: Sandbox) -> None:
    assert (box.place / ".zapline" / "sandbox.json").stat().st_mode & 0o077 == 0
    assert [unit["name"] for unit in box.told["units"]] == ["Loja Centro", "Clínica Sul"]
    status = box.status()
    assert (status["status"], status["reason"]) == ("connected", "scan_completed")
    unit = box.told["units"][0]["id"]
    box.until(lambda: len(box.get(f"/units/{unit}/conversations")["items"]) >= 3, 15)
    conversation = box.get(f"/units/{unit}/conversations")["items"][-1]["id"]
    assert box.get(f"/units/{unit}/conversations/{conversation}/messages")["items"]

    box.control("receive", instance="loja_centro", text="bom dia, canário")

    def arrived() -> bool:
        messages = box.get(f"/units/{unit}/messages?afterSeq=0&limit=200")["items"]
        return any(message["text"] == "bom dia, canário" for message in messages)

    box.until(arrived, 2)
    health = box.get("/health")
    assert health["checks"]["lostWebhooks"]["verdict"] == "pass", health
    shown = (box.place / "out.log").read_text()
    assert "New message from ****0001" in shown
    assert not re.search(r"(?<![0-9A-Za-z-])55119\d{7,8}(?![0-9A-Za-z-])", shown)
    assert not any(unit["webhookUrl"].rpartition("/")[2] in shown for unit in box.told["units"])
    assert "bom dia, canário" not in shown


def test_a_scan_connects_within_a_second_and_a_logout_says_what_to_do(box: Sandbox) -> None:
    unit = box.told["units"][0]["id"]
    box.control("close", instance="loja_centro", code=401)
    box.until(lambda: box.status()["reason"] == "logged_out", 5)
    assert "scan" in box.status()["advice"].lower()
    assert box.status()["disconnectedAt"] is not None
    assert box.http.post(f"/units/{unit}/whatsapp/connect", json={}).status_code == 202
    box.until(lambda: box.status()["reason"] == "waiting_scan", 10)
    assert box.status()["qrCode"].startswith("data:image/png;base64,")
    assert box.http.get(f"/units/{unit}/whatsapp/qr.svg").headers["content-type"].startswith("image/svg+xml")
    box.control("scan", instance="loja_centro")
    assert box.until(lambda: box.status()["status"] == "connected", 5) < 1.0
    status = box.status()
    assert list(status)[:7] == [
        *("status", "reason", "qrCode", "connectedAt", "disconnectedAt", "qrUpdatedAt", "lastUpdate")
    ]
    assert status["qrCode"] is None


@pytest.mark.long
def test_a_second_start_is_quick_also_after_a_kill_and_nothing_is_left_behind() -> None:
    with new_place() as place:
        with sandbox(place) as first:
            units = [unit["id"] for unit in first.told["units"]]
            first.process.kill()
            first.process.wait()
        with sandbox(place) as again:
            assert again.seconds < 5.0, (place / "out.log").read_text()[-3000:]
            assert [unit["id"] for unit in again.told["units"]] == units
            assert len(again.children) >= 3
        assert again.process.returncode == 0
        assert not again.children & {one.pid for one in processes()}


def test_the_daemon_lives_on_when_the_threads_that_helped_at_the_start_have_ended(box: Sandbox) -> None:
    """Threads of trio's pool end after ten idle seconds, and a child whose starter ends is stopped."""
    time.sleep(max(0.0, box.started + box.seconds + 12 - time.monotonic()))
    assert any(one.command.endswith("zapline run") for one in processes() if one.pid in box.children)
    assert box.status()["status"] == "connected"
    assert box.process.poll() is None
