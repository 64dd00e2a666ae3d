"""A person's own account: one-time codes as a second factor, and what is signed in."""

import base64
import re
from typing import Any

from support.console_operator import Operator
from support.people import CODES_AT

from zapline.domain.privacy.one_time_codes import code_of

EMAIL, PASSWORD = "ana@example.com", "correct horse battery"
STEP = int(CODES_AT // 30)
ACCOUNT, CODE = "/console/account", "/console/sign-in/code"
REMOVE = f"{ACCOUNT}/codes/remove"
LOGIN = {"email": EMAIL, "password": PASSWORD}


async def test_with_one_time_codes_a_password_alone_opens_nothing(api: Any, operator: Operator) -> None:
    _, recovery = await set_up(operator)
    await operator.get(ACCOUNT)
    await operator.send(REMOVE, {"code": "000000"}, 422)
    assert "wrong, or was used already" in operator.page.visible_text
    await operator.send(REMOVE, {"code": recovery[0]})
    assert "password alone again" in (await operator.follow()).visible_text
    secret, recovery = await set_up(operator)
    (stored,) = await api.sql("select totp_secret from zapline.admins")
    assert secret not in bytes(stored.totp_secret), "it is sealed"
    thief = Operator(api.url)
    await thief.get("/console/sign-in")
    await thief.send("/console/sign-in", LOGIN)
    assert thief.answer is not None
    assert thief.answer.headers["location"].startswith(CODE)
    await thief.get("/console/", 303)
    token = thief.client.cookies["zapline"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await api.client.get("/units", headers=bearer)).status_code == 401, "half a session is no token either"
    await thief.get(CODE)
    await thief.send(CODE, {"code": "000000"}, 401)
    assert "wrong, or was used already" in thief.page.visible_text
    used = code_of(secret, STEP - 1)
    await thief.send(CODE, {"code": used}, 401)
    assert [line["outcome"] for line in await sign_ins(api)][:2] == [401, 401]
    await thief.send(CODE, {"code": recovery[0].upper()})
    await thief.get("/console/")
    assert [line["outcome"] for line in await sign_ins(api)][:1] == [200]
    # Each is good once, and a login by API takes one, too.
    answer = await api.client.post("/admin/login", json=LOGIN)
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_needed")
    again = await api.client.post("/admin/login", json={**LOGIN, "code": recovery[0]})
    assert (again.status_code, again.json()["code"]) == (401, "wrong_credentials")
    other = await api.client.post("/admin/login", json={**LOGIN, "code": recovery[1]})
    assert other.status_code == 200
    await thief.close()
    # Guesses are counted for the person.
    tries = [await api.client.post("/admin/login", json={**LOGIN, "code": "000000"}) for _ in range(6)]
    assert {answer.status_code for answer in tries} == {401, 429}
    # So they are where a code takes the codes away: no session that was left open gives more of them.
    await operator.get(ACCOUNT)
    for _ in range(10):
        await operator.send(REMOVE, {"code": "000000"}, 422)
    assert "Too many attempts" in operator.page.visible_text
    await operator.send(REMOVE, {"code": recovery[2]}, 422)
    (left,) = await api.sql("select totp_confirmed_at from zapline.admins")
    assert left.totp_confirmed_at is not None
    everything = str(await api.get("/audit", limit=50))
    assert not any(text in everything for text in (*recovery, base64.b32encode(secret).decode()))


async def test_a_second_factor_is_required_of_a_role(api: Any, operator: Operator) -> None:
    await operator.get("/console/people")
    await operator.send("/console/people/second-factor", {"admin": "on"})
    assert "for yourself first" in (await operator.follow()).visible_text
    other = Operator(api.url)
    await other.sign_in(EMAIL, PASSWORD)
    await set_up(operator)
    await operator.get("/console/people")
    await operator.send("/console/people/second-factor", {"admin": "on"})
    await operator.get("/console/")
    await api.sql("update zapline.admins set totp_confirmed_at = null returning 1")
    api.identity.invalidate_cache()
    for path in ("/console/", "/console/people"):
        assert "page of your account" in (await other.get(path, 403)).visible_text
    await other.get(ACCOUNT)
    assert (await api.client.get("/units")).status_code == 403
    await other.close()


async def test_what_is_signed_in_is_listed_and_ended(api: Any, operator: Operator) -> None:
    other = Operator(api.url)
    await other.sign_in(EMAIL, PASSWORD)
    page = await operator.get(ACCOUNT)
    assert "127.0.0.1" in page.visible_text
    assert "python-httpx" in page.visible_text
    (first, *_) = [action for action in page.forms if action.endswith("/end")]
    await operator.send(first)
    page = await operator.follow()
    assert first not in page.forms
    await operator.send(f"{ACCOUNT}/sessions/end-others")
    assert "signed out" in (await operator.follow()).visible_text
    await other.get("/console/", 303)
    assert (await api.client.get("/units")).status_code == 401, "tokens are ended, too"
    await operator.get("/console/")
    await other.close()


async def set_up(operator: Operator) -> tuple[bytes, list[str]]:
    """The secret of one-time codes, and the recovery codes. The code of the step before now is used up."""
    await operator.get(ACCOUNT)
    await operator.send(f"{ACCOUNT}/codes")
    page = await operator.follow()
    found = re.search(r"<code>([A-Z2-7]{32})</code>", page.text)
    assert found is not None
    secret = base64.b32decode(found[1])
    assert (await operator.client.get(f"{ACCOUNT}/qr.svg")).status_code == 200
    await operator.send(f"{ACCOUNT}/codes/confirm", {"code": "12345"}, 422)
    await operator.send(f"{ACCOUNT}/codes/confirm", {"code": code_of(secret, STEP)}, 200)
    recovery = re.findall(r"<li>((?:[a-z2-7]{4}-){3}[a-z2-7]{4})</li>", operator.page.text)
    assert len(recovery) == 10
    assert (await operator.client.get(f"{ACCOUNT}/qr.svg")).status_code == 404
    assert recovery[0] not in (await operator.get(ACCOUNT)).text, "they are shown once"
    return secret, recovery


async def sign_ins(api: Any) -> list[Any]:
    return [line for line in (await api.get("/audit", limit=20))["items"] if line["action"] == "sign_in"]
