"""What is generated agrees with docs/openapi.json, and covers all of it."""

import hashlib
import importlib.util
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import zapline
import zapline_client
from zapline_client.generated.async_operations import AsyncOperations
from zapline_client.generated.operations import Operations
from zapline_client.requests import USER_AGENT

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "clients" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(DOCUMENT.read_text())


def test_the_python_client_agrees_with_the_document(generator: ModuleType, document: Any) -> None:
    for name, text in generator.generated(document).items():
        assert (generator.TARGET / name).read_text() == text, f"{name} is out of step: run `make clients`"


def test_the_client_that_blocks_is_made_from_the_one_to_be_awaited(generator: ModuleType) -> None:
    made = generator.blocking_client((generator.CLIENT / "async_client.py").read_text())
    assert (generator.CLIENT / "client.py").read_text() == made, "client.py is out of step: run `make clients`"
    with pytest.raises(ValueError, match="anyio stays"):
        generator.blocking_client("import anyio\n\nlock = anyio.Lock()\n")


def test_the_typescript_client_is_generated_from_the_same_document_and_unchanged(generator: ModuleType) -> None:
    digest = hashlib.sha256(DOCUMENT.read_bytes()).hexdigest()
    first_line, end, body = (ROOT / "clients/typescript/src/schema.ts").read_text().partition("\n")
    wanted = generator.typescript_head(digest, body)
    assert first_line + end == wanted, "the types of TypeScript are out of step: run `make clients`"


def test_clients_and_daemon_have_one_version() -> None:
    package = json.loads((ROOT / "clients/typescript/package.json").read_text())
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert {package["version"], project["version"], zapline_client.__version__} == {zapline.__version__}
    assert USER_AGENT.endswith(f"/{zapline.__version__}")


def test_each_route_is_a_method_of_both_clients_but_the_stream(document: Any, generator: ModuleType) -> None:
    names = {
        generator.snake(operation["operationId"])
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "text/event-stream" not in operation["responses"].get("200", {}).get("content", {})
    }
    assert "watch_unit" not in names, "a stream is no call: client.stream reads it"
    for kind in (Operations, AsyncOperations):
        methods = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        assert methods == names


def test_what_is_asked_is_strict_and_what_is_answered_may_grow(generator: ModuleType) -> None:
    word = {"type": "string", "enum": ["a", "b"]}
    thing = {"type": "object", "properties": {"word": word, "clientThingId": {"type": "string"}, "from": {}}}
    schemas = {"Asked": {**thing, "required": ["clientThingId"]}, "Told": thing}
    models = generator.Models(schemas, {"Told"})
    asked, told = (models.declaration(name, schema) for name, schema in schemas.items())
    assert 'NotRequired[Literal[\\"a\\", \\"b\\"]]' in asked
    assert "AskedDraft" in asked
    assert 'NotRequired[Literal[\\"a\\", \\"b\\"] | str]' in told
    assert "ToldDraft" not in told


def test_no_generated_text_can_break_out_of_its_docstring(generator: ModuleType) -> None:
    text = generator.comment('ends """ here \\ and\nthere "' + " long" * 60, "    ")
    compile(f"class A:\n{text}", "generated", "exec")
    assert max(map(len, text.splitlines())) < 120
    assert not re.search(r'"""[^\n]*"""[^\n]*"""', text)
