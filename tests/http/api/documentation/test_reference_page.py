"""The API's own description: true to the routes, and a page that needs nobody else."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
from jsonschema_rs import validator_for
from support.crm_receiver import crm_receiver

from zapline import http
from zapline.domain.crm_webhooks import TEST_EVENT, CrmWebhookEvent
from zapline.http.api.framework.problem_codes import MEANINGS, RETRYABLE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


async def test_the_document_and_its_page_are_open_to_all(api: Any) -> None:
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False) as stranger:
        document = await stranger.get("/openapi.json")
        page = await stranger.get("/docs")
        files = {path: await stranger.get(path) for path in re.findall(r'(?:src|href)="(/docs/[^"]*)"', page.text)}
    assert document.headers["content-type"] == "application/json"
    assert document.json()["openapi"] == "3.1.0"
    assert page.headers["content-type"].startswith("text/html")
    assert set(files) == {"/docs/icon.png", "/docs/style.css", "/docs/swagger-ui.js", "/docs/start.js"}
    types = {"png": "image/png", "css": "text/css", "js": "text/javascript"}
    for path, file in files.items():
        assert file.headers["content-type"].startswith(types[path.rpartition(".")[2]])
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_the_page_asks_nobody_else_for_anything_and_has_nothing_inline(api: Any) -> None:
    page = (await api.client.get("/docs")).text
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page) == []
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=", page)


async def test_the_files_of_the_page_are_no_part_of_the_document(api: Any) -> None:
    created = (await api.client.get("/openapi.json")).json()
    assert [path for path in created["paths"] if path.startswith("/docs")] == ["/docs", "/docs/style.css"]


async def test_the_document_in_the_repository_is_the_one_that_is_served(api: Any) -> None:
    served = (await api.client.get("/openapi.json")).json()
    written = json.loads((Path(__file__).parents[4] / "docs" / "openapi.json").read_text())
    assert written == served, "the API has changed: run `make clients`"


async def test_the_document_points_to_nothing_that_is_not_in_it(api: Any) -> None:
    created = (await api.client.get("/openapi.json")).json()
    text = (await api.client.get("/openapi.json")).text
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in created["components"]["schemas"]
    for schema in created["components"]["schemas"].values():
        validator_for({**schema, "components": created["components"], "$schema": DIALECT})


def test_every_code_that_can_be_answered_has_a_meaning() -> None:
    root = Path(http.__file__).parent
    sources = [path for path in root.rglob("*.py") if "console" not in path.relative_to(root).parts]
    code_pattern = re.compile(r'(?:Problem|ProblemType)\(\s*(?:status=)?\d+,\s*(?:code=)?"(\w+)"')
    result = {code for path in sources for code in code_pattern.findall(path.read_text())}
    assert result > {"unit_not_found", "wrong_credentials"}
    assert result - set(MEANINGS) == set()
    assert set(MEANINGS) > RETRYABLE


async def test_the_document_knows_every_code_that_it_names(api: Any) -> None:
    created = (await api.client.get("/openapi.json")).json()
    for path, methods in created["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                problem = answer.get("content", {}).get("application/problem+json")
                if problem is not None:
                    assert set(problem["schema"]["properties"]["code"]["enum"]) <= set(MEANINGS), (path, status)
            assert {"500"} <= set(operation["responses"])
            if operation["security"]:
                assert {"401", "503"} <= set(operation["responses"])
            if "{unit}" in path:
                assert "unit_not_found" in str(operation["responses"]["404"])
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= set(operation["responses"])
                assert "x-codeSamples" in operation


async def test_the_examples_of_bodies_are_what_their_schemas_say(api: Any) -> None:
    created = (await api.client.get("/openapi.json")).json()
    output = 0
    for path, methods in created["paths"].items():
        for operation in methods.values():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in body:
                schema = {**body["schema"], "components": created["components"], "$schema": DIALECT}
                assert validator_for(schema).is_valid(body["example"]), path
                output += 1
    assert output > 10


async def test_the_guide_lists_every_route_as_the_document_has_it(api: Any) -> None:
    created = (await api.client.get("/openapi.json")).json()
    text = (Path(__file__).parents[4] / "docs" / "api.md").read_text()
    section = text.partition("## All routes\n")[2].partition("\n## ")[0]
    assert section.strip() == route_list(created).strip()


def route_list(created: Any) -> str:
    """The routes by their groups, as the guide has them."""
    lines = []
    for group in (tag["name"] for tag in created["tags"]):
        lines += ["", f"### {group}", "", "| call | what it does | who |", "|---|---|---|"]
        for path, methods in created["paths"].items():
            for method, operation in methods.items():
                if group in operation["tags"]:
                    call = f"`{method.upper()} {path}`"
                    lines.append(f"| {call} | {operation['summary']} | {operation['x-access'].replace('_', ' ')} |")
    return "\n".join(lines)


async def test_what_the_crm_is_told_is_what_the_document_says(api: Any) -> None:
    unit = await api.add_unit()
    created = (await api.client.get("/openapi.json")).json()
    assert {*CrmWebhookEvent, TEST_EVENT} == set(created["webhooks"])
    key = {"id": "A", "remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False}
    text = {"message": {"conversation": "oi"}, "messageType": "conversation", "messageTimestamp": 1_750_000_000}
    async with crm_receiver() as at:
        hook = await api.post(f"/units/{unit.id}/hooks", {"url": f"{at.url}/hook"}, 201)
        await api.post(f"/units/{unit.id}/hooks/{hook['id']}/test", {}, 202)
        await api.send(unit, "messages.upsert", {"key": key, **text})
        await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
        calls = await at.wait_for_calls(3)
    assert {"hook.test", "message.received"} < {call.payload["type"] for call in calls}
    for call in calls:
        content = created["webhooks"][call.payload["type"]]["post"]
        body = content["requestBody"]["content"]["application/json"]["schema"]
        schema = {**body, "components": created["components"], "$schema": DIALECT}
        assert [error.message for error in validator_for(schema).iter_errors(call.payload)] == []
