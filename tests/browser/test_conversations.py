"""Conversations: messages appear by themselves, a reply gets its ticks, and lists mask phones."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.browser_visitor import BrowserThread, Visitor
from support.page_inspection import inspect_page
from support.running_system import RunningSystem, wait_until

CUSTOMER = "5511999950001"


def test_a_customer_writes_and_the_reply_gets_its_ticks(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Clínica Oeste", "clinica_oeste")
    system.control("habits", statuses=[])
    try:
        visitor = signed_in_visitor()
        page = visitor.go(f"/console/units/{unit}/conversations")
        inspect_page(visitor, "conversations-empty", once=True)
        visitor.mark_document()
        receive(system, "oi, vocês abrem amanhã?", push_name="Joana Prado")
        page.get_by_text("Joana Prado").wait_for()
        assert CUSTOMER not in page.content(), "lists mask phones"
        for line in ("Queria marcar um horário\npara a minha filha.", "E quanto custa?"):
            receive(system, line)
        visitor.assert_not_reloaded()
        inspect_page(visitor, "conversations")
        page.get_by_text("Joana Prado").click()
        thread = page.get_by_role("log")
        expect(thread).to_contain_text("quanto custa")
        visitor.mark_document()

        receive(system, "Alguém aí?")
        expect(thread).to_contain_text("Alguém aí?")

        page.get_by_label("Message", exact=True).fill("Abrimos sim, às 9h. 👍")
        page.keyboard.press("Enter")
        reply = thread.locator(".ours", has_text="às 9h")
        expect(reply).to_have_count(1)
        expect(reply.locator(".tick")).to_have_attribute("title", "Sent")
        page.keyboard.press("Enter")
        assert page.get_by_role("alert").count() == 0, "Enter in an empty box asks for nothing"
        assert page.get_by_label("Message", exact=True).input_value() == ""
        ((id,),) = [row[:1] for row in system.control("deliveries", "GET")["rows"] if row[1] == "clinica_oeste"]
        for status, label in (("DELIVERY_ACK", "Delivered"), ("READ", "Read")):
            system.control("status", instance="clinica_oeste", id=id, status=status)
            expect(reply.locator(".tick")).to_have_attribute("title", label)
        visitor.assert_not_reloaded()
        inspect_page(visitor, "thread")
    finally:
        system.control("habits", statuses=["SERVER_ACK", "DELIVERY_ACK"])


def receive(system: RunningSystem, text: str, **more: object) -> None:
    more = {"push_name": "Joana Prado", **more}
    system.control("receive", instance="clinica_oeste", text=text, sender=CUSTOMER, **more)


def test_a_thread_shows_what_else_people_send(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Ótica Central", "otica_central")
    for name in RECORDED:
        system.control("play", instance="otica_central", name=f"messages.upsert-{name}")

    def all_stored() -> bool:
        rows = system.rows("select count(*) from zapline.messages where unit_id = %s", unit)
        return bool(rows[0][0] >= len(RECORDED) - 1)

    wait_until(all_stored, 10, "the recorded messages")
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{unit}/conversations")
    link = page.locator("a.conversation").first.get_attribute("href")
    assert link is not None  # followed, not clicked: the list is replaced while messages come in
    page = visitor.go(link)
    page.get_by_role("log").wait_for()
    with visitor.expecting("Failed to load resource|/shown"):  # the simulated phones have lost the recorded files
        inspect_page(visitor, "thread-kinds")


RECORDED = (
    *("text-android", "text-quoted-reply", "contact", "poll", "location", "document", "documentWithCaption", "image"),
    *("audio-ptt", "sticker", "video", "buttonsResponse", "listResponse", "viewOnce-image", "extendedText-link"),
)
