"""The first run, as a new user sees it: one command, two units with messages, and nothing left behind."""

import re
from collections.abc import Iterator

import pytest
from support.sandbox_process import SandboxProcess, new_directory, running_sandbox

from zapline.sandbox.embedded_postgres.host import running_processes

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """The sandbox that the tests of this module share."""
    with new_directory() as directory, running_sandbox(directory) as running:
        yield running


def receive(sandbox: SandboxProcess, text: str) -> float:
    """Have the first unit receive a message; return the seconds until the API lists it."""
    unit = sandbox.info["units"][0]["id"]
    sandbox.control("receive", instance="loja_centro", text=text)

    def listed() -> bool:
        messages = sandbox.get(f"/units/{unit}/messages?afterSeq=0&limit=200")["items"]
        return any(message["text"] == text for message in messages)

    return sandbox.until(listed, 15)


def test_one_command_shows_recorded_traffic_as_conversations(sandbox: SandboxProcess) -> None:
    assert (sandbox.directory / ".zapline" / "sandbox.json").stat().st_mode & 0o077 == 0
    assert [unit["name"] for unit in sandbox.info["units"]] == ["Loja Centro", "Clínica Sul"]
    status = sandbox.status()
    assert (status["status"], status["reason"]) == ("connected", "scan_completed")
    unit = sandbox.info["units"][0]["id"]
    sandbox.until(lambda: len(sandbox.get(f"/units/{unit}/conversations")["items"]) >= 3, 15)
    conversation = sandbox.get(f"/units/{unit}/conversations")["items"][-1]["id"]
    assert sandbox.get(f"/units/{unit}/conversations/{conversation}/messages")["items"]

    receive(sandbox, "bom dia, canário")
    health = sandbox.get("/health")
    assert health["checks"]["lostWebhooks"]["verdict"] == "pass", health
    output = (sandbox.directory / "out.log").read_text()
    assert "New message from ****0001" in output
    assert not re.search(r"(?<![0-9A-Za-z-])55119\d{7,8}(?![0-9A-Za-z-])", output)
    assert not any(unit["webhookUrl"].rpartition("/")[2] in output for unit in sandbox.info["units"])
    assert "bom dia, canário" not in output


def log_out_and_connect(sandbox: SandboxProcess) -> float:
    """End the session of the first unit, scan a new QR code; return the seconds from the scan to ``connected``."""
    unit = sandbox.info["units"][0]["id"]
    sandbox.control("close", instance="loja_centro", code=401)
    sandbox.until(lambda: sandbox.status()["reason"] == "logged_out", 15)
    assert "scan" in sandbox.status()["advice"].lower()
    assert sandbox.status()["disconnectedAt"] is not None
    assert sandbox.http.post(f"/units/{unit}/whatsapp/connect", json={}).status_code == 202
    sandbox.until(lambda: sandbox.status()["reason"] == "waiting_scan", 15)
    assert sandbox.status()["qrCode"].startswith("data:image/png;base64,")
    assert sandbox.http.get(f"/units/{unit}/whatsapp/qr.svg").headers["content-type"].startswith("image/svg+xml")
    sandbox.control("scan", instance="loja_centro")
    return sandbox.until(lambda: sandbox.status()["status"] == "connected", 15)


def test_a_logout_gives_advice_and_a_scan_connects_again(sandbox: SandboxProcess) -> None:
    log_out_and_connect(sandbox)
    status = sandbox.status()
    assert list(status)[:7] == [
        *("status", "reason", "qrCode", "connectedAt", "disconnectedAt", "qrUpdatedAt", "lastUpdate")
    ]
    assert status["qrCode"] is None


@pytest.mark.long
def test_a_scan_connects_within_one_second_and_a_message_arrives_within_two(sandbox: SandboxProcess) -> None:
    assert log_out_and_connect(sandbox) < 1.0
    assert receive(sandbox, "boa tarde") < 2.0


@pytest.mark.long
def test_a_second_start_is_quick_also_after_a_kill_and_nothing_is_left_behind() -> None:
    with new_directory() as directory:
        with running_sandbox(directory) as first:
            units = [unit["id"] for unit in first.info["units"]]
            first.process.kill()
            first.process.wait()
        with running_sandbox(directory) as again:
            assert again.startup_seconds < first.startup_seconds, (directory / "out.log").read_text()[-3000:]
            assert [unit["id"] for unit in again.info["units"]] == units
            assert len(again.children) >= 3
        assert again.process.returncode == 0
        assert not again.children & {process.pid for process in running_processes()}


def test_the_daemon_survives_the_worker_threads_of_the_startup(sandbox: SandboxProcess) -> None:
    """Trio's worker threads end after ten idle seconds, and the kernel stops a child whose starting thread ends."""
    sandbox.until(lambda: sandbox.thread_count() == 1, 60)
    assert any(child.command.endswith("zapline run") for child in running_processes() if child.pid in sandbox.children)
    assert sandbox.status()["status"] == "connected"
    assert sandbox.process.poll() is None
