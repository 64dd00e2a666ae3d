"""The README's first steps as they are written there: from one command to a message in the console."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from support.browser_visitor import BrowserThread, Visitor
from support.page_inspection import ROOT, inspect_page
from support.running_system import wait_until
from support.sandbox_process import SandboxProcess, new_directory, running_sandbox

STEPS = re.compile(r"```sh\n(.+?)```", re.DOTALL)
MAX_LINES = 15
TEXT = "Seu pedido saiu para entrega."


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with new_directory() as directory, running_sandbox(directory) as opened:
        yield opened


def test_the_readmes_lines_send_a_message(sandbox: SandboxProcess) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    install, use = STEPS.findall(readme)[:2]
    lines = [line for line in (install + use).splitlines() if line.strip()]
    assert len(lines) <= MAX_LINES
    assert "make run" in install
    done = subprocess.run(
        ["bash", "-euc", use], cwd=sandbox.directory, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert TEXT in done.stdout
    unit = sandbox.info["units"][0]["id"]

    def sent() -> bool:
        found = [
            one for one in sandbox.get(f"/units/{unit}/messages?afterSeq=0&limit=200")["items"] if one["text"] == TEXT
        ]
        return bool(found) and found[0]["deliveryStatus"] in ("sent", "delivered")

    wait_until(sent, 15, "the message's delivery")
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme):
        assert 0 < (ROOT / picture).stat().st_size < 150_000


def test_the_message_is_seen_in_the_console(
    sandbox: SandboxProcess, browser: Browser, browser_thread: BrowserThread
) -> None:
    visitor = Visitor(browser.new_context(), sandbox.info["baseUrl"])
    page = visitor.page
    visitor.sign_in(sandbox.info["adminEmail"], sandbox.info["adminPassword"])
    page.get_by_role("link", name="Loja Centro").click()
    page.get_by_role("link", name="Conversations", exact=True).click()
    page.locator("a.conversation").first.click()
    thread = page.get_by_role("log")
    expect(thread.locator(".ours").last).to_contain_text(TEXT)
    expect(thread.locator(".ours .tick").last).to_have_attribute("title", "Delivered")
    expect(thread.locator(".message").last).to_contain_text("Obrigada!")
    thread.evaluate("log => { log.scrollTop = log.scrollHeight; }")
    with visitor.expecting("Failed to load resource"):  # the recorded files are on no phone
        inspect_page(visitor, "first-steps")
    visitor.assert_no_troubles()
    visitor.context.close()
