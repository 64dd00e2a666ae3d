"""The README's first steps, as they are written there: from one command to a message that is seen in the console."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from support.looking import ROOT, look
from support.running_system import wait_until
from support.sandbox_process import SandboxProcess, new_directory, running_sandbox
from support.visiting import Stage, Visitor

STEPS = re.compile(r"```sh\n(.+?)```", re.DOTALL)
MOST_LINES = 15
SAID = "Seu pedido saiu para entrega."


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with new_directory() as directory, running_sandbox(directory) as opened:
        yield opened


def test_the_readmes_lines_send_a_message(sandbox: SandboxProcess) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    install, use = STEPS.findall(readme)[:2]
    lines = [line for line in (install + use).splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
    assert "make run" in install
    done = subprocess.run(
        ["bash", "-euc", use], cwd=sandbox.directory, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAID in done.stdout
    unit = sandbox.info["units"][0]["id"]

    def sent() -> bool:
        found = [
            one for one in sandbox.get(f"/units/{unit}/messages?afterSeq=0&limit=200")["items"] if one["text"] == SAID
        ]
        return bool(found) and found[0]["deliveryStatus"] in ("sent", "delivered")

    wait_until(sent, 15, "the message's delivery")
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme):
        assert 0 < (ROOT / picture).stat().st_size < 150_000


def test_the_message_is_seen_in_the_console(sandbox: SandboxProcess, browser: Browser, stage: Stage) -> None:
    visitor = Visitor(browser.new_context(), sandbox.info["baseUrl"])
    page = visitor.page
    visitor.sign_in(sandbox.info["adminEmail"], sandbox.info["adminPassword"])
    page.get_by_role("link", name="Loja Centro").click()
    page.get_by_role("link", name="Conversations", exact=True).click()
    page.locator("a.conversation").first.click()
    thread = page.get_by_role("log")
    expect(thread.locator(".ours").last).to_contain_text(SAID)
    expect(thread.locator(".ours .tick").last).to_have_attribute("title", "Delivered")
    expect(thread.locator(".message").last).to_contain_text("Obrigada!")
    thread.evaluate("log => { log.scrollTop = log.scrollHeight; }")
    with visitor.forgiving("Failed to load resource"):  # the recorded files are on no phone
        look(visitor, "first-steps")
    visitor.judge()
    visitor.context.close()
