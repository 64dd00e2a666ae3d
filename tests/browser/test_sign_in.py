"""Coming in: by the keyboard alone, in the operator's language, and never by a guess or from elsewhere."""

from collections.abc import Callable

from support.looking import look
from support.running_system import ADMIN, RunningSystem
from support.visiting import Stage, Visitor

MOST_STEPS = 30


def by_tab(visitor: Visitor, selector: str) -> None:
    """Go on with the tabulator until this has the focus."""
    for _ in range(MOST_STEPS):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the tabulator does not lead to {selector}")


def test_an_operator_signs_in_and_out_by_the_keyboard_alone(
    stranger: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    visitor = stranger()
    page = visitor.go("/console/about")
    look(visitor, "sign-in")
    assert "/console/sign-in" in page.url
    by_tab(visitor, "[type=email]")
    page.keyboard.type(ADMIN)
    by_tab(visitor, "[type=password]")
    page.keyboard.type("not the password")
    with visitor.forgiving("status of 401"):
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
    look(visitor, "sign-in-refused", once=True)
    assert page.get_by_label("E-mail").input_value() == ADMIN
    assert page.get_by_label("Password").input_value() == ""
    by_tab(visitor, "[type=password]")
    page.keyboard.type(system.password)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.url == f"{system.url}/console/about", "one is led to where one wanted"
    (cookie,) = [one for one in visitor.context.cookies() if "zapline" in one["name"] and one["httpOnly"]]
    assert cookie["sameSite"] in ("Strict", "Lax")
    page.reload()
    by_tab(visitor, "a.skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Password").wait_for()
    visitor.context.add_cookies([cookie])
    visitor.go("/console/about")
    assert "/console/sign-in" in page.url, "a session that was ended lets nobody in"


def test_the_console_speaks_portuguese_to_who_asks_for_it(
    stranger: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    visitor = stranger(locale="pt-BR")
    page = visitor.go("/console/sign-in?next=/console/about")
    assert page.locator("html").get_attribute("lang") == "pt-BR"
    page.get_by_label("Senha").wait_for()
    look(visitor, "sign-in-pt", once=True)
    page.locator("select[name=language]").select_option("en")
    page.get_by_label("Password").wait_for()
    assert page.locator("html").get_attribute("lang") == "en"
    page.locator("select[name=look]").select_option("dark")
    page.locator("html[data-look=dark]").wait_for()


def test_what_was_typed_outlives_a_session_that_ended(
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    visitor = visit()
    page = visitor.go(f"/console/units/{system.new_unit('Loja do Porto', 'loja_do_porto')}/campaigns/new")
    text = page.get_by_label("Text", exact=True)
    text.fill("Olá! <b>Pão</b> quente.\nTodo dia.")
    visitor.context.clear_cookies()
    with visitor.forgiving("status of 401"):
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
    visit: Callable[..., Visitor], stage: Stage, system: RunningSystem
) -> None:
    unit = system.new_unit("Padaria Leste", "padaria_leste")
    visitor = visit()
    page = visitor.go(f"/console/units/{unit}/tokens")
    page.get_by_label("Label").fill("CRM da padaria")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_role("heading", name="The new token").wait_for()
    page.reload()
    assert page.get_by_role("heading", name="The new token").count() == 0
    assert page.get_by_text("CRM da padaria").count() == 1
    page.goto(f"{system.url}/console/units/{unit}/hooks")
    page.get_by_label("Address").fill("https://crm.example.com/zapline")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("heading", name="The secret that signs").wait_for()
    page.get_by_role("button", name="New secret").click()
    page.get_by_text("generation 2").wait_for()
    page.reload()
    assert page.get_by_text("generation 2").count() == 1
    assert page.get_by_role("heading", name="The secret that signs").count() == 0
