"""Reads the OpenAPI document for every text that a caller may give, and makes calls with a hostile one in its place."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any
from urllib.parse import quote

import httpx2
from support.hostile import CORPUS

Json = dict[str, Any]
Place = tuple[str | int, ...]
_ANY_KEY = "*"
_DEPTH = 6
_EACH = 6
"""Hostile texts that each field gets; over all fields every text has its turn."""


@dataclass(frozen=True, slots=True)
class HostileCall:
    operation: str
    method: str
    path: str
    text: str
    where: str
    body: Any = None
    query: tuple[tuple[str, str], ...] = ()

    def make(self, http: httpx2.Client) -> httpx2.Response:
        # A connection of its own: one whose request is refused before its body was read is closed by the server.
        given: Json = {"headers": {"connection": "close"}}
        if self.body is not None and self.method != "GET":
            # Escaped, so that half of a surrogate pair gets through.
            given["content"] = json.dumps(self.body).encode()
            given["headers"]["content-type"] = "application/json"
        query = [(name, text.encode(errors="replace").decode()) for name, text in self.query]
        return http.request(self.method, self.path, params=query, **given)


def hostile_calls(document: Json, ids: dict[str, str], left_out: set[str]) -> Iterator[HostileCall]:
    """For each text of each operation's body, query and path. ``ids``: real ones, by parameter."""
    kinds = [islice(cycle(CORPUS[kind]), 10_000) for kind in ("scripts", "sql", "formulas", "logs", "odd", "scripts")]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            if name in left_out:
                continue
            for place, body in _bodies(document, operation):
                for text in (next(kind) for kind in kinds[:_EACH]):
                    yield HostileCall(
                        *(name, method.upper(), _filled(path, ids), text, "body." + ".".join(map(str, place))),
                        body=_with(body, place, text),
                    )
            for parameter in operation.get("parameters", ()):
                for text in (next(kind) for kind in kinds[:2]):
                    where = f"{parameter['in']}.{parameter['name']}"
                    if parameter["in"] == "query":
                        given = ((parameter["name"], text),)
                        yield HostileCall(name, method.upper(), _filled(path, ids), text, where, query=given)
                    elif parameter["in"] == "path":
                        strange = ids | {parameter["name"]: quote(text, safe="", errors="replace")}
                        yield HostileCall(name, method.upper(), _filled(path, strange), text, where, body={})


def _bodies(document: Json, operation: Json) -> Iterator[tuple[Place, Any]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    example = content.get("example", {})
    for place in _texts(document, content["schema"], 0):
        yield place, example


def _texts(document: Json, schema: Json, depth: int) -> Iterator[Place]:
    """The places of all strings in what the schema describes."""
    if depth > _DEPTH:
        return
    if "$ref" in schema:
        found = document["components"]["schemas"].get(schema["$ref"].rpartition("/")[2], {})
        yield from _texts(document, found, depth + 1)
        return
    for choice in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(choice, ()):
            yield from _texts(document, one, depth + 1)
    if schema.get("type") == "string":
        yield ()
    for name, inner in schema.get("properties", {}).items():
        for place in _texts(document, inner, depth + 1):
            yield (name, *place)
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        yield (_ANY_KEY,)
    if isinstance(schema.get("items"), dict):
        for place in _texts(document, schema["items"], depth + 1):
            yield (0, *place)


def _with(body: Any, place: Place, text: str) -> Any:
    """The body with the text there; what leads there is made where it is missing."""
    if not place:
        return text
    first, rest = place[0], place[1:]
    if first == _ANY_KEY:
        return {**(body if isinstance(body, dict) else {}), text: text, "a": text}
    if isinstance(first, int):
        known = copy.deepcopy(body) if isinstance(body, list) else []
        return [_with(known[0] if known else None, rest, text), *known[1:]]
    known = copy.deepcopy(body) if isinstance(body, dict) else {}
    return known | {str(first): _with(known.get(str(first)), rest, text)}


def _filled(path: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{", "").replace("}", "")
