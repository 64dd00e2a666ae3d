"""A day of an attendant, by keyboard: hears a message in the background, finds it, answers it, and sends once."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from support.browser_visitor import SECONDS, BrowserThread, Visitor
from support.page_inspection import SCREENSHOTS, WANTED, inspect_page
from support.running_system import RunningSystem, wait_until

INSTANCE, CUSTOMER = "papelaria_lua", "5511999910001"
PERMISSIONS = ["notifications", "microphone", "clipboard-read", "clipboard-write"]
WATCH = """(() => {
  window.heard = 0;
  window.notified = [];
  document.addEventListener("zapline:rang", () => { window.heard += 1; });
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) { super(title, options); window.notified.push([title, options.body]); }
  };
})()"""
"""Notes each sound and notification; the real ones are made."""
COPY_PICTURE = """async () => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 40;
  canvas.getContext("2d").fillRect(5, 5, 20, 20);
  const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
}"""
COMPOSER_BOTTOM = "document.querySelector('.composer').getBoundingClientRect().bottom <= innerHeight"


@pytest.fixture(scope="module")
def unit(system: RunningSystem) -> str:
    made = system.new_unit("Papelaria Lua", INSTANCE)
    system.allow_fast_sending(made)
    system.call("PUT", f"/units/{made}/quick-replies/horario", {"text": "Abrimos das 9h às 18h."})
    system.run("admin", "add", "bia@example.com", "--password-stdin", stdin="uma senha bem longa\n")
    return made


def test_an_attendants_day(
    signed_in_visitor: Callable[..., Visitor],
    new_visitor: Callable[..., Visitor],
    browser_thread: BrowserThread,
    system: RunningSystem,
    unit: str,
) -> None:
    visitor = signed_in_visitor(permissions=PERMISSIONS)
    visitor.context.add_init_script(WATCH)
    page = visitor.go(f"/console/units/{unit}/conversations")
    page.get_by_role("button", name="Notifications").press("Enter")
    visitor.until("window.heard === 1")
    go_to_the_background(page)
    receive(system, "Bom dia! Vocês abrem hoje?")
    visitor.until("window.heard === 2")
    visitor.until("document.title.startsWith('(1) ')")
    assert page.evaluate("window.notified") == [["Joana Prado", "Bom dia! Vocês abrem hoje?"]]

    page.bring_to_front()
    page.keyboard.press("Control+k")
    page.get_by_label("Name, phone or words").fill("joana")
    page.locator("#palette a", has_text="Joana Prado").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/conversations/*-*")
    thread, box = page.get_by_role("log"), page.get_by_label("Message", exact=True)
    expect(thread).to_contain_text("Vocês abrem hoje?")

    box.press("/")
    page.get_by_role("option", name="/horario").wait_for()
    box.press("Enter")
    expect(box).to_have_value("Abrimos das 9h às 18h.")
    page.evaluate(COPY_PICTURE)
    box.press("Control+v")
    expect(page.get_by_label("Files").locator("li")).to_have_count(1)
    box.press("Enter")
    picture = thread.locator(".ours", has_text="Abrimos das 9h")
    expect(picture.locator(".tick")).to_have_attribute("title", "Delivered", timeout=SECONDS * 1000)
    assert kinds(system, unit) == ["image"]

    change(picture, "Abrimos das 9h às 20h.")
    edited = thread.locator(".ours", has_text="às 20h")
    expect(edited).to_contain_text("edited")

    box = page.get_by_label("Message", exact=True)
    box.fill("isto fica aqui")
    page.get_by_role("button", name="Voice message").press("Enter")
    visitor.until("document.querySelector('[data-time]').textContent !== '0:00'")
    page.get_by_role("button", name="Send voice message").press("Enter")
    voice = thread.locator(".ours .bubble.voice")
    expect(voice.locator(".tick")).to_have_attribute("title", "Delivered", timeout=SECONDS * 1000)
    expect(page.get_by_label("Message", exact=True)).to_have_value("isto fica aqui")
    assert kinds(system, unit) == ["image", "voice"]

    asked = thread.locator(".message", has_text="Vocês abrem hoje?").first
    asked.get_by_label("Message options").press("Enter")
    asked.get_by_label("React with 👍").press("Enter")
    expect(asked.locator(".reactions")).to_contain_text("👍")

    inspect_page(visitor, "inbox-day")
    for size in ({"width": 1366, "height": 768}, {"width": 1024, "height": 600}):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert page.evaluate(COMPOSER_BOTTOM), f"at {size} the composer is whole"
        if WANTED:
            page.screenshot(path=SCREENSHOTS / f"inbox-day-{size['width']}.png")

    colleague = new_visitor()
    colleague.sign_in("bia@example.com", "uma senha bem longa")
    colleague.go(page.url.removeprefix(system.url))
    expect(page.locator("#colleagues")).to_have_text("bia has this conversation open too")
    colleague.page.get_by_label("Message", exact=True).press_sequentially("Eu resp")
    expect(page.locator("#colleagues")).to_have_text("bia is typing here")
    colleague.go("/console/about")
    expect(page.locator("#colleagues")).to_have_text("")


def test_nothing_is_sent_twice_over_a_killed_daemon_a_reload_and_two_tabs(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem, unit: str
) -> None:
    receive(system, "E amanhã?")
    first = signed_in_visitor()
    page = first.go(f"/console/units/{unit}/conversations")
    link = page.locator("a.conversation").first.get_attribute("href")
    assert link is not None
    first.go(link)
    second = first.context.new_page()
    second.goto(system.url + link)
    with first.expecting("Failed to load|failed: net::|ERR_"):
        page.get_by_label("Message", exact=True).fill("Amanhã também.")
        system.kill_daemon()
        page.get_by_label("Message", exact=True).press("Enter")
        expect(page.locator("form.reply [data-error]")).to_contain_text("It did not arrive")
        system.start_daemon()
        page.get_by_label("Message", exact=True).press("Enter")
        sent = page.get_by_role("log").locator(".ours", has_text="Amanhã também.")
        expect(sent).to_have_count(1, timeout=SECONDS * 1000)
        page.reload()
        expect(sent.locator(".tick")).to_have_attribute("title", "Delivered", timeout=SECONDS * 1000)
        tabs = [page, second]
        for number, tab in enumerate(tabs):
            tab.get_by_label("Message", exact=True).fill(f"Da aba {number}.")
        for tab in tabs:
            tab.get_by_label("Message", exact=True).press("Enter")
        for number in range(len(tabs)):
            for tab in tabs:
                expect(tab.get_by_role("log").locator(".ours", has_text=f"Da aba {number}.")).to_have_count(1)
    said = ["Amanhã também.", "Da aba 0.", "Da aba 1."]
    wait_until(lambda: set(said) <= set(delivered(system)), SECONDS, "the deliveries")
    assert [delivered(system).count(text) for text in said] == [1, 1, 1]


def go_to_the_background(page: Page) -> None:
    """Another page of the same browser comes to the front; the automation no longer pretends that this one is."""
    page.context.new_cdp_session(page).send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    page.context.new_page().bring_to_front()
    wait_until(lambda: page.evaluate("document.hidden || !document.hasFocus()"), SECONDS, "the background")


def change(message: Locator, text: str) -> None:
    message.get_by_label("Message options").press("Enter")
    message.get_by_label("New text").fill(text)
    message.get_by_role("button", name="Save").press("Enter")


def receive(system: RunningSystem, text: str) -> None:
    system.control("receive", instance=INSTANCE, text=text, sender=CUSTOMER, push_name="Joana Prado")


def kinds(system: RunningSystem, unit: str) -> list[Any]:
    rows = system.rows(
        "select kind from zapline.messages where unit_id = %s and from_me and kind <> 'reaction' order by seq", unit
    )
    return [row[0] for row in rows]


def delivered(system: RunningSystem) -> list[str]:
    return [row[3] for row in system.control("deliveries", "GET")["rows"] if row[1] == INSTANCE]
