"""Tokens of units and of administrators: shown once, ended at once, and what each may see."""

import time
from typing import Any
from uuid import uuid4

import pytest
import trio
from argon2 import PasswordHasher

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, Principal, Scope
from zapline.http.api.framework.password_sign_in import AuthPolicy, PasswordSignIn
from zapline.sql.accounts import administrators
from zapline.sql.accounts.access_tokens import TokenHolder, revoke_all_admin_tokens
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.token_cache import TokenCache

QR = {"qrcode": {"instance": "x", "pairingCode": "WZYEH1YY", "code": "2@abc,def", "base64": None}}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_units_token_is_shown_once_works_for_its_scopes_and_ends_at_once(api: Any) -> None:
    unit = await api.add_unit()
    tokens = f"/units/{unit.id}/tokens"
    minted = await api.post(tokens, {"label": " CRM ", "scopes": ["send", "read"], "expiresInDays": 30}, 201)
    assert minted["token"].startswith("zl_")
    assert (minted["label"], minted["scopes"], minted["createdBy"]) == ("CRM", ["read", "send"], "ana@example.com")
    assert (minted["unitId"], minted["kind"], minted["idleSeconds"]) == (str(unit.id), "unit", None)
    mine = bearer(minted["token"])
    me = (await api.client.get("/admin/me", headers=mine)).json()
    assert me == {
        "kind": "unit_token",
        "id": minted["id"],
        "name": "CRM",
        "unitId": str(unit.id),
        "scopes": ["read", "send"],
        "organizationId": None,
        "unitIds": None,
        "roles": None,
    }
    assert (await api.client.get(f"/units/{unit.id}", headers=mine)).status_code == 200
    refused = await api.client.post(f"/units/{unit.id}/whatsapp/connect", headers=mine)
    assert refused.status_code == 403
    assert "control" in refused.json()["detail"]
    items = await api.get(tokens)
    assert [item["id"] for item in items["items"]] == [minted["id"]]
    assert minted["token"] not in str(items)
    other = await api.add_unit("Other")
    foreign = await api.client.delete(f"/units/{other.id}/tokens/{minted['id']}")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "token_not_found")
    assert (await api.client.get(f"/units/{unit.id}", headers=mine)).status_code == 200
    assert (await api.client.delete(f"{tokens}/{minted['id']}")).status_code == 204
    assert (await api.client.get(f"/units/{unit.id}", headers=mine)).status_code == 401
    assert (await api.get(tokens))["items"][0]["revokedAt"] is not None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"label": "x", "scopes": []}, "scopes"),
        ({"label": "x", "scopes": ["everything"]}, "scopes"),
        ({"label": "", "scopes": ["read"]}, "label"),
        ({"label": "a\nb", "scopes": ["read"]}, "label"),
        ({"label": "x", "scopes": ["read"], "expiresInDays": 0}, "expiresInDays"),
        ({"label": "x", "scopes": ["read"], "unit": "y"}, "unit"),
    ],
)
async def test_a_token_that_makes_no_sense_is_not_made(api: Any, body: object, field: str) -> None:
    unit = await api.add_unit()
    refused = await api.post(f"/units/{unit.id}/tokens", body, 422)
    assert refused["errors"][0]["field"].startswith(field)
    assert (await api.get(f"/units/{unit.id}/tokens"))["items"] == []


async def test_an_administrators_own_tokens_and_sessions_are_his_alone_to_end(api: Any) -> None:
    created = await api.post("/admin/tokens", {"label": "Backups"}, 201)
    assert (created["kind"], created["unitId"], created["scopes"], created["idleSeconds"]) == (
        "admin",
        None,
        [],
        30 * 86400,
    )
    assert (await api.client.get("/units", headers=bearer(created["token"]))).status_code == 200
    me = (await api.client.get("/admin/me", headers=bearer(created["token"]))).json()
    assert (me["kind"], me["name"], me["scopes"]) == ("admin", "ana@example.com", ["read", "send", "control"])
    async with api.engine_pool.connection() as conn:
        other = await administrators.add_admin(conn, "bia@example.com", "x")
    foreign, _ = await api.identity.open_login(Principal(ActorKind.ADMIN, other, "bia@example.com"))
    theirs = await api.client.get("/admin/tokens", headers=bearer(foreign))
    assert [item["createdBy"] for item in theirs.json()["items"]] == ["bia@example.com"]
    path = f"/admin/tokens/{created['id']}"
    assert (await api.client.delete(path, headers=bearer(foreign))).status_code == 404
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get("/units", headers=bearer(created["token"]))).status_code == 401
    first = await api.get("/admin/tokens", limit=1)
    rest = await api.get("/admin/tokens", limit=1, cursor=first["nextCursor"])
    assert [first["items"][0]["label"], rest["items"][0]["label"]] == ["Backups", "login"]


async def test_a_session_is_no_bearer_and_a_bearer_no_session_and_both_end(api: Any) -> None:
    who, source = ("ANA@example.com", "correct horse battery"), "203.0.113.7"
    sign_in = PasswordSignIn(api.identity, AuditLog(api.engine_pool), AuthPolicy(hasher=PasswordHasher(1, 1024, 1)))
    session, ends, _ = await sign_in.open_session(*who, source)
    ana = await sign_in.session(session)
    assert ana is not None
    assert ana.name == "ana@example.com"
    assert 11.9 < (ends.timestamp() - time.time()) / 3600 <= 12.1
    assert await sign_in.session(api.token) is None
    assert (await api.client.get("/units", headers=bearer(session))).status_code == 401
    await sign_in.close(session, ana, source)
    assert await sign_in.session(session) is None
    session, _, _ = await sign_in.open_session(*who, source)
    assert await sign_in.session(session) == ana
    async with api.engine_pool.connection() as conn:
        await administrators.set_enabled(conn, "ana@example.com", False)
    api.identity.invalidate_cache()
    assert await sign_in.session(session) is None
    assert (await api.client.get("/units")).status_code == 401


async def test_use_keeps_a_session_open_looking_does_not_and_rest_ends_it(api: Any) -> None:
    now = [1_900_000_000.0]
    (admin,) = await api.sql("select id from zapline.admins")
    token, _ = await api.identity.open_session(Principal(ActorKind.ADMIN, admin.id, "ana@example.com"))
    (stored,) = await api.sql("select now() as at")
    now[0] = stored.at.timestamp()
    requested: list[float | None] = []

    async def find(digest: bytes, used_at: float | None) -> TokenHolder | None:
        requested.append(used_at)
        return await api.identity._find(digest, used_at)

    cache = TokenCache(find, lambda: now[0])
    assert await cache.find_holder(token) is not None
    for _ in range(3):
        now[0] += 1000
        assert await cache.find_holder(token) is not None, "used within its half hour"
    assert len(requested) == 1, "a token is believed for a while"
    assert list(cache.take_last_uses().values()) == [now[0]]
    assert cache.take_last_uses() == {}
    now[0] += 1000
    assert await cache.find_holder(token, use=False) is not None
    assert cache.take_last_uses() == {}
    now[0] += 1000
    # The database, whose clock has not moved, is asked again and decides; here it would let it in.
    await api.sql("update zapline.access_tokens set created_at = now() - interval '31 min' returning 1")
    assert await cache.find_holder(token, use=False) is not None
    assert requested[-1] == now[0] - 2000
    await api.sql("update zapline.access_tokens set idle_seconds = 60, last_used_at = null returning 1")
    assert await TokenCache(api.identity._find, lambda: now[0]).find_holder(token) is None


async def test_the_last_use_is_stored_a_while_later(api: Any) -> None:
    await api.get("/units")
    assert (await api.get("/admin/tokens"))["items"][0]["lastUsedAt"] is None
    await api.identity.store_last_uses()
    assert (await api.get("/admin/tokens"))["items"][0]["lastUsedAt"] is not None


async def test_what_is_revoked_while_the_database_answers_is_not_believed(api: Any) -> None:
    unit = await api.add_unit()
    minted = await api.identity.mint_unit_token(unit.id, "t", frozenset({Scope.READ}), "test", None)
    answered, go_on = trio.Event(), trio.Event()
    requested = 0

    async def find(digest: bytes, used_at: float | None) -> TokenHolder | None:
        nonlocal requested
        requested += 1
        holder = await api.identity._find(digest, used_at)
        answered.set()
        await go_on.wait()
        return holder

    cache = TokenCache(find, time.time)
    result: list[TokenHolder | None] = []

    async def ask() -> None:
        result.append(await cache.find_holder(minted.token))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await answered.wait()
        await api.identity.revoke_unit_token(unit.id, minted.record.id)
        cache.remove(lambda holder: True)
        go_on.set()
    assert result == [None]
    assert requested == 2


async def test_a_bell_does_not_shut_anybody_out_while_the_database_is_away(api: Any) -> None:
    away = False

    async def find(digest: bytes, used_at: float | None) -> TokenHolder | None:
        if away:
            raise DatabaseUnavailable("gone")
        return await api.identity._find(digest, used_at)

    cache = TokenCache(find, time.time)
    assert await cache.find_holder(api.token) is not None
    cache.invalidate()
    away = True
    assert await cache.find_holder(api.token) is not None
    cache.remove_token(api.token)
    with pytest.raises(DatabaseUnavailable):
        await cache.find_holder(api.token)


async def test_a_code_that_links_a_phone_is_shown_to_who_may_control_the_line(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/whatsapp/status"
    await api.post(f"/units/{unit.id}/whatsapp/connect", {"number": "5511999990001"}, 202)
    await api.until(path, lambda status: status["qrText"] is not None)
    codes = ("qrCode", "qrText", "pairingCode")
    for scope in (Scope.READ, Scope.CONTROL):
        scopes = frozenset({Scope.READ, scope})
        token = (await api.identity.mint_unit_token(unit.id, "t", scopes, "test", None)).token
        status = (await api.client.get(path, headers=bearer(token))).json()
        assert status["phase"] == "pairing"
        assert [status[name] is not None for name in codes] == [scope is Scope.CONTROL] * 3
        picture = await api.client.get(f"/units/{unit.id}/whatsapp/qr.svg", headers=bearer(token))
        assert picture.status_code == (200 if scope is Scope.CONTROL else 403)


async def test_a_new_password_ends_what_the_old_one_opened(api: Any) -> None:
    async with api.engine_pool.connection() as conn:
        admin = await administrators.set_password(
            conn, "ana@example.com", PasswordHasher(1, 1024, 1).hash("another one")
        )
        assert await revoke_all_admin_tokens(conn, admin) == 1
    api.identity.invalidate_cache()
    assert (await api.client.get("/units")).status_code == 401
    old = {"email": "ana@example.com", "password": "correct horse battery"}
    assert (await api.client.post("/admin/login", json=old)).status_code == 401
    assert (await api.client.post("/admin/login", json={**old, "password": "another one"})).status_code == 200


async def test_a_token_of_a_unit_that_is_not_there_is_not_made(api: Any) -> None:
    refused = await api.post(f"/units/{UnitId(uuid4())}/tokens", {"label": "x", "scopes": ["read"]}, 404)
    assert refused["code"] == "unit_not_found"


async def test_a_token_is_told_how_many_requests_it_has_left_and_refused_beyond(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}"
    body = {"label": "CRM", "scopes": ["read", "send"], "requestsPerMinute": 3}
    minted = await api.post(f"{path}/tokens", body, 201)
    assert minted["requestsPerMinute"] == 3
    mine, message = bearer(minted["token"]), {"clientMessageId": "a", "to": "+5511999990007", "text": "oi"}
    answers = [
        await api.client.get(path, headers=mine),
        await api.client.post(f"{path}/messages", json=message, headers=mine),
        await api.client.post(f"{path}/pause", headers=mine),
    ]
    assert [answer.status_code for answer in answers] == [200, 202, 403]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"token";q=3;w=60'}
    left = [int(answer.headers["RateLimit"].partition(";r=")[2].partition(";t=")[0]) for answer in answers]
    assert left[0] == 2
    assert all(0 <= some <= 2 for some in left), "on a slow machine some have come back"
    refused = []
    with trio.fail_after(120):
        while len(refused) < 2:
            ask = api.client.post(f"{path}/messages", json=message, headers=mine)
            answer = await (ask if refused else api.client.get(path, headers=mine))
            if answer.status_code == 429:
                refused.append(answer)
    for answer in refused:
        assert (answer.json()["code"], answer.json()["retryable"]) == ("too_many_requests", True)
        assert answer.headers["RateLimit"].startswith('"token";r=0;t=')
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
    free = await api.client.get(path)
    assert (free.status_code, "RateLimit" in free.headers) == (200, False), "an administrator's are not counted"
    other = (await api.identity.mint_unit_token(unit.id, "t", frozenset({Scope.READ}), "test", None)).token
    answer = await api.client.get(path, headers=bearer(other))
    assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)
    listed = (await api.get(f"{path}/tokens"))["items"]
    assert {row["label"]: row["requestsPerMinute"] for row in listed} == {"CRM": 3, "t": None}
