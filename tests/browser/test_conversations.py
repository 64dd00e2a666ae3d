"""Talking to a customer: what comes in appears by itself, a reply gets its ticks, and phones are masked in lists."""

from collections.abc import Callable

from playwright.sync_api import expect
from support.looking import look
from support.running_system import RunningSystem, wait_until
from support.visiting import LIVE_SECONDS, Stage, Visitor

CUSTOMER = "5511999950001"


def test_a_customer_writes_and_the_reply_gets_its_ticks(
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    unit = system.new_unit("Clínica Oeste", "clinica_oeste")
    system.control("habits", statuses=[])
    try:
        visitor = visit()
        page = visitor.go(f"/console/units/{unit}/conversations")
        look(visitor, "conversations-empty", once=True)
        visitor.remember()
        hear(system, "oi, vocês abrem amanhã?", push_name="Joana Prado")
        page.get_by_text("Joana Prado").wait_for(timeout=LIVE_SECONDS * 1000)
        assert CUSTOMER not in page.content(), "lists mask phones"
        for line in ("Queria marcar um horário\npara a minha filha.", "E quanto custa?"):
            hear(system, line)
        visitor.assert_not_reloaded()
        look(visitor, "conversations")
        page.get_by_text("Joana Prado").click()
        thread = page.get_by_role("log")
        expect(thread).to_contain_text("quanto custa")
        visitor.remember()

        hear(system, "Alguém aí?")
        expect(thread).to_contain_text("Alguém aí?", timeout=LIVE_SECONDS * 1000)

        page.get_by_label("Message", exact=True).fill("Abrimos sim, às 9h. 👍")
        page.keyboard.press("Enter")
        mine = thread.locator(".ours", has_text="às 9h")
        expect(mine).to_have_count(1)
        expect(mine.locator(".tick")).to_have_attribute("title", "Sent")
        page.keyboard.press("Enter")
        assert page.get_by_role("alert").count() == 0, "Enter in an empty box asks for nothing"
        assert page.get_by_label("Message", exact=True).input_value() == ""
        ((id,),) = [row[:1] for row in system.control("deliveries", "GET")["rows"] if row[1] == "clinica_oeste"]
        for word, shown in (("DELIVERY_ACK", "Delivered"), ("READ", "Read")):
            system.control("status", instance="clinica_oeste", id=id, status=word)
            expect(mine.locator(".tick")).to_have_attribute("title", shown, timeout=LIVE_SECONDS * 1000)
        visitor.assert_not_reloaded()
        look(visitor, "thread")
    finally:
        system.control("habits", statuses=["SERVER_ACK", "DELIVERY_ACK"])


def hear(system: RunningSystem, text: str, **more: object) -> None:
    more = {"push_name": "Joana Prado", **more}
    system.control("receive", instance="clinica_oeste", text=text, sender=CUSTOMER, **more)


def test_a_thread_shows_what_else_people_send(
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    unit = system.new_unit("Ótica Central", "otica_central")
    for name in RECORDED:
        system.control("play", instance="otica_central", name=f"messages.upsert-{name}")

    def all_there() -> bool:
        found = system.rows("select count(*) from zapline.messages where unit_id = %s", unit)
        return bool(found[0][0] >= len(RECORDED) - 1)

    wait_until(all_there, 10, "the recorded messages")
    visitor = visit()
    page = visitor.go(f"/console/units/{unit}/conversations")
    page.locator("a.conversation").first.click()
    page.get_by_role("log").wait_for()
    with visitor.forgiving("Failed to load resource|/shown"):  # the simulated phones have lost the recorded files
        look(visitor, "thread-kinds")


RECORDED = (
    *("text-android", "text-quoted-reply", "contact", "poll", "location", "document", "documentWithCaption", "image"),
    *("audio-ptt", "sticker", "video", "buttonsResponse", "listResponse", "viewOnce-image", "extendedText-link"),
)
