"""Signing in, tokens, and the gate."""

import time
from ipaddress import ip_network
from typing import Any

import argon2
import httpx2
import pytest
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.http.api.framework.password_sign_in import AttemptLimit
from zapline.http.server.client_address import client_address
from zapline.sql.postgres.connection import connect

EMAIL = "ana@example.com"
PASSWORD = "correct horse battery"


async def sign_in(api: Any, email: str, password: str) -> Any:
    return await api.client.post("/admin/login", json={"email": email, "password": password})


async def test_the_right_password_gives_a_token_that_opens_and_ends(api: Any) -> None:
    answer = await sign_in(api, EMAIL.upper(), PASSWORD)
    assert answer.status_code == 200
    token = answer.json()["token"]
    assert token.startswith("zl_")
    assert answer.json()["expiresAt"].endswith("Z")
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.client.get("/units", headers=headers)).status_code == 200
    assert (await api.client.post("/admin/logout", headers=headers)).status_code == 204
    refused = await api.client.get("/units", headers=headers)
    assert refused.status_code == 401
    assert refused.json()["code"] == "unauthorized"
    stored = await api.sql("select digest from zapline.access_tokens")
    assert all(token.encode() not in bytes(row.digest) for row in stored)


async def test_who_signs_in_while_the_password_is_changed_is_not_let_in_by_the_old_one(api: Any) -> None:
    async with await connect(api.database) as other, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def come_in() -> None:
            answers.append(await sign_in(api, EMAIL, PASSWORD))

        async with other.transaction():
            await other.execute("update zapline.admins set password_hash = password_hash || 'x'")
            await other.execute("update zapline.access_tokens set revoked_at = now()")
            nursery.start_soon(come_in)
            await until_blocked_by_a_lock(api)
            assert not answers
    assert (answers[0].status_code, answers[0].json()["code"]) == (401, "wrong_credentials")
    assert await api.sql("select from zapline.access_tokens where revoked_at is null") == []
    (line,) = await api.sql("select outcome from zapline.audit_log where action = 'sign_in'")
    assert line.outcome == 401


async def until_blocked_by_a_lock(api: Any) -> None:
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with trio.fail_after(30):
        while not await api.sql(waiting):  # noqa: ASYNC110 - the database tells nobody
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Bearer zl_" + "A" * 43, "Basic zl_" + "A" * 43, "Bearer zl_" + "é" * 43]
)
async def test_without_a_valid_token_there_is_only_401(api: Any, header: str) -> None:
    for method, path in [
        ("GET", "/units"),
        ("POST", "/units"),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/1/replay"),
        ("GET", "/units/00000000-0000-0000-0000-000000000000/whatsapp/status"),
        ("POST", "/admin/logout"),
    ]:
        answer = await api.client.request(method, path, headers={"Authorization": header.encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "unauthorized"


async def test_a_wrong_password_and_an_unknown_account_look_the_same(api: Any) -> None:
    wrong_password, unknown = await sign_in(api, EMAIL, "wrong"), await sign_in(api, "nobody@example.com", "wrong")
    assert wrong_password.status_code == unknown.status_code == 401
    assert wrong_password.json() == unknown.json()


async def test_an_unknown_account_costs_a_password_check_too(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    verify = argon2.PasswordHasher.verify

    def counted(hasher: Any, stored: Any, password: Any) -> Any:
        checked.append(argon2.extract_parameters(stored))
        return verify(hasher, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    await sign_in(api, EMAIL, "wrong")
    await sign_in(api, "nobody@example.com", "wrong")
    assert len(checked) == 2
    assert checked[0] == checked[1]


async def test_who_knows_an_address_of_mail_locks_nobody_out_of_its_account(api: Any) -> None:
    elsewhere = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx2.AsyncClient(transport=elsewhere, base_url=api.client.base_url) as guesser:
        body = {"email": EMAIL, "password": "wrong"}
        codes = [(await guesser.post("/admin/login", json=body)).status_code for _ in range(7)]
    assert codes == [401] * 5 + [429] * 2
    assert (await sign_in(api, EMAIL, PASSWORD)).status_code == 200
    sources = await api.sql("select distinct source from zapline.audit_log where action = 'sign_in'")
    assert {row.source for row in sources} == {"127.0.0.1", "127.0.0.2"}


async def test_guessing_is_slowed_by_account_and_forgiven_to_who_knows_the_password(api: Any) -> None:
    for _ in range(4):
        assert (await sign_in(api, EMAIL, "wrong")).status_code == 401
    assert (await sign_in(api, EMAIL, PASSWORD)).status_code == 200
    answers = []
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(_collect, api, answers)
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 3
    refused = await sign_in(api, EMAIL, PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert refused.json()["retryable"] is True


async def _collect(api: Any, answers: list[Any]) -> None:
    answers.append(await sign_in(api, EMAIL, "wrong"))


async def test_one_source_cannot_try_many_accounts(api: Any) -> None:
    codes = [(await sign_in(api, f"user{number}@example.com", "x")).status_code for number in range(22)]
    assert codes == [401] * 20 + [429] * 2


async def test_a_forwarded_address_is_not_believed_from_a_stranger(api: Any) -> None:
    codes = []
    for number in range(22):
        headers = {"X-Forwarded-For": f"10.0.0.{number}"}
        body = {"email": f"user{number}@example.com", "password": "x"}
        codes.append((await api.client.post("/admin/login", json=body, headers=headers)).status_code)
    assert codes[-1] == 429


@pytest.mark.parametrize(
    ("client", "forwarded", "source"),
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_the_source_is_the_nearest_address_that_is_no_proxy_of_ours(
    client: str | None, forwarded: list[str], source: str
) -> None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    scope = {"client": (client, 1) if client else None, "headers": headers}
    assert client_address(scope, [ip_network("10.0.0.0/8")]) == source


def test_attempts_slide_out_of_the_window_one_by_one() -> None:
    attempts = AttemptLimit(2)
    attempts.record("a", 0.0)
    attempts.record("a", 100.0)
    assert attempts.wait("a", 150.0) == 150.0
    assert attempts.wait("b", 150.0) == 0.0
    assert attempts.wait("a", 300.0) == 0.0
    attempts.record("a", 300.0)
    assert attempts.wait("a", 301.0) == 99.0


def test_attempts_of_many_keys_stay_in_bounded_memory() -> None:
    attempts = AttemptLimit(2)
    for number in range(10_000):
        attempts.record(str(number), 0.0)
    assert len(attempts._attempts) == 4096


async def test_a_known_token_still_reads_the_status_while_the_database_is_away(api: Any, monkeypatch: Any) -> None:
    unit = await api.add_unit()
    await api.get(f"/units/{unit.id}/whatsapp/status")

    attempts: list[Any] = []

    def away() -> Any:
        attempts.append(None)
        raise DatabaseUnavailable("gone")

    for pool in (api.api_pool, api.engine_pool):
        monkeypatch.setattr(pool, "connection", away)
    monkeypatch.setattr("zapline.supervisors.accounts.token_cache.FRESH", 0.0)
    before = len(attempts)
    assert (await api.get(f"/units/{unit.id}/whatsapp/status"))["status"] == "disconnected"
    assert len(attempts) - before <= 2, "the status waits for no retries"
    problem = await api.get(f"/units/{unit.id}/conversations", 503)
    assert (problem["code"], problem["retryable"]) == ("database_unavailable", True)
    stranger = await api.client.get("/units", headers={"Authorization": "Bearer zl_" + "A" * 43})
    assert stranger.status_code == 503
    assert (await api.client.get("/livez")).status_code == 200


async def test_a_token_that_has_expired_is_refused_though_it_is_remembered(api: Any) -> None:
    await api.sql("update zapline.access_tokens set expires_at = now() + interval '30 seconds' returning 1")
    await api.get("/units")
    await api.sql("update zapline.access_tokens set expires_at = now() - interval '1 second' returning 1")
    await api.get("/units")  # it is remembered with the time that it had
    api.identity._cache._clock = lambda: time.time() + 31
    assert (await api.client.get("/units")).status_code == 401
