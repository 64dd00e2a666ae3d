"""People in a real browser: invited by a link, with one-time codes, by keyboard; axe-core finds nothing."""

import base64
import re
import time
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.browser_visitor import Visitor
from support.page_inspection import LOCALES
from support.running_system import RunningSystem

from zapline.domain.privacy.one_time_codes import code_of

PASSWORD = "a sea of herring"


@pytest.mark.parametrize("locale", LOCALES)
def test_somebody_is_invited_sets_up_one_time_codes_and_signs_in_with_them(
    signed_in_visitor: Callable[..., Visitor],
    new_visitor: Callable[..., Visitor],
    system: RunningSystem,
    locale: str,
) -> None:
    email = f"bia.{locale.lower()}@example.com"
    admin, person, later = signed_in_visitor(locale=locale), new_visitor(locale=locale), new_visitor(locale=locale)
    admin.go("/console/people")
    wrong = faults(admin, "people")
    admin.page.fill("#email", email)
    admin.page.locator("input[name=where][value=all]").last.check()
    admin.page.locator("form[action='/console/people'] button.primary").press("Enter")
    link = admin.page.locator("#secret").input_value()
    wrong += faults(admin, "link")
    path, _, code = link.partition("#")
    person.go(f"/console/invitation#{code}")
    assert path.endswith("/console/invitation")
    assert person.page.locator("#code").input_value() == code
    assert "#" not in person.page.url, "it goes from the address at once"
    wrong += faults(person, "invitation")
    person.page.fill("#password", PASSWORD)
    person.page.fill("#again", PASSWORD)
    person.page.keyboard.press("Enter")
    person.page.wait_for_url("**/console/")
    person.go("/console/account")
    wrong += faults(person, "account")
    person.page.locator("form[action='/console/account/codes'] button").press("Enter")
    person.page.locator("img[src='/console/account/qr.svg']").wait_for()
    wrong += faults(person, "one-time codes")
    found = re.search(r"<code>([A-Z2-7]{32})</code>", person.page.content())
    assert found is not None
    person.page.fill("#code", code_of(base64.b32decode(found[1]), int(time.time() // 30)))
    person.page.keyboard.press("Enter")
    person.page.locator("#recovery-title").wait_for()
    wrong += faults(person, "recovery codes")
    recovery = person.page.locator("ul.mono li").first.inner_text()
    later.go("/console/sign-in")
    later.page.fill("#email", email)
    later.page.fill("#password", PASSWORD)
    later.page.keyboard.press("Enter")
    later.page.wait_for_url("**/console/sign-in/code**")
    wrong += faults(later, "second factor")
    later.page.fill("#code", recovery)
    later.page.keyboard.press("Enter")
    later.page.wait_for_url("**/console/")
    assert not wrong, "\n".join(wrong)


def faults(visitor: Visitor, where: str) -> list[str]:
    found = Axe().run(visitor.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{where}: {each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in found]
