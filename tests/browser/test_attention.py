"""What needs a person: an uncertain message is decided, either way, and a dead letter is looked at and replayed."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.looking import look
from support.running_system import RunningSystem, wait_until
from support.visiting import Stage, Visitor


def test_uncertain_messages_are_decided_and_a_dead_letter_is_replayed(
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    unit = system.new_unit("Pet Shop Lapa", "pet_lapa")
    system.allow_fast_sending(unit)
    visitor = visit()
    page = visitor.go(f"/console/units/{unit}/attention")
    look(visitor, "attention-empty", once=True)
    visitor.remember()
    system.control("faults", kind="never_echo", instance="pet_lapa", count=2)
    for number, text in enumerate(("Seu cão está pronto.", "Banho às 15h?"), 1):
        sent = {"clientMessageId": f"pet-{number}", "to": f"(11) 99996-000{number}", "text": text}
        system.call("POST", f"/units/{unit}/messages", sent)
    system.control("play", instance="pet_lapa", name="malformed-truncated")
    page.get_by_text("Seu cão está pronto.").wait_for(timeout=15_000)
    page.get_by_text("Banho às 15h?").wait_for()
    page.get_by_role("heading", name="Dead letters").wait_for(timeout=25_000)
    visitor.assert_not_reloaded()
    assert "999960001" not in page.content(), "phones are masked"
    look(visitor, "attention")

    uncertain = page.get_by_role("listitem").filter(has_text="Seu cão está pronto.")
    uncertain.get_by_role("button", name="Leave it alone").click()
    expect(uncertain).to_have_count(0)
    again = page.get_by_role("listitem").filter(has_text="Banho às 15h?")
    again.get_by_text("Send again", exact=True).click()
    look(visitor, "attention-asked", once=True)
    again.get_by_role("button", name="Send it again").click()
    expect(again).to_have_count(0)

    def twice() -> bool:
        return [row[3] for row in system.control("deliveries", "GET")["rows"]].count("Banho às 15h?") == 2

    wait_until(twice, 10, "the second delivery")
    page.get_by_role("link", name="Look at it").first.click()
    expect(page.locator("pre.raw")).to_contain_text("messages.upsert")
    look(visitor, "letter")
    page.get_by_role("button", name="Replay").click()
    page.locator(".flash").wait_for()
    letters = system.call("GET", f"/units/{unit}/dead-letters")["items"]
    assert any(letter["replayedAt"] is not None for letter in letters)
    look(visitor, "letter-replayed", once=True)
    visitor.go("/console/attention")
    look(visitor, "attention-of-all", once=True)
