"""Signing in and out by keyboard, in the operator's language; what survives a session and a reload."""

from collections.abc import Callable

from support.browser_visitor import BrowserThread, Visitor
from support.page_inspection import inspect_page
from support.running_system import ADMIN, RunningSystem

MAX_TABS = 30
SCRIPT_READY = "document.readyState === 'complete'"
"""A deferred script has run by then."""


def tab_to(visitor: Visitor, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(MAX_TABS):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def test_an_operator_signs_in_and_out_by_the_keyboard_alone(
    new_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    visitor = new_visitor()
    page = visitor.go("/console/about")
    inspect_page(visitor, "sign-in")
    assert "/console/sign-in" in page.url
    tab_to(visitor, "[type=email]")
    page.keyboard.type(ADMIN)
    tab_to(visitor, "[type=password]")
    page.keyboard.type("not the password")
    with visitor.expecting("status of 401"):
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
    inspect_page(visitor, "sign-in-refused", once=True)
    assert page.get_by_label("E-mail").input_value() == ADMIN
    assert page.get_by_label("Password").input_value() == ""
    tab_to(visitor, "[type=password]")
    page.keyboard.type(system.password)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.url == f"{system.url}/console/about", "one is led to where one wanted"
    (cookie,) = [one for one in visitor.context.cookies() if "zapline" in one["name"] and one["httpOnly"]]
    assert cookie["sameSite"] in ("Strict", "Lax")
    page.reload()
    tab_to(visitor, "a.skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Password").wait_for()
    visitor.context.add_cookies([cookie])
    visitor.go("/console/about")
    assert "/console/sign-in" in page.url, "a session that was ended lets nobody in"


def test_the_console_speaks_portuguese_to_who_asks_for_it(
    new_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    visitor = new_visitor(locale="pt-BR")
    page = visitor.go("/console/sign-in?next=/console/about")
    assert page.locator("html").get_attribute("lang") == "pt-BR"
    page.get_by_label("Senha").wait_for()
    inspect_page(visitor, "sign-in-pt", once=True)
    page.locator("select[name=language]").select_option("en")
    page.get_by_label("Password").wait_for()
    page.wait_for_load_state()  # the script submits what is chosen
    assert page.locator("html").get_attribute("lang") == "en"
    page.locator("select[name=look]").select_option("dark")
    page.locator("html[data-look=dark]").wait_for()


def test_what_was_typed_outlives_a_session_that_ended(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{system.new_unit('Loja do Porto', 'loja_do_porto')}/campaigns/new")
    text = page.get_by_label("Text", exact=True)
    text.fill("Olá! <b>Pão</b> quente.\nTodo dia.")
    visitor.context.clear_cookies()
    with visitor.expecting("status of 401"):
        page.get_by_role("button", name="Try").click()
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_label("E-mail").fill(ADMIN)
        page.get_by_label("Password").fill(system.password)
        page.keyboard.press("Enter")
        text.wait_for()
    assert text.input_value() == "Olá! <b>Pão</b> quente.\nTodo dia."
    page.reload()
    assert text.input_value() == "", "it is kept once"


def test_a_reload_of_the_page_with_a_new_secret_makes_no_other_one(
    signed_in_visitor: Callable[..., Visitor], browser_thread: BrowserThread, system: RunningSystem
) -> None:
    unit = system.new_unit("Padaria Leste", "padaria_leste")
    visitor = signed_in_visitor()
    page = visitor.go(f"/console/units/{unit}/tokens")
    page.get_by_label("Label").fill("CRM da padaria")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_role("heading", name="The new token").wait_for()
    visitor.until(SCRIPT_READY)
    page.reload()
    assert page.get_by_role("heading", name="The new token").count() == 0
    assert page.get_by_text("CRM da padaria").count() == 1
    page.goto(f"{system.url}/console/units/{unit}/hooks")
    page.get_by_label("Address").fill("https://crm.example.com/zapline")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("heading", name="The secret that signs").wait_for()
    page.get_by_role("button", name="New secret").click()
    page.get_by_text("generation 2").wait_for()
    visitor.until(SCRIPT_READY)
    page.reload()
    assert page.get_by_text("generation 2").count() == 1
    assert page.get_by_role("heading", name="The secret that signs").count() == 0
