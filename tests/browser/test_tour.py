"""What wants the machine alone: every other page in all variants, and the time that an event takes to a page."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.browser_visitor import LIVE_SECONDS, BrowserThread, Visitor
from support.page_inspection import SCREENSHOTS, WANTED, inspect_page
from support.running_system import RunningSystem, wait_until

UNIT_PAGES = ("settings", "opt-outs", "tokens", "hooks", "privacy", "archive", "history")
PAGES = ("", "health", "audit", "about", "attention/letters", "where")


@pytest.mark.long
def test_every_page_is_fit_to_be_seen(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Mercado Modelo", "mercado_modelo")
    path = f"/units/{unit}"
    system.call("POST", f"{path}/tokens", {"label": "CRM da loja", "scopes": ["read", "send"]})
    system.call("POST", f"{path}/suppressions", {"to": "(11) 99994-0001"})
    visitor = signed_in_visitor()
    for name in PAGES:
        visitor.go(f"/console/{name}")
        inspect_page(visitor, f"page-{name.replace('/', '-') or 'overview'}")
    for name in UNIT_PAGES:
        visitor.go(f"/console{path}/{name}")
        inspect_page(visitor, f"unit-{name}")
    sent = system.call("POST", f"{path}/messages", {"clientMessageId": "tour-1", "to": "(11) 99994-0002", "text": "Oi"})
    visitor.go("/console/where?q=tour-1")
    visitor.page.get_by_role("heading", name="Step by step").wait_for()
    assert sent["id"] in visitor.page.url
    inspect_page(visitor, "where-message")
    visitor.go(f"/console{path}")
    inspect_page(visitor, "unit-line")
    with visitor.expecting("status of 404"):
        visitor.page.goto(f"{system.url}/console/nowhere")
        inspect_page(visitor, "error")


@pytest.mark.long
def test_lines_that_are_out_and_their_codes_are_fit_to_be_seen_in_two_languages(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    out = system.new_unit("Farmácia Popular do Bairro São José", "farmacia_popular")
    system.control("close", instance="farmacia_popular", code=401)
    wait_until(lambda: system.status(out)["reason"] == "logged_out", 20, "the end of the line")
    code = system.new_unit("Padaria Sul", "padaria_sul", connected=False)
    system.call("POST", f"/units/{code}/whatsapp/connect", {})
    wait_until(lambda: system.status(code)["reason"] == "waiting_scan", 20, "a code")
    for locale in ("en-US", "es-MX"):
        visitor = signed_in_visitor(locale=locale)
        for name in ("", "scan"):
            page = visitor.go(f"/console/{name}")
            assert page.locator("html").get_attribute("lang") == locale[:2]
            inspect_page(visitor, f"out-{name or 'overview'}-{locale[:2]}")
            if WANTED:
                page.set_viewport_size({"width": 1366, "height": 768})
                page.screenshot(path=SCREENSHOTS / f"out-{name or 'overview'}-{locale[:2]}-1366.png")


@pytest.mark.long
def test_a_page_shows_an_event_within_two_seconds(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    instance, sender, limit = "relojoaria_sol", "5511999930001", LIVE_SECONDS * 1000
    unit = system.new_unit("Relojoaria Sol", instance, connected=False)
    system.call("POST", f"/units/{unit}/whatsapp/connect", {})
    page = signed_in_visitor().go(f"/console/units/{unit}")
    page.get_by_alt_text("QR code to scan with WhatsApp").wait_for()
    system.control("scan", instance=instance)
    expect(page.locator("#line-title")).to_have_text("Connected", timeout=limit)
    page.get_by_role("link", name="Conversations", exact=True).click()
    system.control("receive", instance=instance, text="oi", sender=sender, push_name="Joana Prado")
    page.get_by_text("Joana Prado").wait_for(timeout=limit)
    page.get_by_text("Joana Prado").click()
    thread = page.get_by_role("log")
    system.control("receive", instance=instance, text="Alguém aí?", sender=sender)
    expect(thread).to_contain_text("Alguém aí?", timeout=limit)
    system.control("habits", statuses=[])
    try:
        page.get_by_label("Message", exact=True).fill("Já vai.")
        page.keyboard.press("Enter")
        tick = thread.locator(".ours .tick")
        expect(tick).to_have_attribute("title", "Sent")
        (id,) = [row[0] for row in system.control("deliveries", "GET")["rows"] if row[1] == instance]
        for status, label in (("DELIVERY_ACK", "Delivered"), ("READ", "Read")):
            system.control("status", instance=instance, id=id, status=status)
            expect(tick).to_have_attribute("title", label, timeout=limit)
    finally:
        system.control("habits", statuses=["SERVER_ACK", "DELIVERY_ACK"])
