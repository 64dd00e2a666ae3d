"""Every error is a problem, and none says too much."""

import re
from typing import Any

import pytest
import structlog

from zapline.http.api.framework.problem_codes import MEANINGS
from zapline.http.api.framework.problems import problem_of
from zapline.http.api.units import units as units_module
from zapline.sql.postgres.database_errors import StatementFailed


async def test_what_the_router_refuses_is_a_problem_too(api: Any) -> None:
    for method, path, status, code in [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/units/../../etc/passwd", 404, "not_found"),
        ("GET", "/%2e%2e/%00", 404, "not_found"),
        ("DELETE", "/units", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
    ]:
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"type", "title", "status", "code", "detail", "retryable"}
        assert answer.json()["status"] == status
    assert "GET" in (await api.client.delete("/units")).headers["allow"]


@pytest.mark.parametrize(
    ("sqlstate", "code", "again"),
    [
        ("40P01", "database_busy", True),
        ("55P03", "database_busy", True),
        ("23505", "database_busy", True),  # another transaction has inserted the same row at once
        ("22021", "invalid_text", False),
        ("42501", "database_refused", False),
    ],
)
def test_what_postgresql_refuses_says_whether_to_repeat_it(sqlstate: str, code: str, again: bool) -> None:
    problem = problem_of(StatementFailed(sqlstate, "refused"))
    assert (problem.code, problem.retryable) == (code, again)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 100_000, b'{"name": "a"} {}'])
async def test_what_is_no_json_is_refused(api: Any, body: bytes) -> None:
    answer = await api.client.post("/units", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("malformed_json", "invalid_request")


async def test_a_body_that_is_no_object_is_refused(api: Any) -> None:
    for body in (b"[]", b"7", b'"x"', b"null"):
        answer = await api.client.post("/units", content=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "body"


async def test_a_large_body_is_refused_declared_or_not(api: Any) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65536

    for content in (b" " * (2**20 + 1), chunks()):
        answer = await api.client.post("/units", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_unexpected_error_tells_the_caller_nothing_and_the_log_everything(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("the canary password is swordfish")

    await api.add_unit()
    monkeypatch.setattr(units_module, "unit_body", broken)
    with structlog.testing.capture_logs() as lines:
        answer = await api.client.get("/units")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "swordfish" not in answer.text
    assert "RuntimeError" not in answer.text
    (line,) = [line for line in lines if line["event"] == "A request crashed"]
    assert isinstance(line["exc_info"], RuntimeError)


async def test_every_answer_is_kept_from_caches_and_guesses(api: Any) -> None:
    for path in ("/units", "/nothing", "/health"):
        headers = (await api.client.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


@pytest.mark.heavy
async def test_every_error_of_every_route_has_its_code_and_gives_nothing_away(api: Any) -> None:
    """Asked with ids of another unit, with what is no JSON, with a field and a parameter that nobody knows."""
    unit, other = await api.add_unit(), await api.add_unit("Canary Store")
    theirs = await api.post(
        f"/units/{other.id}/messages", {"clientMessageId": "a", "to": "+5511999990007", "text": "oi"}, 202
    )
    foreign = theirs["id"]
    created = (await api.client.get("/openapi.json")).json()
    secrets = [str(other.id), foreign, api.token, api.database, "site-packages", ".py", "Traceback", "zapline."]
    bodies = (b"{", b'{"colour": "red"}', b"[]", b'{"name": "\\u0000", "text": "\\u0000", "to": "\\u0000"}')
    seen = set()
    for path, methods in created["paths"].items():
        filled = path.replace("{unit}", str(unit.id)).replace("{letter}", "7").replace("{contact}", "+5511999990008")
        filled = re.sub(r"\{\w+\}", foreign, filled)
        for method in methods:
            if path.endswith(("/events", "/logout", "/archive")):
                continue
            for value, body in (("", b""), ("?colour=red", b""), *(("", body) for body in bodies)):
                if method == "get" and body:
                    continue
                answer = await api.client.request(method, filled + value, content=body)
                if answer.status_code < 400:
                    continue
                problem = answer.json()
                seen.add(problem["code"])
                assert answer.headers["content-type"] == "application/problem+json", (method, path)
                assert problem["code"] in MEANINGS, (method, path, problem)
                assert isinstance(problem["retryable"], bool)
                assert (answer.status_code == 422) == ("errors" in problem), (method, path, problem)
                assert answer.status_code != 500, (method, path, problem)
                for secret in secrets:
                    assert secret not in answer.text, (method, path, problem)
    assert seen > {"invalid_request", "malformed_json", "message_not_found", "campaign_not_found"}
