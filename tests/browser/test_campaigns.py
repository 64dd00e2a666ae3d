"""A campaign of fifty recipients: forecast, started, paused, resumed and finished on one live page."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.browser_visitor import SECONDS, BrowserThread, Visitor
from support.page_inspection import inspect_page
from support.running_system import RunningSystem, wait_until

COUNT = 50
RECORD_PROGRESS = """() => {
  window.seen = [];
  const note = () => {
    const value = document.querySelector("#campaign progress").value;
    if (window.seen.at(-1) !== value) window.seen.push(value);
  };
  note();
  new MutationObserver(note).observe(document.getElementById("campaign"), {childList: true, subtree: true});
}"""
"""Records every value of the progress bar."""


def test_a_campaign_of_fifty_is_tried_paused_resumed_and_ends(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Livraria Sul", "livraria_sul")
    pace = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.08}
    system.call("PUT", f"/units/{unit}/pace", pace)
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{unit}/campaigns")
    inspect_page(visitor, "campaigns-empty", once=True)
    page.get_by_role("link", name="New campaign").first.click()
    page.get_by_label("Name, for you alone").fill("Volta às aulas")
    page.get_by_label("Text", exact=True).fill("Olá {{nome|cliente}}, os livros do ano chegaram.")
    people = [f"(11) 9{7000 + number}-{number:04};Cliente {number}" for number in range(COUNT)]
    page.get_by_label("Or paste it").fill("\n".join(["telefone;nome", *people, "123;Ninguém", people[0]]))
    page.get_by_role("button", name="Try it out").click()
    expect(page.locator("#trial")).to_contain_text("Olá Cliente 0, os livros do ano chegaram.")
    expect(page.locator("#trial .stat").nth(1)).to_contain_text(str(COUNT))
    expect(page.locator("#trial .stat").nth(2)).to_contain_text("2")
    inspect_page(visitor, "campaign-trial")
    assert not system.call("GET", f"/units/{unit}/campaigns")["items"], "a trial stores nothing"

    page.get_by_role("button", name="Make the campaign").click()
    page.get_by_role("heading", name="Volta às aulas").wait_for()
    inspect_page(visitor, "campaign-ready", once=True)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Pause").wait_for()
    visitor.mark_document()
    page.evaluate(RECORD_PROGRESS)
    bar = page.get_by_role("progressbar")
    visitor.until("document.querySelector('#campaign progress').value >= 5")
    first = page.evaluate("window.seen")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    wait_until(lambda: not leased(system, unit), SECONDS, "the message that was being sent")
    paused = delivered(system)
    page.wait_for_timeout(500)  # six times the campaign's pace
    assert delivered(system) == paused < COUNT, "nothing is sent while it is paused"
    inspect_page(visitor, "campaign-paused", once=True)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.evaluate(RECORD_PROGRESS)
    visitor.mark_document()
    visitor.until("(bar => bar.value === bar.max)(document.querySelector('#campaign progress'))", 30)
    moved = [*first, *page.evaluate("window.seen")]
    assert len(set(moved)) >= 5, moved
    assert moved == sorted(moved)
    visitor.assert_not_reloaded()
    expect(page.locator("#state-title")).to_have_text("Done")
    assert bar.is_visible()
    assert delivered(system) == COUNT
    inspect_page(visitor, "campaign-done")
    page.get_by_role("link", name="skipped").click()
    inspect_page(visitor, "campaign-recipients", once=True)
    visitor.go(f"/console/units/{unit}/campaigns")
    inspect_page(visitor, "campaigns")


def delivered(system: RunningSystem) -> int:
    return sum(row[1] == "livraria_sul" for row in system.control("deliveries", "GET")["rows"])


def leased(system: RunningSystem, unit: str) -> int:
    """Messages of the unit that are being sent."""
    query = "select count(*) from zapline.outbox where unit_id = %s and state = 'leased'"
    return int(system.rows(query, unit)[0][0])
