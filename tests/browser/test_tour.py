"""Every other page, looked at in light, dark and on a phone, in Portuguese too."""

from collections.abc import Callable

from support.crawling import crawl, kind_of
from support.looking import faults, look
from support.visiting import Stage, Visitor
from support.whole_house import WholeHouse

UNIT_PAGES = ("settings", "opt-outs", "tokens", "hooks", "privacy", "disconnect", "rotate-secret", "archive")
PAGES = ("", "health", "audit", "about", "attention/letters")


def test_every_page_is_fit_to_be_seen(visit: Callable[..., Visitor], stage: Stage, house: WholeHouse) -> None:
    unit = house.new_unit("Mercado Modelo", "mercado_modelo")
    path = f"/units/{unit}"
    house.call("POST", f"{path}/tokens", {"label": "CRM da loja", "scopes": ["read", "send"]})
    house.call("POST", f"{path}/suppressions", {"to": "(11) 99994-0001"})
    visitor = visit()
    for name in PAGES:
        visitor.go(f"/console/{name}")
        look(visitor, f"page-{name.replace('/', '-') or 'overview'}")
    for name in UNIT_PAGES:
        visitor.go(f"/console{path}/{name}")
        look(visitor, f"unit-{name}")
    with visitor.forgiving("status of 404"):
        visitor.page.goto(f"{house.url}/console/nowhere")
        look(visitor, "error")


def test_every_page_of_the_first_kind_is_sound_in_portuguese(
    visit: Callable[..., Visitor], stage: Stage, house: WholeHouse
) -> None:
    unit = house.new_unit("Feira Livre", "feira_livre")
    visitor = visit(locale="pt-BR", viewport={"width": 360, "height": 740})
    kinds, wrong = set[str](), list[str]()
    for path in crawl(visitor, f"/console/units/{unit}", lambda kind: 1):
        kinds.add(kind_of(path))
        assert visitor.page.locator("html").get_attribute("lang") == "pt-BR"
        wrong += [f"{path}: {sentence}" for sentence in faults(visitor, colors=False)]
    assert not wrong, "\n".join(wrong)
    assert len(kinds) > 20, sorted(kinds)
