"""Every page and form of the console, asked by every kind of person: who gets in, and what is not there for him."""

import re
from typing import Any
from uuid import UUID, uuid4

import trio
from quart_trio import QuartTrio
from support.console_operator import BROWSER, Operator
from support.people import add_person, cookie_of

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Role
from zapline.http.console.access.page_access import Needs, stated_needs

OPEN = {"asset", "sign_in", "sign_in_form", "preferences", "invitation", "accept_invitation"} | {
    "sign_in_code",
    "take_code",
}
ADMINS_ALONE = re.compile(
    r"/console/(people|alarms|ceilings|organizations|servers|audit|units/new|part/servers)\b"
    r"|/console/units/<uuid:unit>/(privacy|tokens|archive|rotate-secret|move|webhook-registration|line-settings/proxy)\b"
)
"""Written a second time: what nobody but administrators may even read."""
Page = tuple[str, str, str]


async def test_every_page_and_form_says_whom_it_is_for_and_refuses_all_others(api: Any, operator: Operator) -> None:
    ours, theirs = await api.add_unit("Ours"), await api.add_unit("Theirs")
    pages = served(api)
    for method, path, name in pages:
        needs = stated_needs(method, path)
        assert needs is not None, f"say in page_access who may {method} {path} ({name})"
        assert not ADMINS_ALONE.match(path) or needs is Needs.ADMIN, path
        of_another_thing = "<" in path.partition("<uuid:unit>")[0]
        assert not of_another_thing or needs in (Needs.ADMIN, Needs.SIGNED_IN), path
    people = {
        "operator": await add_person(api, "o@example.com", Role.OPERATOR),
        "operator of ours": await add_person(api, "u@example.com", None, {ours.id: Role.OPERATOR}),
        "attendant": await add_person(api, "a@example.com", Role.ATTENDANT, {theirs.id: Role.OPERATOR}),
        "attendant of theirs": await add_person(api, "c@example.com", None, {theirs.id: Role.ATTENDANT}),
        "operator of theirs, attendant of ours": await add_person(
            api, "d@example.com", None, {ours.id: Role.ATTENDANT, theirs.id: Role.OPERATOR}
        ),
        "nobody yet": await add_person(api, "n@example.com", None),
    }
    for who, person in people.items():
        cookie = await cookie_of(api, person)
        for page in pages:
            await ask(api, f"{who} ({person.name})", cookie, page, ours.id, expected(person, page, ours.id))


async def test_an_attendant_is_shown_his_units_and_no_trace_of_others(api: Any, operator: Operator) -> None:
    ours, theirs = await api.add_unit("Nossa loja"), await api.add_unit("Filial secreta")
    for unit, phone in ((ours, "5511999990001"), (theirs, "5511999990002")):
        key = {"id": f"3EB0{phone}", "remoteJid": f"{phone}@s.whatsapp.net", "fromMe": False}
        data = {"key": key, "message": {"conversation": "farinha"}, "messageTimestamp": 1790000000, "pushName": phone}
        await api.send(unit, "messages.upsert", data)
    person = await add_person(api, "ana2@example.com", None, {ours.id: Role.ATTENDANT})
    cookie = await cookie_of(api, person)
    for path in (
        "/console/",
        "/console/part/units",
        "/console/search?q=farinha",
        "/console/attention",
        "/console/where",
        "/console/find",
        "/console/find?q=fi",
    ):
        page = await operator.client.get(path, headers=cookie)
        assert page.status_code == 200, path
        assert "secreta" not in page.text, path
        assert str(theirs.id) not in page.text, path
    found = (await operator.client.get("/console/search?q=farinha", headers=cookie)).text
    assert str(ours.id) in found
    whole = (await operator.client.get("/console/search?q=farinha")).text
    assert str(theirs.id) in whole, "an administrator finds both"
    for guessed in (
        f"/console/search?q=farinha&unitId={theirs.id}",
        f"/console/search?q=farinha&unitId=urn:uuid:{theirs.id}",
        f"/console/units/{theirs.id}/conversations",
        f"/console/units/{theirs.id}/events",
        f"/console/units/{uuid4()}/conversations",
    ):
        assert (await operator.client.get(guessed, headers=cookie)).status_code == 404, guessed


async def test_what_is_for_operators_is_shown_of_the_units_in_which_one_is(api: Any, operator: Operator) -> None:
    read, led = await api.add_unit("Loja lida"), await api.add_unit("Loja conduzida")
    for unit in (read, led):
        assert await api.intake.accept(unit, "no.such.event", b'{"event": "no.such.event"}')
        await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
        await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["qrCode"])
    await api.until("/dead-letters", lambda page: len(page["items"]) == 2)
    units = {read.id: Role.ATTENDANT, led.id: Role.OPERATOR}
    for everywhere in (None, Role.ATTENDANT):
        person = await add_person(api, f"{everywhere}@example.com", everywhere, units)
        cookie = await cookie_of(api, person)
        for path in ("/console/attention/letters", "/console/attention", "/console/scan", "/console/scan/part"):
            page = (await operator.client.get(path, headers=cookie)).text
            assert "Loja conduzida" in page, path
            assert "Loja lida" not in page, path
            assert str(read.id) not in page, path
        with trio.fail_after(60):  # totals are kept for two seconds
            while "1 waits" not in (counted := (await operator.get("/console/attention/count", **cookie)).visible_text):
                assert "2 wait" not in counted
                await trio.sleep(0.1)
        alone = (await operator.client.get(f"/console/units/{read.id}/attention", headers=cookie)).text
        assert "Nothing needs you" in alone
        assert "Loja lida" in (await operator.client.get("/console/", headers=cookie)).text


def served(api: Any) -> list[Page]:
    """(method, pattern, endpoint) of everything that the console answers but what is open to all."""
    rules = console_of(api.front._rest).url_map.iter_rules()
    return sorted(
        (method, rule.rule, rule.endpoint)
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.endpoint not in OPEN
    )


def console_of(result: Any) -> QuartTrio:
    """The console behind its wrappers, found by what they hold."""
    seen: list[Any] = [result]
    while seen:
        each = seen.pop()
        if isinstance(each, QuartTrio):
            if each.import_name == "zapline.http.console":
                return each
            continue
        cells = [cell.cell_contents for cell in getattr(each, "__closure__", None) or ()]
        inner = getattr(each, "_app", None)
        seen += [item for item in [*cells, inner] if callable(item)]
    raise AssertionError("the console is not loaded")


def expected(person: Principal, page: Page, ours: UnitId) -> int:
    """The refusal, by what the roles are said to be; 0: the page answers."""
    method, path, _ = page
    assert person.roles is not None
    everywhere, here = person.roles.everywhere, person.roles.units.get(ours)
    if "<uuid:unit>" in path:
        if everywhere is None and here is None:
            return 404
        mine = {everywhere, here}
    else:
        mine = {everywhere, *person.roles.units.values()}
    match stated_needs(method, path):
        case Needs.SIGNED_IN:
            return 0
        case Needs.ATTENDANT:
            return 0 if mine - {None} else 403
        case Needs.OPERATOR:
            return 0 if Role.OPERATOR in mine else 403
        case Needs.EVERYWHERE:
            return 0 if everywhere is Role.OPERATOR else 403
    return 403


async def ask(api: Any, who: str, cookie: dict[str, str], page: Page, unit: UUID, refused: int) -> None:
    method, path, name = page
    if name in ("sign_out",):
        return  # it ends the session that is asked with
    address = path.replace("<uuid:unit>", str(unit))
    address = re.sub(r"<(?:uuid:)?\w+>", lambda _: str(uuid4()), re.sub(r"<int:\w+>", "1", address))
    assert "<" not in address, path
    if refused == 0 and method == "POST":
        return  # what forms do is tried where they are; that they are refused is what counts here
    headers = {**cookie, **BROWSER}
    fields = await form_of(api, cookie) if method == "POST" else None
    async with api.client.stream(method, api.url + address, headers=headers, data=fields) as answer:
        status = answer.status_code
    if refused:
        assert status == refused, f"{who}: {method} {path} ({name}): {status}"
    else:
        assert status in (200, 204, 302, 303, 404), f"{who}: {method} {path} ({name}): {status}"


async def form_of(api: Any, cookie: dict[str, str]) -> dict[str, str]:
    from zapline.http.console.framework.session_guard import form_token

    return {"csrf": form_token(cookie["Cookie"].partition("=")[2])}
