"""A unit's line on one page without a reload: created, connected by a scan, and through a kill of the daemon."""

from collections.abc import Callable

from playwright.sync_api import Page, expect
from support.browser_visitor import SECONDS, BrowserThread, Visitor
from support.page_inspection import inspect_page
from support.running_system import RunningSystem, wait_until

AWAY = "ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|ERR_SOCKET|Failed to load resource|Failed to fetch"


def unit_of(page: Page) -> str:
    return page.url.partition("/units/")[2].partition("/")[0].partition("?")[0]


def test_a_unit_is_made_and_its_line_connected_by_a_scan(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    system.control("habits", qr_lifetime=3)
    try:
        visitor = signed_in_visitor()
        page = visitor.go("/console/")
        inspect_page(visitor, "overview-empty" if page.get_by_text("There is no unit yet").count() else "overview")
        page.get_by_role("link", name="New unit").click()
        inspect_page(visitor, "new-unit")
        page.get_by_label("Name", exact=True).fill("Padaria Norte")
        page.get_by_label("Instance").fill("padaria_norte")
        page.get_by_role("button", name="Make it").click()
        page.get_by_role("button", name="Connect", exact=True).wait_for()
        unit = unit_of(page)
        inspect_page(visitor, "unit-new", once=True)
        page.get_by_role("button", name="Connect", exact=True).click()
        code = page.get_by_alt_text("QR code to scan with WhatsApp")
        code.wait_for()
        visitor.mark_document()
        inspect_page(visitor, "unit-pairing")
        qr = f"/units/{unit}/whatsapp/qr.svg"
        wait_until(lambda: shown_code(page) == system.http.get(qr).content, SECONDS, "the code that the API has")
        first, source = shown_code(page), code.get_attribute("src")
        wait_until(lambda: code.get_attribute("src") != source, SECONDS, "another code")
        assert shown_code(page) != first, "Evolution has rotated the code, and the page shows the new one"
        visitor.until("document.querySelector('.qr img').naturalWidth > 0")
        system.control("scan", instance="padaria_norte")
        expect(page.locator("#line-title")).to_have_text("Connected")
        visitor.assert_not_reloaded()
        assert system.status(unit)["status"] == "connected"
        inspect_page(visitor, "unit-connected")
    finally:
        system.control("habits", qr_lifetime=45)


def shown_code(page: Page) -> bytes:
    source = page.get_by_alt_text("QR code to scan with WhatsApp").get_attribute("src")
    assert source is not None
    answer = page.request.get(page.url.partition("/console")[0] + source)
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["cache-control"] == "no-store"
    return answer.body()


def test_a_page_says_that_the_daemon_is_gone_and_recovers_by_itself(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Farmácia Leste", "farmacia_leste")
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{unit}")
    expect(page.locator("#line-title")).to_have_text("Connected")
    visitor.mark_document()
    with visitor.expecting(AWAY):
        system.kill_daemon()
        page.get_by_text("Connection to Zapline lost").wait_for()
        inspect_page(visitor, "unit-lost", once=True)
        system.start_daemon()
        page.get_by_text("Connection to Zapline lost").wait_for(state="hidden")
    expect(page.locator("#line-title")).to_have_text("Connected")
    system.control("receive", instance="farmacia_leste", text="voltou?", sender="5511999940001")
    expect(page.locator("#activity")).to_contain_text("message")
    visitor.assert_not_reloaded()
    page.get_by_role("link", name="Overview").first.click()
    page.get_by_role("heading", name="Units").wait_for()
    assert page.get_by_role("button", name="Sign out").is_visible(), "the session has outlived the daemon"
