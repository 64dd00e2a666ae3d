"""What needs a person: uncertain messages are given up or sent again, and a dead letter is read and replayed."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.browser_visitor import BrowserThread, Visitor
from support.page_inspection import inspect_page
from support.running_system import RunningSystem, wait_until


def test_uncertain_messages_are_decided_and_a_dead_letter_is_replayed(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Pet Shop Lapa", "pet_lapa")
    system.allow_fast_sending(unit)
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{unit}/attention")
    inspect_page(visitor, "attention-empty", once=True)
    visitor.mark_document()
    system.control("faults", kind="never_echo", instance="pet_lapa", count=2)
    for number, text in enumerate(("Seu cão está pronto.", "Banho às 15h?"), 1):
        message = {"clientMessageId": f"pet-{number}", "to": f"(11) 99996-000{number}", "text": text}
        system.call("POST", f"/units/{unit}/messages", message)
    system.control("play", instance="pet_lapa", name="malformed-truncated")
    page.get_by_text("Seu cão está pronto.").wait_for(timeout=15_000)
    page.get_by_text("Banho às 15h?").wait_for()
    page.get_by_role("heading", name="Dead letters").wait_for(timeout=25_000)
    visitor.assert_not_reloaded()
    assert "999960001" not in page.content(), "phones are masked"
    inspect_page(visitor, "attention")

    uncertain = page.get_by_role("listitem").filter(has_text="Seu cão está pronto.")
    uncertain.get_by_role("button", name="Leave it alone").click()
    expect(uncertain).to_have_count(0)
    again = page.get_by_role("listitem").filter(has_text="Banho às 15h?")
    again.get_by_text("Send again", exact=True).click()
    inspect_page(visitor, "attention-asked", once=True)
    again.get_by_role("button", name="Send it again").click()
    expect(again).to_have_count(0)

    def delivered_twice() -> bool:
        return [row[3] for row in system.control("deliveries", "GET")["rows"]].count("Banho às 15h?") == 2

    wait_until(delivered_twice, 10, "the second delivery")
    page.get_by_role("link", name="Look at it").first.click()
    expect(page.locator("pre.raw")).to_contain_text("messages.upsert")
    inspect_page(visitor, "letter")
    page.get_by_role("button", name="Replay").click()
    page.locator(".flash").wait_for()
    letters = system.call("GET", f"/units/{unit}/dead-letters")["items"]
    assert any(letter["replayedAt"] is not None for letter in letters)
    inspect_page(visitor, "letter-replayed", once=True)
    visitor.go("/console/attention")
    inspect_page(visitor, "attention-of-all", once=True)
