"""The reference of the API in a real browser: every operation, nothing from elsewhere, and a request that is tried."""

from collections.abc import Callable
from urllib.parse import urlsplit

from support.browser_visitor import BrowserThread, Visitor
from support.page_inspection import SCREENSHOTS, WANTED
from support.running_system import RunningSystem


def test_the_reference_shows_every_operation_and_asks_nobody_else(
    new_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    visitor = new_visitor()
    requests: list[str] = []
    visitor.page.on("request", lambda request: requests.append(request.url))
    page = visitor.go("/docs")
    page.locator(".opblock-tag").first.wait_for(timeout=60_000)
    document = page.evaluate("fetch('/openapi.json').then(answer => answer.json())")
    methods = [(path, method) for path, operations in document["paths"].items() for method in operations]
    sections, shown = page.locator(".opblock-tag-section"), 0
    page.wait_for_function("count => document.querySelectorAll('.opblock-tag-section').length >= count", arg=10)
    for section in sections.all():
        section.locator(".opblock-tag").click()
        section.locator(".opblock").first.wait_for(timeout=60_000)
        shown += section.locator("[id^=operations-]:not([id^=operations-webhooks]).opblock").count()
        if section.locator(".opblock-tag", has_text="Operations").count() == 0:
            section.locator(".opblock-tag").click()
    assert shown >= len(methods)
    if WANTED:
        page.screenshot(path=SCREENSHOTS / "api-reference.png")  # somebody else's page: its looks are not ours to judge
    page.get_by_role("button", name="GET /livez", exact=False).first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
    for url in requests:
        assert url.startswith("data:") or urlsplit(url).netloc == urlsplit(system.url).netloc, url
