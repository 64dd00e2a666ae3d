"""What all pages share: who gets in, which forms are accepted, languages, errors and headers."""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import httpx2
from quart import Response
from quart_trio import QuartTrio
from support.console_operator import BROWSER, Operator

from zapline.http.console.framework.session_guard import ConsoleOrigin, Transport, set_session_cookie

EMAIL, PASSWORD = "ana@example.com", "correct horse battery"


async def test_who_is_not_signed_in_is_led_to_the_sign_in_and_back(api: Any) -> None:
    visitor = Operator(api.url)
    answer = await visitor.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/console/")
    await visitor.get("/console/?q=loja", 303)
    assert visitor.answer.headers["location"] == "/console/sign-in?next=%2Fconsole%2F%3Fq%3Dloja"
    await visitor.follow()
    await visitor.send("/console/sign-in", {"email": EMAIL, "password": "wrong"}, 401)
    assert "Email or password is wrong." in visitor.page.visible_text
    await visitor.send("/console/sign-in", {"email": EMAIL, "password": PASSWORD})
    assert visitor.answer.headers["location"] == "/console/?q=loja"
    cookie = visitor.answer.headers["set-cookie"]
    assert re.match(r"zapline=zl_[\w-]{43};", cookie), "over plain HTTP on this machine, the plain name"
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    page = await visitor.follow()
    assert "There is no unit yet" in page.visible_text
    await visitor.send("/console/sign-out")
    await visitor.get("/console/", 303)
    await visitor.close()


async def test_nobody_is_led_to_another_site(api: Any, operator: Operator) -> None:
    for evil in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console//evil.example",
        "/console/\\e",
    ):
        await operator.get(f"/console/sign-in?next={quote(evil, safe='')}", 303)
        assert operator.answer.headers["location"] == "/console/", evil


async def test_a_form_from_elsewhere_or_of_another_session_is_refused(api: Any, operator: Operator) -> None:
    page = await operator.get("/console/")
    fields = page.forms["/console/sign-out"]

    async def post(headers: dict[str, str], data: dict[str, str]) -> int:
        return (await operator.client.post("/console/sign-out", data=data, headers=headers)).status_code

    foreign: list[dict[str, str]] = [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ]
    for headers in foreign:
        assert await post(headers, fields) == 403, headers
    assert await post(BROWSER, {}) == 403
    assert await post(BROWSER, {"csrf": "A" * 43}) == 403
    other = Operator(api.url)
    await other.sign_in(EMAIL, PASSWORD)
    theirs = await other.get("/console/")
    assert await post(BROWSER, theirs.forms["/console/sign-out"]) == 403
    await other.close()
    assert await post({"Origin": api.url}, fields) == 303, "a browser without Sec-Fetch-Site"


async def test_nobody_signs_in_over_plain_http_through_a_network(api: Any) -> None:
    """No proxy is trusted here, so what it says of https is not cache."""
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False) as client:
        headers = {"Host": "zapline.example.com", "X-Forwarded-Proto": "https"}
        answer = await client.get("/console/sign-in", headers=headers)
        assert "plain HTTP" in answer.text
        data = {"email": EMAIL, "password": PASSWORD}
        answer = await client.post("/console/sign-in", data=data, headers={**headers, **BROWSER})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_over_https_the_cookie_is_bound_to_the_host() -> None:
    app = QuartTrio(__name__)
    behind = ConsoleOrigin((ip_network("10.0.0.0/8"),), "https://zapline.example.com")
    for client, headers, wanted in (
        ("10.0.0.1", {"Host": "other.example.com", "X-Forwarded-Proto": "https"}, Transport.HTTPS),
        ("10.0.0.1", {"Host": "other.example.com", "X-Forwarded-Proto": "http"}, Transport.PLAIN),
        ("192.0.2.7", {"Host": "other.example.com", "X-Forwarded-Proto": "https"}, Transport.PLAIN),
        ("192.0.2.7", {"Host": "zapline.example.com"}, Transport.HTTPS),
        ("127.0.0.1", {"Host": "127.0.0.1:8080"}, Transport.LOOPBACK),
        ("127.0.0.1", {"Host": "[::1]:8080"}, Transport.LOOPBACK),
        ("127.0.0.1", {"Host": "127.0.0.1.evil.example"}, Transport.PLAIN),
    ):
        async with app.test_request_context("/", headers=headers, scope_base={"client": (client, 1)}):
            assert behind.transport() is wanted, headers
    async with app.test_request_context("/", headers={"Host": "zapline.example.com"}):
        answer = Response(b"")
        set_session_cookie(answer, behind, "zl_token", datetime.now(UTC) + timedelta(hours=1))
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-zapline=zl_token; ")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


async def test_a_session_that_has_ended_leads_to_the_sign_in_and_tells_the_script(api: Any, operator: Operator) -> None:
    assert (await operator.client.get("/console/session")).status_code == 204
    await api.sql("update zapline.access_tokens set expires_at = now() where kind = 'session' returning 1")
    api.identity.invalidate_cache()
    lost = await operator.client.post("/console/units/new", data={"name": "Loja"}, headers=BROWSER)
    assert lost.headers["location"] == "/console/sign-in?undone=1"
    page = await operator.get(lost.headers["location"])
    assert "nothing came of what you sent" in page.visible_text
    out = await operator.client.post("/console/sign-out", headers=BROWSER)
    assert out.headers["location"] == "/console/sign-in", "who signs out twice is out"
    await operator.get("/console/", 303)
    answer = await operator.client.get("/console/part/units", headers={"X-Zapline-Live": "1"})
    assert answer.status_code == 401


async def test_a_bearer_token_opens_no_page_and_a_cookie_opens_no_api(api: Any, operator: Operator) -> None:
    assert (await api.client.get("/console/")).status_code == 303
    assert (await operator.client.get("/units")).status_code == 401
    visitor = Operator(api.url)
    visitor.client.cookies.set("zapline", api.token)
    await visitor.get("/console/", 303)
    await visitor.close()


async def test_the_language_follows_the_browser_or_what_was_chosen(api: Any, operator: Operator) -> None:
    page = await operator.get("/console/about", **{"Accept-Language": "pt-PT,pt;q=0.9"})
    assert "Para programas" in page.visible_text
    assert '<html lang="pt-BR"' in page.text
    for preferred in ("es", "es-MX", "es-AR,en;q=0.5", "fr,es-419;q=0.8,en;q=0.5"):
        page = await operator.get("/console/", 200, **{"Accept-Language": preferred})
        assert '<html lang="es"' in page.text
        assert "Resumen" in page.text
    await operator.get("/console/about")
    await operator.send("/console/preferences", {"language": "pt-BR", "look": "dark"})
    page = await operator.follow()
    assert "Para programas" in page.visible_text
    assert 'data-look="dark"' in page.text


async def test_errors_are_pages_and_static_files_are_kept(api: Any, operator: Operator) -> None:
    page = await operator.get("/console/nothing", 404)
    assert "There is nothing here" in page.visible_text
    assert "Traceback" not in page.text
    styles = re.search(r'href="(/console/static/console\.[0-9a-f]{12}\.css)"', page.text)
    assert styles is not None
    answer = await operator.client.get(styles[1])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await operator.client.get("/console/static/console.css")).status_code == 404
    page = await operator.get("/console/")
    assert operator.answer.headers["cache-control"] == "no-store"


async def test_hostile_names_stay_text(api: Any, operator: Operator) -> None:
    for name in ("<script>zaplineRan(1)</script>\"'", "{{ 7 * 7 }}", "<img src=x onerror=alert(1)>"):
        await api.add_unit(name)
    page = await operator.get("/console/")
    assert "<script>zaplineRan" not in page.text
    assert "<img src=x" not in page.text
    assert "{{ 7 * 7 }}" in page.visible_text
    assert "<img src=x onerror=alert(1)>" in page.visible_text
