"""Every page of the console, as its routes name them, judged by axe-core; in each language by ``make pages``."""

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from support.browser_visitor import BrowserThread, Visitor
from support.console_routes import console_paths
from support.page_inspection import LOCALES
from support.running_system import RunningSystem, wait_until

PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")
ADDRESSES = """[...document.querySelectorAll("[href], [action], [data-src], [data-above], [src]")].flatMap(
    one => ["href", "action", "data-src", "data-above", "src"].map(name => one.getAttribute(name)).filter(Boolean))"""
STREAMS = {"/console/events", "/console/units/<uuid:unit>/events", "/console/static/<name>"}


def test_no_page_of_any_route_has_a_fault_that_axe_finds(
    signed_in_visitor: Callable[..., Visitor],
    new_visitor: Callable[..., Visitor],
    browser_thread: BrowserThread,
    system: RunningSystem,
) -> None:
    unit = furnish(system)
    visitor = signed_in_visitor()
    pages, unknown = find_pages(visitor, unit)
    assert not unknown, "no page leads there: what has to be made, so that one does?"
    assert len(pages) > 35
    wrong: list[str] = []
    for locale in LOCALES:
        reader = signed_in_visitor(locale=locale)
        stranger = new_visitor(locale=locale)
        stranger.go("/console/sign-in")
        wrong += faults(stranger, f"{locale} /console/sign-in")
        for path in pages:
            reader.go(path)
            assert reader.page.locator("html").get_attribute("lang") in (locale, locale[:2])
            wrong += faults(reader, f"{locale} {path}")
        reader.page.keyboard.press("Control+k")
        reader.page.locator("#palette [data-found]:not(:empty)").wait_for()
        wrong += faults(reader, f"{locale} Ctrl-K")
    assert not wrong, "\n".join(wrong)


def faults(visitor: Visitor, where: str) -> Iterator[str]:
    for violation in Axe().run(visitor.page, options={"resultTypes": ["violations"]}).response["violations"]:
        nodes = [node["html"][:160] for node in violation["nodes"][:3]]
        yield f"{where}: {violation['id']} ({violation['help']}): {json.dumps(nodes, ensure_ascii=False)}"


def find_pages(visitor: Visitor, unit: str) -> tuple[list[str], list[str]]:
    """A path for every route that answers with a whole page, and the routes whose ids no page has in it.

    An id is learned from the addresses in pages that were opened before.
    """
    waiting = [rule for rule in console_paths() if rule not in STREAMS]
    ids, seen = {"unit": unit}, set[str]()
    pages: list[str] = []
    while True:
        for rule in console_paths():
            learn(ids, rule, seen)
        found = [rule for rule in waiting if set(PLACEHOLDER.findall(rule)) <= ids.keys()]
        if not found:
            return pages, waiting
        for rule in found:
            waiting.remove(rule)
            path = PLACEHOLDER.sub(lambda match: ids[match[1]], rule)
            answer = visitor.context.request.get(visitor.base_url + path)
            html = answer.headers.get("content-type", "").startswith("text/html")
            if html and answer.status < 400 and "<!doctype html>" in answer.text():
                visitor.go(path)
                pages.append(path)
                seen |= {urlsplit(address).path for address in visitor.page.evaluate(ADDRESSES)}


def learn(ids: dict[str, str], rule: str, seen: set[str]) -> None:
    """Take from an address of this route the id that is not known yet; the others are those that are known."""
    new = [name for name in PLACEHOLDER.findall(rule) if name not in ids]
    if len(new) == 1:
        ours = PLACEHOLDER.sub(lambda match: ids.get(match[1], "([0-9a-f-]{36}|[0-9]+)"), rule)
        found = next((match for address in sorted(seen) if (match := re.fullmatch(ours, address))), None)
        if found is not None:
            ids[new[0]] = found[1]


def furnish(system: RunningSystem) -> str:
    """A unit that has one of everything to which a page leads."""
    unit = system.new_unit("Bazar do Bairro", "bazar_bairro")
    path = f"/units/{unit}"
    system.call("POST", f"{path}/tokens", {"label": "CRM da loja", "scopes": ["read", "send"]})
    system.call("POST", f"{path}/suppressions", {"to": "(11) 99993-0001"})
    system.call("PUT", f"{path}/quick-replies/horario", {"text": "Abrimos às 9h."})
    organization = system.call("POST", "/organizations", {"name": "Rede do Bairro"})["id"]
    system.call("PUT", f"/organizations/{organization}/units/{unit}")
    system.call("POST", f"{path}/hooks", {"url": "https://example.com/hook", "events": ["message.received"]})
    people = [{"telefone": "(11) 99993-0003"}, {"telefone": "123"}]
    campaign = {"clientCampaignId": "axe-1", "name": "Volta às aulas", "text": "Olá", "recipients": people}
    system.call("POST", f"{path}/campaigns", campaign)
    system.control("receive", instance="bazar_bairro", text="oi", sender="5511999930002", push_name="Zé")
    system.control("play", instance="bazar_bairro", name="malformed-truncated")
    system.call("POST", f"{path}/messages", {"clientMessageId": "axe-1", "to": "(11) 99993-0002", "text": "Olá"})

    def furnished() -> bool:
        texts = system.call("GET", f"{path}/messages?afterSeq=0")["items"]
        return len(texts) == 2 and bool(system.call("GET", f"{path}/dead-letters")["items"])

    wait_until(furnished, 120, "the messages and the dead letter")
    return unit


def test_the_routes_of_the_console_are_found() -> None:
    paths = console_paths()
    assert len(paths) > 60
    assert {"/console/", "/console/units/<uuid:unit>/conversations/<uuid:conversation>"} <= set(paths)
