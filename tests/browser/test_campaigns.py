"""A campaign of fifty: tried out, started, watched, paused and resumed on the way, and ended, on a page that lives."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.looking import look
from support.running_system import RunningSystem
from support.visiting import Stage, Visitor

COUNT = 50
WATCH = """() => {
  window.seen = [];
  const note = () => {
    const value = document.querySelector("#campaign progress").value;
    if (window.seen.at(-1) !== value) window.seen.push(value);
  };
  note();
  new MutationObserver(note).observe(document.getElementById("campaign"), {childList: true, subtree: true});
}"""
"""Keeps every value that the progress bar had."""


def test_a_campaign_of_fifty_is_tried_paused_resumed_and_ends(
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    unit = system.new_unit("Livraria Sul", "livraria_sul")
    pace = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.08}
    system.call("PUT", f"/units/{unit}/pace", pace)
    visitor = visit()
    page = visitor.go(f"/console/units/{unit}/campaigns")
    look(visitor, "campaigns-empty", once=True)
    page.get_by_role("link", name="New campaign").first.click()
    page.get_by_label("Name, for you alone").fill("Volta às aulas")
    page.get_by_label("Text", exact=True).fill("Olá {{nome|cliente}}, os livros do ano chegaram.")
    people = [f"(11) 9{7000 + number}-{number:04};Cliente {number}" for number in range(COUNT)]
    page.get_by_label("Or paste it").fill("\n".join(["telefone;nome", *people, "123;Ninguém", people[0]]))
    page.get_by_role("button", name="Try it out").click()
    expect(page.locator("#trial")).to_contain_text("Olá Cliente 0, os livros do ano chegaram.")
    expect(page.locator("#trial .stat").nth(1)).to_contain_text(str(COUNT))
    expect(page.locator("#trial .stat").nth(2)).to_contain_text("2")
    look(visitor, "campaign-trial")
    assert not system.call("GET", f"/units/{unit}/campaigns")["items"], "a trial stores nothing"

    page.get_by_role("button", name="Make the campaign").click()
    page.get_by_role("heading", name="Volta às aulas").wait_for()
    look(visitor, "campaign-ready", once=True)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Pause").wait_for()
    visitor.remember()
    page.evaluate(WATCH)
    bar = page.get_by_role("progressbar")
    visitor.until("document.querySelector('#campaign progress').value >= 5")
    first = page.evaluate("window.seen")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    page.wait_for_timeout(300)  # what was being sent is let go
    paused = delivered(system)
    page.wait_for_timeout(800)
    assert delivered(system) == paused < COUNT, "nothing is sent while it is paused"
    look(visitor, "campaign-paused", once=True)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.evaluate(WATCH)
    visitor.remember()
    visitor.until("(bar => bar.value === bar.max)(document.querySelector('#campaign progress'))", 30)
    moved = [*first, *page.evaluate("window.seen")]
    assert len(set(moved)) >= 5, moved
    assert moved == sorted(moved)
    visitor.assert_not_reloaded()
    expect(page.locator("#state-title")).to_have_text("Done")
    assert bar.is_visible()
    assert delivered(system) == COUNT
    look(visitor, "campaign-done")
    page.get_by_role("link", name="skipped").click()
    look(visitor, "campaign-recipients", once=True)
    visitor.go(f"/console/units/{unit}/campaigns")
    look(visitor, "campaigns")


def delivered(system: RunningSystem) -> int:
    return sum(row[1] == "livraria_sul" for row in system.control("deliveries", "GET")["rows"])
