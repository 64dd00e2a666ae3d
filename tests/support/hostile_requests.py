"""Finds every text of a request in the OpenAPI document, and builds requests with a hostile one in its place."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any
from urllib.parse import quote

import httpx2
from support.hostile_texts import CORPUS

Json = dict[str, Any]
JsonPath = tuple[str | int, ...]
_ANY_KEY = "*"
_DEPTH = 6
_TEXTS_PER_FIELD = 6
"""Hostile texts for each field; over all fields every text is used."""


@dataclass(frozen=True, slots=True)
class HostileRequest:
    operation: str
    method: str
    path: str
    text: str
    where: str
    body: Any = None
    query: tuple[tuple[str, str], ...] = ()

    def make(self, http: httpx2.Client) -> httpx2.Response:
        # On a connection of its own: the server closes one whose request it refuses before the body was read.
        options: Json = {"headers": {"connection": "close"}}
        if self.body is not None and self.method != "GET":
            # Escaped, so that half of a surrogate pair gets through.
            options["content"] = json.dumps(self.body).encode()
            options["headers"]["content-type"] = "application/json"
        query = [(name, text.encode(errors="replace").decode()) for name, text in self.query]
        return http.request(self.method, self.path, params=query, **options)


def hostile_requests(document: Json, ids: dict[str, str], excluded: set[str]) -> Iterator[HostileRequest]:
    """Requests for each text of each operation's body, query and path. ``ids`` are real ones, by parameter."""
    kinds = [islice(cycle(CORPUS[kind]), 10_000) for kind in ("scripts", "sql", "formulas", "logs", "odd", "scripts")]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            if name in excluded:
                continue
            for json_path, body in _bodies(document, operation):
                for text in (next(kind) for kind in kinds[:_TEXTS_PER_FIELD]):
                    yield HostileRequest(
                        *(name, method.upper(), _fill_path(path, ids), text, "body." + ".".join(map(str, json_path))),
                        body=_with(body, json_path, text),
                    )
            for parameter in operation.get("parameters", ()):
                for text in (next(kind) for kind in kinds[:2]):
                    where = f"{parameter['in']}.{parameter['name']}"
                    if parameter["in"] == "query":
                        query = ((parameter["name"], text),)
                        yield HostileRequest(name, method.upper(), _fill_path(path, ids), text, where, query=query)
                    elif parameter["in"] == "path":
                        strange = ids | {parameter["name"]: quote(text, safe="", errors="replace")}
                        yield HostileRequest(name, method.upper(), _fill_path(path, strange), text, where, body={})


def _bodies(document: Json, operation: Json) -> Iterator[tuple[JsonPath, Any]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    example = content.get("example", {})
    for path in _texts(document, content["schema"], 0):
        yield path, example


def _texts(document: Json, schema: Json, depth: int) -> Iterator[JsonPath]:
    """The paths of all strings that the schema describes."""
    if depth > _DEPTH:
        return
    if "$ref" in schema:
        target = document["components"]["schemas"].get(schema["$ref"].rpartition("/")[2], {})
        yield from _texts(document, target, depth + 1)
        return
    for choice in ("anyOf", "oneOf", "allOf"):
        for option in schema.get(choice, ()):
            yield from _texts(document, option, depth + 1)
    if schema.get("type") == "string":
        yield ()
    for name, inner in schema.get("properties", {}).items():
        for path in _texts(document, inner, depth + 1):
            yield (name, *path)
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        yield (_ANY_KEY,)
    if isinstance(schema.get("items"), dict):
        for path in _texts(document, schema["items"], depth + 1):
            yield (0, *path)


def _with(body: Any, path: JsonPath, text: str) -> Any:
    """The body with the text at the path, whose missing parents are created."""
    if not path:
        return text
    first, rest = path[0], path[1:]
    if first == _ANY_KEY:
        return {**(body if isinstance(body, dict) else {}), text: text, "a": text}
    if isinstance(first, int):
        known = copy.deepcopy(body) if isinstance(body, list) else []
        return [_with(known[0] if known else None, rest, text), *known[1:]]
    known = copy.deepcopy(body) if isinstance(body, dict) else {}
    return known | {str(first): _with(known.get(str(first)), rest, text)}


def _fill_path(path: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{", "").replace("}", "")
