"""The API's own description: true to the routes, and a page that needs nobody else."""

import re
from typing import Any

import httpx2
from jsonschema_rs import validator_for


async def test_the_document_and_its_page_are_open_to_all(api: Any) -> None:
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False) as stranger:
        told = await stranger.get("/openapi.json")
        page = await stranger.get("/docs")
        style = await stranger.get("/docs/style.css")
    assert told.headers["content-type"] == "application/json"
    made = told.json()
    assert made["openapi"] == "3.1.0"
    assert page.headers["content-type"].startswith("text/html")
    assert style.headers["content-type"].startswith("text/css")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            assert f'id="{operation["operationId"]}"' in page.text, (method, path)


async def test_the_page_asks_nobody_else_for_anything_and_has_nothing_inline(api: Any) -> None:
    page = (await api.client.get("/docs")).text
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page) == []
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)


async def test_the_document_points_to_nothing_that_is_not_in_it(api: Any) -> None:
    made = (await api.client.get("/openapi.json")).json()
    text = (await api.client.get("/openapi.json")).text
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in made["components"]["schemas"]
    for schema in made["components"]["schemas"].values():
        validator_for(
            {**schema, "components": made["components"], "$schema": "https://json-schema.org/draft/2020-12/schema"}
        )
