"""Every other page, looked at in light, dark and on a phone."""

from collections.abc import Callable

import pytest
from support.looking import look
from support.running_system import RunningSystem
from support.visiting import Stage, Visitor

UNIT_PAGES = ("settings", "opt-outs", "tokens", "hooks", "privacy", "archive")
PAGES = ("", "health", "audit", "about", "attention/letters")


@pytest.mark.long
def test_every_page_is_fit_to_be_seen(visit: Callable[..., Visitor], stage: Stage, system: RunningSystem) -> None:
    unit = system.new_unit("Mercado Modelo", "mercado_modelo")
    path = f"/units/{unit}"
    system.call("POST", f"{path}/tokens", {"label": "CRM da loja", "scopes": ["read", "send"]})
    system.call("POST", f"{path}/suppressions", {"to": "(11) 99994-0001"})
    visitor = visit()
    for name in PAGES:
        visitor.go(f"/console/{name}")
        look(visitor, f"page-{name.replace('/', '-') or 'overview'}")
    for name in UNIT_PAGES:
        visitor.go(f"/console{path}/{name}")
        look(visitor, f"unit-{name}")
    with visitor.forgiving("status of 404"):
        visitor.page.goto(f"{system.url}/console/nowhere")
        look(visitor, "error")
