"""People in the console: invited by a link that works once, given roles, kept out."""

import re
from typing import Any

import pytest
import trio
from support.console_operator import Operator
from support.people import add_person, cookie_of

from zapline.domain.principals import Role
from zapline.sql.postgres.connection import connect
from zapline.supervisors.accounts.people import People, UnknownInvitation
from zapline.supervisors.leadership import CONTROL_CHANNEL

BASE = "/console/people"


async def test_somebody_is_invited_by_a_link_that_works_once_and_sees_his_unit_alone(
    api: Any, operator: Operator
) -> None:
    ours, theirs = await api.add_unit("Nossa"), await api.add_unit("Filial")
    await operator.get(BASE)
    await operator.send(BASE, {"email": "bia", "role": "attendant", "where": "all"}, 422)
    assert "is an e-mail address" in operator.page.visible_text
    await operator.send(BASE, {"email": "bia@example.com", "role": "attendant", "where": "units"}, 422)
    assert "at least one unit" in operator.page.visible_text
    fields = {"email": "Bia@example.com", "role": "attendant", "where": "units", "unit": str(ours.id)}
    await operator.send(BASE, fields, 200)
    first = code_in(operator.page.text)
    await operator.send(BASE, fields, 200)
    code = code_in(operator.page.text)
    assert code not in (await operator.get(BASE)).text, "it is shown once"
    visitor = Operator(api.url)
    await visitor.get("/console/invitation")
    chosen = {"password": "a sea of herring", "again": "a sea of herring"}
    for wrong, told in (
        ({"code": first, **chosen}, "used, withdrawn"),
        ({"code": code, "password": "short", "again": "short"}, "at least 12"),
        ({"code": code, "password": "a sea of herring", "again": "another sea of it"}, "differ"),
        ({"code": "zl_" + "A" * 43, **chosen}, "used, withdrawn"),
    ):
        await visitor.send("/console/invitation", wrong, 422)
        assert told in visitor.page.visible_text
    await visitor.send("/console/invitation", {"code": code, **chosen})
    page = await visitor.follow()
    assert "Nossa" in page.visible_text
    assert str(theirs.id) not in page.text
    assert BASE not in page.text, "what is not open to him is not linked"
    await visitor.get(BASE, 403)
    other = Operator(api.url)
    await other.get("/console/invitation")
    await other.send("/console/invitation", {"code": code, **chosen}, 422)
    await other.sign_in("bia@example.com", "a sea of herring")
    lines = [(line["action"], line["actor"]) for line in (await api.get("/audit", limit=20))["items"]]
    assert ("accept_invitation", "bia@example.com") in lines
    assert ("invite_person", "ana@example.com") in lines
    assert code not in str(await api.get("/audit", limit=20))
    # Another role counts at once, and whoever is kept out is out at once.
    (person,) = await api.sql("select id from zapline.admins where email = 'bia@example.com'")
    await operator.get(BASE)
    await operator.send(f"{BASE}/{person.id}/rights", {"role": "operator", "where": "all"})
    assert "Filial" in (await visitor.get("/console/")).visible_text
    await operator.get(BASE)
    await operator.send(f"{BASE}/{person.id}/disable")
    await visitor.get("/console/", 303)
    await visitor.close()
    await other.close()


async def test_one_administrator_always_stays(api: Any, operator: Operator) -> None:
    (me,) = await api.sql("select id from zapline.admins")
    page = await operator.get(BASE)
    assert f"{BASE}/{me.id}/disable" not in page.text
    csrf = page.forms[BASE]
    await operator.post(f"{BASE}/{me.id}/disable", csrf)
    assert "one administrator has to stay" in (await operator.follow()).visible_text.lower()
    await operator.post(f"{BASE}/{me.id}/rights", {**csrf, "role": "operator", "where": "all"})
    assert "one administrator has to stay" in (await operator.follow()).visible_text.lower()


async def test_an_invitation_is_withdrawn_or_grows_too_old(api: Any, operator: Operator) -> None:
    await operator.get(BASE)
    fields = {"email": "caio@example.com", "role": "operator", "where": "all"}
    await operator.send(BASE, fields, 200)
    code = code_in(operator.page.text)
    await operator.get(BASE)
    await operator.send(next(action for action in operator.page.forms if action.endswith("/withdraw")))
    assert "caio@example.com" not in (await operator.follow()).visible_text
    await operator.send(BASE, fields, 200)
    late = code_in(operator.page.text)
    await api.sql(
        "update zapline.invitations set expires_at = now() - interval '1 s' where ended_at is null returning 1"
    )
    visitor = Operator(api.url)
    await visitor.get("/console/invitation")
    for status, each in ((422, code), (422, late), *[(422, "zl_" + "A" * 43)] * 3, (429, late)):
        chosen = {"code": each, "password": "a sea of herring", "again": "a sea of herring"}
        await visitor.send("/console/invitation", chosen, status)
    assert "Too many attempts" in visitor.page.visible_text, "they are counted before anything is looked up"
    assert await api.sql("select 1 from zapline.admins where email = 'caio@example.com'") == []
    await visitor.close()


async def test_what_is_no_code_is_refused_without_a_query() -> None:
    nothing: Any = None
    with pytest.raises(UnknownInvitation):
        await People(nothing, nothing).invited("zl_'; --")


async def test_an_invitation_is_good_while_its_inviter_is_an_administrator(api: Any, operator: Operator) -> None:
    person = await add_person(api, "eva@example.com", Role.ADMIN)
    inviter, visitor = Operator(api.url), Operator(api.url)
    inviter.client.headers.update(await cookie_of(api, person))
    await inviter.get(BASE)
    fields = {"email": "davi@example.com", "role": "admin", "where": "all"}
    code = code_in((await inviter.send(BASE, fields, 200)).text)
    await visitor.get("/console/invitation")
    chosen = {"code": code, "password": "a sea of herring", "again": "a sea of herring"}
    one = f"{BASE}/{person.id}"
    for form, fields in ((f"{one}/rights", {"role": "operator", "where": "all"}), (f"{one}/disable", {})):
        await operator.get(BASE)
        await operator.send(form, fields)
        assert "davi@example.com" not in (await operator.follow()).visible_text
        await visitor.send("/console/invitation", chosen, 422)
        assert "used, withdrawn" in visitor.page.visible_text
        await api.sql("update zapline.admins set role = 'admin' where email = 'eva@example.com' returning 1")
    await operator.send(f"{one}/enable")
    await visitor.send("/console/invitation", chosen)
    await inviter.close()
    await visitor.close()


async def test_every_daemon_hears_of_changed_access(api: Any, operator: Operator) -> None:
    person = await add_person(api, "eva@example.com", Role.ADMIN)
    csrf = (await operator.get(BASE)).forms[BASE]
    (end, *_) = [form for form in (await operator.get("/console/account")).forms if form.endswith("/end")]
    async with await connect(api.database) as other:
        await other.listen([CONTROL_CHANNEL])

        async def is_told() -> None:
            with trio.fail_after(120):
                assert [channel for channel, _ in await other.notifications()] == [CONTROL_CHANNEL]

        for path in (
            f"{BASE}/{person.id}/rights",
            f"{BASE}/{person.id}/disable",
            f"{BASE}/second-factor",
            end,
            "/console/account/sessions/end-others",
        ):
            await operator.post(path, {**csrf, "role": "operator", "where": "all"})
            await is_told()


def code_in(page: str) -> str:
    found = re.search(r"/console/invitation#(zl_[\w-]{43})", page)
    assert found is not None
    return found[1]
